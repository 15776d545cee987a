"""What the checks of a data set found: each kind of problem, how often, and where."""

from dataclasses import dataclass, field

MAX_NAMED = 3  # offenders named per kind of problem

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
    """What was wrong in one file: kind of problem -> the offenders' names.

    `completed` tells that keys which COCO's tools need were filled in from what is known.
    """

    source: str
    findings: dict[str, list[str]] = field(default_factory=dict)
    completed: bool = False

    def add(self, kind: str, offender: str) -> None:
        """Count one offender."""
        self.findings.setdefault(kind, []).append(offender)

    def count(self, kind: str) -> int:
        """How many offenders of one kind there are."""
        return len(self.findings.get(kind, []))

    @property
    def repaired(self) -> bool:
        """Whether the checked content differs from the file's."""
        return bool(self.findings) or self.completed

    def __str__(self) -> str:
        """One line per kind of problem, with the count and the first few offenders."""
        lines = [f"Problems in {self.source}:" if self.findings else f"{self.source} is sound."]
        for kind, offenders in self.findings.items():
            named = "; ".join(offenders[:MAX_NAMED])
            more = "; ..." if len(offenders) > MAX_NAMED else ""
            lines.append(f"  {len(offenders)} x {kind} ({named}{more})")
        return "\n".join(lines)
