"""Operators in plain PyTorch and torchvision: nothing here knows of Detectron2 or of this project."""

from dyhead.ops.deform_conv import BACKENDS, choose_backend, modulated_deform_conv2d
from dyhead.ops.flat_read import flat_read

__all__ = ["BACKENDS", "choose_backend", "flat_read", "modulated_deform_conv2d"]
