"""The passes of a fused block by the C++ extension, on CPU: `branch_mix*.cpp`."""

import torch

from dyhead.ops.branch_mix import ByLevel
from dyhead.ops.cpp import extension


class CppPasses(ByLevel):
    """The extension's operators, whose arguments are those that `ByLevel` gives."""

    device_type = "cpu"

    def __init__(self) -> None:
        super().__init__(torch.ops.dyhead)

    def serves(self, device: torch.device, dtype: torch.dtype) -> bool:
        """Tell if the extension is there and has kernels for the type; builds it if need be."""
        return dtype in (torch.float32, torch.bfloat16) and extension.load()
