"""Swin Transformer (Liu et al., ICCV 2021, arXiv:2103.14030) as a detector's bottom-up backbone.

Parameters have the names of the official code (`patch_embed`, `layers.{i}.blocks.{j}`, `norm{i}`),
and any size of image will do. Shapes: N images, H x W tokens, C channels.
"""

from collections.abc import Sequence
from typing import cast

import torch
import torch.nn.functional as F
from timm.layers import PatchEmbed
from torch import Tensor, nn

from dyhead.d2.config import CfgNode
from dyhead.d2.layers import ShapeSpec
from dyhead.d2.modeling import BACKBONE_REGISTRY, Backbone
from dyhead.errors import UserError
from dyhead.modeling.backbone.swin_stage import SwinStage

_PATCH_SIZE = 4
_PRETRAINING_SIZE = 224  # side of the images, in pixels, that absolute positions are learned on


class SwinTransformer(Backbone):
    """Patches of 4 x 4 pixels and stages named "stage2" (stride 4) to "stage5" (stride 32)."""

    def __init__(
        self,
        out_features: Sequence[str],
        embed_dim: int = 96,
        depths: Sequence[int] = (2, 2, 6, 2),
        num_heads: Sequence[int] = (3, 6, 12, 24),
        window_size: int = 7,
        mlp_ratio: float = 4,
        drop_path_rate: float = 0.2,
        absolute_positions: bool = False,
        freeze_at: int = -1,
        use_checkpoint: bool = False,
        in_channels: int = 3,
    ) -> None:
        """Put the stages together; those that no output needs are left out.

        Args:
            out_features: names of the stages to give.
            embed_dim: channels of the first stage; each next one has twice as many.
            depths: number of blocks of each stage.
            num_heads: number of attention heads of each stage.
            window_size: side of the attention windows, in tokens.
            mlp_ratio: hidden channels of a block's MLP over its channels.
            drop_path_rate: chance that the last block is left out in training, per image; it grows
                linearly from 0 in the first.
            absolute_positions: add a learned embedding of the position to the patches.
            freeze_at: see `freeze`.
            use_checkpoint: keep no activations inside the blocks for the backward pass.
            in_channels: of the images.

        Raises:
            UserError: there is no such feature, or the stages' numbers do not go together.
        """
        super().__init__()
        _check_stages(out_features, embed_dim, depths, num_heads, window_size)
        names = [f"stage{index + 2}" for index in range(len(depths))]
        count = 1 + max(names.index(name) for name in out_features)
        self.patch_embed = PatchEmbed(
            img_size=None,
            patch_size=_PATCH_SIZE,
            in_chans=in_channels,
            embed_dim=embed_dim,
            norm_layer=nn.LayerNorm,
            output_fmt="NHWC",
            dynamic_img_pad=True,
        )
        if absolute_positions:
            side = _PRETRAINING_SIZE // _PATCH_SIZE
            self.absolute_pos_embed = nn.Parameter(torch.zeros(1, embed_dim, side, side))
        rates = torch.linspace(0, drop_path_rate, sum(depths), device="cpu").split(list(depths))
        self.layers = nn.ModuleList(
            SwinStage(
                channels=embed_dim << index,
                num_heads=num_heads[index],
                window_size=window_size,
                mlp_ratio=mlp_ratio,
                drop_paths=rates[index].tolist(),
                downsample=index + 1 < count,
                use_checkpoint=use_checkpoint,
            )
            for index in range(count)
        )
        self._out_features = [name for name in names if name in out_features]
        indices = {name: names.index(name) for name in self._out_features}
        self._out_feature_strides = {name: _PATCH_SIZE << i for name, i in indices.items()}
        self._out_feature_channels = {name: embed_dim << i for name, i in indices.items()}
        for name, index in indices.items():
            self.add_module(f"norm{index}", nn.LayerNorm(self._out_feature_channels[name]))
        self._initialize()
        self._frozen: list[nn.Module] = []
        self.freeze(freeze_at)

    def _initialize(self) -> None:
        """Draw truncated normal weights, as Swin's own training starts."""
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.trunc_normal_(module.weight, std=0.02)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
        if hasattr(self, "absolute_pos_embed"):
            nn.init.trunc_normal_(self.absolute_pos_embed, std=0.02)

    def freeze(self, freeze_at: int) -> None:
        """Stop training the first parts, counted as in the official code.

        0: the patch embedding; 1: the absolute positions too; 2 and more: the first
        `freeze_at` - 1 stages too, without drop path; -1: none.
        """
        if freeze_at >= 0:
            self._frozen = [self.patch_embed, *self.layers[: max(freeze_at - 1, 0)]]
        for module in self._frozen:
            module.eval().requires_grad_(False)
        if freeze_at >= 1 and hasattr(self, "absolute_pos_embed"):
            self.absolute_pos_embed.requires_grad_(False)

    def train(self, mode: bool = True) -> "SwinTransformer":
        """Set the mode of all parts but the frozen ones, which stay in evaluation mode."""
        super().train(mode)
        for module in self._frozen:
            module.eval()
        return self

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """Map (N, 3, H, W) to the features asked for: (N, C, H / stride, W / stride), rounded up.

        Rounding follows the patches: H / 4 is rounded up, then halved and rounded up per stage.
        """
        tokens = self._embed(images)
        features = {}
        for index, layer in enumerate(self.layers):
            stage = cast(SwinStage, layer)
            tokens = stage(tokens)
            name = f"stage{index + 2}"
            if name in self._out_features:
                normal = self.get_submodule(f"norm{index}")(tokens)
                features[name] = normal.permute(0, 3, 1, 2).contiguous()
            if stage.downsample is not None:
                tokens = stage.downsample(tokens)
        return features

    def _embed(self, images: Tensor) -> Tensor:
        """Map (N, 3, H, W) to tokens (N, H / 4, W / 4, C), rounded up."""
        tokens = self.patch_embed(images)
        if not hasattr(self, "absolute_pos_embed"):
            return tokens
        positions = F.interpolate(
            self.absolute_pos_embed, size=tokens.shape[1:3], mode="bicubic", align_corners=False
        )
        return tokens + positions.permute(0, 2, 3, 1)


