"""Checks the annotations of a set in COCO's form: references, boxes (x, y, width, height), ids."""

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from dyhead.data.checks import kinds
from dyhead.data.checks.box_forms import BoxForms
from dyhead.data.checks.identifiers import is_exact
from dyhead.data.checks.items import annotation_item, read_box
from dyhead.data.checks.kinds import Kind
from dyhead.data.checks.report import CheckReport
from dyhead.data.checks.segmentations import box_of
from dyhead.data.checks.values import Id, read_flag, read_id, read_number

_TOLERANCE = 0.5  # pixels by which a box may leave its image unreported: rounding

_MIN_SIDE = 1.0  # pixels: converters turn empty boxes into boxes of one pixel
_REFERENCES = ("image_id", "category_id")
_VALUES = (*_REFERENCES, "area", "iscrowd")
_NOT_FOR_BOXES = ("segmentation", "keypoints", "num_keypoints", "ignore")


def check_annotations(
    annotations: list,
    images: dict[Any, dict],
    lost_images: set,
    category_ids: set,
    report: CheckReport,
) -> tuple[list[dict], dict[int, Id]]:
    """Find the usable annotations, with boxes inside their images and unique ids above 0.

    Masks and key points are taken out: they would only decide, in training alone, that an
    annotation counts for nothing.

    Args:
        annotations: the list as it stands in the file.
        images: image id -> usable image.
        lost_images: ids of images that were left out.
        category_ids: the known ones.
        report: takes what is found.

    Returns:
        the annotations, and the original ids of those that were numbered for their ids' form.
    """
    check = _Check(images, lost_images, category_ids, report)
    usable = [read for each in annotations if (read := check.read(each)) is not None]
    check.forms.report_to(report, lambda annotation: annotation_item(annotation, images))
    return _with_unique_ids(usable, images, report)


@dataclass
class _Check:
    """The check of one annotation after the other."""

    images: Mapping[Id, dict]
    lost_images: Collection[Id]
    category_ids: Collection[Id]
    report: CheckReport
    forms: BoxForms = field(default_factory=BoxForms)

    def read(self, annotation: Any) -> dict | None:
        """Return an annotation as COCO's tools take it, or None for one that cannot be used."""
        problem = self._reference_problem(annotation)
        if problem is None:
            image_id, category_id = map(read_id, map(annotation.get, _REFERENCES))
            read = {**annotation, "image_id": image_id, "category_id": category_id}
            problem = self._read_box(read)
        if problem is not None:
            self.report.add(problem, annotation_item(annotation, self.images))
            return None
        self._read_area(read)
        self._clip(read)
        self._read_flags(read)
        for key in _NOT_FOR_BOXES:
            read.pop(key, None)
        return annotation if self._is_unchanged(annotation, read) else read

    def _reference_problem(self, annotation: Any) -> Kind | None:
        """Return the problem with an annotation's image and category, if there is one."""
        if not isinstance(annotation, dict):
            return kinds.MALFORMED_ANNOTATION
        image_id, category_id = map(read_id, map(annotation.get, _REFERENCES))
        if image_id is None or category_id is None:
            return kinds.MALFORMED_ANNOTATION
        if image_id not in self.images:
            return kinds.LOST_IMAGE if image_id in self.lost_images else kinds.UNKNOWN_IMAGE
        return None if category_id in self.category_ids else kinds.UNKNOWN_CATEGORY

    def _read_box(self, annotation: dict) -> Kind | None:
        """Put a box of numbers into a copy of an annotation; return the problem if it has none."""
        image = self.images[annotation["image_id"]]
        box = read_box(annotation.get("bbox"))
        if box is None and annotation.get("bbox") in (None, []) or box == [0, 0, 0, 0]:
            taken = box_of(annotation.get("segmentation"), image["width"], image["height"])
            if taken is not None:
                box = taken
                item = annotation_item({**annotation, "bbox": box}, self.images)
                self.report.add(kinds.BOX_FROM_SEGMENTATION, item)
        if box is None:
            return kinds.MALFORMED_ANNOTATION
        annotation["bbox"] = box
        self.forms.add(annotation, image)
        x, y, width, height = box
        if width <= 0 or height <= 0 or max(width, height) <= _MIN_SIDE:
            return kinds.DEGENERATE_BOX
        if x >= image["width"] or y >= image["height"] or x + width <= 0 or y + height <= 0:
            return kinds.OUTSIDE_BOX
        return None

    def _read_area(self, annotation: dict) -> None:
        """Keep an area that the box can have, for it may be a mask's; else compute the box's."""
        _, _, width, height = annotation["bbox"]
        written = annotation.get("area")
        area = read_number(written)
        # Some tools count the pixels at both ends.
        if area is None or not 0 < area <= (width + 1) * (height + 1):
            if written is not None:
                self.report.add(kinds.WRONG_AREA, annotation_item(annotation, self.images))
            area = width * height
        annotation["area"] = area

    def _clip(self, annotation: dict) -> None:
        """Clip a box that leaves its image, and bound its area."""
        image = self.images[annotation["image_id"]]
        x, y, width, height = annotation["bbox"]
        right, bottom = x + width, y + height
        if max(-x, -y, right - image["width"], bottom - image["height"]) <= _TOLERANCE:
            return
        self.report.add(kinds.CLIPPED_BOX, annotation_item(annotation, self.images))
        left, top = max(x, 0), max(y, 0)
        right, bottom = min(right, image["width"]), min(bottom, image["height"])
        annotation["bbox"] = [left, top, right - left, bottom - top]
        annotation["area"] = min(annotation["area"], (right - left) * (bottom - top))

    def _read_flags(self, annotation: dict) -> None:
        """Make an annotation that is marked "ignore" a crowd, for neither counts as an object."""
        is_crowd, is_ignored = map(read_flag, map(annotation.get, ("iscrowd", "ignore")))
        if is_crowd is None or is_ignored is None:
            self.report.add(kinds.UNCLEAR_FLAG, annotation_item(annotation, self.images))
        if is_ignored:
            self.report.add(kinds.IGNORED_BOX, annotation_item(annotation, self.images))
        annotation["iscrowd"] = 1 if is_crowd or is_ignored else 0

    def _is_unchanged(self, annotation: dict, read: dict) -> bool:
        """Count numbers in quotes, and tell whether an annotation stands as it can be used."""
        if _has_quotes(annotation, read):
            self.report.add(kinds.NUMBER_AS_TEXT, annotation_item(annotation, self.images))
        unchanged = read == annotation and all(
            type(read[key]) is type(annotation[key]) for key in _VALUES
        )
        self.report.completed |= not unchanged
        return unchanged


