"""Writes explanations as one page of HTML that needs nothing beside itself."""

from collections.abc import Sequence
from typing import Any, NamedTuple

from PIL import Image

from dyhead import __version__
from dyhead.explanation.explained import (
    AMPLIFIED_ABOVE,
    DAMPED_BELOW,
    DEFINITIONS,
    PASSED_ABOVE,
    Explanation,
)
from dyhead.pages import as_data_uri, render_page
from dyhead.visualization.colors import css_color, level_colors, text_color
from dyhead.visualization.text import one_line

_LONGEST = 1000  # pixels of a picture in the page
_AS_RELU = [[DAMPED_BELOW, AMPLIFIED_ABOVE], [-PASSED_ABOVE, PASSED_ABOVE]]


class ShownPicture(NamedTuple):
    """An explained picture in a page."""

    explanation: Explanation
    values: dict[str, Any]  # of the explanation, see `Explanation.to_dict`
    name: str
    uri: str  # the picture itself, as a data URI


def show_picture(explanation: Explanation, picture: Image.Image, name: str) -> ShownPicture:
    """Prepare a picture for the page; it is scaled down where it is large."""
    small = picture.copy()
    small.thumbnail((_LONGEST, _LONGEST), Image.Resampling.LANCZOS)
    return ShownPicture(explanation, explanation.to_dict(), one_line(name), as_data_uri(small))


def format_page(
    pictures: Sequence[ShownPicture],
    source: str,
    number: int = 1,
    before: str = "",
    after: str = "",
) -> str:
    """Write the page.

    Args:
        pictures: at least one, all of one detector.
        source: what the detector was loaded from.
        number: of the page, where there are several.
        before: the file of the page before, if there is one.
        after: the file of the next page, if there is one.
    """
    levels = level_colors(len(pictures[0].explanation.level_names))
    return render_page(
        "dyhead.explanation",
        version=__version__,
        source=one_line(source),
        number=number,
        before=before,
        after=after,
        definitions=DEFINITIONS,
        pictures=[_heading(picture) for picture in pictures],
        data={
            "as_relu": _AS_RELU,
            "level_colors": [css_color(color) for color in levels],
            "level_outlines": [css_color(text_color(color)) for color in levels],
            "pictures": [_data(picture) for picture in pictures],
        },
    )


def _heading(picture: ShownPicture) -> dict[str, Any]:
    explanation = picture.explanation
    height, width = explanation.detections.image_size
    seen = explanation.seen_size
    found = f"{len(explanation)} detections" if len(explanation) != 1 else "1 detection"
    return {
        "name": picture.name,
        "uri": picture.uri,
        "width": width,
        "height": height,
        "summary": f"{width} x {height} pixels, seen as {seen[1]} x {seen[0]}: {found}",
    }


def _data(picture: ShownPicture) -> dict[str, Any]:
    boxes = picture.explanation.detections.drawn_boxes()
    return {**picture.values, "colors": [css_color(box.color) for box in boxes]}
