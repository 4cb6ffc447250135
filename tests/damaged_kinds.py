"""The kinds of files that a stranger may hand over: how to write some, and how to load them all.

Each `write_*` fills a new directory, each `load_*` reads all there is in one in every way that the
library has, and returns what came of each.
"""

import functools
import json

import numpy as np
from PIL import Image

from jaxcolor.errors import UserError

RANDOM = np.random.default_rng(0)
NETWORK = {"layer": {"kernel": (4, 4, 3, 2), "bias": (2,)}, "norm": {"scale": (2,)}}


def attempt(read, *arguments):
    """What `read` gives, or the UserError that it raises."""
    try:
        return read(*arguments)
    except UserError as error:
        message = str(error)
        assert "\n" not in message, message
        assert len(message) < 2000, message[:2000]
        return error


def draw_network():
    """The arrays of a very small network."""
    return {
        layer: {name: RANDOM.normal(size=shape).astype(np.float32) for name, shape in parts.items()}
        for layer, parts in NETWORK.items()
    }


@functools.cache
def draw_state():
    """A state without networks: one needs no compiling."""
    import jax
    import jax.numpy as jnp

    from jaxcolor.training.state import GanState, NetworkState

    def network():
        return NetworkState(draw_network(), {"norm": {"mean": np.zeros(2, np.float32)}}, {})

    state = GanState(np.int32(3), network(), network())
    return jax.tree.map(jnp.asarray, state)


CONFIG = {
    "seed": 0,
    "data": {"path": "", "line_strength": [0.7, 2.0]},
    "checkpoint": {"best_by": "psnr"},
    "derived": {"training_pictures": 24},
}


def write_checkpoints(directory):
    """Two checkpoints with config, metrics and progress."""
    from jaxcolor.training.checkpoints import Checkpoints
    from jaxcolor.training.progress import Progress

    with Checkpoints(directory / "checkpoints") as checkpoints:
        for step in (3, 6):
            scores = {"l1": 0.5 / step, "psnr": 12.5}
            progress = Progress("psnr", 1, 1, 12.5).to_json()
            checkpoints.save(step, draw_state(), CONFIG, scores, progress)
            checkpoints.wait()


def load_checkpoints(directory):
    """Everything that is asked of checkpoints, of both; last, what a training does that goes on."""
    from jaxcolor.training.checkpoint_files import set_damaged_aside
    from jaxcolor.training.checkpoints import Checkpoints
    from jaxcolor.training.progress import Progress

    opened = attempt(functools.partial(Checkpoints, directory / "checkpoints", read_only=True))
    if isinstance(opened, UserError):
        return [opened]
    found = []
    with opened as checkpoints:
        found += [attempt(checkpoints.best), attempt(checkpoints.best_by)]
        like = {"generator": draw_state().generator}
        for step in checkpoints.steps():
            found += [attempt(checkpoints.check, step), attempt(checkpoints.config, step)]
            found.append(attempt(checkpoints.metrics, step))
            found.append(
                attempt(lambda step=step: Progress.restore(checkpoints.progress(step), "psnr", 1))
            )
            found.append(attempt(checkpoints.restore_weights, step, like))
    # Orbax takes one kind of arguments from each manager.
    with Checkpoints(directory / "checkpoints", read_only=True) as checkpoints:
        steps = checkpoints.steps()
        found += [attempt(checkpoints.restore, step, draw_state()) for step in steps]
    return [*found, attempt(set_damaged_aside, directory / "checkpoints", directory / "aside")]


def write_weights(directory):
    """An export, PyTorch's two formats, and the arrays of a feature network in both of its own."""
    from safetensors.numpy import save_file
    from torch_format import save_legacy, save_zip

    from jaxcolor.exported import Exported, write_exported

    directory.mkdir(parents=True)
    described = Exported(CONFIG, 6, {"l1": 0.5})
    write_exported(directory, described, draw_state().generator)
    flat = {
        "conv.weight": RANDOM.normal(size=(5, 3)).astype(np.float32),
        "b": np.ones(3, np.float16),
    }
    save_zip(directory / "zip.pth", flat)
    save_legacy(directory / "legacy.pth", flat)
    np.savez(directory / "arrays.npz", **flat)
    np.savez_compressed(directory / "small.npz", **flat)
    save_file(flat, directory / "arrays.safetensors")


