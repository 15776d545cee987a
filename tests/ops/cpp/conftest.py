"""Every precision of float32 products, and one thread and two."""

import pytest
import torch

from dyhead.ops.cpp import extension

needs_bf16 = pytest.mark.skipif(
    not (extension.load() and torch.ops.dyhead.bf16_product_works()),
    reason="torch has no bfloat16 matrix product for this processor",
)


@pytest.fixture(params=["highest", pytest.param("high", marks=needs_bf16), "medium"])
def precision(request):
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision(request.param)
    yield request.param
    torch.set_float32_matmul_precision(before)


@pytest.fixture(params=[1, 2])
def threads(request):
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield request.param
    torch.set_num_threads(before)
