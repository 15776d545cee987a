"""Scenes of the generated data set: placement of objects, their visible parts, the picture.

A scene depends on its specification, split and index alone, so any image can be made again.
"""

import colorsys
from dataclasses import dataclass, replace

import numpy as np
from PIL import Image, ImageDraw

from dyhead.data.shape_masks import CLASS_NAMES, Mask, Placement, draw_mask

GENERATOR_VERSION = 2  # raise it whenever the same specification gives other images
_TRIES_PER_OBJECT = 8
_MIN_SHARE_INSIDE = 0.6  # of a shape's area that lies in the image
_HIDDEN_SHARE = 0.03  # at most this much of an object that counts as hidden is seen
_HUE_JITTER = 0.06  # of the colour circle, on which the classes lie 1 / 6 apart
_COLOR_DRAWS = 6  # an object takes the draw that stands out most from what lies behind it
_MASK_THRESHOLD = 0.5


@dataclass(frozen=True)
class ShapesSpec:
    """A specification of the data set; sizes are an object's longest side in pixels.

    An object of which others leave less than `min_visible_share` to be seen is not annotated.
    """

    height: int = 256
    width: int = 256
    num_train: int = 800
    num_val: int = 150
    min_size: float = 28.0
    max_size: float = 224.0
    min_objects: int = 2
    max_objects: int = 6
    min_visible_share: float = 0.4
    seed: int = 0


@dataclass(frozen=True)
class SceneObject:
    """An object and its visible part.

    `visible` is its share of each pixel, float32 (height, width) in [0, 1]; `area_inside` counts
    the pixels at least half covered if nothing lay on top; `visible_share` is what is left of them.
    """

    placement: Placement
    mask: Mask
    visible: np.ndarray
    area_inside: int
    visible_share: float


@dataclass(frozen=True)
class Scene:
    """An RGB uint8 image (height, width, 3) and its objects, the hindmost first."""

    image: np.ndarray
    objects: list[SceneObject]


def make_scene(spec: ShapesSpec, split: int, index: int) -> Scene:
    """Make one scene; `split` (0 for train, 1 for val) and `index` seed it."""
    rng = np.random.Generator(np.random.PCG64([spec.seed, split, index]))
    canvas = _background(rng, spec)
    objects = _place_objects(rng, spec)
    for item in objects:
        _paint(rng, canvas, item)
    canvas += rng.standard_normal(canvas.shape, dtype=np.float32) * rng.uniform(1.0, 6.0)
    return Scene(np.clip(canvas, 0, 255).astype(np.uint8), objects)


def visible_box(item: SceneObject) -> tuple[int, int, int, int]:
    """Return the tight box (x, y, width, height) round the pixels that are mostly the object's."""
    rows, columns = np.nonzero(item.visible >= _MASK_THRESHOLD)
    left, top = int(columns.min()), int(rows.min())
    return left, top, int(columns.max()) + 1 - left, int(rows.max()) + 1 - top


def annotate(scene: Scene, spec: ShapesSpec) -> list[dict]:
    """Make COCO annotations (without ids) of the objects that others don't hide."""
    return [
        {
            "category_id": CLASS_NAMES.index(item.placement.class_name) + 1,
            "bbox": list(visible_box(item)),
            "area": _area(item.visible),
            "iscrowd": 0,
        }
        for item in scene.objects
        if item.visible_share >= spec.min_visible_share
    ]


def _place_objects(rng: np.random.Generator, spec: ShapesSpec) -> list[SceneObject]:
    objects: list[SceneObject] = []
    for _ in range(rng.integers(spec.min_objects, spec.max_objects + 1)):
        class_name = CLASS_NAMES[rng.integers(len(CLASS_NAMES))]
        size = spec.min_size * (spec.max_size / spec.min_size) ** rng.random()
        for _ in range(_TRIES_PER_OBJECT):
            placement = _random_placement(rng, spec, class_name, size)
            extended = _add_object(objects, placement, spec)
            if extended is not None:
                objects = extended
                break
    return objects


def _random_placement(
    rng: np.random.Generator, spec: ShapesSpec, class_name: str, size: float
) -> Placement:
    return Placement(
        class_name=class_name,
        center_x=rng.uniform(0, spec.width),
        center_y=rng.uniform(0, spec.height),
        size=size,
        angle=rng.uniform(0, 2 * np.pi),
        aspect=rng.uniform(0.85, 1.18),
    )


def _add_object(
    objects: list[SceneObject], placement: Placement, spec: ShapesSpec
) -> list[SceneObject] | None:
    """Lay one more object on top of the others; return None where it doesn't fit.

    It fits if most of it lies inside and each object under it stays either well visible or
    (nearly) wholly hidden: what is half hidden would be neither an object nor background.
    """
    mask = draw_mask(placement)
    rows, columns, inner = _overlap(mask, spec.height, spec.width)
    coverage = mask.coverage[inner]
    area_inside = _area(coverage)
    if area_inside < _MIN_SHARE_INSIDE * _area(mask.coverage):
        return None
    below = [_cover(item, rows, columns, coverage) for item in objects]
    if any(_HIDDEN_SHARE < item.visible_share < spec.min_visible_share for item in below):
        return None
    visible = np.zeros((spec.height, spec.width), dtype=np.float32)
    visible[rows, columns] = coverage
    return [*below, SceneObject(placement, mask, visible, area_inside, 1.0)]


