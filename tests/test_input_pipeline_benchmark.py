"""The peer does our work, loaders take turns, the device moves pictures as the host does."""

import functools
import importlib.util
import json
import random
import subprocess
import sys
import time

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import ROOT
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from benchmarks import (
    device_augment,
    harness,
    input_pipeline,
    input_stages,
    loader_probe,
    loaders,
    options,
    report,
    targets,
)
from benchmarks import suite as command
from benchmarks.picture_sets import open_files
from jaxcolor.data import warps
from jaxcolor.data.transforms import TrainingTransform
from jaxcolor.errors import UserError

needs_torch = pytest.mark.skipif(
    importlib.util.find_spec("torch") is None, reason="needs the extra peers"
)
SIZE = 32
STILL = {"rotation": 0.0, "shear": 0.0, "zoom": 0.0, "shift": 0.0}


def list_files(pictures):
    """The paths of the 24 training pairs of 32 pixels."""
    return sorted(map(str, (pictures / "train").iterdir()))


def peer_of(paths, **changes):
    """PyTorch's data set without augmentation, but for `changes`."""
    from benchmarks.peers.pytorch_data import PairDataset

    plain = {"image_size": SIZE, "load_size": SIZE, "flip": False}
    return PairDataset(paths, **plain | changes)


def pixels_of(tensor):
    """Grey levels [height, width, 3] of a tensor in [-1, 1]."""
    return (tensor.numpy().transpose(1, 2, 0) + 1) * 127.5


@needs_torch
@pytest.mark.parametrize("size", [SIZE, 20, 48])
def test_the_peer_resizes_and_scales_as_we_do(pictures, size):
    paths = list_files(pictures)
    sizes = {"image_size": size, "load_size": size, "flip": False}
    source, transform = open_files(paths), TrainingTransform(**sizes)
    for index in (0, 7):
        ours = transform(source[index], np.random.default_rng(0))
        peer = peer_of(paths, **sizes)[index]
        for name, picture in ours.items():
            assert peer[name].shape == (3, size, size)
            np.testing.assert_allclose(pixels_of(peer[name]), picture, atol=1)


@needs_torch
def test_the_peer_crops_everywhere_and_mirrors_half(tmp_path):
    """A picture whose pixels tell where they are."""
    red, green = np.meshgrid(np.arange(8), np.arange(8), indexing="ij")
    half = np.stack([red, green, np.zeros_like(red)], axis=-1).astype(np.uint8)
    Image.fromarray(np.concatenate([half, half], axis=1)).save(tmp_path / "a.png")
    peer = peer_of([str(tmp_path / "a.png")], image_size=6, load_size=8, flip=True)
    random.seed(0)
    found = []
    for _ in range(200):
        pair = peer[0]
        np.testing.assert_array_equal(pair["condition"], pair["target"])
        first, last = np.rint(pixels_of(pair["target"]))[0, [0, -1], :2].astype(int).tolist()
        mirrored = first[1] > last[1]
        found.append((first[0], min(first[1], last[1]), mirrored))
    corners = {(top, left) for top, left, _ in found}
    assert corners == {(top, left) for top in range(3) for left in range(3)}
    assert 70 < sum(mirrored for *_, mirrored in found) < 130


@needs_torch
def test_the_peer_puts_grey_noise_on_the_condition_alone(pictures):
    paths = list_files(pictures)
    noisy, plain = peer_of(paths, noise=0.02)[3], peer_of(paths)[3]
    np.testing.assert_array_equal(noisy["target"], plain["target"])
    added = (noisy["condition"] - plain["condition"]).numpy()
    # Black and white are left out: there it is cut.
    inside = np.abs(plain["condition"].numpy()).max(axis=0) < 0.9
    assert np.ptp(added[:, inside], axis=0).max() < 1e-6
    everywhere = peer_of(paths, noise=0.5)[3]["condition"]
    assert everywhere.min() >= -1
    assert everywhere.max() <= 1
    assert noisy["condition"].numpy().std() > 0


@needs_torch
@settings(deadline=None, max_examples=30)
@given(
    rotation=st.floats(-20, 20),
    shear=st.floats(-10, 10),
    zoom=st.floats(-0.2, 0.2),
    right=st.integers(-5, 5),
    down=st.integers(-5, 5),
)
def test_the_peers_warp_is_the_way_back_of_ours(rotation, shear, zoom, right, down):
    from benchmarks.peers.pytorch_data import inverse_affine

    matrix = warps.affine(rotation, shear, zoom, right / SIZE, down / SIZE)
    places = np.random.default_rng(0).uniform(0, SIZE, (2, 5))
    moved = matrix[:, :2] @ (places - SIZE / 2) + SIZE / 2 + SIZE * matrix[:, 2:]
    back = np.reshape(inverse_affine(SIZE, rotation, shear, zoom, right, down), (2, 3))
    np.testing.assert_allclose(back[:, :2] @ moved + back[:, 2:], places, atol=1e-6)


