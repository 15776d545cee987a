"""One colour per class, the same in every picture."""

import colorsys

from matplotlib import colormaps

Color = tuple[float, float, float]  # RGB in [0, 1]

_GOLDEN_RATIO = 0.618034


def class_colors(num_classes: int) -> list[Color]:
    """Distinct colours: matplotlib's first ten, then hues that stay apart however many follow."""
    first = [tuple(color) for color in colormaps["tab10"].colors]  # type: ignore[attr-defined]
    more = [
        colorsys.hsv_to_rgb(i * _GOLDEN_RATIO % 1, (0.9, 0.55)[i % 2], (0.95, 0.75)[i // 2 % 2])
        for i in range(max(num_classes - len(first), 0))
    ]
    return [*first, *more][:num_classes]


def on_dark(color: Color) -> Color:
    """A shade of the colour light enough to be read on black."""
    red, green, blue = ((1 + 1.2 * channel) / 2.2 for channel in color)
    return red, green, blue
