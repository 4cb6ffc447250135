"""What a cache's manifest must say, so that whoever reads it neither stumbles nor leaves the cache.

A manifest has a checksum, which tells of damage, and not of whoever wrote it.
"""

from pathlib import PurePath
from typing import Any

from jaxcolor.data.conditions import KINDS
from jaxcolor.data.transforms import FITS, GIVEN, METHODS
from jaxcolor.plain_json import require

_CONDITIONS = ("auto", GIVEN, *KINDS)
_LARGEST_SIZE = 2**16  # pixels
_COUNTS = ("records", "bytes")
_FILES = ("file", "contents_file")
_DIGESTS = ("sha256", "contents_sha256")


def check_structure(manifest: dict[str, Any]) -> None:
    """Raises ValueError, naming the part, if it is not of the kind that a manifest has there."""
    plan, splits = manifest.get("plan"), manifest.get("splits")
    require(isinstance(plan, dict) and isinstance(plan.get("splits"), dict), "plan")
    require(plan.get("method") in list(METHODS) and plan.get("fit") in FITS, "plan")
    description = plan.get("description")
    require(isinstance(description, dict), "plan.description")
    require(description.get("condition", "auto") in _CONDITIONS, "plan.description.condition")
    require(isinstance(splits, dict) and splits, "splits")
    for split, kept in splits.items():
        planned = plan["splits"].get(split)
        size = planned.get("size") if isinstance(planned, dict) else None
        require(_is_count(size) and 1 <= size <= _LARGEST_SIZE, f"plan.splits.{split}")
        _check_split(f"splits.{split}", kept)


def _check_split(name: str, kept: Any) -> None:
    require(isinstance(kept, dict) and type(kept.get("paired")) is bool, name)
    require(isinstance(kept.get("shards"), list), f"{name}.shards")
    require(all(isinstance(kept.get(key), list) for key in ("left_out", "greyscale")), name)
    for place, shard in enumerate(kept["shards"]):
        _check_shard(f"{name}.shards.{place}", shard)
    for key in _COUNTS:
        total = sum(shard[key] for shard in kept["shards"])
        require(_is_count(kept.get(key)) and kept[key] == total, f"{name}.{key}")


def _check_shard(name: str, shard: Any) -> None:
    require(isinstance(shard, dict), name)
    for key in _COUNTS:
        require(_is_count(shard.get(key)), f"{name}.{key}")
    # A record takes more than a byte: no count makes a list longer than the file.
    require(shard["records"] <= shard["bytes"], f"{name}.records")
    for key in _FILES:
        require(_is_name(shard.get(key)), f"{name}.{key}")
    for key in _DIGESTS:
        require(isinstance(shard.get(key), str), f"{name}.{key}")


def _is_count(value: Any) -> bool:
    return type(value) is int and value >= 0


def _is_name(value: Any) -> bool:
    """Whether it is the name of a file in the same directory: not a path to anywhere else."""
    is_plain = isinstance(value, str) and PurePath(value).name == value and "\0" not in value
    return is_plain and value != ".."
