"""Any model of timm that gives features, as a detector's bottom-up backbone.

Shapes: N images, C channels, H x W positions.
"""

import logging
from collections.abc import Sequence
from typing import Any

import torch
from timm.layers import freeze_batch_norm_2d
from torch import Tensor, nn

from dyhead.checkpoint.importers.timm import pixels_of
from dyhead.d2.config import CfgNode
from dyhead.d2.layers import ShapeSpec
from dyhead.d2.modeling import BACKBONE_REGISTRY, Backbone
from dyhead.errors import UserError
from dyhead.modeling.backbone.activations import avoid_copies
from dyhead.modeling.backbone.frozen_norms import fold_timm_norms
from dyhead.modeling.backbone.same_padding import make_exportable
from dyhead.modeling.backbone.timm_model import (
    make_timm_model,
    parameters_behind,
    probe,
    probe_size,
)
from dyhead.safe_io.library_weights import timm_facts

logger = logging.getLogger(__name__)


class TimmBackbone(Backbone):
    """A model of timm; its features are named by their strides: "stride8", "stride16", ..."""

    def __init__(
        self,
        name: str,
        out_features: Sequence[str] = ("stride8", "stride16", "stride32"),
        pretrained: bool = False,
        drop_path: float = 0.0,
        grad_checkpointing: bool = False,
        norm: str = "",
        freeze_at: int = -1,
        in_channels: int = 3,
    ) -> None:
        """Make the model.

        Args:
            name: as in `timm.list_models()`.
            out_features: names of the features to give; of several features at one stride the
                deepest. What none of them is computed from is left out or not trained.
            pretrained: load timm's weights, which may download them.
            drop_path: chance that the last block is left out in training, per image.
            grad_checkpointing: keep no activations inside the blocks for the backward pass.
            norm: "" keeps the model's norms, "FrozenBN" makes its batch norms constant.
            freeze_at: freeze what the model's first `freeze_at` features are computed from; 0 and
                less for nothing.
            in_channels: of the images.

        Raises:
            UserError: timm has no such model or no such features of it, its images have one size
                only, or it has no such option.
        """
        super().__init__()
        model: Any = make_timm_model(name, drop_path, in_channels)
        indices = _indices_by_name(model)
        _check_features(name, out_features, indices)
        count = 1 + max(indices[feature] for feature in out_features)
        if pretrained or tuple(model.feature_info.out_indices) != tuple(range(count)):
            model = make_timm_model(name, drop_path, in_channels, range(count), pretrained)
        self.model: Any = _change_norms(model, norm) if norm else model
        self._indices = {
            feature: index for feature, index in indices.items() if feature in out_features
        }
        self._out_features = list(self._indices)
        self._out_feature_strides = {f: int(f.removeprefix("stride")) for f in self._indices}
        self._inspect(name, in_channels, freeze_at)
        if grad_checkpointing:
            _checkpoint(self.model, name)

    def _inspect(self, name: str, in_channels: int, freeze_at: int) -> None:
        """Find the layout of the features, and what not to train, from one small image."""
        coarsest = max(self._out_feature_strides.values())
        make_exportable(self.model)
        avoid_copies(self.model)
        fold_timm_norms(self.model, lambda: probe(self.model, name, coarsest, in_channels))
        outputs = probe(self.model, name, coarsest, in_channels)
        features = {feature: outputs[index] for feature, index in self._indices.items()}
        size = probe_size(coarsest)
        self._channels_last = {
            feature: _is_channels_last(output, self._out_feature_strides[feature], size, name)
            for feature, output in features.items()
        }
        self._out_feature_channels = {
            feature: output.shape[-1 if self._channels_last[feature] else 1]
            for feature, output in features.items()
        }
        trained = parameters_behind(features.values())
        if freeze_at > len(outputs):
            raise UserError(
                f"MODEL.BACKBONE.FREEZE_AT {freeze_at}: {name} has {len(outputs)} features up to"
                f" {self._out_features[-1]}; set it to at most that, or to -1."
            )
        trained -= parameters_behind(outputs[: max(freeze_at, 0)])
        for parameter in self.model.parameters():
            parameter.requires_grad_(parameter in trained)
        self._frozen = [module for module in self.model.modules() if _is_frozen(module)]
        self.train(self.training)

    def train(self, mode: bool = True) -> "TimmBackbone":
        """Set the mode of all parts but the frozen ones, which stay in evaluation mode."""
        super().train(mode)
        for module in self._frozen:
            module.eval()
        return self

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """Map (N, in_channels, H, W) to the features asked for: (N, C, H / stride, W / stride)."""
        if images.device.type == "cpu" and not torch.compiler.is_compiling():
            # Depthwise convolutions take a third less time so: nothing has to be laid out anew. A
            # compiler chooses layouts by itself, and an export would hold for larger sizes alone.
            images = images.contiguous(memory_format=torch.channels_last)
        outputs = self.model(images)
        features = {}
        for name, index in self._indices.items():
            feature = outputs[index]
            if self._channels_last[name]:
                feature = feature.permute(0, 3, 1, 2)
            features[name] = feature.contiguous()
        return features


