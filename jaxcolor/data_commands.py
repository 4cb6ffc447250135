"""The commands about pictures: check-data and prepare."""

import functools
from collections.abc import Iterable
from pathlib import Path

from ml_collections import ConfigDict

from jaxcolor import experiment
from jaxcolor.command import errors_as_lines
from jaxcolor.data import buckets
from jaxcolor.data.checks import full_check, quick_check
from jaxcolor.data.contact_sheet import write_contact_sheet
from jaxcolor.data.layouts import Splits
from jaxcolor.data.pictures import expand
from jaxcolor.data.prepare import prepare
from jaxcolor.data.prepared import MANIFEST, verify
from jaxcolor.dataset import DataSet, open_data
from jaxcolor.errors import ConfigError, DataError
from jaxcolor.settings import DataSettings, Settings, read_settings


def check_data(
    config: ConfigDict,
    overridden: Iterable[str],
    *,
    sheet: Path,
    report: Path | None,
    quick: bool,
) -> int:
    """Prints what is wrong with the pictures of a config; 1 if that spoils training, else 0.

    Args:
      config: as its file and the command line made it.
      overridden: keys set on the command line, "section.key".
      sheet: where to write the contact sheet of augmented pairs.
      report: where to write everything found, as JSON; None for nowhere.
      quick: whether to read the files' headers only, as at the start of training.
    """
    with errors_as_lines() as status:
        settings, data = _open(config, overridden)
        if quick:
            found = quick_check(data.splits.sources, data.splits.notes())
        else:
            check = None
            if data.splits.kind == "prepared":
                check = functools.partial(verify, buckets.local(settings.data.path))
            found = full_check(data.splits.sources, data.splits.notes(), verify=check)
        print("\n".join(found.lines(10)), flush=True)
        if report is not None:
            _write(report, found.to_json() + "\n")
        try:
            train = data.splits.sources["train"]
            heading = f"{len(train):,} training pictures, condition: {data.splits.condition}"
            write_contact_sheet(sheet, train, data.training, data.validation, heading=heading)
        except OSError as error:
            raise DataError(f"cannot write {sheet} ({error.strerror}): set --sheet") from error
        print(f"as the network will see them: {sheet}")
        status[0] = int(found.problems > 0)
    return status[0]


def prepare_data(
    config: ConfigDict,
    overridden: Iterable[str],
    out: str | None,
    *,
    workers: int,
    compress: bool,
) -> int:
    """Decodes and resizes the pictures of a config once, into a cache; returns the exit status.

    Args:
      config: as its file and the command line made it.
      overridden: keys set on the command line, "section.key".
      out: directory of the cache, be it in a bucket.
      workers: threads; 0 for as many as there are cores.
      compress: whether to take less of the disk and more time to read.
    """
    stopped = "stopped; the same command goes on after the last finished shard"
    with errors_as_lines(stopped=stopped) as status:
        if not out:
            raise ConfigError("--out is required: the directory of the cache")
        # While it decodes them anyway, prepare leaves out what has no colour.
        settings, data = _open(config, overridden, drop_greyscale=False)
        if data.splits.kind == "prepared":
            raise ConfigError(f"data.path {settings.data.path} is a prepared cache already")
        smaller = settings.data.image_size
        made = prepare(
            data.splits.sources,
            buckets.staged(out) if buckets.is_bucket(out) else expand(out),
            sizes={"train": data.training.load_size, "val": smaller, "test": smaller},
            method=settings.data.resize,
            fit=settings.data.fit,
            description=_describe(settings.data, data.splits),
            workers=workers,
            max_bad_fraction=settings.data.max_bad_fraction,
            drop_greyscale=settings.data.drop_greyscale,
            compress=compress,
        )
        print("\n".join(made.lines()))
        if buckets.is_bucket(out):
            buckets.send(made.directory, out, last=MANIFEST)
            print(f"sent to {out}; delete {made.directory} if it is not used on this machine")
        print(f"train from it with --config.data.path={out}, and the rest of the flags as here")
    return status[0]


def _open(
    config: ConfigDict, overridden: Iterable[str], *, drop_greyscale: bool = True
) -> tuple[Settings, DataSet]:
    """The settings and the pictures of a config."""
    values, _ = experiment.resolve(config, overridden)
    if not values["data"]["path"]:
        print("no data.path: the demo set", flush=True)
    settings = read_settings(values)
    return settings, open_data(values, settings, drop_greyscale=drop_greyscale)


def _describe(data: DataSettings, splits: Splits) -> dict[str, str]:
    """What a cache was made from, for its manifest."""
    path = data.path or "the demo set"
    if data.path and splits.kind != "tfds" and not buckets.is_bucket(path):
        path = str(Path(path).expanduser().absolute())
    found = {"path": path, "source": splits.kind, "condition": splits.condition}
    if splits.kind == "side_by_side":
        found["target_side"] = data.target_side
    return found | {"background": data.background}


def _write(path: Path, text: str) -> None:
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise DataError(f"cannot write {path} ({error.strerror})") from error
