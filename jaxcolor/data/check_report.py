"""What a check of the pictures found: problems and remarks, as lines for people and as JSON."""

import json
from typing import NamedTuple

# What each kind of finding is called, the worst first. Problems make check-data fail: they spoil
# what is learned or measured. Remarks are worth knowing.
PROBLEMS = {
    "leakage": "picture{s} also in another split, so that scores flatter: remove one of each",
    "damaged": "fault{s} in the prepared cache",
    "unreadable": "picture{s} that cannot be read",
    "odd": "picture{s} of an odd size, which cannot be halved into target and condition",
    "proportions": "pair{s} whose target and condition differ in proportions",
}
REMARKS = {
    "stray": "picture{s} of another shape than the rest, perhaps no pair side by side",
    "halves": "shape{s} of the halves of most files: if they are no pairs, set data.target_side or "
    "data.condition",
    "size": "pair{s} whose target and condition differ in size",
    "unpaired": "file{s} left out for want of a partner",
    "duplicate": "picture{s} with the very pixels of another",
    "greyscale": "colour target{s} without colour",
    "ignored": "file{s} ignored",
    "incomparable": "split{s} stored at another size, so that pictures in both go unnoticed: check "
    "the originals",
}


class Finding(NamedTuple):
    """All faults of one kind in one split.

    Attributes:
      kind: a key of PROBLEMS or of REMARKS.
      split: its name; empty where the fault belongs to no split.
      items: (name, detail) of each, the name as in `source.names`, the detail perhaps empty.
    """

    kind: str
    split: str
    items: tuple[tuple[str, str], ...]

    @property
    def is_problem(self) -> bool:
        """Whether it spoils what is learned or measured."""
        return self.kind in PROBLEMS

    def line(self, shown: int) -> str:
        """The count and the first `shown` of the items."""
        rank = "PROBLEM" if self.is_problem else "note"
        where = f" in {self.split}" if self.split else ""
        phrase = (PROBLEMS | REMARKS)[self.kind].format(s="" if len(self.items) == 1 else "s")
        listed = [_item(self.kind, *item) for item in self.items[:shown]]
        if len(self.items) > shown:
            listed.append(f"and {len(self.items) - shown:,} more")
        return f"{rank}{where}: {len(self.items):,} {phrase}: {'; '.join(listed)}"


class Report(NamedTuple):
    """What a check found, in plain values.

    Attributes:
      counts: records in each split.
      examined: how many of them were looked at.
      decoded: whether their pixels were, and not the headers of their files alone.
      sizes: for each split (width, height, records) of the files or, where there are none, of the
        targets, as far as examined; the most frequent first.
      findings: problems before remarks, the worst kinds first.
    """

    counts: dict[str, int]
    examined: dict[str, int]
    decoded: bool
    sizes: dict[str, tuple[tuple[int, int, int], ...]]
    findings: tuple[Finding, ...]

    @property
    def problems(self) -> int:
        """How many faults are problems; 0 means that the pictures can be trained on as they are."""
        return sum(len(finding.items) for finding in self.findings if finding.is_problem)

    def lines(self, shown: int = 3) -> list[str]:
        """What was found: one line for the pictures and one for each finding.

        A full check takes a line a split for the pictures, and ends with a verdict.

        Args:
          shown: names and sizes listed before "and N more".
        """
        splits = [self._split(split, shown if self.decoded else 1) for split in self.counts]
        found = [finding.line(shown) for finding in self.findings]
        if self.decoded:
            lines = [*splits, *found, self._verdict()]
        else:
            lines = [f"data: {'; '.join(splits)}{'' if found else '; nothing amiss'}", *found]
        return [printable(line) for line in lines]

    def to_json(self) -> str:
        """The report in JSON, with every name; `from_json` reads it."""
        findings = [
            finding._asdict() | {"is_problem": finding.is_problem} for finding in self.findings
        ]
        return json.dumps(
            self._asdict() | {"problems": self.problems, "findings": findings}, indent=2
        )

    @classmethod
    def from_json(cls, text: str) -> "Report":
        """The report that `to_json` wrote."""
        values = json.loads(text)
        sizes = {
            split: tuple(tuple(size) for size in listed)
            for split, listed in values["sizes"].items()
        }
        findings = tuple(
            Finding(
                finding["kind"], finding["split"], tuple(tuple(item) for item in finding["items"])
            )
            for finding in values["findings"]
        )
        plain = {name: values[name] for name in ("counts", "examined", "decoded")}
        return cls(**plain, sizes=sizes, findings=findings)

    def _split(self, split: str, shown: int) -> str:
        count, examined, sizes = self.counts[split], self.examined[split], self.sizes[split]
        text = f"{split} {count:,}"
        if len(sizes) == 1:
            text += " of {}x{}".format(*sizes[0])
        elif sizes:
            listed = ", ".join(f"{width}x{height} ({n:,})" for width, height, n in sizes[:shown])
            more = len(sizes) - shown
            text += f" of {listed}"
            text += f" and {more:,} more size{'s' if more > 1 else ''}" if more > 0 else ""
        if examined < count:
            text += f" by a sample of {examined:,}"
        return text

    def _verdict(self) -> str:
        looked_at = f"{sum(self.examined.values()):,} decoded"
        remarks = sum(len(finding.items) for finding in self.findings) - self.problems
        if not self.findings:
            return f"{looked_at}: nothing amiss"
        return f"{looked_at}: {_counted(self.problems, 'problem')}, {_counted(remarks, 'note')}"


def in_order(findings: list[Finding]) -> tuple[Finding, ...]:
    """The findings with the worst kinds first; those of one kind stay in order."""
    ranks = list(PROBLEMS) + list(REMARKS)
    return tuple(sorted(findings, key=lambda finding: ranks.index(finding.kind)))


def printable(text: str) -> str:
    """The text on one line that any terminal and log can take: what cannot be printed is "?"."""
    return "".join(letter if letter.isprintable() else "?" for letter in text)


def _item(kind: str, name: str, detail: str) -> str:
    if kind in ("damaged", "unreadable"):  # the error names the file
        return detail
    return f"{name} ({detail})" if detail else name


def _counted(count: int, noun: str) -> str:
    return f"{count:,} {noun}{'' if count == 1 else 's'}"
