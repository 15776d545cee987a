"""Colours of classes can be told apart, also by the colour-blind, and texts on them can be read."""

from itertools import combinations

import numpy as np
import pytest

from dyhead.visualization.colors import (
    CLASS_COLORS,
    class_colors,
    css_color,
    level_colors,
    relative_luminance,
    text_color,
)

# Machado, Oliveira and Fernandes (2009), severity 1: how a missing kind of cone changes linear RGB
_DEUTERANOPIA = np.array(
    [
        [0.367322, 0.860646, -0.227968],
        [0.280085, 0.672501, 0.047413],
        [-0.011820, 0.042940, 0.968881],
    ]
)
_PROTANOPIA = np.array(
    [
        [0.152286, 1.052583, -0.204868],
        [0.114503, 0.786281, 0.099216],
        [-0.003882, -0.048116, 1.051998],
    ]
)


def seen(color, matrix):
    """The colour as sRGB from 0 to 1, as somebody without one kind of cones sees it."""
    channels = np.array(color) / 255
    linear = np.where(channels <= 0.04045, channels / 12.92, ((channels + 0.055) / 1.055) ** 2.4)
    changed = (matrix @ linear).clip(0, 1)
    return np.where(changed <= 0.0031308, 12.92 * changed, 1.055 * changed ** (1 / 2.4) - 0.055)


def test_colours_are_distinct_and_keep_when_classes_are_added():
    colors = class_colors(80)
    assert len(set(colors)) == 80
    assert class_colors(6) == colors[:6]
    assert all(0 <= channel <= 255 for color in colors for channel in color)
    assert class_colors(0) == []


@pytest.mark.parametrize("matrix", [_DEUTERANOPIA, _PROTANOPIA, np.eye(3)])
def test_the_first_colours_are_told_apart_with_any_colour_vision(matrix):
    nearest = min(
        np.linalg.norm(seen(a, matrix) - seen(b, matrix))
        for a, b in combinations(class_colors(7), 2)
    )
    assert nearest > 0.15


@pytest.mark.parametrize("matrix", [_DEUTERANOPIA, _PROTANOPIA])
def test_the_simulation_brings_red_and_green_together(matrix):
    red, green = (214, 39, 40), (44, 160, 44)
    distances = [np.linalg.norm(seen(red, m) - seen(green, m)) for m in (matrix, np.eye(3))]
    assert distances[0] < 0.6 * distances[1]


def test_luminance_is_that_of_wcag():
    assert relative_luminance((255, 255, 255)) == pytest.approx(1)
    assert relative_luminance((0, 0, 0)) == 0
    assert relative_luminance((255, 0, 0)) == pytest.approx(0.2126)
    assert relative_luminance((119, 119, 119)) == pytest.approx(0.184475, abs=1e-5)


def test_text_has_the_contrast_that_wcag_asks_for():
    for color in class_colors(80):
        ground, text = relative_luminance(color), relative_luminance(text_color(color))
        assert (max(ground, text) + 0.05) / (min(ground, text) + 0.05) >= 4.5


def lab(color, matrix):
    """The colour in CIELAB (D65), as somebody without one kind of cones sees it."""
    to_xyz = np.array(
        [
            [0.4124564, 0.3575761, 0.1804375],
            [0.2126729, 0.7151522, 0.0721750],
            [0.0193339, 0.1191920, 0.9503041],
        ]
    )
    channels = seen(color, matrix)
    linear = np.where(channels <= 0.04045, channels / 12.92, ((channels + 0.055) / 1.055) ** 2.4)
    relative = to_xyz @ linear / to_xyz.sum(axis=1)
    x, y, z = np.where(
        relative > 216 / 24389, np.cbrt(relative), (24389 / 27 * relative + 16) / 116
    )
    return np.array([116 * y - 16, 500 * (x - y), 200 * (y - z)])


@pytest.mark.parametrize("matrix", [_DEUTERANOPIA, _PROTANOPIA, np.eye(3)])
def test_all_of_the_table_is_told_apart_with_any_colour_vision(matrix):
    colors = [lab(color, matrix) for color in CLASS_COLORS]
    nearest = min(np.linalg.norm(a - b) for a, b in combinations(colors, 2))
    assert len(colors) == 24 and nearest > 15  # 2.3 is what is just noticed


def test_pages_have_the_same_colours_as_drawings():
    for color in CLASS_COLORS:
        text = css_color(color)
        assert tuple(bytes.fromhex(text.removeprefix("#"))) == color


@pytest.mark.parametrize("matrix", [_DEUTERANOPIA, _PROTANOPIA, np.eye(3)])
@pytest.mark.parametrize("count", range(2, 7))
def test_levels_go_from_light_to_dark_with_any_colour_vision(matrix, count):
    lightness = [lab(color, matrix)[0] for color in level_colors(count)]
    assert len(lightness) == count and (np.diff(lightness) < -7).all()  # 2.3 is just noticed


def test_levels_look_like_none_of_the_first_classes():
    levels = {color for count in range(1, 7) for color in level_colors(count)}
    nearest = min(
        np.linalg.norm(lab(a, np.eye(3)) - lab(b, np.eye(3)))
        for a in levels
        for b in class_colors(7)
    )
    assert nearest > 20
    assert level_colors(0) == [] and level_colors(1) == level_colors(5)[:1]
