"""The report of a data set's checks: kinds of problems, their counts, the items concerned."""

from dataclasses import dataclass, field

MAX_NAMED = 3  # items named per kind of problem

MISSING_IMAGE = "image file missing: image left out"
UNREADABLE_IMAGE = "image file unreadable: image left out"
SIZE_MISMATCH = "image size differs from its file's: image left out"
DUPLICATE_IMAGE_ID = "image id used before: image left out"
MALFORMED_IMAGE = "image without id or file_name: left out"
MALFORMED_ANNOTATION = "annotation without image_id, category_id or bbox of 4 numbers: left out"
LOST_IMAGE = "annotation of an image that was left out: left out too"
UNKNOWN_IMAGE = "annotation of an unknown image: left out"
UNKNOWN_CATEGORY = "annotation of an unknown category: left out"
DEGENERATE_BOX = "box without width or height, or of at most 1 x 1 pixel: left out"
OUTSIDE_BOX = "box wholly outside its image: left out"
CLIPPED_BOX = "box partly outside its image: clipped"
IGNORED_BOX = 'annotation marked "ignore": kept as a crowd, which is neither learnt nor counted'
DUPLICATE_ANNOTATION = "annotation repeated unchanged: left out"
RENUMBERED_ANNOTATION = "annotation id missing, 0 or used before: given a new one"


@dataclass
class CheckReport:
    """A report on one json file: kind of problem -> names of the items that have it.

    `completed` tells that keys which COCO's tools need were filled in from what is known.
    """

    source: str
    findings: dict[str, list[str]] = field(default_factory=dict)
    completed: bool = False

    def add(self, kind: str, item: str) -> None:
        """Count one item with this kind of problem."""
        self.findings.setdefault(kind, []).append(item)

    def count(self, kind: str) -> int:
        """Return the number of items with one kind of problem."""
        return len(self.findings.get(kind, []))

    @property
    def repaired(self) -> bool:
        """True if the checked content differs from the file's."""
        return bool(self.findings) or self.completed

    def __str__(self) -> str:
        """Write one line per kind of problem, with the count and the first few items."""
        lines = [f"Problems in {self.source}:" if self.findings else f"{self.source} is sound."]
        for kind, items in self.findings.items():
            named = "; ".join(items[:MAX_NAMED])
            more = "; ..." if len(items) > MAX_NAMED else ""
            lines.append(f"  {len(items)} x {kind} ({named}{more})")
        return "\n".join(lines)
