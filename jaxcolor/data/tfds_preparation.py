"""Data sets of TensorFlow Datasets (TFDS) on disk: found there, or downloaded and prepared.

As a program: python -m jaxcolor.data.tfds_preparation NAME --directory DIRECTORY

TFDS reads without TensorFlow, but prepares data sets of pictures with a few of its functions, which
open files and encode PNG. Where TensorFlow is not installed, a module of the same name that does
this much takes its place, in a process of its own, so that nothing else can meet it.
"""

import argparse
import contextlib
import difflib
import importlib.machinery
import importlib.util
import io
import os
import re
import subprocess
import sys
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import filelock
from PIL import Image

from jaxcolor.errors import ConfigError, DataError, UserError

FILE_FORMAT = "array_record"  # the one of TFDS that is read at random without TensorFlow
_COMMAND = "python -m jaxcolor.data.tfds_preparation"
# While it sorts records, TFDS keeps a thousand files open.
_OPEN_FILES = 4096
_LONGEST_REASON = 300


def import_tfds() -> Any:
    """The module tensorflow_datasets; half a second the first time.

    Raises:
      ConfigError: it is not installed.
    """
    try:
        import tensorflow_datasets
    except ImportError as error:
        raise ConfigError(
            f"data.source=tfds needs the package tensorflow-datasets ({error}); without "
            "TensorFlow: pip install tensorflow-datasets"
        ) from error
    return tensorflow_datasets


def tfds_directory(directory: str) -> str:
    """Where data sets are kept: `directory`, or TFDS's own choice if that is empty."""
    chosen = directory or os.environ.get("TFDS_DATA_DIR") or "~/tensorflow_datasets"
    return os.path.abspath(os.path.expanduser(chosen))


def find_prepared(name: str, directory: str) -> Any | None:
    """The builder of a data set that is in `directory`, in its latest version; None if it is not.

    Args:
      name: as TFDS spells it: name, name/config, name:1.2.3.
      directory: where data sets are kept.

    Raises:
      ConfigError: the name is not spelt so, or TFDS not installed.
      DataError: it is there and its description cannot be read.
    """
    tfds = import_tfds()
    _parse_name(name)
    try:
        return tfds.core.read_only_builder.builder_from_files(name, data_dir=directory)
    except tfds.core.registered.DatasetNotFoundError:
        return None
    except Exception as error:  # whatever a damaged description leads to
        raise DataError(
            f"cannot use {name} in {directory} ({one_line(error)}): delete it and prepare it anew"
        ) from error


def prepare_once(name: str, directory: str, prepare: Callable[[], None]) -> Any:
    """The builder of a data set in `directory`, after `prepare()` if it is not there yet.

    Of several processes, one prepares and the others wait.

    Raises:
      DataError: it is not there thereafter, or the directory cannot be written.
    """
    base_name = _parse_name(name)
    try:
        os.makedirs(directory, exist_ok=True)
        with filelock.FileLock(os.path.join(directory, f".{base_name}.lock")):
            if find_prepared(name, directory) is None:
                prepare()
    except OSError as error:
        raise DataError(
            f"cannot prepare {name} in {directory} ({one_line(error)}): check its permissions and "
            "free space, or set data.tfds_directory"
        ) from error
    builder = find_prepared(name, directory)
    if builder is None:
        raise DataError(f"preparing {name} in {directory} left nothing there: see what TFDS said")
    return builder


def prepare_known(name: str, directory: str) -> Any:
    """The builder of a data set that TFDS knows, downloaded and prepared in a process of its own.

    Raises:
      ConfigError: TFDS does not know it.
      DataError: it cannot be downloaded or prepared.
    """
    size = _download_size(name, directory)
    line = f"{name} is not in {directory}: downloading{size} and preparing it, once"
    return prepare_once(name, directory, lambda: _prepare_apart(name, directory, line))


def one_line(error: BaseException) -> str:
    """What an error says, in one line of bearable length."""
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) <= _LONGEST_REASON else text[:_LONGEST_REASON] + "..."


def _parse_name(name):
    """The name of a data set without configuration and version."""
    import_tfds()
    from tensorflow_datasets.core import naming

    try:
        return naming.parse_builder_name_kwargs(name)[0].name
    except ValueError as error:
        raise ConfigError(
            f"data.path {name!r} is no name of TFDS: expected name, name/config or name:1.2.3"
        ) from error


def _download_size(name, directory):
    """What preparing a data set downloads, " 170 MB", where TFDS knows it; else nothing."""
    tfds = import_tfds()
    base_name, known = _parse_name(name), tfds.list_builders(with_community_datasets=False)
    if base_name not in known:
        close = difflib.get_close_matches(base_name, known, n=3)
        hint = f"did you mean {' or '.join(close)}?" if close else "see the catalog of TFDS"
        raise ConfigError(f"no data set {name!r} in {directory} or known to TFDS: {hint}")
    files = tfds.builder_cls(base_name).url_infos or {}
    return f" {sum(int(file.size) for file in files.values()) / 1e6:,.0f} MB" if files else ""


