"""Pictures on which an exported file and its detector are compared."""

from collections.abc import Sequence

import numpy as np
from PIL import Image

from dyhead.d2.config import CfgNode
from dyhead.data.model_input import resize
from dyhead.data.shape_scenes import ShapesSpec, make_scene
from dyhead.prediction.inputs import read_picture

_SHAPES = ((256, 256), (256, 384))  # height and width of generated ones


def pictures_to_compare(
    cfg: CfgNode, paths: Sequence[str] = (), size: tuple[int, int] | None = None
) -> list[np.ndarray]:
    """Pictures (H, W, 3), uint8, in INPUT.FORMAT, as they are resized for the detector.

    Args:
        cfg: the detector's.
        paths: of files; without any, scenes of the data set "shapes" are generated.
        size: height and width in pixels in the place of what INPUT.MIN_SIZE_TEST makes of them.

    Raises:
        UserError: a file cannot be read.
    """
    scenes = [_scene(index, *shape) for index, shape in enumerate(_SHAPES)]
    given: Sequence[str | Image.Image] = paths or scenes
    pictures = [read_picture(each, order=cfg.INPUT.FORMAT).pixels for each in given]
    return [_resized(picture, cfg, size) for picture in pictures]


def _scene(index: int, height: int, width: int) -> Image.Image:
    scene = make_scene(ShapesSpec(height=height, width=width), split=1, index=index)
    return Image.fromarray(scene.image)


def _resized(picture: np.ndarray, cfg: CfgNode, size: tuple[int, int] | None) -> np.ndarray:
    if size is not None:
        image = Image.fromarray(np.ascontiguousarray(picture))
        return np.asarray(image.resize((size[1], size[0]), Image.Resampling.BILINEAR))
    return resize(picture, cfg.INPUT.MIN_SIZE_TEST, cfg.INPUT.MAX_SIZE_TEST)
