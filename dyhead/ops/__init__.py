"""Operators in plain PyTorch and torchvision, free of Detectron2 and of the rest of the project."""

from dyhead.ops.deform_conv import BACKENDS, choose_backend, modulated_deform_conv2d
from dyhead.ops.flat_read import flat_read

__all__ = ["BACKENDS", "choose_backend", "flat_read", "modulated_deform_conv2d"]