def load_weights(directory):
    """Every file, by the function that is for it."""
    from jaxcolor.exported import read_description, read_generator
    from jaxcolor.torch_files import read_tensors

    found = [attempt(read_description, directory)]
    found.append(attempt(read_generator, directory, draw_state().generator))
    found += [attempt(read_tensors, directory / name) for name in ("zip.pth", "legacy.pth")]
    names = ("arrays.npz", "small.npz", "arrays.safetensors")
    return found + [attempt(_read_arrays, directory / name) for name in names]


def _read_arrays(path):
    """As `perceptual.weights` reads them: what is of another shape is not read."""
    from jaxcolor.perceptual.array_files import open_arrays

    with open_arrays(path) as file:
        shapes = {name: file.shape(name) for name in file.names()}
        expected = {"conv.weight": (5, 3), "b": (3,)}
        return [file.read(name) for name, shape in expected.items() if shapes.get(name) == shape]


def write_exports(directory):
    """An export whose config is a whole one."""
    import jax
    from small_workdir import small_experiment

    from jaxcolor.data import demo
    from jaxcolor.exported import Exported, write_exported

    demo.write_demo_set(directory / "pictures", train=8, validation=2, size=16, seed=3)
    built = small_experiment(directory / "pictures")
    state = jax.eval_shape(built.functions.create_state, jax.eval_shape(jax.random.key, 0))
    arrays = jax.tree.map(lambda x: np.zeros(x.shape, x.dtype), state.generator)
    (directory / "out").mkdir()
    write_exported(directory / "out", Exported(built.config, 6, {"l1": 0.5}), arrays)


def load_exports(directory):
    """The network, and what is asked of it before it colours anything."""
    from jaxcolor.trained import load_trained

    found = attempt(load_trained, directory / "out")
    if not isinstance(found, UserError):
        names = ("config", "image_size", "condition", "condition_channels", "keeps_lightness")
        for name in (*names, "step", "epoch", "parameters"):
            getattr(found, name)
    return [found]


def write_cache(directory):
    """Two prepared caches, one of them compressed."""
    from jaxcolor.data.prepare import prepare

    class Drawn:
        names = ("a", "b", "c", "d")

        def __len__(self):
            return len(self.names)

        def __getitem__(self, index):
            random = np.random.default_rng(index)
            return {"target": random.integers(0, 256, (8, 8, 3), np.uint8)}

    for name in ("raw", "small"):
        prepare(
            {"train": Drawn(), "val": Drawn()},
            directory / name,
            sizes={"train": 8, "val": 8},
            method="bicubic",
            fit="stretch",
            compress=name == "small",
            progress=False,
        )


def load_cache(directory):
    """Manifest, names and all records, and the check of everything.

    Again with the checksum that a manifest has whose author meant it so.
    """
    found = _load_cache(directory)
    for path in directory.glob("*/manifest.json"):
        _seal(path)
    return found + _load_cache(directory)


def _seal(path):
    from jaxcolor.data.shards import json_sha256

    try:
        manifest = json.loads(path.read_bytes())
        manifest.pop("checksum", None)
        path.write_text(json.dumps(manifest | {"checksum": json_sha256(manifest)}))
    except (ValueError, TypeError, AttributeError, RecursionError):
        return


def _load_cache(directory):
    from jaxcolor.data.prepared import is_prepared, open_prepared, verify

    found = []
    for name in ("raw", "small"):
        is_prepared(directory / name)
        sources = attempt(open_prepared, directory / name)
        found += [sources, attempt(functools.partial(verify, progress=False), directory / name)]
        if isinstance(sources, UserError):
            continue
        for source in sources.values():
            found.append(attempt(lambda source=source: source.names))
            found += [attempt(source.__getitem__, place) for place in range(min(8, len(source)))]
    return found


