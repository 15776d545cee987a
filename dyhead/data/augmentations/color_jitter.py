"""Random changes of the colours."""

import torch
from torch import Tensor
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional


class ColorJitter:
    """Changes brightness, contrast, saturation and hue by torchvision, in random order.

    Pictures of one channel have neither saturation nor hue.
    """

    def __init__(
        self,
        probability: float,
        brightness: float,
        contrast: float,
        saturation: float,
        hue: float,
        *,
        is_bgr: bool,
    ) -> None:
        """Choose strengths.

        Args:
            probability: of changing a picture at all.
            brightness: its factor is drawn from 1 - brightness to 1 + brightness.
            contrast: as brightness.
            saturation: as brightness.
            hue: it turns by -hue to hue, of a full circle.
            is_bgr: the channels are blue, green, red.
        """
        self._probability = probability
        self._jitter = v2.ColorJitter(brightness, contrast, saturation, hue)
        self._is_bgr = is_bgr

    def __call__(self, image: Tensor) -> Tensor:
        """Return an image (C, H, W) of uint8 in other colours, or as it is."""
        if torch.rand(()) >= self._probability:
            return image
        return self._changed(image.flip(0)).flip(0) if self._is_bgr else self._changed(image)

    def _changed(self, image: Tensor) -> Tensor:
        """Change the colours of an RGB or grey image, by Pillow's functions, the fastest."""
        return functional.pil_to_tensor(self._jitter(functional.to_pil_image(image)))
