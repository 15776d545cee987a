"""Tells whether two evaluations measured on the same data."""

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import PurePath
from typing import Any

_DIGITS = 1  # of a pixel, to which boxes have to agree


@dataclass(frozen=True, order=True)
class Label:
    """An object as it is labelled: XYWH in pixels, its class by name, if it is a crowd."""

    box: tuple[float, ...]
    name: str
    is_crowd: bool


@dataclass(frozen=True, order=True)
class TestedPicture:
    """A picture: its file's name without folders, (width, height), and its labels in order."""

    name: str
    size: tuple[int, int]
    labels: tuple[Label, ...]


@dataclass(frozen=True)
class TestedData:
    """The data of an evaluation; equal for the same labels of the same pictures.

    Ids and folders do not count: data may have been moved, or written anew.

    Attributes:
        classes: their names.
        pictures: in the order of their names.
    """

    classes: frozenset[str]
    pictures: tuple[TestedPicture, ...]

    def difference(self, other: "TestedData") -> str:
        """Say in a clause what `other` has otherwise; "" where it is the same data."""
        return next(self._differences(other), "")

    def _differences(self, other: "TestedData") -> Iterator[str]:
        if self.classes != other.classes:
            yield "its classes are other ones" + _such_as(self.classes ^ other.classes)
        if self._names != other._names:
            numbers = f": {len(other.pictures):,}, not {len(self.pictures):,}"
            is_more = len(other.pictures) != len(self.pictures)
            some = _such_as({*(self._names - other._names), *(other._names - self._names)})
            yield "its pictures are other ones" + (numbers if is_more else some)
        pairs = list(zip(self.pictures, other.pictures, strict=False))
        for own, others in pairs:
            if own.size != others.size:
                yield f"{own.name} has {_pixels(others.size)}, not {_pixels(own.size)}"
        if self.num_objects != other.num_objects:
            yield f"it has other objects: {other.num_objects:,}, not {self.num_objects:,}"
        for own, others in pairs:
            if [each.box for each in own.labels] != [each.box for each in others.labels]:
                yield f"the boxes of its objects are other ones, such as in {own.name}"
            elif own.labels != others.labels:
                yield f"its objects are labelled otherwise, such as in {own.name}"

    @cached_property
    def _names(self) -> Counter[str]:
        return Counter(each.name for each in self.pictures)

    @cached_property
    def num_objects(self) -> int:
        """The objects of all classes, without crowds."""
        return sum(not label.is_crowd for each in self.pictures for label in each.labels)


def labelled_data(truth: Mapping[str, Any]) -> TestedData:
    """Describe the data of an evaluation, its ground truth in COCO's form."""
    names = {category["id"]: str(category["name"]) for category in truth["categories"]}
    labels: dict[Any, list[Label]] = defaultdict(list)
    for each in truth["annotations"]:
        box = tuple(round(float(value), _DIGITS) for value in each["bbox"])
        label = Label(box, names[each["category_id"]], bool(each.get("iscrowd")))
        labels[each["image_id"]].append(label)
    pictures = (
        TestedPicture(
            PurePath(image["file_name"]).name,
            (image.get("width", 0), image.get("height", 0)),
            tuple(sorted(labels[image["id"]])),
        )
        for image in truth["images"]
    )
    return TestedData(frozenset(names.values()), tuple(sorted(pictures)))


def _such_as(names: set[str] | frozenset[str]) -> str:
    return f", such as {min(names)}" if names else ""


def _pixels(size: tuple[int, int]) -> str:
    return f"{size[0]} x {size[1]} pixels"
