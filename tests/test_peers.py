"""The peers compute what jaxcolor computes, and the harness compares them by its rule."""

import functools
import importlib.util
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from skimage import color

from benchmarks import harness, photographs, records
from benchmarks import suite as command
from benchmarks.options import parse
from benchmarks.peers import naive_jax
from jaxcolor.models import patchgan, unet
from jaxcolor.training import optimizers, steps
from jaxcolor.training.state import Networks, Optimizers, create_state, from_linen

SIZE, WIDTH, BATCH = 64, 4, 2
SHAPE = (BATCH, SIZE, SIZE, 3)
ADAM, _ = optimizers.adam(total_steps=1)
LOSSES = [f"generator/{name}" for name in ("adversarial", "l1", "loss")]
LOSSES += [f"discriminator/{name}" for name in ("real", "fake", "loss")]
needs_torch = pytest.mark.skipif(
    importlib.util.find_spec("torch") is None, reason="needs the extra peers"
)


@pytest.fixture(scope="module")
def networks():
    """Our networks of the reference recipe, small and without dropout."""
    generator = unet.REFERENCE | {"base_width": WIDTH, "dropout_levels": ()}
    discriminator = patchgan.REFERENCE | {"base_width": WIDTH}
    return Networks(
        from_linen(unet.UNet(image_size=SIZE, **generator)),
        from_linen(patchgan.PatchGAN(**discriminator)),
    )


@pytest.fixture(scope="module")
def state(networks):
    """A state whose running statistics and biases are not those every network starts with."""
    create = functools.partial(
        create_state,
        networks=networks,
        optimizers=Optimizers(ADAM, ADAM),
        condition_shape=SHAPE,
        target_shape=SHAPE,
    )
    fresh = jax.jit(create)(jax.random.key(3))
    rng = np.random.default_rng(0)

    def disturb(path, leaf):
        drawn = rng.uniform(0.01, 0.1, leaf.shape).astype(np.float32)
        if path[-1].key == "variance":
            return drawn  # of the maps' own order: at 1 the signal would fade from layer to layer
        return leaf + drawn if path[-1].key in ("bias", "mean") else leaf

    def disturb_network(network):
        trees = {"params": network.params, "batch_stats": network.batch_stats}
        return network.replace(**jax.tree_util.tree_map_with_path(disturb, trees))

    generator, discriminator = map(disturb_network, (fresh.generator, fresh.discriminator))
    return fresh.replace(generator=generator, discriminator=discriminator)


@pytest.fixture(scope="module")
def batch():
    pictures = np.random.default_rng(1).integers(0, 256, (2, *SHAPE), np.uint8)
    return {"condition": pictures[0], "target": pictures[1]}


@functools.cache
def compile_ours(networks, update):
    step = functools.partial(
        steps.train_step,
        networks=networks,
        optimizers=Optimizers(ADAM, ADAM),
        losses=steps.LossWeights(discriminator=0.5),
        update=update,
        axis_name=None,
    )
    return jax.jit(step)


def follow(step, state, batch, count=4):
    """Losses of `count` steps, [count, losses]."""
    rows = []
    for _ in range(count):
        state, metrics = step(state, batch, jax.random.key(0))
        rows.append([float(metrics[name]) for name in LOSSES])
    return np.array(rows)


def assert_same_training(actual, expected):
    """Equal losses at the same weights, and after one, two and three steps of Adam."""
    np.testing.assert_allclose(actual[0], expected[0], rtol=1e-4, err_msg="losses")
    np.testing.assert_allclose(actual[1:], expected[1:], rtol=1e-3, err_msg="losses after Adam")
    changes = [rows[1:] - rows[:1] for rows in (actual, expected)]
    np.testing.assert_allclose(*changes, rtol=2e-2, err_msg="what Adam changed of the losses")


@pytest.mark.parametrize("update", steps.UPDATES)
def test_naive_jax_trains_as_we_do(networks, state, batch, update):
    modules = naive_jax.Networks(
        naive_jax.UNet(image_size=SIZE, base_width=WIDTH, dropout_levels=()),
        naive_jax.PatchGAN(base_width=WIDTH),
    )
    step = functools.partial(naive_jax.train_step, networks=modules, optimizer=ADAM, update=update)
    actual = follow(jax.jit(step), naive_jax.load_state(state, ADAM), batch)
    expected = follow(compile_ours(networks, update), state, batch)
    assert_same_training(actual, expected)


def pytorch_peer(state, **options):
    from benchmarks.peers.pytorch_pix2pix import Pix2Pix

    sizes = {"image_size": SIZE, "base_width": WIDTH, "dropout_levels": (), "device": "cpu"}
    peer = Pix2Pix(**sizes | options)
    peer.load_weights(state)
    return peer