def _prepare_apart(name, directory, line):
    """Runs this module as a program, after saying `line`."""
    print(line, flush=True)
    # Found by the new process wherever this one was started.
    places = [str(Path(__file__).parents[2]), os.environ.get("PYTHONPATH", "")]
    finished = subprocess.run(
        [sys.executable, "-m", __name__, name, "--directory", directory],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, places))},
        stdout=subprocess.PIPE,
        text=True,
    )
    if finished.returncode:
        said = finished.stdout.strip().splitlines() or [f"exit status {finished.returncode}"]
        raise DataError(
            f"{name} is not in {directory} and cannot be prepared ({said[-1]}): run `{_COMMAND} "
            f"{name} --directory DIRECTORY` where it can, and set data.tfds_directory to a copy"
        )


def _prepare(name, directory):
    """Downloads and prepares a data set in this process.

    Raises:
      UserError: it cannot be done.
    """
    if importlib.util.find_spec("tensorflow") is None:
        sys.modules["tensorflow"] = stand_in()
    _raise_file_limit()
    tfds = import_tfds()
    try:
        builder = tfds.builder(name, data_dir=directory)
        _check_reachable(builder)
        with contextlib.redirect_stdout(sys.stderr):
            builder.download_and_prepare(file_format=FILE_FORMAT)
    except UserError:
        raise
    except Exception as error:  # whatever the code of a data set meets
        raise DataError(f"{type(error).__name__}: {one_line(error)}") from error


def _check_reachable(builder):
    """Raises DataError at once where TFDS would try to download for minutes."""
    import requests

    urls = [url for url in builder.url_infos or () if url.startswith("http")]
    downloads = builder.data_dir_root / "downloads"
    if not urls or (downloads.exists() and any(downloads.iterdir())):  # nothing, or maybe all there
        return
    try:
        requests.head(urls[0], timeout=30)
    except requests.RequestException as error:
        raise DataError(f"no connection to {urlsplit(urls[0]).netloc}") from error


def _raise_file_limit():
    with contextlib.suppress(ImportError, OSError, ValueError):
        import resource  # not on Windows

        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        wanted = _OPEN_FILES if hard == resource.RLIM_INFINITY else min(_OPEN_FILES, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, wanted), hard))


class _Nothing(Exception):
    """In the place of TensorFlow's classes: nothing is an instance of it, nothing raises it."""


class _Encoded(bytes):
    def numpy(self):
        return bytes(self)


def stand_in() -> types.ModuleType:
    """A module `tensorflow` with what TFDS needs of it to prepare data sets of pictures."""
    files = {"GFile": open, "exists": os.path.exists, "remove": os.remove}
    errors = ["AbortedError", "FailedPreconditionError", "PermissionDeniedError"]
    errors += ["ResourceExhaustedError", "UnimplementedError"]
    return _module(
        "tensorflow",
        __version__="2.1.0",  # the least that TFDS accepts
        executing_eagerly=lambda: True,
        Tensor=_Nothing,
        dtypes=_module("tensorflow.dtypes", DType=_Nothing),
        compat=_module("tensorflow.compat", as_text=os.fsdecode),
        errors=_module("tensorflow.errors", **dict.fromkeys(errors, _Nothing)),
        image=_module("tensorflow.image", encode_png=_encode_png),
        io=_module("tensorflow.io", gfile=_module("tensorflow.io.gfile", **files)),
    )


def _module(name, **contents):
    module = types.ModuleType(name)
    module.__spec__ = importlib.machinery.ModuleSpec(name, None)

    def missing(attribute):
        if not re.fullmatch("__.*__", attribute):
            attribute = f"it needs {name}.{attribute}: install TensorFlow to prepare it"
        raise AttributeError(attribute)

    vars(module).update(contents, __getattr__=missing)
    return module


def _encode_png(pixels):
    """uint8 [height, width, channels] as PNG, like tensorflow.image.encode_png."""
    if pixels.dtype != "uint8":
        raise NotImplementedError(f"it has {pixels.dtype} pixels: install TensorFlow to prepare it")
    file = io.BytesIO()
    Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels).save(file, "PNG")
    return _Encoded(file.getvalue())


def main() -> int:
    """Prepares the data set named on the command line; its exit status."""
    parser = argparse.ArgumentParser(prog=_COMMAND, description="prepares a data set of TFDS")
    parser.add_argument("name", help="cifar10, places365_small, name/config, name:1.2.3 ...")
    parser.add_argument("--directory", default="", help="where TFDS keeps its data sets")
    arguments = parser.parse_args()
    directory = tfds_directory(arguments.directory)
    try:
        if find_prepared(arguments.name, directory) is None:
            _download_size(arguments.name, directory)
            _prepare(arguments.name, directory)
    except UserError as error:
        print(error, flush=True)
        return 1
    print(f"{arguments.name} is in {directory}", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
