"""Reads labelled data sets of any kind into COCO's form, as they stand: the checks come later."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dyhead.data.sources.coco import read_coco


@dataclass(frozen=True)
class Source:
    """A data set as its author wrote it, in COCO's form.

    Attributes:
        kind: the format that it was recognised as, such as "COCO json".
        path: the file or folder that was named.
        image_root: the folder that the images' file names start at.
        content: COCO's instances form: "images", "annotations" and "categories"; unchecked.
    """

    kind: str
    path: Path
    image_root: Path
    content: dict[str, Any]


def read_source(path: Path, image_root: Path | None = None) -> Source:
    """Read a data set by the path of its file or folder.

    Args:
        path: a COCO json.
        image_root: the image folder; by default the one that the source names, or its own.

    Raises:
        UserError: it is missing, damaged, or of no kind that is known.
    """
    return Source("COCO json", path, image_root or path.parent, read_coco(path))
