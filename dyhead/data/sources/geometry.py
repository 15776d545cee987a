"""Upright boxes around the shapes that people draw."""

import math
from collections.abc import Sequence

from dyhead.data.sources.source import Box


def box_of_corners(left: float, top: float, right: float, bottom: float) -> Box:
    """Turn XYXY into XYWH, in the same unit."""
    return left, top, right - left, bottom - top


def box_of_points(points: Sequence[tuple[float, float]]) -> Box:
    """Return the box (XYWH) around points (x, y), at least one."""
    xs, ys = [x for x, _ in points], [y for _, y in points]
    return box_of_corners(min(xs), min(ys), max(xs), max(ys))


def box_of_boxes(boxes: Sequence[Box]) -> Box:
    """Return the box around boxes, at least one; one alone stays as it is, unrounded."""
    if len(boxes) == 1:
        return boxes[0]
    ends = [(x + width, y + height) for x, y, width, height in boxes]
    return box_of_points([*(box[:2] for box in boxes), *ends])


def pairs(values: Sequence[float]) -> list[tuple[float, float]]:
    """Group x, y, x, y, ... into points."""
    return list(zip(values[0::2], values[1::2], strict=True))


def box_of_rotated(box: Box, degrees: float, about: tuple[float, float]) -> Box:
    """Return the upright box around a box that is turned clockwise about a point, all in pixels."""
    x, y, width, height = box
    angle = math.radians(degrees % 360)
    cosine, sine = math.cos(angle), math.sin(angle)
    turned = []
    for right, down in ((x, y), (x + width, y), (x, y + height), (x + width, y + height)):
        dx, dy = right - about[0], down - about[1]
        turned.append((about[0] + dx * cosine - dy * sine, about[1] + dx * sine + dy * cosine))
    return box_of_points(turned)


def box_of_ellipse(center: tuple[float, float], radii: tuple[float, float], degrees: float) -> Box:
    """Return the upright box around an ellipse that is turned clockwise, all in pixels."""
    angle = math.radians(degrees % 360)
    cosine, sine = math.cos(angle), math.sin(angle)
    half_width = math.hypot(radii[0] * cosine, radii[1] * sine)
    half_height = math.hypot(radii[0] * sine, radii[1] * cosine)
    return center[0] - half_width, center[1] - half_height, 2 * half_width, 2 * half_height