@needs_torch
def test_the_peers_loader_goes_through_all_pairs_and_on(pictures):
    from benchmarks.peers.pytorch_data import EndlessShuffle, training_batches

    peer = peer_of(list_files(pictures), **input_pipeline.AUGMENT)
    batches = training_batches(peer, batch_size=10, num_workers=0)
    for batch in (next(batches) for _ in range(3)):
        for values in batch.values():
            assert values.shape == (10, 3, SIZE, SIZE)
            assert values.dtype == next(iter(batch.values())).dtype
            assert values.min() >= -1
            assert values.max() <= 1
    batches.close()
    indices = iter(EndlessShuffle(5))
    passes = [[next(indices) for _ in range(5)] for _ in range(20)]
    assert all(sorted(one) == list(range(5)) for one in passes)
    assert len({tuple(one) for one in passes}) > 1


def make_counting_source(log):
    """Grey pairs; a byte in the file `log` for every one that was read, by whichever process.

    The class is made here, so that processes are sent it and need not import this file.
    """

    class CountingSource:
        def __len__(self):
            return 16

        def __getitem__(self, index):
            with open(log, "ab", buffering=0) as file:
                file.write(b".")
            picture = np.full((8, 8, 3), index, np.uint8)
            return {"condition": picture, "target": picture}

    return CountingSource()


@pytest.mark.parametrize(
    ("threads", "workers"), [(0, 0), (1, 0), (2, 0), (4, 0), (1, 2)], ids=lambda n: str(n)
)
def test_no_batch_that_was_read_ahead_is_timed(threads, workers, tmp_path, monkeypatch):
    """At rest, just as many batches are ready as are taken for that before the clock starts."""
    log = tmp_path / "log"
    monkeypatch.setattr(loader_probe, "open_source", lambda request: make_counting_source(log))
    request = {"family": harness.OURS, "batch_size": 4, "transform": {"image_size": 8}}
    request["transform"]["load_size"] = 8
    request |= {"num_threads": threads, "num_workers": workers}
    batches, ahead = loader_probe.open_loader(request)
    next(batches)
    at_rest, seen = -1, log.stat().st_size
    while seen != at_rest:
        time.sleep(0.5)
        at_rest, seen = seen, log.stat().st_size
    batches.close()
    assert seen // 4 - 1 == ahead - loader_probe.batches_ahead(threads, workers, 0)


def test_a_turn_takes_what_is_ahead_and_then_what_is_timed(monkeypatch):
    monkeypatch.setattr(loader_probe, "wait_until_quiet", lambda: None)

    def make_batches():
        for number in range(8):
            time.sleep(0.3 if number < 2 else 0.01)
            yield {}

    batches = make_batches()
    found = loader_probe.take(batches, 2, 3)
    assert 0.03 <= found["seconds"] < 0.3
    assert len(list(batches)) == 8 - 2 - 3


def test_own_memory_is_counted():
    """In a process of its own: in this one, other threads free what other tests held."""
    program = """
import numpy as np
from benchmarks import loader_probe
before = loader_probe.held_bytes()
held = np.ones(50_000_000, np.uint8)
print(before, loader_probe.held_bytes() - before)
"""
    printed = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout
    before, more = map(int, printed.split())
    if not before:
        pytest.skip("the system does not tell")
    assert 40_000_000 < more < 80_000_000


def test_memory_grows_where_the_least_of_it_does():
    assert loaders.growth([100, 130, 100, 130, 100]) == 0
    assert loaders.growth([100, 110, 120, 150]) == pytest.approx(0.2)
    assert loaders.growth([100]) == loaders.growth([0, 0]) == 0


def test_a_loader_that_cannot_start_says_why():
    request = {"family": harness.OURS, "paths": ["missing.png"], "cache": "", "batch_size": 2}
    request |= {"transform": {"image_size": 0}, "num_threads": 0, "num_workers": 0, "cores": 0}
    with pytest.raises(RuntimeError, match="image_size 0 must be at least 1"):
        loaders.LoaderProcess(request)
    mine = loaders.Loader(harness.OURS, loaders.FILES, workers=0)
    with pytest.raises(UserError, match="jaxcolor files, 0 workers, 0 threads: "):
        loaders.take_turns({mine: request}, batches=1, repetitions=1)
    peer = loaders.Loader(harness.PYTORCH, loaders.FILES, workers=0)
    measured, memory = loaders.take_turns(
        {peer: request | {"family": "nobody"}}, batches=1, repetitions=1
    )
    assert list(measured.failures) == [peer.name]
    assert not measured.samples
    assert not memory


