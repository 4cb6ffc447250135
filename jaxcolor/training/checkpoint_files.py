"""The files of a checkpoint, and the checksums by which damage to them is noticed.

Orbax notices a checkpoint that is not complete, but no byte of an array that has changed.
"""

import hashlib
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from jaxcolor.errors import WorkdirError
from jaxcolor.plain_json import parse_json

CHECKSUMS = "checksums.json"
ARRAYS = "state"  # the item that has nearly all of the bytes
METADATA = "_CHECKPOINT_METADATA"  # a file of Orbax's, which gets its time of completion last
COMPLETED = "commit_timestamp_nsecs"
REPLACED = ".replaced"


class Damage(NamedTuple):
    """What is wrong with a checkpoint.

    Attributes:
      reason: which file, and what about it.
      is_missing: whether it is that a file is not there.
    """

    reason: str
    is_missing: bool = False


def write_checksums(directory: Path) -> None:
    """Writes the SHA-256 of every file of a checkpoint beside them.

    Args:
      directory: of the checkpoint, complete but for its name and time of completion.
    """
    files = {name: _sha256(directory / name) for name in _files(directory)}
    content = {"files": files, METADATA: _metadata_sha256(directory)}
    temporary = directory / f"{CHECKSUMS}.tmp"
    temporary.write_text(json.dumps(content, indent=1) + "\n")
    temporary.rename(directory / CHECKSUMS)


def find_damage(directory: Path, *, arrays: bool = True) -> Damage | None:
    """What is wrong with a checkpoint; None where nothing is, or where it has no checksums.

    Args:
      directory: of the checkpoint.
      arrays: whether to read the arrays too; else it is enough that their files are there.
    """
    try:
        text = (directory / CHECKSUMS).read_bytes()
    except FileNotFoundError:  # an older version's
        return None
    try:
        content = parse_json(text)
        files, metadata = dict(content["files"].items()), content[METADATA]
    except (ValueError, KeyError, TypeError, AttributeError):
        return Damage(f"{CHECKSUMS} is not what was written")
    missing = [name for name in files if not (directory / name).is_file()]  # nor a device
    if missing:
        return Damage(f"{missing[0]} is missing", is_missing=True)
    for name, expected in files.items():
        is_array = name.startswith(f"{ARRAYS}/")
        if (arrays or not is_array) and _sha256(directory / name) != expected:
            return Damage(f"{name} is not what was written: its checksum differs")
    if _metadata_sha256(directory) != metadata:
        return Damage(f"{METADATA} is not what was written: its checksum differs")
    return None


def keep_until_replaced(directory: Path, step: int) -> None:
    """Gives a checkpoint a name under which nothing reads it, while another is written instead."""
    (directory / str(step)).rename(directory / f"{step}{REPLACED}")


def remove_replaced(directory: Path, step: int) -> None:
    """Removes what `keep_until_replaced` kept, now that the other is complete."""
    shutil.rmtree(directory / f"{step}{REPLACED}")


def bring_back(directory: Path) -> None:
    """Gives checkpoints their names back whose replacing was cut short, as by a kill.

    Args:
      directory: of all checkpoints of a run, which no one else is writing.
    """
    for path in directory.glob(f"*{REPLACED}"):
        checkpoint = path.with_suffix("")
        if checkpoint.exists():
            shutil.rmtree(path)
        else:
            path.rename(checkpoint)


def set_damaged_aside(directory: Path, aside: Path) -> list[str]:
    """Moves damaged checkpoints out of the way of the newest good one; a line about each.

    What is left of an old one whose removal was cut short, as by a kill, is removed.

    Args:
      directory: of all checkpoints of a run, which no one else is writing.
      aside: where to move them, within the same file system; made if need be.

    Raises:
      WorkdirError: there are checkpoints, and all of them are damaged: they stay where they are.
    """
    found = directory.iterdir() if directory.is_dir() else ()
    steps = [int(path.name) for path in found if path.name.isdigit()]
    newest, damaged, remains = None, {}, []
    for step in sorted(steps, reverse=True):
        damage = find_damage(directory / str(step), arrays=newest is None)
        if damage is None:
            newest = step if newest is None else newest
        elif damage.is_missing and newest is not None:
            remains.append(step)
        else:
            damaged[step] = damage.reason
    if damaged and newest is None:
        listed = "; ".join(f"{step}: {reason}" for step, reason in damaged.items())
        raise WorkdirError(
            f"all checkpoints in {directory} are damaged ({listed}): put copies in their place, "
            "or start over in a new --workdir"
        )
    lines = [
        f"checkpoint {step} is damaged ({reason}): moved to {_move(directory / str(step), aside)}, "
        f"where nothing reads it; the last good one is {newest}"
        for step, reason in damaged.items()
    ]
    for step in remains:
        shutil.rmtree(directory / str(step))
        lines.append(f"removed what was left of checkpoint {step}, whose removal was cut short")
    return lines


def _move(checkpoint: Path, aside: Path) -> Path:
    """Moves a checkpoint into `aside`, beside earlier ones of its name; where it is now."""
    aside.mkdir(exist_ok=True)
    number, target = 1, aside / checkpoint.name
    while target.exists():
        number += 1
        target = aside / f"{checkpoint.name}-{number}"
    return checkpoint.rename(target)


def _files(directory: Path, prefix: str = "") -> Iterator[str]:
    """The files in the folders of a checkpoint, as "state/d/NAME"; not those at its top."""
    for path in sorted(directory.iterdir()):
        if path.is_dir():
            yield from _files(path, f"{prefix}{path.name}/")
        elif prefix:
            yield f"{prefix}{path.name}"


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _metadata_sha256(directory: Path) -> str:
    """Of what Orbax notes about the checkpoint, but for when it was completed; "" if damaged."""
    try:
        content = parse_json((directory / METADATA).read_bytes())
        content.pop(COMPLETED, None)
    except (OSError, ValueError, AttributeError, TypeError):
        return ""
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
