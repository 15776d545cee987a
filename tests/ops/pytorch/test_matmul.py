"""The products behind the deformable convolution."""

import pytest
import torch

from dyhead.ops.pytorch import matmul
from dyhead.ops.pytorch.matmul import matmul_nt, matmul_tn


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(
    ("rows", "inner", "columns"),
    [(1, 1, 1), (5, 7, 3), (1, 9, 4), (40, 2, 1), (64, 5, 1), (130, 70, 33), (3, 100, 5)],
)
def test_equals_torchs_product(rows, inner, columns, dtype):
    torch.manual_seed(0)
    left, right = torch.randn(rows, inner, dtype=dtype), torch.randn(inner, columns, dtype=dtype)
    expected = left @ right
    for product in (
        matmul_nt(left, right.t().contiguous()),
        matmul_tn(left.t().contiguous(), right),
    ):
        torch.testing.assert_close(product, expected)
        assert product.is_contiguous()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_bias_is_added_to_every_row(dtype):
    torch.manual_seed(0)
    for rows in (5, 100):
        left, right, bias = (torch.randn(size, dtype=dtype) for size in ((rows, 7), (3, 7), (3,)))
        torch.testing.assert_close(matmul_nt(left, right, bias), left @ right.t() + bias)


@pytest.mark.parametrize("native", [True, False])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("rows", [3, 100])
def test_sums_of_16_bit_products_are_rounded_once(rows, dtype, native, monkeypatch):
    """A sum of 4096 ones and a small rest, which 16 bits would lose on the way."""
    if not native:
        monkeypatch.setattr(matmul, "_native_halves", lambda: frozenset())
    ones, rest = torch.ones(rows, 4096, dtype=dtype), torch.full((2, 4096), 2.0**-9, dtype=dtype)
    expected = torch.full((rows, 2), 8.0, dtype=dtype)
    for product in (matmul_nt(ones, rest), matmul_tn(ones.t().contiguous(), rest.t().contiguous())):
        assert product.dtype == dtype
        torch.testing.assert_close(product, expected)
    bias = torch.tensor([1.0, -8.0], dtype=dtype)
    torch.testing.assert_close(matmul_nt(ones, rest, bias), expected + bias)
