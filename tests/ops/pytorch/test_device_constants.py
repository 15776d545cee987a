"""Small tensors that are copied to a device once."""

from types import SimpleNamespace

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode

from dyhead.ops.pytorch import device_constants
from dyhead.ops.pytorch.device_constants import device_constant

LIKE = torch.empty(0)


def test_a_constant_is_made_once_per_type():
    made = []

    def make(count):
        made.append(count)
        return range(count)

    first = device_constant(make, (3,), LIKE, torch.int32)
    assert first.tolist() == [0, 1, 2]
    assert device_constant(make, (3,), LIKE, torch.int32) is first
    assert device_constant(make, (3,), LIKE).dtype == torch.float32
    assert device_constant(make, (2,), LIKE, torch.int32).tolist() == [0, 1]
    assert made == [3, 3, 2]


def test_what_inference_makes_serves_training():
    with torch.inference_mode():
        constant = device_constant(tuple, ((0.5, 2.0),), LIKE)
    factor = torch.ones(2, requires_grad=True)
    (factor * constant).sum().backward()
    assert factor.grad.tolist() == [0.5, 2.0]


def test_tensors_without_data_are_not_kept():
    with FakeTensorMode():
        fake = device_constant(tuple, ((7.0, 8.0),), torch.empty(0))
        assert isinstance(fake, FakeTensor)
    assert type(device_constant(tuple, ((7.0, 8.0),), LIKE)) is torch.Tensor


def test_a_copy_may_end_in_another_thread_while_it_is_asked_for(monkeypatch):
    waited = []

    class Event:
        def query(self):
            constant._copied = None  # as another thread does that has seen it end
            return False

    constant = object.__new__(device_constants._Copied)
    constant._tensor = SimpleNamespace(is_cuda=True, device=torch.device("cuda:0"))
    constant._copied = event = Event()
    stream = SimpleNamespace(wait_event=waited.append)
    for name in ("current_stream", "default_stream"):
        monkeypatch.setattr(torch.cuda, name, lambda device: stream)
    monkeypatch.setattr(torch.cuda, "is_current_stream_capturing", lambda: False)
    assert constant.on_current_stream() is constant._tensor
    assert waited == [event]


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_cuda_graph_keeps_what_it_uses():
    like = torch.empty(0, device="cuda")
    constant = device_constant(tuple, ((1.0, 2.0),), like)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        doubled = 2 * device_constant(tuple, ((1.0, 2.0),), like)
    address = constant.data_ptr()
    del constant
    device_constants._kept.cache_clear()
    assert any(kept.data_ptr() == address for kept in device_constants._in_graphs.values())
    graph.replay()
    assert doubled.tolist() == [2.0, 4.0]
