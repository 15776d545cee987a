"""Options of a DyHead block: the paper, the official code and its ports differ in detail.

The defaults are the official code's, which released weights depend on. docs/semantics.md says what
each choice does, who made it, and when to make it.
"""

from dataclasses import dataclass

_CHOICES = {
    "order": ("spatial_scale_task", "scale_spatial_task"),
    "coarser_offsets": ("flat_read", "crop", "resize", "upsample_features"),
    "hard_sigmoid": ("official", "paper"),
    "offset_init": ("default", "zero"),
}


@dataclass(frozen=True)
class BlockOptions:
    """Options of a `DyHeadBlock`; every field is the config key MODEL.DYHEAD.<FIELD>.

    An attention that is off leaves its static counterpart, so that the ablations of the paper's
    Table 1 keep the block's other parts.

    Attributes:
        scale_aware: weight the branches; off, they are averaged as they are.
        spatial_aware: learn offsets and masks; off, the three convolutions are ordinary ones.
        task_aware: DyReLU; off, ReLU.
        scale_attention, spatial_attention, task_attention: names of the attentions, see
            `SCALE_ATTENTIONS`, `SPATIAL_ATTENTIONS` and `TASK_ATTENTIONS` in `dyhead.layers`.
        order: of the attentions. "spatial_scale_task" as the official code, which weights every
            branch; "scale_spatial_task" as the paper's equation 2, which weights every level.
        coarser_offsets: how the coarser level's convolution, whose output is smaller than the
            level's offset map, gets its offsets. "flat_read": see `map_sizes`. "crop": the map's
            top left. "resize": the map resized, offsets with it. "upsample_features": the coarser
            level is upsampled before it is convolved (paper, section 3.1), so the map fits.
        hard_sigmoid: "official" relu6(x + 3) / 6, "paper" max(0, min(1, (x + 1) / 2)).
        bias: deformable convolutions have a bias.
        offset_init: of the convolution that predicts offsets and masks. "default": PyTorch's;
            "zero": a regular grid and masks of one half, as deformable convolutions usually start.
        residual: add each level to what its attentions give, as a residual block does (He et al.,
            CVPR 2016); a block that changes the number of channels does not.
        fused: compute what follows the convolutions in two passes over memory, see
            `fused_attention`, where it knows the attentions and they have no hooks; off, one module
            after the other. Both give the same values, but under autocast the fused form answers in
            the autocast type, the other in float32. With "scale_spatial_task" the weighting of the
            levels stays a pass of its own.
    """

    scale_aware: bool = True
    spatial_aware: bool = True
    task_aware: bool = True
    scale_attention: str = "ScaleAttention"
    spatial_attention: str = "SpatialAttention"
    task_attention: str = "DyReLU"
    order: str = "spatial_scale_task"
    coarser_offsets: str = "flat_read"
    hard_sigmoid: str = "official"
    bias: bool = True
    offset_init: str = "default"
    residual: bool = False
    fused: bool = True

    def __post_init__(self) -> None:
        """Check every choice.

        Raises:
            ValueError: a value is none of the choices.
        """
        for field, choices in _CHOICES.items():
            value = getattr(self, field)
            if value not in choices:
                raise ValueError(
                    f"MODEL.DYHEAD.{field.upper()} {value!r} is unknown: use one of"
                    f" {', '.join(choices)}."
                )

    @property
    def has_attention(self) -> bool:
        """True if any of the three attentions is on."""
        return self.scale_aware or self.spatial_aware or self.task_aware