def smooth_pictures(count, side):
    """Pictures that change by little from pixel to pixel: uint8 [count, side, side, 3]."""
    y, x = np.mgrid[:side, :side] / side
    waves = [np.sin(4 * x + n) + np.cos(3 * y * n) for n in range(1, 3 * count + 1)]
    waves = np.reshape(waves, (count, 3, side, side)).transpose(0, 2, 3, 1)
    return np.clip(128 + 50 * waves, 0, 255).astype(np.uint8)


def test_the_device_moves_pictures_as_the_host_does():
    side, size, count = 60, 48, 6
    pictures = smooth_pictures(count, side)
    ranges = {"rotation": 20.0, "shear": 10.0, "zoom": 0.2, "shift": 0.1}
    moves = device_augment.draw_moves(jax.random.key(1), count, margin=side - size, **ranges)
    batch = {"condition": jnp.asarray(pictures[::-1]), "target": jnp.asarray(pictures)}
    augment = functools.partial(device_augment.augment, size=size, noise=0.0)
    moved = jax.jit(augment)(batch, moves, jax.random.key(2))
    assert set(np.asarray(moves.mirrored).tolist()) == {True, False}
    for index in range(count):
        matrix = np.asarray(moves.matrices[index], np.float64)
        left, top = map(int, moves.corners[index])
        mirrored = bool(moves.mirrored[index])
        back = warps.way_back(side, side, left, top, size, matrix, mirrored)
        for name, given_pictures in batch.items():
            picture = np.asarray(given_pictures[index])
            expected = warps.warp_crop(picture, size, back, "white")
            different = np.abs(np.asarray(moved[name][index], int) - expected).max(axis=-1)
            # The line between the picture and the blank around it is a matter of rounding.
            assert np.quantile(different, 0.95) <= 3


def test_the_device_draws_within_the_ranges():
    still = device_augment.draw_moves(jax.random.key(0), 4, margin=0, **STILL)
    np.testing.assert_allclose(still.matrices, np.broadcast_to(np.eye(2, 3), (4, 2, 3)))
    assert not still.corners.any()
    drawn = device_augment.draw_moves(
        jax.random.key(0), 500, margin=3, rotation=5.0, shear=3.0, zoom=0.05, shift=0.03
    )
    assert set(np.unique(drawn.corners)) == {0, 1, 2, 3}
    determinants = np.sqrt(np.linalg.det(drawn.matrices[:, :, :2]))
    assert 0.95 <= determinants.min() < 0.96
    assert 1.04 < determinants.max() <= 1.05 + 1e-6
    shifts = np.abs(drawn.matrices[:, :, 2])
    assert 0.029 < shifts.max() <= 0.03 + 1e-6
    turns = np.degrees(np.arctan2(drawn.matrices[:, 1, 0], drawn.matrices[:, 0, 0]))
    assert 4.9 < np.abs(turns).max() <= 5.0001


def test_the_device_puts_noise_on_the_condition_alone():
    grey = jnp.full((2, 12, 12, 3), 100, jnp.uint8)
    batch = {"condition": grey, "target": grey}
    moves = device_augment.draw_moves(jax.random.key(0), 2, margin=0, **STILL)
    augment = functools.partial(device_augment.augment, size=12, noise=0.1)
    moved = jax.jit(augment)(batch, moves, jax.random.key(1))
    np.testing.assert_array_equal(moved["target"], grey)
    added = np.asarray(moved["condition"], float) - 100
    assert np.ptp(added, axis=-1).max() == 0
    assert added.std() == pytest.approx(0.1 * 127.5, rel=0.2)


def parse(*words):
    return options.parse(command.BENCHMARKS, ["input_pipeline", *words], about="")


@pytest.fixture(scope="module")
def tiny_tables(pictures):
    """A whole run at tiny size, as it comes back from JSON."""
    words = ["--quick", "--image_size=32", f"--data={pictures}", "--pictures=8", "--batch_size=4"]
    words += ["--threads=1", "--peer_workers=1", "--batches=2", "--repetitions=2"]
    return json.loads(json.dumps(list(input_pipeline.tables(parse(*words)))))


def test_every_loader_takes_every_turn(tiny_tables, pictures):
    table, stages = tiny_tables
    ours = ["files, 0 workers, 1 thread", "files, 1 core"]
    ours += [name.replace("files", "cache") for name in ours]
    names = {f"jaxcolor {name}" for name in ours}
    if importlib.util.find_spec("torch") is not None:
        names.add("PyTorch files, 1 worker")
        assert [row["against"] for row in table["ratios"]] == list(loaders.AGAINST.values())
        assert not any("1 core" in row["ours"] for row in table["ratios"])
    assert set(table["samples"]) == set(table["memory"]) == names
    assert not table["failures"]
    assert all(len(values) == 2 and min(values) > 0 for values in table["samples"].values())
    assert all(min(values) > 1e7 for values in table["memory"].values())
    assert table["format"] == pictures.name
    works = ("read bytes of", "decode", "resize", "augment", "batch", "transfer", "read from")
    for work in works:
        assert any(name.startswith(work) for name in stages["samples"])
    assert all(min(values) > 0 for values in stages["samples"].values())
    assert input_stages.DEVICE in stages["samples"]