@BACKBONE_REGISTRY.register()
def build_swint_backbone(cfg: CfgNode, input_shape: ShapeSpec) -> SwinTransformer:
    """Build the Swin Transformer that `cfg.MODEL.SWINT` describes.

    Raises:
        UserError: a key holds what it cannot.
    """
    swin = cfg.MODEL.SWINT
    _refuse_what_never_had_an_effect(swin)
    return SwinTransformer(
        out_features=swin.OUT_FEATURES,
        embed_dim=swin.EMBED_DIM,
        depths=swin.DEPTHS,
        num_heads=swin.NUM_HEADS,
        window_size=swin.WINDOW_SIZE,
        mlp_ratio=swin.MLP_RATIO,
        drop_path_rate=swin.DROP_PATH_RATE,
        absolute_positions=swin.APE,
        freeze_at=cfg.MODEL.BACKBONE.FREEZE_AT,
        use_checkpoint=swin.USE_CHECKPOINT,
        in_channels=input_shape.channels or 3,
    )


def _refuse_what_never_had_an_effect(swin: CfgNode) -> None:
    """Refuse other values of two official keys that the official code never reads."""
    if swin.VERSION != 1:
        raise UserError(
            f"MODEL.SWINT.VERSION {swin.VERSION} is not supported: set it to 1, the original"
            " Swin Transformer."
        )
    if not swin.OUT_NORM:
        raise UserError(
            "MODEL.SWINT.OUT_NORM False is not supported: set it to True, every output feature"
            " goes through a LayerNorm."
        )


def _check_stages(
    out_features: Sequence[str],
    embed_dim: int,
    depths: Sequence[int],
    num_heads: Sequence[int],
    window_size: int,
) -> None:
    if len(depths) != len(num_heads):
        raise UserError(
            f"MODEL.SWINT.DEPTHS {list(depths)} and NUM_HEADS {list(num_heads)} differ in length:"
            " give one number per stage in each."
        )
    names = [f"stage{index + 2}" for index in range(len(depths))]
    if not out_features or not set(out_features) <= set(names):
        raise UserError(
            f"MODEL.SWINT.OUT_FEATURES {list(out_features)} must be some of {', '.join(names)}."
        )
    for index, heads in enumerate(num_heads):
        if (embed_dim << index) % heads:
            raise UserError(
                f"MODEL.SWINT.NUM_HEADS {list(num_heads)} does not suit EMBED_DIM {embed_dim}:"
                f" {names[index]} has {embed_dim << index} channels, no multiple of {heads}."
            )
    if window_size < 1:
        raise UserError(f"MODEL.SWINT.WINDOW_SIZE {window_size} must be at least 1.")