@BACKBONE_REGISTRY.register()
def build_timm_backbone(cfg: CfgNode, input_shape: ShapeSpec) -> TimmBackbone:
    """Build the model that `cfg.MODEL.TIMM` describes.

    Raises:
        UserError: a key holds what it cannot.
    """
    options = cfg.MODEL.TIMM
    backbone = TimmBackbone(
        options.NAME,
        out_features=options.OUT_FEATURES,
        pretrained=options.PRETRAINED,
        drop_path=options.DROP_PATH,
        grad_checkpointing=options.GRAD_CHECKPOINTING,
        norm=options.NORM,
        freeze_at=cfg.MODEL.BACKBONE.FREEZE_AT,
        in_channels=input_shape.channels or 3,
    )
    if options.PRETRAINED:
        _warn_of_other_pixels(cfg)
    return backbone


def _warn_of_other_pixels(cfg: CfgNode) -> None:
    """Warn of weights trained on other colours or values than the detector's images have."""
    wanted = pixels_of(timm_facts(cfg.MODEL.TIMM.NAME))
    given = {
        "INPUT.FORMAT": cfg.INPUT.FORMAT,
        "MODEL.PIXEL_MEAN": [round(value, 3) for value in cfg.MODEL.PIXEL_MEAN],
        "MODEL.PIXEL_STD": [round(value, 3) for value in cfg.MODEL.PIXEL_STD],
    }
    if given != wanted:
        settings = ", ".join(f"{key} {value}" for key, value in wanted.items())
        logger.warning("timm's weights of %s suit %s.", cfg.MODEL.TIMM.NAME, settings)


def _indices_by_name(model: Any) -> dict[str, int]:
    """Find the position of every feature among timm's; the deepest of each stride."""
    strides = [info["reduction"] for info in model.feature_info.info]
    return {f"stride{stride}": index for index, stride in enumerate(strides)}


def _check_features(name: str, out_features: Sequence[str], indices: dict[str, int]) -> None:
    if not out_features or not set(out_features) <= set(indices):
        raise UserError(
            f"MODEL.TIMM.OUT_FEATURES {list(out_features)} must be some of what {name} gives:"
            f" {', '.join(indices)}."
        )


def _change_norms(model: nn.Module, norm: str) -> nn.Module:
    if norm != "FrozenBN":
        raise UserError(f'MODEL.TIMM.NORM "{norm}" must be "" or "FrozenBN".')
    # timm's own: many of its batch norms hold an activation too, which the host's would lose.
    return freeze_batch_norm_2d(model)


def _checkpoint(model: Any, name: str) -> None:
    try:
        model.set_grad_checkpointing(True)
    except (AttributeError, AssertionError) as error:
        raise UserError(
            f"MODEL.TIMM.GRAD_CHECKPOINTING: {name} cannot recompute its blocks; set it to False."
        ) from error


def _is_channels_last(feature: Tensor, stride: int, size: tuple[int, int], name: str) -> bool:
    """Tell if a feature of an image of `size` is (N, H, W, C) rather than (N, C, H, W)."""
    expected = tuple(length // stride for length in size)
    if feature.dim() == 4 and feature.shape[2:] == expected:
        return False
    if feature.dim() == 4 and feature.shape[1:3] == expected:
        return True
    raise UserError(
        f"MODEL.TIMM.NAME {name} gives {tuple(feature.shape)} where a map of {expected} was"
        " expected: choose a model whose features are maps."
    )


def _is_frozen(module: nn.Module) -> bool:
    """Tell if a module has parameters, none of which are trained."""
    parameters = list(module.parameters())
    return bool(parameters) and not any(parameter.requires_grad for parameter in parameters)
