"""Pictures of what a model is given: training images as augmented, with their boxes."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from PIL import Image

from dyhead.visualization.boxes import DrawnBox, draw_boxes
from dyhead.visualization.colors import class_colors


def draw_model_input(
    model_input: Mapping[str, Any], channel_order: str, class_names: Sequence[str]
) -> Image.Image:
    """Draw one element of a training batch.

    Args:
        model_input: with "image", (C, H, W) of values from 0 to 255, and "instances" with XYXY
            boxes `gt_boxes` and class indices `gt_classes`, as mappers give it.
        channel_order: INPUT.FORMAT: "BGR", "RGB" or a mode of one channel.
        class_names: by class index.
    """
    pixels = model_input["image"].permute(1, 2, 0).cpu().numpy().astype(np.uint8)
    if channel_order == "BGR":
        pixels = pixels[:, :, ::-1]
    picture = Image.fromarray(np.ascontiguousarray(pixels.squeeze()))
    return draw_boxes(picture, _boxes(model_input, class_names))


def _boxes(model_input: Mapping[str, Any], class_names: Sequence[str]) -> list[DrawnBox]:
    if "instances" not in model_input:
        return []
    instances = model_input["instances"]
    indices = instances.gt_classes.tolist()
    colors = class_colors(max([len(class_names), *(index + 1 for index in indices)]))
    return [
        DrawnBox(tuple(corners), colors[index], _name(index, class_names))
        for corners, index in zip(instances.gt_boxes.tensor.tolist(), indices, strict=True)
    ]


def _name(index: int, class_names: Sequence[str]) -> str:
    return class_names[index] if index < len(class_names) else f"class {index}"
