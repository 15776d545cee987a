"""Normalization layers and how a config names them.

Shapes: N images, C channels, H x W positions.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

Norm = str | Callable[[int], nn.Module | None] | None


class FrozenBatchNorm2d(nn.Module):
    """Batch normalization whose statistics, scale and shift are all fixed buffers.

    It starts as the identity. State-dict keys: `weight`, `bias`, `running_mean`, `running_var`, as
    in `nn.BatchNorm2d`.
    """

    weight: Tensor
    bias: Tensor
    running_mean: Tensor
    running_var: Tensor
    num_batches_tracked: Tensor | None
    _version = 3

    def __init__(self, num_features: int, eps: float = 1e-5) -> None:
        """Start as the identity over `num_features` channels."""
        super().__init__()
        self.num_features = num_features
        self.eps = eps
        self.register_buffer("weight", torch.ones(num_features))
        self.register_buffer("bias", torch.zeros(num_features))
        self.register_buffer("running_mean", torch.zeros(num_features))
        self.register_buffer("running_var", torch.ones(num_features) - eps)
        self.register_buffer("num_batches_tracked", None)

    def forward(self, x: Tensor) -> Tensor:
        """Normalize (N, C, H, W) in the type of `x`."""
        if not x.requires_grad:
            return F.batch_norm(
                x, self.running_mean, self.running_var, self.weight, self.bias, False, 0.0, self.eps
            )
        # F.batch_norm would keep x for the gradients of weight and bias, which nobody wants.
        scale = self.weight * (self.running_var + self.eps).rsqrt()
        shift = self.bias - self.running_mean * scale
        return torch.addcmul(per_channel(shift, x), x, per_channel(scale, x))

    def extra_repr(self) -> str:
        """Name the arguments when the module is printed."""
        return f"num_features={self.num_features}, eps={self.eps}"

    def _load_from_state_dict(
        self, state_dict: dict[str, Any], prefix: str, local_metadata: dict[str, Any], *args: Any
    ) -> None:
        # Converted Caffe2 weights have the statistics folded into weight and bias already.
        if (local_metadata.get("version") or 0) < 2:
            state_dict.setdefault(prefix + "running_mean", torch.zeros_like(self.running_mean))
            state_dict.setdefault(prefix + "running_var", torch.ones_like(self.running_var))
        if self.num_batches_tracked is None:
            state_dict.pop(prefix + "num_batches_tracked", None)
        super()._load_from_state_dict(state_dict, prefix, local_metadata, *args)

    @classmethod
    def convert_frozen_batchnorm(cls, module: nn.Module) -> nn.Module:
        """Replace every BatchNorm2d and SyncBatchNorm in `module` by a frozen one of its values.

        Returns:
            The replacement if `module` is such a layer itself, otherwise `module`, changed.
        """
        if isinstance(module, nn.BatchNorm2d | nn.SyncBatchNorm):
            return cls._frozen_copy(module)
        for name, child in module.named_children():
            converted = cls.convert_frozen_batchnorm(child)
            if converted is not child:
                module.add_module(name, converted)
        return module

    @classmethod
    def _frozen_copy(cls, norm: nn.BatchNorm2d | nn.SyncBatchNorm) -> "FrozenBatchNorm2d":
        frozen = cls(norm.num_features, norm.eps)
        names = ["running_mean", "running_var", "num_batches_tracked"]
        names += ["weight", "bias"] if norm.affine else []
        for name in names:
            setattr(frozen, name, getattr(norm, name).detach().clone())
        return frozen


def per_channel(values: Tensor, x: Tensor) -> Tensor:
    """Shape (C,) values to broadcast over (N, C, H, W), in the type of `x`."""
    return values.to(x.dtype).reshape(1, -1, 1, 1)


class LayerNorm(nn.Module):
    """Layer normalization over the channels at each position of (N, C, H, W), as in ConvNeXt."""

    def __init__(self, normalized_shape: int, eps: float = 1e-6) -> None:
        """Start with scale 1 and shift 0 over `normalized_shape` channels."""
        super().__init__()
        self.normalized_shape = (normalized_shape,)
        self.eps = eps
        self.weight = nn.Parameter(torch.ones(normalized_shape))
        self.bias = nn.Parameter(torch.zeros(normalized_shape))

    def forward(self, x: Tensor) -> Tensor:
        """Normalize (N, C, H, W) over C."""
        channels_last = x.permute(0, 2, 3, 1)
        normed = F.layer_norm(
            channels_last, self.normalized_shape, self.weight, self.bias, self.eps
        )
        return normed.permute(0, 3, 1, 2)


def group_norm(num_channels: int) -> nn.GroupNorm:
    """Group normalization with the 32 groups of the paper (arXiv:1803.08494).

    Raises:
        ValueError: the channels cannot be shared among them.
    """
    if num_channels % 32:
        raise ValueError(
            f"NORM 'GN' takes a multiple of 32 channels, not {num_channels}: change"
            " MODEL.FPN.OUT_CHANNELS or, in a ResNet, STEM_OUT_CHANNELS, RES2_OUT_CHANNELS,"
            " NUM_GROUPS or WIDTH_PER_GROUP, or choose another norm."
        )
    return nn.GroupNorm(32, num_channels)


NORMS: dict[str, Callable[[int], nn.Module]] = {
    "BN": nn.BatchNorm2d,
    "SyncBN": nn.SyncBatchNorm,
    "nnSyncBN": nn.SyncBatchNorm,
    "FrozenBN": FrozenBatchNorm2d,
    "GN": group_norm,
    "LN": LayerNorm,
}


def get_norm(norm: Norm, out_channels: int) -> nn.Module | None:
    """Build the normalization that `norm` names for `out_channels` channels.

    Args:
        norm: a key of `NORMS`, or a function from the number of channels to a module; "" and None
            stand for no normalization.
        out_channels: number of channels.

    Raises:
        ValueError: no normalization has that name.
    """
    if norm is None or norm == "":
        return None
    if callable(norm):
        return norm(out_channels)
    if norm not in NORMS:
        raise ValueError(f"{norm!r} names no normalization: use '' or one of {', '.join(NORMS)}.")
    return NORMS[norm](out_channels)
