"""Anti-aliased masks of the shapes that the generated data set is made of."""

from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw

CLASS_NAMES = ("circle", "square", "triangle", "star", "cross", "ring")
_SUPERSAMPLING = 4
_RING_HOLE = 0.55  # inner radius over outer radius
_STAR_INNER = 0.42
_CROSS_ARM = 0.36  # half the arm's width over half the cross's width


@dataclass(frozen=True)
class Placement:
    """A shape's class and position: centre and longest side in pixels, angle in radians.

    `aspect` stretches the shape's width against its height before it is turned.
    """

    class_name: str
    center_x: float
    center_y: float
    size: float
    angle: float
    aspect: float


@dataclass(frozen=True)
class Mask:
    """Coverage in [0, 1], float32 (h, w), whose top left pixel lies at (`left`, `top`)."""

    coverage: np.ndarray
    left: int
    top: int


def draw_mask(placement: Placement) -> Mask:
    """Draw one shape, uncut by any image border, with soft edges (4 x 4 samples per pixel)."""
    outline, hole = _polygons(placement)
    left, top = np.floor(outline.min(axis=0)).astype(int)
    right, bottom = np.ceil(outline.max(axis=0)).astype(int)
    canvas = Image.new("L", ((right - left) * _SUPERSAMPLING, (bottom - top) * _SUPERSAMPLING))
    draw = ImageDraw.Draw(canvas)
    for polygon, fill in ((outline, 255), (hole, 0)):
        if polygon is not None:
            # Pillow takes integer coordinates for pixel centres, hence the half sample.
            points = (polygon - (left, top)) * _SUPERSAMPLING - 0.5
            draw.polygon([tuple(point) for point in points.tolist()], fill=fill)
    coverage = np.asarray(canvas.reduce(_SUPERSAMPLING), dtype=np.float32) / 255
    return Mask(coverage, int(left), int(top))


def _polygons(placement: Placement) -> tuple[np.ndarray, np.ndarray | None]:
    """Compute outline and hole (or None) in image coordinates, each (points, 2)."""
    outline = _place(_unit_outline(placement.class_name), placement)
    extent = float((outline.max(axis=0) - outline.min(axis=0)).max())
    middle = (outline.max(axis=0) + outline.min(axis=0)) / 2
    center = np.array([placement.center_x, placement.center_y])

    def fit(points: np.ndarray) -> np.ndarray:
        return (points - middle) * (placement.size / extent) + center

    hole = None
    if placement.class_name == "ring":
        hole = fit(_place(_unit_outline("circle") * _RING_HOLE, placement))
    return fit(outline), hole


def _place(points: np.ndarray, placement: Placement) -> np.ndarray:
    cos, sin = np.cos(placement.angle), np.sin(placement.angle)
    return (points * (placement.aspect, 1.0)) @ np.array([[cos, sin], [-sin, cos]])


def _unit_outline(class_name: str) -> np.ndarray:
    """Compute the corners of a shape round the origin, (points, 2)."""
    if class_name == "square":
        return np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]], dtype=float)
    if class_name == "cross":
        arm = _CROSS_ARM
        quarter = np.array([[arm, -1], [arm, -arm], [1, -arm]])
        turns = [np.array([[np.cos(t), np.sin(t)], [-np.sin(t), np.cos(t)]]) for t in _angles(4)]
        return np.concatenate([quarter @ turn for turn in turns])
    if class_name == "star":
        radius = np.tile([1.0, _STAR_INNER], 5)
        return _on_circle(10) * radius[:, None]
    return _on_circle({"triangle": 3, "circle": 64, "ring": 64}[class_name])


def _angles(count: int) -> np.ndarray:
    return np.arange(count) * (2 * np.pi / count)


def _on_circle(count: int) -> np.ndarray:
    angles = _angles(count) - np.pi / 2  # first corner on top
    return np.stack([np.cos(angles), np.sin(angles)], axis=1)