def _has_quotes(annotation: dict, read: dict) -> bool:
    """Return True if a number or a flag was written as text, and can be read."""
    numbers = annotation.get("area"), *(annotation.get("bbox") or ())
    flags = annotation.get("iscrowd"), annotation.get("ignore")
    if _any_text(numbers, read_number) or _any_text(flags, read_flag):
        return True
    references = annotation["image_id"], annotation["category_id"]
    if str not in map(type, references):
        return False
    return references != (read["image_id"], read["category_id"])


def _any_text(values: Iterable[Any], read: Callable[[Any], Any]) -> bool:
    return any(isinstance(value, str) and read(value) is not None for value in values)


def _with_unique_ids(
    annotations: list[dict], images: Mapping[Id, dict], report: CheckReport
) -> tuple[list[dict], dict[int, Id]]:
    """Drop repeated annotations and give a new id to those whose id cannot be used.

    COCO's evaluation looks annotations up by id and takes the id 0 for "not matched".
    """
    first: dict[Id, dict] = {}
    kept: list[tuple[dict, Id | None]] = []
    for annotation in annotations:
        identifier = read_id(annotation.get("id"))
        if identifier is None or (isinstance(identifier, int) and identifier <= 0):
            identifier = None
        elif first.setdefault(identifier, annotation) is not annotation:
            if first[identifier] == annotation:
                report.add(kinds.DUPLICATE_ANNOTATION, annotation_item(annotation, images))
                continue
            identifier = None
        if identifier is None:
            report.add(kinds.RENUMBERED_ANNOTATION, annotation_item(annotation, images))
        elif not is_exact(identifier):
            report.add(kinds.INTERNAL_ID, annotation_item(annotation, images))
        kept.append((annotation, identifier))
    return _numbered(kept, report)


def _numbered(
    kept: list[tuple[dict, Id | None]], report: CheckReport
) -> tuple[list[dict], dict[int, Id]]:
    """Give the next free numbers to annotations without an id, or with one of another form."""
    free = 1 + max(
        (each for _, each in kept if isinstance(each, int) and is_exact(each)), default=0
    )
    annotations: list[dict] = []
    originals: dict[int, Id] = {}
    for annotation, identifier in kept:
        if isinstance(identifier, int) and is_exact(identifier):
            number = identifier
        else:
            number, free = free, free + 1
        written = annotation.get("id")
        if identifier is not None and (written != number or isinstance(written, str)):
            originals[number] = written if isinstance(written, str) else identifier
        if type(written) is not int or written != number:
            report.completed = True
            annotation = {**annotation, "id": number}
        annotations.append(annotation)
    return annotations, originals
