"""Triton is trusted where it agrees; elsewhere the log says why not."""

import os
import threading

import pytest
import torch

from dyhead.ops.triton import branch_mix as triton_branch_mix
from dyhead.ops.triton import deform_conv as triton_deform_conv
from dyhead.ops.triton import self_check

GPU = torch.device("cuda", 0)
MODULES = {"convolution uses torchvision": triton_deform_conv, "plain PyTorch": triton_branch_mix}


@pytest.fixture(autouse=True)
def forget():
    self_check._passes.cache_clear()
    yield
    self_check._passes.cache_clear()


@pytest.fixture
def new_gpu(monkeypatch):
    monkeypatch.setattr(self_check, "is_installed", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (9, 0))


@pytest.mark.skipif(os.environ.get("TRITON_INTERPRET") == "1", reason="Triton is interpreted")
@pytest.mark.parametrize("module", MODULES.values())
def test_does_not_serve_cpu_and_says_nothing(module, caplog):
    assert not module.serves(torch.device("cpu"))
    assert not caplog.records


@pytest.mark.parametrize("instead", MODULES)
def test_without_triton_one_warning_says_what_serves_instead(instead, monkeypatch, caplog):
    monkeypatch.setattr(self_check, "is_installed", lambda: False)
    assert not MODULES[instead].serves(GPU)
    assert not MODULES[instead].serves(GPU)
    assert len(caplog.records) == 1
    assert f"{instead} instead of Triton on cuda:0: Triton is not installed." in caplog.text


def test_an_old_gpu_is_refused(monkeypatch, new_gpu, caplog):
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (7, 5))
    assert not triton_deform_conv.serves(GPU)
    assert "capability 8.0" in caplog.text


def test_a_failing_self_check_is_a_warning_not_an_error(new_gpu, caplog):
    def fail(device, dtype):
        raise RuntimeError("no C compiler")

    assert not self_check.passes_check(GPU, fail, "This uses that")
    assert "This uses that instead of Triton on cuda:0" in caplog.text
    assert "RuntimeError: no C compiler" in caplog.text


@pytest.mark.parametrize("wrong", [1.1, float("nan")])
def test_results_that_differ_are_found(wrong, new_gpu, caplog):
    def differ(device, dtype):
        return [torch.ones(2), torch.full((3,), wrong)], [torch.ones(2), torch.ones(3)]

    assert not self_check.passes_check(GPU, differ, "This uses that")
    assert "torch.float32 results differ" in caplog.text


def test_running_out_of_memory_says_nothing_about_the_kernels(new_gpu):
    def exhaust(device, dtype):
        raise torch.OutOfMemoryError("full")

    with pytest.raises(torch.OutOfMemoryError):
        self_check.passes_check(GPU, exhaust, "This uses that")


def test_agreeing_results_pass_whatever_modes_are_on(new_gpu):
    asked = []

    def agree(device, dtype):
        asked.append((dtype, torch.is_grad_enabled(), torch.is_autocast_enabled("cpu")))
        return [torch.ones(2, dtype=dtype)], [torch.ones(2)]

    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
        assert self_check.passes_check(GPU, agree, "This uses that")
        assert self_check.passes_check(GPU, agree, "This uses that")
    assert asked == [(torch.float32, True, False), (torch.bfloat16, True, False)]


def test_results_are_compared_where_they_were_computed(new_gpu):
    """A GPU's current stream is a thread's own: on another one nothing would wait for them."""
    computed, compared = [], []

    class Watched(torch.Tensor):
        @classmethod
        def __torch_function__(cls, function, types, args=(), kwargs=None):
            compared.append(threading.get_ident())
            return super().__torch_function__(function, types, args, kwargs)

    def agree(device, dtype):
        computed.append(threading.get_ident())
        return [torch.ones(2, dtype=dtype).as_subclass(Watched)], [torch.ones(2)]

    assert self_check.passes_check(GPU, agree, "This uses that")
    assert compared
    assert set(compared) <= set(computed)