def write_pictures(directory):
    """Every format, of 8 and of 16 bits a channel, with profile and EXIF where it has them."""
    import tifffile
    from PIL import ImageCms

    from jaxcolor.colorize import deep_files

    directory.mkdir(parents=True)
    pixels = RANDOM.integers(0, 256, (24, 20, 3), np.uint8)
    image = Image.fromarray(pixels)
    exif = Image.Exif()
    exif[0x0112], exif[0x010F] = 6, "a camera"
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    for suffix in ("png", "jpg", "webp", "tif", "bmp"):
        more = {} if suffix == "bmp" else {"exif": exif, "icc_profile": profile}
        image.save(directory / f"a.{suffix}", **more)
    image.quantize(8).save(directory / "palette.png", transparency=3)
    image.convert("CMYK").save(directory / "cmyk.jpg")
    image.save(directory / "packed.tif", compression="tiff_lzw")
    deep = RANDOM.integers(0, 2**16, (12, 10, 3), np.uint16)
    for kind, suffix in (("PNG", "png"), ("TIFF", "tif")):
        (directory / f"deep.{suffix}").write_bytes(deep_files.encode(deep, kind, profile))
    planes = {"photometric": "rgb", "planarconfig": "separate", "compression": "zlib"}
    tifffile.imwrite(directory / "planes.tif", deep.transpose(2, 0, 1), tile=(16, 16), **planes)
    alpha = {"photometric": "minisblack", "extrasamples": ["assocalpha"]}
    tifffile.imwrite(directory / "alpha.tif", deep[..., :2], rowsperstrip=3, **alpha)


def load_pictures(directory):
    """As pictures to train on, by size alone, and as pictures to colour."""
    from jaxcolor.colorize import picture_files
    from jaxcolor.data.pictures import read_picture, read_size

    readers = (read_picture, read_size, picture_files.read)
    paths = sorted(path for path in directory.iterdir() if path.is_file())
    return [attempt(reader, path) for path in paths for reader in readers]


def write_evaluations(directory):
    """Two workdirs with their evaluations, training logs and configs, but without checkpoints."""
    from comparisons import make_workdir

    for name, error in (("one", 0.2), ("two", 0.3)):
        make_workdir(directory / name, error=error)
        folder = directory / name / "evaluation" / "val" / "pictures"
        for path in folder.glob("*_*.png"):
            if not path.name.startswith(("0000", "0005")):
                path.unlink()


def load_evaluations(directory):
    """The report that compares both, and what reads an evaluation besides."""
    from jaxcolor import evaluation_results, model_card
    from jaxcolor.compare.stored import lacking
    from jaxcolor.evaluation_results import Evaluation

    folder = directory / "one" / "evaluation" / "val"
    evaluation_results.is_evaluation(folder)
    model_card._evaluation(folder / "summary.json", 300)
    found = [attempt(_compare, directory), attempt(Evaluation.read, folder)]
    if not isinstance(found[-1], UserError):
        lacking(found[-1].summary)
    return found


def _compare(directory):
    from jaxcolor.compare.page import render
    from jaxcolor.compare.runs import Run, read_member, require_same_pictures
    from jaxcolor.compare.scores import score_runs
    from jaxcolor.compare.sheets import choose_rows

    runs = [Run(name, (read_member(directory / name, "val"),)) for name in ("one", "two")]
    require_same_pictures(runs)
    rows = choose_rows(runs, first=1, different=1)
    return render(runs, score_runs(runs, draws=20), *rows, version="1")


KINDS = {
    "checkpoints": (write_checkpoints, load_checkpoints),
    "weights": (write_weights, load_weights),
    "exports": (write_exports, load_exports),
    "cache": (write_cache, load_cache),
    "pictures": (write_pictures, load_pictures),
    "evaluations": (write_evaluations, load_evaluations),
}