def _cover(item: SceneObject, rows: slice, columns: slice, coverage: np.ndarray) -> SceneObject:
    """Return the same object with another one on top of it."""
    if not item.visible[rows, columns].any():
        return item
    visible = item.visible.copy()
    visible[rows, columns] *= 1 - coverage
    return replace(item, visible=visible, visible_share=_area(visible) / item.area_inside)


def _area(coverage: np.ndarray) -> int:
    return int(np.count_nonzero(coverage >= _MASK_THRESHOLD))


def _overlap(mask: Mask, height: int, width: int) -> tuple[slice, slice, tuple[slice, slice]]:
    """Intersect mask and image: rows and columns of the image, and the same in the mask."""
    mask_height, mask_width = mask.coverage.shape
    top, bottom = np.clip([mask.top, mask.top + mask_height], 0, height).tolist()
    left, right = np.clip([mask.left, mask.left + mask_width], 0, width).tolist()
    inner = (slice(top - mask.top, bottom - mask.top), slice(left - mask.left, right - mask.left))
    return slice(top, bottom), slice(left, right), inner


def _paint(rng: np.random.Generator, canvas: np.ndarray, item: SceneObject) -> None:
    """Blend an object onto the canvas, with a light falling from a random side."""
    rows, columns, inner = _overlap(item.mask, *canvas.shape[:2])
    alpha = item.mask.coverage[inner][..., None]
    behind = canvas[rows, columns]
    color = _class_color(rng, item.placement.class_name, behind.mean(axis=(0, 1)))
    y, x = np.ogrid[-1 : 1 : alpha.shape[0] * 1j, -1 : 1 : alpha.shape[1] * 1j]
    direction, strength = rng.uniform(0, 2 * np.pi), rng.uniform(0, 30)
    shading = (np.cos(direction) * x + np.sin(direction) * y) * strength
    behind += alpha * (color + shading[..., None].astype(np.float32) - behind)


def _class_color(rng: np.random.Generator, class_name: str, behind: np.ndarray) -> np.ndarray:
    """Draw an RGB colour near the class's hue that stands out from the colour behind it."""
    hue = CLASS_NAMES.index(class_name) / len(CLASS_NAMES)
    draws = [
        colorsys.hsv_to_rgb(
            (hue + rng.uniform(-_HUE_JITTER, _HUE_JITTER)) % 1,
            rng.uniform(0.45, 1.0),
            rng.uniform(0.4, 1.0),
        )
        for _ in range(_COLOR_DRAWS)
    ]
    colors = np.array(draws, dtype=np.float32) * 255
    return colors[np.linalg.norm(colors - behind, axis=1).argmax()]


def _background(rng: np.random.Generator, spec: ShapesSpec) -> np.ndarray:
    """Draw a soft texture of two tinted greys with thin lines, float32 (height, width, 3)."""
    grey, tint = rng.uniform(40, 215, size=(2, 1)), rng.uniform(-20, 20, size=(2, 3))
    first, second = (grey + tint).astype(np.float32)
    blend = _smooth_noise(rng, spec, cells=int(rng.integers(2, 5)))[..., None]
    canvas = first + (second - first) * blend
    canvas += (_smooth_noise(rng, spec, cells=int(rng.integers(12, 40)))[..., None] - 0.5) * 24
    return _draw_lines(rng, canvas)


def _smooth_noise(rng: np.random.Generator, spec: ShapesSpec, cells: int) -> np.ndarray:
    """Draw random values in [0, 1] on a coarse grid, interpolated to the image's size."""
    grid = (rng.random((cells, cells)) * 255).astype(np.uint8)
    image = Image.fromarray(grid).resize((spec.width, spec.height), Image.Resampling.BICUBIC)
    return np.asarray(image, dtype=np.float32) / 255


def _draw_lines(rng: np.random.Generator, canvas: np.ndarray) -> np.ndarray:
    """Draw distractors: a few thin lines and arcs that belong to no object."""
    height, width = canvas.shape[:2]
    image = Image.fromarray(np.clip(canvas, 0, 255).astype(np.uint8))
    draw = ImageDraw.Draw(image)
    for _ in range(rng.integers(1, 5)):
        color = tuple(rng.integers(20, 236, size=3).tolist())
        x0, x1 = np.sort(rng.uniform(-0.2 * width, 1.2 * width, size=2)).tolist()
        y0, y1 = np.sort(rng.uniform(-0.2 * height, 1.2 * height, size=2)).tolist()
        if rng.random() < 0.5:
            start = rng.uniform(0, 360)
            draw.arc((x0, y0, x1, y1), start, start + rng.uniform(40, 120), fill=color, width=2)
        else:
            ends = (x0, y0, x1, y1) if rng.random() < 0.5 else (x0, y1, x1, y0)
            draw.line(ends, fill=color, width=int(rng.integers(1, 3)))
    return np.asarray(image, dtype=np.float32).copy()