def follow_pytorch(peer, batch, count=4):
    placed = {name: peer.place(pictures) for name, pictures in batch.items()}
    rows = [peer.train_step(placed) for _ in range(count)]
    return np.array([[float(row[name]) for name in LOSSES] for row in rows])


def pictures_of(tensor):
    return tensor.detach().permute(0, 2, 3, 1).numpy()


@needs_torch
def test_pytorch_has_the_reference_parameter_counts():
    import torch

    from benchmarks.peers.pytorch_networks import PatchGAN, UNet

    def count(network):
        return sum(parameter.numel() for parameter in network.parameters())

    with torch.device("meta"):
        assert count(UNet()) == 54_413_955, "the reference's unet_256 has 54,413,955"
        assert count(PatchGAN()) == 2_768_705, "the reference's 70x70 PatchGAN has 2,768,705"


@needs_torch
def test_pytorch_networks_compute_ours(networks, state, batch):
    peer = pytorch_peer(state)
    condition, target = (batch[name].astype(np.float32) / 127.5 - 1 for name in batch)
    generator, discriminator = state.generator, state.discriminator
    fake, _ = networks.generator.apply(generator.params, generator.batch_stats, condition)
    logits, _ = networks.discriminator.apply(
        discriminator.params, discriminator.batch_stats, condition, target
    )
    placed = [peer.place(pictures) for pictures in (condition, target)]
    np.testing.assert_allclose(pictures_of(peer.generator(placed[0])), fake, atol=1e-4)
    np.testing.assert_allclose(pictures_of(peer.discriminator(*placed)), logits, atol=1e-4)


@needs_torch
@pytest.mark.parametrize("statistics", steps.INFERENCE_STATISTICS)
def test_pytorch_predicts_as_we_do(networks, state, batch, statistics):
    peer = pytorch_peer(state, dropout_levels=(1, 2, 3))
    options = {"networks": networks, "statistics": statistics, "dropout": False, "axis_name": None}
    expected = steps.predict(state, jnp.asarray(batch["condition"]), None, **options)
    actual = peer.generate(peer.place(batch["condition"]), statistics)
    np.testing.assert_allclose(pictures_of(actual), expected, atol=1e-4)


@needs_torch
@pytest.mark.parametrize("update", steps.UPDATES)
def test_pytorch_trains_as_we_do(networks, state, batch, update):
    actual = follow_pytorch(pytorch_peer(state, update=update), batch)
    expected = follow(compile_ours(networks, update), state, batch)
    assert_same_training(actual, expected)


def variants(compiled):
    """Names and options of the PyTorch variants, none if PyTorch is missing."""
    if importlib.util.find_spec("torch") is None:
        return [pytest.param("", {}, marks=needs_torch)]
    from benchmarks.peers.pytorch_pix2pix import VARIANTS

    return [row for row in VARIANTS.items() if ("compiled" in row[1]) == compiled]


@pytest.mark.parametrize("update", steps.UPDATES)
@pytest.mark.parametrize(("name", "options"), variants(compiled=False))
def test_pytorch_variants_agree(state, batch, name, options, update):
    """Eager float32 is held to ours above; bfloat16 keeps 8 bits of every operand."""
    tolerance = {"rtol": 3e-2} if "bfloat16" in name else {"rtol": 1e-3}
    expected = follow_pytorch(pytorch_peer(state, update=update), batch)
    actual = follow_pytorch(pytorch_peer(state, update=update, **options), batch)
    np.testing.assert_allclose(actual, expected, **tolerance)


@pytest.mark.slow
@pytest.mark.parametrize("update", steps.UPDATES)
@pytest.mark.parametrize(("name", "options"), variants(compiled=True))
@pytest.mark.filterwarnings("default")  # those of the compiler's own code
def test_compiled_pytorch_variants_agree(state, batch, name, options, update):
    test_pytorch_variants_agree(state, batch, name, options, update)


def test_jax_peer_has_the_reference_parameter_counts():
    picture = jnp.zeros((1, 256, 256, 3))
    keys = {"params": jax.random.key(0), "dropout": jax.random.key(1)}
    trees = [
        jax.eval_shape(functools.partial(naive_jax.UNet().init, train=True), keys, picture),
        jax.eval_shape(naive_jax.PatchGAN().init, keys, picture, picture),
    ]
    counts = [sum(leaf.size for leaf in jax.tree.leaves(tree["params"])) for tree in trees]
    assert counts == [54_413_955, 2_768_705], "the reference's counts"


def contender(family, variant, failing=False):
    def prepare():
        if failing:
            raise RuntimeError("no compiler")
        return lambda: None

    return harness.Contender(family, variant, prepare)


def compare(others=0.0, **samples):
    """The ratio of `a` to the fastest of the others."""
    peers = [name for name in samples if name != "a"]
    return harness.compare("a", peers, "all", harness.Measurement(samples, {}, others))


