"""Small tensors that are copied to a device once."""

import pytest
import torch

from dyhead.ops import device_constants
from dyhead.ops.device_constants import device_constant

CPU = torch.device("cpu")


def test_a_constant_is_made_once_per_type():
    made = []

    def make(count):
        made.append(count)
        return range(count)

    first = device_constant(make, (3,), torch.int32, CPU)
    assert first.tolist() == [0, 1, 2]
    assert device_constant(make, (3,), torch.int32, CPU) is first
    assert device_constant(make, (3,), torch.float32, CPU).dtype == torch.float32
    assert device_constant(make, (2,), torch.int32, CPU).tolist() == [0, 1]
    assert made == [3, 3, 2]


def test_what_inference_makes_serves_training():
    with torch.inference_mode():
        constant = device_constant(tuple, ((0.5, 2.0),), torch.float32, CPU)
    factor = torch.ones(2, requires_grad=True)
    (factor * constant).sum().backward()
    assert factor.grad.tolist() == [0.5, 2.0]


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_cuda_graph_keeps_what_it_uses():
    device = torch.device("cuda", torch.cuda.current_device())
    constant = device_constant(tuple, ((1.0, 2.0),), torch.float32, device)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        doubled = 2 * device_constant(tuple, ((1.0, 2.0),), torch.float32, device)
    address = constant.data_ptr()
    del constant
    device_constants._kept.cache_clear()
    assert any(kept.data_ptr() == address for kept in device_constants._in_graphs.values())
    graph.replay()
    assert doubled.tolist() == [2.0, 4.0]
