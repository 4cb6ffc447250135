"""What a run of `prepare` is about to do: written down first, so that only the same goes on."""

import json
import math
import shutil
import zlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from jaxcolor.data.prepared import UNFINISHED, VERSION
from jaxcolor.data.record_format import PARTS, ZSTD
from jaxcolor.data.shards import KEPT, Make, Shard, divide, json_sha256, write_json
from jaxcolor.errors import DataError
from jaxcolor.plain_json import parse_json

MOST_SHARDS = 200  # of a split: its reader keeps a file open for each
_SAMPLES = 8  # pictures of each split, to guess the cache's size by
_SHOWN = 3


def make_plan(
    names: Mapping[str, Sequence[str]],
    sizes: Mapping[str, int],
    shard_bytes: int,
    options: Mapping[str, Any],
) -> dict[str, Any]:
    """The plan, in a form that JSON gives back as it was.

    Args:
      names: of the pictures, by split.
      sizes: by split, the `size` of `transforms.fit_picture`.
      shard_bytes: size of a shard before compression, about.
      options: the rest of what decides the contents of the cache.

    Raises:
      DataError: a split is empty.
    """
    planned = {}
    for split, own in names.items():
        if not own:
            raise DataError(f"{split} has no pictures to prepare")
        raw = sizes[split] ** 2 * 3 * len(PARTS)
        planned[split] = {
            "size": sizes[split],
            "pictures": len(own),
            "names_sha256": json_sha256(own),
            "pictures_per_shard": max(1, shard_bytes // raw, math.ceil(len(own) / MOST_SHARDS)),
        }
    return json.loads(json.dumps({"version": VERSION, **options, "splits": planned}))


def plan_shards(plan: Mapping[str, Any], split: str) -> list[Shard]:
    """The shards of a split."""
    planned = plan["splits"][split]
    return divide(split, planned["pictures"], planned["pictures_per_shard"])


def begin(directory: Path, plan: dict[str, Any], make: Make) -> None:
    """Writes the plan down in `directory`, or goes on with the same one.

    Args:
      directory: of the cache; may hold finished shards of this plan.
      plan: see `make_plan`.
      make: makes records, of which a few are looked at.

    Raises:
      DataError: the directory holds another plan, or its disk is too small.
    """
    needed, shrinks_to = _survey(plan, make)
    try:
        old = parse_json((directory / UNFINISHED).read_bytes())
    except FileNotFoundError:
        old = None
    except ValueError as error:
        raise DataError(
            f"{directory / UNFINISHED} is damaged ({error}): delete {directory} and start anew"
        ) from error
    if old is not None:
        check_same(directory, old, plan)
    _check_space(directory, needed * (shrinks_to if plan["compression"] == ZSTD else 1))
    if old is None:
        write_json(directory / UNFINISHED, plan)


def check_same(directory: Path, old: Mapping[str, Any], new: Mapping[str, Any]) -> None:
    """Raises DataError, saying what differs, unless a cache was made by the same plan."""
    different = list(_differences(old, new))
    if different:
        shown = "; ".join(different[:_SHOWN]) + ("; and more" if different[_SHOWN:] else "")
        raise DataError(
            f"{directory} was prepared otherwise ({shown}): choose another directory, or delete "
            "this one"
        )


def _differences(old, new, name="") -> Iterator[str]:
    """What differs between two plans, in words."""
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        for key in [*new, *(key for key in old if key not in new)]:
            yield from _differences(old.get(key), new.get(key), f"{name}.{key}" if name else key)
    elif old != new and name.endswith(".names_sha256"):
        yield f"{name.split('.')[1]} had pictures of other names"
    elif old != new:
        was, now = (json.dumps(value)[:60] for value in (old, new))
        yield f"{name.removeprefix('splits.')} was {was} and is now {now}"


def _survey(plan, make):
    """Bytes that all records take raw, and the share left of them by compression; guessed."""
    needed = raw = compressed = 0
    for split, planned in plan["splits"].items():
        step = math.ceil(planned["pictures"] / _SAMPLES)
        made = [make(split, index) for index in range(0, planned["pictures"], step)]
        records = [value for kind, value in made if kind == KEPT]
        own = sum(map(len, records))
        needed += own / len(made) * planned["pictures"]
        raw += own
        compressed += sum(len(zlib.compress(record, 1)) for record in records)
    return needed, compressed / max(raw, 1)


def _check_space(directory, needed):
    there = sum(path.stat().st_size for path in directory.glob("*.array_record"))
    free = shutil.disk_usage(directory).free
    if needed - there > free:
        raise DataError(
            f"{directory} needs about {(needed - there) / 1e9:,.2f} GB and its disk has "
            f"{free / 1e9:,.2f} GB free: make room or choose another directory"
        )
