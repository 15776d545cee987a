"""Features of regions by bilinear sampling (Mask R-CNN, arXiv:1703.06870)."""

from torch import Tensor, nn
from torchvision.ops import roi_align

__all__ = ["ROIAlign", "roi_align"]


class ROIAlign(nn.Module):
    """Pool regions of any size to one size."""

    def __init__(
        self,
        output_size: int | tuple[int, int],
        spatial_scale: float,
        sampling_ratio: int,
        aligned: bool = True,
    ) -> None:
        """Set how regions are sampled.

        Args:
            output_size: height and width of each pooled region.
            spatial_scale: positions of the feature map per pixel, 1 / stride.
            sampling_ratio: samples along each side of an output cell; 0 takes as many as the
                region is large.
            aligned: whether positions stand for the centres of their pixels; False shifts all
                samples by half a position, as the first version of the operator did.
        """
        super().__init__()
        self.output_size = output_size
        self.spatial_scale = spatial_scale
        self.sampling_ratio = sampling_ratio
        self.aligned = aligned

    def forward(self, input: Tensor, rois: Tensor) -> Tensor:
        """Pool regions.

        Args:
            input: (N, C, H, W).
            rois: (R, 5): index of the image, then x0, y0, x1, y1 in pixels.

        Returns:
            (R, C, *output_size) in the type of `input`.

        Raises:
            ValueError: `rois` has another shape.
        """
        if rois.ndim != 2 or rois.shape[1] != 5:
            raise ValueError(f"ROIAlign needs regions of shape (R, 5), got {tuple(rois.shape)}.")
        return roi_align(
            input,
            rois.to(input.dtype),
            self.output_size,
            self.spatial_scale,
            self.sampling_ratio,
            self.aligned,
        )

    def extra_repr(self) -> str:
        """Name the arguments when the module is printed."""
        return (
            f"output_size={self.output_size}, spatial_scale={self.spatial_scale},"
            f" sampling_ratio={self.sampling_ratio}, aligned={self.aligned}"
        )