def made_result(tables, **options):
    sizes = {"image_size": 256, "base_width": 64, "batch_size": 32}
    return {
        "benchmark": "input_pipeline",
        "command": "python -m benchmarks input_pipeline",
        "machine": "a machine",
        "platform": "cpu",
        "versions": {"jax": "0.10"},
        "environment": {},
        "commit": "abc",
        "started": "2026-01-02T03:04:05Z",
        "options": sizes | options,
        "tables": tables,
    }


def made_table(kind="png"):
    """32 pairs a batch: ours from files in 0.1 s, from the cache 0.02 s, PyTorch 0.2 s."""
    rows = [
        loaders.Loader(harness.OURS, loaders.FILES, 0, 2),
        loaders.Loader(harness.OURS, loaders.FILES, 0, 1),
        loaders.Loader(harness.OURS, loaders.CACHE, 0, 2),
        loaders.ONE_CORE[loaders.CACHE],
        loaders.Loader(harness.PYTORCH, loaders.FILES, 0),
        loaders.Loader(harness.PYTORCH, loaders.FILES, 2),
    ]
    seconds = (0.1, 0.15, 0.02, 0.03, 0.4, 0.2)
    samples = {row.name: [value] * 5 for row, value in zip(rows, seconds, strict=True)}
    measured = harness.Measurement(samples, {}, 0.0)
    ratios = input_pipeline.compare_origins(rows, measured)
    memory = {name: [100_000_000, 101_000_000] for name in samples}
    return measured._asdict() | {
        "title": kind,
        "images": 32,
        "format": kind,
        "contenders": {row.name: row._asdict() for row in rows},
        "memory": memory,
        "ratios": [ratio._asdict() for ratio in ratios],
    }


def test_the_fastest_of_ours_is_held_to_the_fastest_of_pytorch():
    files, cache = made_table()["ratios"]
    assert (files["ours"], files["peer"]) == (
        "jaxcolor files, 0 workers, 2 threads",
        "PyTorch files, 2 workers",
    )
    assert (files["value"], cache["value"]) == pytest.approx((2.0, 10.0))


def test_the_targets_are_judged():
    result = made_result([made_table()])
    earlier = {"images": 4, "dtype": "float32", "others": 0.0, "ratios": []}
    waits = made_result([earlier | {"images": 1, "waiting": [0.002, 0.003, 0.1]}, earlier])
    results = {("input_pipeline", "cpu"): result, ("end_to_end", "cpu"): waits}
    rows = {row.measure: row[1:] for row in targets.rows(results)}
    files = "pairs a second from the files, against PyTorch from files, "
    assert rows[files + "png"] == ("at least 1.50x", "2.00x", "met")
    assert rows[files + "jpeg"][2] == "not measured: not among the measured cases"
    cache = "pairs a second from the cache, against PyTorch from files, png"
    assert rows[cache] == ("at least 4.00x", "10.00x", "met")
    one_core = ("at least 1000", "1067", "met")
    assert rows["pairs a second on one core, from the cache"] == one_core
    assert rows["growth of the loaders' memory, largest of ours"] == ("below 5.0%", "1.0%", "met")
    waiting = "time of run.py spent waiting for data, float32, batch "
    assert rows[waiting + "1"] == ("below 1.00%", "0.30%", "met")
    assert rows[waiting + "4"][2] == "not measured: not among the measured cases"
    small = {("input_pipeline", "cpu"): made_result([made_table()], image_size=32)}
    rows = {row.measure: row for row in targets.rows(small)}
    assert rows[files + "png"].verdict == "not measured at full size: image_size 32"


def test_the_report_has_a_section_with_its_plot(tmp_path):
    stages = {"title": "stages", "images": 32, "others": 0.0, "samples": {"decode": [0.004] * 3}}
    folder = tmp_path / "results"
    folder.mkdir()
    result = made_result([made_table("png"), made_table("jpeg"), stages])
    (folder / "input_pipeline.json").write_text(json.dumps(result))
    text = report.write_report(folder, quick=False).read_text()
    assert "## Input pipeline" in text
    row = "| jaxcolor cache, 1 core | 30.0 (30.0..30.0) | 1067 | 100 MB, then 101 MB (+1.0%) | 5 |"
    assert row in text
    assert "| decode | 4.00 (4.00..4.00) |" in text
    assert (folder / "input_pipeline_cpu.png").stat().st_size > 1000
