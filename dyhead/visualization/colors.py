"""The colours of classes, the same in every picture, and those of pyramid levels."""

import colorsys

Color = tuple[int, int, int]  # RGB from 0 to 255

# Okabe and Ito's palette ("Color Universal Design", 2008), told apart with any colour vision. Its
# black is left out, for it is lost on dark pictures; what shines on most photographs comes first.
_OKABE_ITO: tuple[Color, ...] = (
    (230, 159, 0),  # orange
    (86, 180, 233),  # sky blue
    (0, 158, 115),  # bluish green
    (240, 228, 66),  # yellow
    (204, 121, 167),  # reddish purple
    (213, 94, 0),  # vermilion
    (0, 114, 178),  # blue
)
# Each of these is, of the colours that are neither near black nor near white, the farthest from all
# before it, in CIELAB, as the one of normal, protanopic and deuteranopic sight sees it that tells
# it least (simulated as by Machado, Oliveira and Fernandes, 2009).
_FARTHEST: tuple[Color, ...] = (
    *((0, 0, 255), (187, 255, 170), (85, 34, 0), (34, 51, 68), (34, 17, 153), (255, 238, 255)),
    *((119, 102, 255), (102, 187, 102), (0, 51, 119), (51, 85, 68), (119, 102, 51)),
    *((85, 221, 170), (102, 153, 255), (204, 238, 119), (17, 85, 187), (102, 85, 119)),
    (0, 34, 204),
)
CLASS_COLORS = _OKABE_ITO + _FARTHEST  # by class index: the one table of all drawings and pages
# Matplotlib's "magma" (Smith and van der Walt, 2015) at 1, 3/4, 1/2 and 1/4: it goes from light to
# dark with any colour vision, and is far from the colours that classes get first.
_LEVEL_STOPS: tuple[Color, ...] = ((252, 253, 191), (252, 137, 97), (183, 55, 121), (81, 18, 124))
_GOLDEN_RATIO = 0.618034  # hues this far apart stay distinct however many there are
_BLACK: Color = (0, 0, 0)
_WHITE: Color = (255, 255, 255)


def class_colors(num_classes: int) -> list[Color]:
    """Return a colour for each class: 24 that are safe for the colour-blind, then as many hues.

    The hues differ in brightness from one to the next, but with so many classes it is the labels
    that tell them apart. A class has the same colour whatever the number of classes.
    """
    more = [_hue(i) for i in range(max(num_classes - len(CLASS_COLORS), 0))]
    return [*CLASS_COLORS, *more][:num_classes]


def _hue(i: int) -> Color:
    saturation, value = (0.9, 0.55)[i % 2], (0.95, 0.7)[i // 2 % 2]
    channels = colorsys.hsv_to_rgb(i * _GOLDEN_RATIO % 1, saturation, value)
    red, green, blue = (round(255 * channel) for channel in channels)
    return red, green, blue


def level_colors(num_levels: int) -> list[Color]:
    """Return a colour for each level of a pyramid: a sequence from the finest, light, to dark.

    It tells an order and no class. Levels are named beside it wherever it is used.
    """
    last = len(_LEVEL_STOPS) - 1
    return [_level_color(last * i / max(num_levels - 1, 1)) for i in range(num_levels)]


def _level_color(place: float) -> Color:
    """Mix the stops before and behind a place among them, from 0."""
    before = min(int(place), len(_LEVEL_STOPS) - 2)
    share = place - before
    red, green, blue = (
        round((1 - share) * one + share * other)
        for one, other in zip(_LEVEL_STOPS[before], _LEVEL_STOPS[before + 1], strict=True)
    )
    return red, green, blue


def css_color(color: Color) -> str:
    """Write a colour as pages need it, such as #e69f00."""
    return "#{:02x}{:02x}{:02x}".format(*color)


def text_color(ground: Color) -> Color:
    """Black or white, whichever is read better on a colour (contrast as in WCAG 2.1)."""
    luminance = relative_luminance(ground)
    return _BLACK if (luminance + 0.05) / 0.05 >= 1.05 / (luminance + 0.05) else _WHITE


def relative_luminance(color: Color) -> float:
    """Return an sRGB colour's brightness from 0 (black) to 1 (white), as WCAG 2.1 defines it."""
    linear = [
        c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4
        for c in (channel / 255 for channel in color)
    ]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
