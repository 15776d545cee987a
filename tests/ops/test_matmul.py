"""The products behind the deformable convolution."""

import pytest
import torch

from dyhead.ops.matmul import matmul_nt, matmul_tn


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(
    ("rows", "inner", "columns"), [(1, 1, 1), (5, 7, 3), (1, 9, 4), (40, 2, 1)]
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
