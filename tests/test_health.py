"""Warnings of a training that goes on without learning."""

import re

import numpy as np
import pytest

from jaxcolor.training.health import Health

HEALTHY = {
    "discriminator/loss": 0.9,
    "discriminator/fake": 0.4,
    "discriminator/accuracy_real": 0.8,
    "discriminator/accuracy_fake": 0.8,
    "generator/gradient_norm": 12.0,
    "generator/learning_rate": 2e-4,
}


def warnings_of(*rows, every=50, health=None):
    """(step, warning) of rows that come every so many steps."""
    health = health or Health()
    found = []
    for index, row in enumerate(rows, 1):
        found += [(index * every, line) for line in health.after_steps(index * every, row)]
    return found


def row(**changes):
    return HEALTHY | {name.replace("__", "/"): value for name, value in changes.items()}


def pictures(colours, size=8):
    """One flat uint8 picture a colour."""
    return np.stack([np.full((size, size, 3), colour, np.uint8) for colour in colours])


def test_a_healthy_run_is_left_alone():
    generator = np.random.default_rng(0)
    rows = [row(generator__gradient_norm=generator.lognormal(2, 1)) for _ in range(200)]
    assert warnings_of(*rows) == []


def test_that_the_discriminator_has_won_is_told_once_after_most_of_200_steps():
    won = row(discriminator__loss=0.004)
    assert warnings_of(*[row()] * 4, *[won] * 2) == []
    found = warnings_of(*[row()] * 4, *[won] * 40)
    assert [step for step, _ in found] == [350]
    assert "discriminator has won" in found[0][1]
    assert "0.004 at step 350" in found[0][1]
    assert "lower discriminator_optimizer.learning_rate" in found[0][1]
    assert "\n" not in found[0][1]


def test_a_short_spell_is_no_episode_and_a_short_recovery_no_end():
    won = row(discriminator__loss=0.004)
    assert warnings_of(*[won, won, row(), row()] * 10) == []
    assert len(warnings_of(*[won] * 4, *[row()] * 2, *[won] * 9)) == 1
    assert len(warnings_of(*[won] * 4, *[row(discriminator__loss=0.02)] * 9, *[won] * 9)) == 1
    again = warnings_of(*[won] * 4, *[row()] * 4, *[won] * 4)
    assert [step for step, _ in again] == [200, 550]


def test_a_spike_does_not_hide_that_the_discriminator_has_won():
    """As measured: every few hundred steps the generator finds a trick, and loses again."""
    losses = [0.009, 0.007, 0.006, 1.5, 0.2, 0.05, *[0.008, 0.006, 0.005] * 5, 0.9, *[0.006] * 9]
    found = warnings_of(*[row(discriminator__loss=loss) for loss in losses], every=20)
    assert [step for step, _ in found] == [200]


def test_one_long_row_is_not_enough():
    won = row(discriminator__loss=0.004)
    assert [step for step, _ in warnings_of(won, won, every=1000)] == [2000]


def test_smoothed_labels_do_not_hide_that_the_discriminator_has_won():
    sure = {"discriminator__accuracy_real": 1.0, "discriminator__accuracy_fake": 1.0}
    won = row(discriminator__loss=0.33, discriminator__fake=0.001, **sure)
    assert len(warnings_of(*[won] * 9)) == 1


def test_without_a_discriminator_the_generator_is_still_watched():
    norms = [3.0] * 5 + [0.0] * 5
    rows = [{"generator/l1": 0.2, "generator/gradient_norm": norm} for norm in norms]
    found = warnings_of(*rows)
    assert [step for step, _ in found] == [400]
    assert "stopped moving: its gradient norm is 0 at step 400" in found[0][1]


def test_a_generator_that_the_schedule_has_stopped_is_meant_to_rest():
    slow = row(generator__gradient_norm=1e-5, generator__learning_rate=1e-6)
    fast = slow | {"generator/learning_rate": 1e-4}
    assert warnings_of(*[row()] * 5, *[slow] * 20) == []
    assert len(warnings_of(*[row()] * 5, *[fast] * 20)) == 1


def test_grey_outputs_are_told_after_two_epochs():
    health = Health()
    assert health.after_epoch(1, {"chroma_ratio": 0.05}) == []
    (warning,) = health.after_epoch(2, {"chroma_ratio": 0.05})
    assert "faded to grey: 5.0% of the true pictures' chroma in epoch 2" in warning
    assert health.after_epoch(3, {"chroma_ratio": 0.04}) == []
    assert health.after_epoch(4, {"chroma_ratio": 0.6}) == []
    for ratio in (float("nan"), float("inf")):  # the truth is grey
        fresh = Health()
        assert not any(fresh.after_epoch(epoch, {"chroma_ratio": ratio}) for epoch in (1, 2, 3))


def test_outputs_that_do_not_depend_on_the_input_are_told():
    truth = pictures([(200, 10, 10), (10, 200, 10)])
    health, found = Health(), []
    for epoch in (1, 2, 3):
        shift = 10 * epoch  # it moves, from one constant to another
        found += health.after_epoch(epoch, {}, pictures([(90 + shift,) * 3] * 2), truth)
    assert len(found) == 1
    assert "the same whatever the input in epoch 2" in found[0]
    flat = pictures([(90, 90, 90)] * 2)
    health = Health()
    alike = [health.after_epoch(epoch, {}, flat + np.uint8(epoch), flat) for epoch in (1, 2, 3)]
    assert alike == [[], [], []]  # so is the truth


def test_saturated_outputs_are_told_unless_the_truth_is_black_and_white():
    made = pictures([(255, 0, 0), (0, 255, 255)])
    truth = pictures([(200, 10, 10), (10, 200, 10)])
    for target, count in ((made, 0), (truth, 1)):
        health, found = Health(), []
        for epoch in (1, 2, 3):
            found += health.after_epoch(epoch, {}, np.roll(made, epoch, axis=-1), target)
        assert len(found) == count
    assert "saturated: 100% of their values are 0 or 255 in epoch 2, 0% of the true" in found[0]


@pytest.mark.parametrize(("rate", "count"), [(2e-4, 1), (1e-5, 0)])
def test_samples_that_no_longer_change_are_told_unless_the_rate_is_down(rate, count):
    health = Health()
    health.after_steps(1, row())
    health.after_steps(2, row(generator__learning_rate=rate))
    truth = pictures([(200, 10, 10), (10, 200, 10)])
    found = [health.after_epoch(epoch, {}, truth, truth) for epoch in (1, 2, 3, 4)]
    assert sum(map(len, found)) == count
    if count:
        assert re.search(r"samples changed by 0 of 255 levels in epoch 3", found[2][0])


@pytest.mark.slow
def test_a_training_with_far_too_high_a_rate_is_warned(start, tmp_path):
    output, _ = start(tmp_path / "run", generator_optimizer__learning_rate=1.0).communicate()
    assert len(re.findall(r"(?m)^warning: the outputs are saturated: .* epoch 2, ", output)) == 1
