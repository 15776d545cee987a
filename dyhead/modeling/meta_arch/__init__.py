"""Meta-architectures; importing this package registers them with the host."""

from dyhead.modeling.meta_arch.atss import ATSS
from dyhead.modeling.meta_arch.dense_detector import DenseDetector

__all__ = ["ATSS", "DenseDetector"]
