"""What every detector does first and last: images to a batch, boxes to the images' own sizes."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from ...structures import ImageList, Instances
from ..backbone import Backbone
from ..postprocessing import detector_postprocess


class ImageDetector(nn.Module):
    """A backbone, and the means and divisors of the pixels that it takes."""

    pixel_mean: Tensor
    pixel_std: Tensor

    def __init__(
        self, backbone: Backbone, pixel_mean: Sequence[float], pixel_std: Sequence[float]
    ) -> None:
        """Take the parts.

        Args:
            backbone: images (N, C, H, W) to a dict of feature maps.
            pixel_mean: what is subtracted from each channel.
            pixel_std: what each channel is divided by then.

        Raises:
            ValueError: means and divisors of different numbers.
        """
        super().__init__()
        if len(pixel_mean) != len(pixel_std):
            raise ValueError(
                f"MODEL.PIXEL_MEAN has {len(pixel_mean)} and MODEL.PIXEL_STD {len(pixel_std)}"
                " values: give one of each per channel."
            )
        self.backbone = backbone
        for name, values in (("pixel_mean", pixel_mean), ("pixel_std", pixel_std)):
            per_channel = torch.tensor(values).view(-1, 1, 1)
            self.register_buffer(name, per_channel, persistent=False)

    @property
    def device(self) -> torch.device:
        """Where the detector is."""
        return self.pixel_mean.device

    def preprocess_image(self, batched_inputs: list[dict[str, Any]]) -> ImageList:
        """Normalize the images and pad them to one size that suits the backbone."""
        images = [
            (each["image"].to(self.device) - self.pixel_mean) / self.pixel_std
            for each in batched_inputs
        ]
        return ImageList.from_tensors(
            images,
            self.backbone.size_divisibility,
            padding_constraints=self.backbone.padding_constraints,
        )


def scale_to_outputs(
    instances: list[Instances],
    batched_inputs: list[dict[str, Any]],
    image_sizes: list[tuple[int, int]],
) -> list[Instances]:
    """Scale the boxes of each image to the "height" and "width" that its input asks for."""
    scaled = []
    for results, each, (height, width) in zip(instances, batched_inputs, image_sizes, strict=True):
        size = each.get("height", height), each.get("width", width)
        scaled.append(detector_postprocess(results, *size))
    return scaled
