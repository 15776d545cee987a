"""The types that a run computes in: mixed precision, evaluation, products of float32."""

import logging
from collections.abc import Iterable
from typing import Any

import torch
from torch import nn

from dyhead.d2.config import CfgNode
from dyhead.d2.engine import AMPTrainer, SimpleTrainer
from dyhead.d2.layers import ROIAlign
from dyhead.d2.modeling.meta_arch.retinanet import RetinaNetHead
from dyhead.d2.modeling.proposal_generator import StandardRPNHead
from dyhead.d2.modeling.roi_heads import FastRCNNOutputLayers
from dyhead.errors import UserError

logger = logging.getLogger(__name__)

_SHORT_TYPES = {"bfloat16": torch.bfloat16, "float16": torch.float16}
_SHORT = tuple(_SHORT_TYPES.values())
# The host's predictors. The project's own heads declare the type of their outputs themselves.
_HOST_PREDICTORS = (StandardRPNHead, FastRCNNOutputLayers, RetinaNetHead)
_replaced: tuple[str, bool] | None = None  # what a model's choice has taken the place of


def settle_precision(cfg: CfgNode, is_training: bool) -> None:
    """Check the keys of precision for MODEL.DEVICE, and let FLOAT32_PRECISION act.

    Raises:
        UserError: the device cannot compute so.
    """
    device_type = torch.device(cfg.MODEL.DEVICE).type
    if is_training and cfg.SOLVER.AMP.ENABLED:
        _check_device("SOLVER.AMP.DTYPE", cfg.SOLVER.AMP.DTYPE, device_type)
    _check_device("TEST.PRECISION", cfg.TEST.PRECISION, device_type)
    use_float32_precision(cfg.FLOAT32_PRECISION)
    if cfg.FLOAT32_PRECISION:
        logger.info("Precision of float32 products: %s", cfg.FLOAT32_PRECISION)


def set_float32_precision(precision: str) -> None:
    """Choose how this process multiplies float32, in matrix products and in cuDNN's convolutions.

    On GPUs "high" and "medium" are TF32; on CPUs they are what the C++ extension makes of them.
    """
    global _replaced
    _replaced = None
    _multiply_by(precision, precision != "highest")


def use_float32_precision(precision: str) -> None:
    """Do so for a model; "" goes back to what the process did before another model's choice."""
    global _replaced
    if precision:
        own = torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32
        _replaced = _replaced or own
        _multiply_by(precision, precision != "highest")
    elif _replaced is not None:
        _multiply_by(*_replaced)
        _replaced = None


def _multiply_by(precision: str, allows_tf32: bool) -> None:
    torch.set_float32_matmul_precision(precision)
    torch.backends.cudnn.allow_tf32 = allows_tf32


def training_type(cfg: CfgNode) -> torch.dtype:
    """Return the type of SOLVER.AMP on MODEL.DEVICE."""
    default = "float16" if torch.device(cfg.MODEL.DEVICE).type == "cuda" else "bfloat16"
    return _SHORT_TYPES[cfg.SOLVER.AMP.DTYPE or default]


def build_test_precision(cfg: CfgNode, model: nn.Module) -> nn.Module:
    """Return `model` under autocast where TEST.PRECISION asks for it, else itself."""
    if cfg.TEST.PRECISION == "float32":
        return model
    logger.info("Evaluating in %s", cfg.TEST.PRECISION)
    return _Autocast(model, cfg.MODEL.DEVICE, _SHORT_TYPES[cfg.TEST.PRECISION])


def build_step_trainer(
    cfg: CfgNode, model: nn.Module, data_loader: Iterable[Any], optimizer: torch.optim.Optimizer
) -> SimpleTrainer:
    """Build the host's trainer of single steps, in the precision that SOLVER.AMP asks for.

    Args:
        cfg: its keys of precision have been checked.
        model: from a batch to a dict of scalar losses.
        data_loader: endless batches.
        optimizer: of the model's parameters.
    """
    if not cfg.SOLVER.AMP.ENABLED:
        return SimpleTrainer(model, data_loader, optimizer)
    dtype = training_type(cfg)
    logger.info("Training in mixed precision: %s", str(dtype).removeprefix("torch."))
    if dtype == torch.float16:
        # Small gradients would vanish in its range: AMPTrainer scales the loss, on GPUs.
        scaler = torch.amp.GradScaler(torch.device(cfg.MODEL.DEVICE).type)
        return AMPTrainer(model, data_loader, optimizer, grad_scaler=scaler, precision=dtype)
    # bfloat16 has the range of float32 and needs no scale. Genuine AMPTrainer knows GPUs alone.
    return _AutocastTrainer(cfg.MODEL.DEVICE, dtype, model, data_loader, optimizer)


class _AutocastTrainer(SimpleTrainer):
    """A SimpleTrainer that computes the losses, and nothing else, under autocast."""

    def __init__(self, device: str, dtype: torch.dtype, *parts: Any) -> None:
        super().__init__(*parts)
        self._device, self._dtype = device, dtype

    def run_step(self) -> None:
        bare = self.model  # `model` is evaluated and saved too, both without the autocast
        self.model = _Autocast(bare, self._device, self._dtype)
        try:
            super().run_step()
        finally:
            self.model = bare


class _Autocast(nn.Module):
    """A model that computes in another type wherever that is safe."""

    def __init__(self, model: nn.Module, device: str, dtype: torch.dtype) -> None:
        super().__init__()
        self.model = model
        self.training = model.training  # the mode to which an evaluation returns
        self._device_type = torch.device(device).type
        self._dtype = dtype

    def forward(self, batched_inputs: list[dict[str, Any]]) -> Any:
        with torch.autocast(self._device_type, dtype=self._dtype):
            return self.model(batched_inputs)


def keep_predictions_in_float32(model: nn.Module) -> None:
    """Let losses and box decoding get float32 from the host's predictors that compute in 16 bits.

    Genuine Detectron2's take no argument that says so.
    """
    for module in model.modules():
        if isinstance(module, _HOST_PREDICTORS):
            module.register_forward_hook(_widen_outputs)


class _ExactROIAlign(ROIAlign):
    """Pools by the boxes as they are: 16 bits cannot hold the coordinates of pixels.

    The host's rounds them to the type of the features, in bfloat16 to multiples of 4 pixels from
    512 on.
    """

    def forward(self, input: torch.Tensor, rois: torch.Tensor) -> torch.Tensor:
        if input.dtype not in _SHORT:
            return super().forward(input, rois)  # type: ignore[no-any-return]
        return super().forward(input.float(), rois.float()).to(input.dtype)  # type: ignore[no-any-return]


def pool_by_exact_boxes(model: nn.Module) -> None:
    """Let the host's ROIAlign take regions of features in 16 bits where the boxes say."""
    for module in model.modules():
        if type(module) is ROIAlign:
            module.__class__ = _ExactROIAlign


def _widen_outputs(predictor: nn.Module, inputs: Any, outputs: Any) -> Any:
    return _widened(outputs)


def _widened(value: Any) -> Any:
    if isinstance(value, torch.Tensor):
        return value.float() if value.dtype in _SHORT else value
    if type(value) in (list, tuple):
        return type(value)([_widened(part) for part in value])
    return value


def _check_device(key: str, value: str, device_type: str) -> None:
    if value == "float16" and device_type != "cuda":
        raise UserError(f"{key} 'float16' needs a GPU with CUDA: use 'bfloat16' on {device_type}.")
