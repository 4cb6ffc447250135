"""A number that is not finite: the training stops, or goes back and leaves the batch out."""

import functools
import json
import re

import jax
import jax.numpy as jnp
import pytest
from small_training import (
    DEVICES,
    assert_same,
    draw_batch,
    fresh_state,
    train,
    train_step,
    training_batches,
)

from jaxcolor.errors import DataError, TrainingError
from jaxcolor.training.checkpoints import Checkpoints
from jaxcolor.training.rollbacks import batches_at_fault

STEPS = 12  # of three epochs


def poisoned(*batches, late=False):
    """`train_step` that some batches lead to NaN: in their own losses, or in the next ones'."""

    @functools.partial(jax.jit, donate_argnums=0)
    def step(state, batch, rng):
        is_poisoned = jnp.isin(state.step, jnp.array(batches))
        state, metrics = train_step(state, batch, rng)
        weights = state.generator.params["weights"]
        spoilt = jnp.where(is_poisoned, jnp.nan, weights)
        generator = state.generator.replace(params={"weights": spoilt})
        seen = metrics["generator/l1"] + 0 * (weights if late else spoilt).sum()
        return state.replace(generator=generator), {"generator/l1": seen}

    return step


def trained_without(*batches):
    """The state after three epochs in which these batches were left out, by a loop of our own."""
    state, rng = fresh_state(), DEVICES.replicate(jax.random.key(0))
    for number in range(STEPS):
        if number in batches:
            state = state.replace(step=state.step + 1)
        else:
            state, _ = train_step(state, draw_batch(number), rng)
    return state


def test_by_default_it_stops_and_says_what_can_be_done(tmp_path):
    expected = (
        r"step 7: generator/l1 = nan; the last good checkpoint is step 4 in .*\. Start over in a "
        r"new --workdir with a lower generator_optimizer.learning_rate, or go on without the batch "
        r"by --config.train.on_nan=rollback"
    )
    with pytest.raises(TrainingError, match=expected):
        train(tmp_path, train_step=poisoned(6))


@pytest.mark.parametrize(("at", "log_every"), [(6, 1), (6, 50), (3, 50), (11, 50)])
def test_it_goes_back_and_leaves_out_the_batch(tmp_path, capsys, at, log_every):
    options = {"on_nan": "rollback", "every_steps": 3, "log_every": log_every}
    state = train(tmp_path, train_step=poisoned(at), **options)
    assert_same(state, trained_without(at))
    (step,) = re.findall(r"^warning: step (\d+): .* = nan; back to checkpoint", out(capsys), re.M)
    assert int(step) == at + 1
    rows = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows if row["kind"] == "skipped"] == [at + 1]
    assert [row["step"] for row in rows if row["kind"] == "validation"] == [4, 8, 12]
    with Checkpoints(tmp_path / "checkpoints", read_only=True) as checkpoints:
        stored = checkpoints.progress(STEPS)
        assert (stored["skipped"], stored["rollbacks"]) == ([at], 1)


def out(capsys):
    return capsys.readouterr().out


@pytest.mark.parametrize(
    ("at", "said", "left_out"),
    [(5, [("7", "1"), ("6 and 8", "2")], (5, 6, 7)), (6, [("8", "1"), ("7 and 8", "2")], (6, 7))],
)
def test_what_spoils_the_weights_is_found_though_later_losses_tell(
    tmp_path, capsys, at, said, left_out
):
    """The next batch's losses do, then those of the one after it, or else the validation."""
    step = poisoned(at, late=True)
    state = train(tmp_path, train_step=step, on_nan="rollback", every_steps=5)
    assert_same(state, trained_without(*left_out))
    found = re.findall(r"without the batch of step ([\d and]+) \(rollback (\d) of", out(capsys))
    assert found == said


def test_it_is_resumed_to_the_same_end(tmp_path):
    """Stopped after it went back, before and after the next checkpoint."""

    def breaking_at(*places):
        def open_batches(step):
            for number, batch in enumerate(training_batches(step), step):
                if number in places and number >= step + 1:
                    raise DataError(f"step {number}")
                yield batch

        return open_batches

    options = {"train_step": poisoned(6), "on_nan": "rollback"}
    for place in (7, 9):
        workdir = tmp_path / str(place)
        with pytest.raises(DataError):
            train(workdir, open_batches=breaking_at(place), **options)
        with Checkpoints(workdir / "checkpoints", read_only=True) as checkpoints:
            assert checkpoints.progress(place)["skipped"] == [6]
        assert_same(train(workdir, **options), trained_without(6))


def test_a_process_killed_after_it_went_back_goes_back_again(tmp_path):
    class Killed(BaseException):
        pass

    def open_batches(step):
        if step == 4:
            opened.append(step)
        for number, batch in enumerate(training_batches(step), step):
            if number == 7 and opened:
                raise Killed  # nothing is saved on the way out
            yield batch

    opened = []
    options = {"train_step": poisoned(6), "on_nan": "rollback"}
    with pytest.raises(Killed):
        train(tmp_path, open_batches=open_batches, **options)
    assert_same(train(tmp_path, **options), trained_without(6))


def test_it_goes_back_only_so_often_and_only_to_a_checkpoint(tmp_path):
    options = {"on_nan": "rollback", "max_rollbacks": 2}
    assert_same(train(tmp_path / "a", train_step=poisoned(5, 9), **options), trained_without(5, 9))
    with pytest.raises(TrainingError, match=r"step 12: .*After 2 rollbacks .*max_rollbacks"):
        train(tmp_path / "b", train_step=poisoned(5, 9, 11), **options)
    with pytest.raises(TrainingError, match=r"none was saved .*or save sooner by --config\.check"):
        train(tmp_path / "c", train_step=poisoned(2), **options)


@pytest.mark.parametrize(
    ("step", "first", "skipped", "expected"),
    [
        (7, 4, set(), {6}),
        (8, 4, {6}, {7, 5}),
        (8, 4, {5, 6}, {7, 4}),
        (8, 5, {5, 6}, {7}),
        (8, 4, {7}, {7, 6}),
        (9, 4, {6}, {8}),
    ],
)
def test_the_batches_at_fault(step, first, skipped, expected):
    assert batches_at_fault(step, first, skipped) == expected
