"""Meta-architectures; importing this package registers them with the host."""

from dyhead.modeling.meta_arch.atss import ATSS
from dyhead.modeling.meta_arch.dense_detector import DenseDetector
from dyhead.modeling.meta_arch.fcos import FCOS
from dyhead.modeling.meta_arch.reppoints import RepPoints
from dyhead.modeling.meta_arch.retinanet import DyHeadRetinaNet

__all__ = ["ATSS", "FCOS", "DenseDetector", "DyHeadRetinaNet", "RepPoints"]
