"""Which deformable convolution runs while a detector is measured."""

import os
from collections.abc import Iterator
from contextlib import contextmanager

from dyhead.ops.backends import BACKEND_VARIABLE


@contextmanager
def deform_conv_as_one_operator() -> Iterator[None]:
    """Choose the back end that shows as one operator in a trace and runs on tensors without data.

    All of them compute the same and keep the same for backward.
    """
    before = os.environ.get(BACKEND_VARIABLE)
    os.environ[BACKEND_VARIABLE] = "torchvision"
    try:
        yield
    finally:
        if before is None:
            del os.environ[BACKEND_VARIABLE]
        else:
            os.environ[BACKEND_VARIABLE] = before