def test_ratio_is_of_medians_to_the_fastest_peer():
    ratio = compare(a=[1.0] * 5, slow=[3.0] * 5, fast=[1.8, 1.9, 2.0, 2.1, 2.2])
    assert (ratio.peer, ratio.value, ratio.withheld) == ("fast", 2.0, "")
    assert (ratio.low, ratio.high) == pytest.approx((1.9, 2.1))


@pytest.mark.parametrize(
    ("samples", "others", "stated"),
    [
        ([1.0, 1.0, 1.2, 1.49, 1.49], 0.24, True),
        ([1.0, 1.0, 1.2, 1.49, 1.49], None, True),
        ([1.0, 1.0, 1.2, 1.49, 1.49], 0.26, False),
        ([1.0, 1.0, 1.2, 1.51, 1.51], 0.0, False),
        ([1.0, 1.0, 1.0, 1.0], 0.0, False),
    ],
)
def test_ratio_is_withheld_where_it_means_little(samples, others, stated):
    assert (compare(others, a=[1.0] * 5, b=samples).withheld == "") == stated


def test_float32_is_compared_with_float32_only():
    rows = [
        contender(harness.OURS, "float32"),
        contender(harness.OURS, "bfloat16"),
        contender(harness.NAIVE, "float32"),
        contender(harness.PYTORCH, "float32 compiled"),
        contender(harness.PYTORCH, "bfloat16"),
        contender(harness.PYTORCH, "float32"),
    ]
    seconds = dict(zip((row.name for row in rows), (1, 2, 9, 5, 3, 6), strict=True))
    samples = {name: [value] * 5 for name, value in seconds.items()}
    ratios = harness.compare_families(rows, harness.Measurement(samples, {}, 0.0))
    assert [(r.ours, r.peer, r.value) for r in ratios] == [
        ("jaxcolor float32", "PyTorch float32 compiled", 5.0),
        ("jaxcolor float32", "naive JAX float32", 9.0),
        ("jaxcolor bfloat16", "PyTorch bfloat16", 1.5),
        ("jaxcolor bfloat16", "naive JAX float32", 4.5),
    ]


def test_peer_that_cannot_run_is_reported_but_ours_must_run():
    rows = [contender(harness.OURS, "float32"), contender(harness.PYTORCH, "float32", failing=True)]
    measured = harness.measure(rows, 5)
    assert {name: len(values) for name, values in measured.samples.items()} == {rows[0].name: 5}
    assert measured.failures == {"PyTorch float32": "RuntimeError: no compiler"}
    with pytest.raises(RuntimeError):
        harness.measure([contender(harness.OURS, "float32", failing=True)], 5)


@pytest.mark.parametrize("benchmark", ["train_step", "inference"])
def test_benchmark_prints_ratios_and_keeps_every_sample(benchmark, tmp_path, capsys):
    sizes = ["--image_size=32", "--base_width=2", "--batch=1", "--repetitions=5"]
    choice = ["--dtype=float32", "--skip=compiled", f"--out={tmp_path}"]
    chosen = parse(command.BENCHMARKS, [benchmark, *sizes, *choice], about="")
    records.record(benchmark, command.BENCHMARKS[benchmark].tables(chosen), chosen)
    result = json.loads((tmp_path / f"{benchmark}.json").read_text())
    out = capsys.readouterr().out
    there = {"jaxcolor", "PyTorch"} if importlib.util.find_spec("torch") else {"jaxcolor"}
    assert len(result["tables"]) == (2 if benchmark == "inference" else 1)  # photographs besides
    for table in result["tables"]:
        assert {len(seconds) for seconds in table["samples"].values()} == {5}
        assert {name.split()[0] for name in table["samples"]} >= there
        assert not table["failures"]
        assert table["title"] in out
    assert result["versions"]["jax"] == jax.__version__


def test_colouring_by_opencv_keeps_the_shape_and_gives_the_networks_chroma():
    photograph = np.full((30, 45, 1), 130, np.uint8)
    seen = []

    def generate(condition):
        seen.append(condition)
        return np.full(condition.shape, [0.2, 0.0, -0.1], np.float32)

    result = photographs.colorize_by_opencv(photograph, generate, 32)
    assert seen[0].shape == (1, 32, 32, 3)
    assert (seen[0] == 130).all()
    grey = color.rgb2lab(np.full((1, 1, 3), 130 / 255))
    chroma = color.rgb2lab(np.array([[[0.6, 0.5, 0.45]]]))
    expected = color.lab2rgb(np.concatenate([grey[..., :1], chroma[..., 1:]], axis=2)) * 255
    assert result.shape == (30, 45, 3)
    np.testing.assert_allclose(result, np.broadcast_to(expected, result.shape), atol=1.0)
