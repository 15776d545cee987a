"""Matrix products, each by what is fastest for it.

On CPU torch.mm calls a BLAS for float32 that, on some processors, reaches half the speed of
oneDNN's convolutions; on those that it is tuned for both are alike. So a large product is a 1x1
convolution. The dilation, meaningless for a 1x1 kernel, is there because PyTorch keeps a small
undilated convolution of one image away from oneDNN when there is one thread.

Every product is accumulated in float32 at least. Operands of 16 bits go to the processor's own
instructions where it has them, for which torch.mm calls oneDNN, and through float32 where it has
not.
"""

import functools

import torch
import torch.nn.functional as F
from torch import Tensor

SMALLEST_CONVOLUTION = 64  # rows


def matmul_nt(left: Tensor, right: Tensor, bias: Tensor | None = None) -> Tensor:
    """Compute `left @ right.t() + bias` from (P, J), (Q, J) and (Q,), all contiguous: (P, Q)."""
    if _needs_float32(left):
        bias = None if bias is None else bias.float()
        return matmul_nt(left.float(), right.float(), bias).to(left.dtype)
    if not _suits_convolution(left):
        return left @ right.t() if bias is None else torch.addmm(bias, left, right.t())
    rows, inner = left.shape
    image = left.view(1, rows, 1, inner).permute(0, 3, 1, 2)  # (1, J, P, 1), channels_last
    product = F.conv2d(image, right[:, :, None, None], bias, dilation=2)  # (1, Q, P, 1)
    return product.permute(0, 2, 3, 1).reshape(rows, len(right)).contiguous()


def matmul_tn(left: Tensor, right: Tensor) -> Tensor:
    """Compute `left.t() @ right` from (J, P) and (J, Q), both contiguous: (P, Q).

    Only `left` is copied, so let it be the smaller one.
    """
    if _needs_float32(left):
        return matmul_tn(left.float(), right.float()).to(left.dtype)
    if not _suits_convolution(left):
        return left.t() @ right
    inner, columns = right.shape
    kernel = left.t().contiguous()[:, :, None, None]
    return F.conv2d(right.view(1, inner, columns, 1), kernel, dilation=2).view(-1, columns)


def _suits_convolution(left: Tensor) -> bool:
    """Tell if a product with rows of `left` is worth the preparations of a convolution."""
    is_large = len(left) >= SMALLEST_CONVOLUTION
    is_float32 = left.device.type == "cpu" and left.dtype == torch.float32
    return is_large and is_float32 and torch.backends.mkldnn.is_available()


def _needs_float32(tensor: Tensor) -> bool:
    is_half = tensor.dtype in (torch.bfloat16, torch.float16)
    return is_half and tensor.device.type == "cpu" and tensor.dtype not in _native_halves()


@functools.cache
def _native_halves() -> frozenset[torch.dtype]:
    """Return the 16-bit types that oneDNN multiplies on this processor without converting them."""
    if not torch.backends.mkldnn.is_available():
        return frozenset()
    checks = {
        torch.bfloat16: "_is_mkldnn_bf16_supported",
        torch.float16: "_is_mkldnn_fp16_supported",
    }
    return frozenset(kind for kind, name in checks.items() if getattr(torch.ops.mkldnn, name)())
