"""Which deformable convolution is chosen, and what is said about it."""

import pytest
import torch

from dyhead.ops import BACKENDS, backends, choose_backend, modulated_deform_conv2d
from dyhead.ops import set_default_backend as set_default
from dyhead.ops.cpp import extension

CPU, CUDA = torch.device("cpu"), torch.device("cuda", 0)


@pytest.fixture(autouse=True)
def fresh(monkeypatch):
    """No wish, no memory of earlier choices, and none left behind."""
    for variable in ("DYHEAD_DEFORM_CONV", "DYHEAD_CPP", "TRITON_INTERPRET"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setattr(backends, "_logged", set())
    forget()
    set_default("")
    yield
    set_default("")
    forget()


def forget():
    backends._automatic.cache_clear()
    backends.why_not.cache_clear()


def pretend(monkeypatch, cpp=False, triton=False, torchvision=True):
    """Which back ends this machine has."""
    served = {"triton": triton, "torchvision": torchvision}
    monkeypatch.setattr(backends, "_served_by", lambda name, device: served[name])
    monkeypatch.setattr(extension, "load", lambda: cpp)
    forget()


@pytest.mark.parametrize(("cpp", "expected"), [(True, "cpp"), (False, "bags")])
def test_cpu_takes_the_extension_where_it_can_be_built(monkeypatch, cpp, expected):
    pretend(monkeypatch, cpp=cpp)
    assert choose_backend(CPU) == expected


@pytest.mark.parametrize(
    ("triton", "torchvision", "expected"),
    [(True, True, "triton"), (False, True, "torchvision"), (False, False, "bags")],
)
def test_cuda_takes_triton_where_it_works(monkeypatch, triton, torchvision, expected):
    pretend(monkeypatch, triton=triton, torchvision=torchvision)
    assert choose_backend(CUDA) == expected


def test_other_devices_take_plain_pytorch(monkeypatch):
    pretend(monkeypatch, cpp=True, triton=True)
    assert choose_backend(torch.device("mps")) == "bags"


def test_argument_before_variable_before_config(monkeypatch):
    pretend(monkeypatch, cpp=True)
    set_default("torchvision")
    assert choose_backend(CPU) == "torchvision"
    monkeypatch.setenv("DYHEAD_DEFORM_CONV", "bags")
    assert choose_backend(CPU) == "bags"
    assert choose_backend(CPU, "cpp") == "cpp"
    monkeypatch.setenv("DYHEAD_DEFORM_CONV", "")
    set_default("")
    assert choose_backend(CPU) == "cpp"


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16])
def test_types_without_a_kernel_go_to_another_back_end(monkeypatch, dtype):
    pretend(monkeypatch, cpp=True, triton=True)
    assert choose_backend(CPU, dtype=dtype) == "bags"
    expected = "torchvision" if dtype == torch.float64 else "triton"
    assert choose_backend(CUDA, dtype=dtype) == expected


def test_unknown_names_are_refused_with_their_origin(monkeypatch):
    names = "bags, torchvision, cpp, triton"
    with pytest.raises(ValueError, match=f"MODEL.DEFORM_CONV_BACKEND 'cudnn'.*{names}"):
        set_default("cudnn")
    with pytest.raises(ValueError, match=f"backend='cudnn'.*{names}"):
        choose_backend(CPU, "cudnn")
    monkeypatch.setenv("DYHEAD_DEFORM_CONV", "fast")
    with pytest.raises(ValueError, match=f"DYHEAD_DEFORM_CONV='fast'.*{names}"):
        choose_backend(CPU)


@pytest.mark.parametrize(
    ("name", "device", "reason"),
    [
        ("cpp", CPU, "C\\+\\+ compiler"),
        ("cpp", CUDA, "computes on the CPU, not on cuda"),
        ("triton", CPU, "needs a CUDA device, not cpu"),
        ("triton", CUDA, "Triton is not installed|Triton's kernels fail"),
        ("torchvision", CUDA, "without a kernel for cuda"),
    ],
)
def test_a_back_end_that_cannot_serve_is_an_error_and_not_replaced(
    monkeypatch, name, device, reason
):
    pretend(monkeypatch, torchvision=False)
    with pytest.raises(ValueError, match=f"backend='{name}' cannot be served: .*({reason})"):
        choose_backend(device, name)
    set_default(name)
    with pytest.raises(ValueError, match=f"MODEL.DEFORM_CONV_BACKEND '{name}' cannot be served"):
        choose_backend(device)


def test_extension_that_is_turned_off_says_so(monkeypatch):
    monkeypatch.setenv("DYHEAD_CPP", "0")
    assert choose_backend(CPU) == "bags"
    with pytest.raises(ValueError, match="cpp.*DYHEAD_CPP=0"):
        choose_backend(CPU, "cpp")


def test_triton_serves_the_cpu_under_its_interpreter(monkeypatch):
    pretend(monkeypatch, triton=True)
    monkeypatch.setenv("TRITON_INTERPRET", "1")
    assert choose_backend(CPU, "triton") == "triton"
    assert choose_backend(CPU) == "bags"


def test_log_names_device_choice_and_reason_once(monkeypatch, caplog):
    pretend(monkeypatch)
    arguments = [torch.rand(shape) for shape in ((1, 2, 3, 3), (1, 2, 3, 3), (1, 1, 3, 3))]
    with caplog.at_level("INFO", "dyhead"):
        for _ in range(2):
            modulated_deform_conv2d(*arguments, torch.rand(2, 2, 1, 1))
            modulated_deform_conv2d(*arguments, torch.rand(2, 2, 1, 1), backend="torchvision")
    assert [record.getMessage() for record in caplog.records] == [
        "Deformable convolutions on cpu: bags (chosen automatically)",
        "Deformable convolutions on cpu: torchvision (backend)",
    ]


def test_every_back_end_has_its_two_functions():
    for name in BACKENDS:
        assert callable(backends.implementation(name))
        assert callable(backends.gradients(name))
