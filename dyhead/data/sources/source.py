"""The form that every reader of labelled data sets gives: COCO's, and what had no place in it."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dyhead.data.checks import kinds
from dyhead.data.checks.report import CheckReport, Item

Box = tuple[float, float, float, float]  # XYWH, pixels


@dataclass(frozen=True)
class Source:
    """A data set as its author wrote it, in COCO's form.

    Attributes:
        kind: the format that it was recognised as, such as "COCO json".
        path: the file or folder, as it was named: `read_source` reads it again by this.
        image_root: the folder that the images' file names start at.
        content: COCO's instances form: "images", "annotations" and "categories"; unchecked.
        report: labels that have no place in that form; the checks add to it.
        is_verbatim: True if `path` is a file that holds this very content.
    """

    kind: str
    path: Path
    image_root: Path
    content: dict[str, Any]
    report: CheckReport
    is_verbatim: bool = False


@dataclass
class SourceBuilder:
    """COCO's form, put together image by image.

    Attributes:
        path: the file or folder that is read.
        report: takes labels that cannot be used.
        images: with ids from 1.
        annotations: with ids from 1, each with the name or number of its class in "category_id".
    """

    path: Path
    report: CheckReport = field(init=False)
    images: list[dict[str, Any]] = field(default_factory=list)
    annotations: list[dict[str, Any]] = field(default_factory=list)

    def __post_init__(self) -> None:
        """Begin the report."""
        self.report = CheckReport(str(self.path))

    def add_image(self, file_name: str, size: tuple[int, int] | None) -> None:
        """Add an image; boxes that are added belong to the last one.

        Args:
            file_name: relative to the image folder.
            size: width and height that the labels are for; None where they don't tell.
        """
        entry: dict[str, Any] = {"id": len(self.images) + 1, "file_name": file_name}
        if size is not None:
            entry |= {"width": size[0], "height": size[1]}
        self.images.append(entry)

    def add_box(self, category: str | int, box: Box, ignore: bool = False) -> None:
        """Add an object of the last image.

        Args:
            category: name or number of its class.
            box: XYWH, pixels.
            ignore: neither learn it nor count it.
        """
        annotation: dict[str, Any] = {
            "id": len(self.annotations) + 1,
            "image_id": self.images[-1]["id"],
            "category_id": category,
            "bbox": list(box),
            "area": box[2] * box[3],
            "iscrowd": 0,
        }
        if ignore:
            annotation["ignore"] = 1
        self.annotations.append(annotation)

    def build(self, kind: str, image_root: Path, categories: dict[str | int, dict]) -> Source:
        """Finish with the categories, by what the annotations call them."""
        known = []
        names = {image["id"]: image["file_name"] for image in self.images}
        for annotation in self.annotations:
            category = categories.get(annotation["category_id"])
            if category is None:
                name, file_name = annotation["category_id"], names[annotation["image_id"]]
                item = Item(f"class {name!r} in {file_name}", file_name, annotation["bbox"])
                self.report.add(kinds.UNKNOWN_CATEGORY, item)
            else:
                known.append({**annotation, "category_id": category["id"]})
        content = {
            "info": {},
            "images": self.images,
            "annotations": known,
            "categories": list(categories.values()),
        }
        return Source(kind, self.path, image_root, content, self.report)


def named_categories(names: Sequence[str]) -> dict[str | int, dict]:
    """Number categories from 1 in the order of their names."""
    return {name: {"id": number, "name": name} for number, name in enumerate(names, start=1)}
