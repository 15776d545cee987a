"""Names the items of a report so that their author finds them."""

from collections.abc import Mapping
from typing import Any

from dyhead.data.checks.report import Item
from dyhead.data.checks.values import Id, read_id, read_number


def annotation_item(annotation: Any, images: Mapping[Id, dict]) -> Item:
    """Describe an annotation by its ids and its box, whatever state it is in.

    Args:
        annotation: as it stands in the file, or read.
        images: image id -> usable image.
    """
    if not isinstance(annotation, dict):
        return Item(str(annotation)[:60])
    image_id = read_id(annotation.get("image_id"))
    image = images.get(image_id) if image_id is not None else None
    where = image["file_name"] if image else f"image {str(annotation.get('image_id'))[:60]}"
    box = annotation.get("bbox")
    details = f"category {annotation.get('category_id')!r}, box {box}"[:120]
    description = f"annotation {str(annotation.get('id'))[:60]} of {where}, {details}"
    if image is None:
        return Item(description)
    numbers = read_box(box)
    return Item(description, image["file_name"], None if numbers is None else tuple(numbers))


def read_box(box: Any) -> list[int | float] | None:
    """Read a list of four finite numbers; None for all else."""
    if not isinstance(box, list) or len(box) != 4:
        return None
    numbers: list = [read_number(value) for value in box]
    return None if None in numbers else numbers
