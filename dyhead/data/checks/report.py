"""The report of a data set's checks: how often each kind of problem was found, and where."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from dyhead.data.checks.kinds import Kind
from dyhead.data.checks.values import Id

MAX_NAMED = 3  # items that the text names per kind of problem
MAX_KEPT = 200  # items that are remembered per kind: a large set may have a problem everywhere


@dataclass(frozen=True)
class Item:
    """An image or an annotation that has a problem.

    Attributes:
        description: names it so that its author finds it.
        file_name: its image's, as the source gives it; "" where there is none.
        box: XYWH in pixels of that image, where a box is what is wrong.
        pictures: files to show side by side, where several are what is wrong.
    """

    description: str
    file_name: str = ""
    box: Sequence[float] | None = None
    pictures: Sequence[Path] = ()


@dataclass
class CheckReport:
    """A report on one source: the number of items with each kind of problem, and the first of them.

    Attributes:
        source: the file or folder that was checked.
        findings: kind -> the first `MAX_KEPT` items.
        counts: kind -> the number of items.
        faults_by_file: file name of an image -> the number of its faults.
        evidence: kind -> what a finding about the whole set rests on, with numbers.
        lost_images: id of an image that was left out for its file -> the file, and what is wrong.
        completed: keys that COCO's tools need were filled in from what is known, or values were
            brought into the form that they take.
    """

    source: str
    findings: dict[Kind, list[Item]] = field(default_factory=dict)
    counts: dict[Kind, int] = field(default_factory=dict)
    faults_by_file: Counter[str] = field(default_factory=Counter)
    evidence: dict[Kind, str] = field(default_factory=dict)
    lost_images: dict[Id, str] = field(default_factory=dict)
    completed: bool = False

    def add(self, kind: Kind, item: Item | str) -> None:
        """Count one item with this kind of problem."""
        item = Item(item) if isinstance(item, str) else item
        self.counts[kind] = self.count(kind) + 1
        if kind.is_fault and item.file_name:
            self.faults_by_file[item.file_name] += 1
        items = self.findings.setdefault(kind, [])
        if len(items) < MAX_KEPT:
            items.append(item)

    def count(self, kind: Kind) -> int:
        """Return the number of items with one kind of problem."""
        return self.counts.get(kind, 0)

    @property
    def repaired(self) -> bool:
        """True if the checked content differs from the source's."""
        return self.completed or any(kind.changes_content for kind in self.findings)

    @property
    def has_faults(self) -> bool:
        """True if something was found that is more than worth knowing."""
        return any(kind.is_fault for kind in self.findings)

    def __str__(self) -> str:
        """Write one line per kind of problem, with the count and the first few items."""
        heading = "Problems in" if self.has_faults else "Notes on"
        sound = f"{self.source} is sound."
        lines = [f"{heading} {self.source}:" if self.findings else sound]
        for kind, items in self.findings.items():
            named = "; ".join(item.description for item in items[:MAX_NAMED])
            if kind in self.evidence:
                named = f"{self.evidence[kind]}: {named}"
            more = "; ..." if self.count(kind) > MAX_NAMED else ""
            lines.append(f"  {self.count(kind)} x {kind} ({named}{more})")
        return "\n".join(lines)
