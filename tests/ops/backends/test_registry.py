"""The choice of a deformable convolution, and the log lines about it."""

import pytest
import torch

from dyhead.ops import (
    BACKENDS,
    DeformConv,
    choose_backend,
    foreach_deform_conv_with_moments,
    modulated_deform_conv2d,
    register_backend,
)
from dyhead.ops import set_default_backend as set_default
from dyhead.ops import torchvision as torchvision_module
from dyhead.ops.backends import Backend, pack_once, registry
from dyhead.ops.cpp import extension
from dyhead.ops.triton import deform_conv as triton_module

CPU, CUDA = torch.device("cpu"), torch.device("cuda", 0)


@pytest.fixture(autouse=True)
def fresh(monkeypatch):
    """No wish, no memory of earlier choices, and none left behind."""
    for variable in ("DYHEAD_DEFORM_CONV", "DYHEAD_CPP", "TRITON_INTERPRET"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setattr(registry, "_logged", set())
    registry.why_not.cache_clear()
    set_default("")
    yield
    set_default("")
    registry.why_not.cache_clear()


def pretend(monkeypatch, cpp=False, triton=False, torchvision=True):
    """Let this machine seem to have these back ends."""
    monkeypatch.setattr(extension, "load", lambda: cpp)
    monkeypatch.setattr(torchvision_module, "has_kernel", lambda device: torchvision)
    monkeypatch.setattr(triton_module, "is_installed", lambda: True)
    monkeypatch.setattr(triton_module, "serves", lambda device: triton)
    registry.why_not.cache_clear()


@pytest.mark.parametrize(("cpp", "expected"), [(True, "cpp"), (False, "pytorch")])
def test_cpu_takes_the_extension_where_it_can_be_built(monkeypatch, cpp, expected):
    pretend(monkeypatch, cpp=cpp)
    assert choose_backend(CPU) == expected


@pytest.mark.parametrize(
    ("triton", "torchvision", "expected"),
    [(True, True, "triton"), (False, True, "torchvision"), (False, False, "pytorch")],
)
def test_cuda_takes_triton_where_it_works(monkeypatch, triton, torchvision, expected):
    pretend(monkeypatch, triton=triton, torchvision=torchvision)
    assert choose_backend(CUDA) == expected


def test_other_devices_take_plain_pytorch(monkeypatch):
    pretend(monkeypatch, cpp=True, triton=True)
    assert choose_backend(torch.device("mps")) == "pytorch"


def test_argument_before_variable_before_config(monkeypatch):
    pretend(monkeypatch, cpp=True)
    set_default("torchvision")
    assert choose_backend(CPU) == "torchvision"
    monkeypatch.setenv("DYHEAD_DEFORM_CONV", "pytorch")
    assert choose_backend(CPU) == "pytorch"
    assert choose_backend(CPU, "cpp") == "cpp"
    monkeypatch.setenv("DYHEAD_DEFORM_CONV", "")
    set_default("")
    assert choose_backend(CPU) == "cpp"


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16])
def test_types_without_a_kernel_go_to_another_back_end(monkeypatch, dtype):
    pretend(monkeypatch, cpp=True, triton=True)
    assert choose_backend(CPU, dtype=dtype) == "pytorch"
    expected = "torchvision" if dtype == torch.float64 else "triton"
    assert choose_backend(CUDA, dtype=dtype) == expected


def test_unknown_names_are_refused_with_their_origin(monkeypatch):
    names = "pytorch, torchvision, cpp, triton"
    with pytest.raises(ValueError, match=f"DEFORM_CONV_BACKEND 'cudnn' is no back end.*{names}"):
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
        ("triton", CUDA, "Triton's kernels fail"),
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
    assert choose_backend(CPU) == "pytorch"
    with pytest.raises(ValueError, match="cpp.*DYHEAD_CPP=0"):
        choose_backend(CPU, "cpp")


def test_triton_serves_the_cpu_under_its_interpreter(monkeypatch):
    pretend(monkeypatch, triton=True)
    monkeypatch.setenv("TRITON_INTERPRET", "1")
    assert choose_backend(CPU, "triton") == "triton"
    assert choose_backend(CPU) == "pytorch"


def test_log_names_device_choice_and_reason_once(monkeypatch, caplog):
    pretend(monkeypatch)
    arguments = [torch.rand(shape) for shape in ((1, 2, 3, 3), (1, 2, 3, 3), (1, 1, 3, 3))]
    with caplog.at_level("INFO", "dyhead"):
        for _ in range(2):
            modulated_deform_conv2d(*arguments, torch.rand(2, 2, 1, 1))
            modulated_deform_conv2d(*arguments, torch.rand(2, 2, 1, 1), backend="torchvision")
    assert [record.getMessage() for record in caplog.records] == [
        "Deformable convolutions on cpu: pytorch (chosen automatically)",
        "Deformable convolutions on cpu: torchvision (backend)",
    ]


@pytest.mark.parametrize("way", ["argument", "variable", "config"])
def test_the_old_name_of_plain_pytorch_is_read_and_said_once(monkeypatch, caplog, way):
    registry._warn_of_old_name.cache_clear()
    argument = "bags" if way == "argument" else None
    if way == "variable":
        monkeypatch.setenv("DYHEAD_DEFORM_CONV", "bags")
    if way == "config":
        set_default("bags")
    assert [choose_backend(CPU, argument) for _ in range(2)] == ["pytorch", "pytorch"]
    warnings = [line.getMessage() for line in caplog.records if line.levelname == "WARNING"]
    assert warnings == ["Deformable convolutions: 'bags' is now called 'pytorch'"]


class Doubling(Backend):
    """A back end of somebody else's: plain PyTorch's results, doubled."""

    name = "doubling"
    dtypes = (torch.float32,)
    chosen_on = ("cpu",)

    def forward(self, convolutions, packed):
        return [2 * output for output in BACKENDS["pytorch"].forward(convolutions, packed)]

    def gradients(self, grads, convolutions, needed):
        doubled = [2 * grad for grad in grads]
        return BACKENDS["pytorch"].gradients(doubled, convolutions, needed)


def test_a_back_end_that_is_registered_is_chosen_and_differentiated(monkeypatch):
    monkeypatch.setattr(registry, "BACKENDS", dict(BACKENDS))
    monkeypatch.setattr("dyhead.ops.deform_conv.BACKENDS", registry.BACKENDS)
    register_backend(Doubling())
    shapes = ((1, 2, 3, 3), (1, 2, 3, 3), (1, 1, 3, 3), (2, 2, 1, 1))
    tensors = [torch.rand(shape, requires_grad=True) for shape in shapes]
    output = modulated_deform_conv2d(*tensors)
    plain = modulated_deform_conv2d(*tensors, backend="pytorch")
    torch.testing.assert_close(output, 2 * plain)
    ours, theirs = (torch.autograd.grad(result.sum(), tensors) for result in (output, plain))
    torch.testing.assert_close(ours, tuple(2 * grad for grad in theirs))
    assert foreach_deform_conv_with_moments([DeformConv(*tensors)], [(3, 3)])[1] is None
    assert choose_backend(CPU, dtype=torch.float64) == "pytorch"


@pytest.mark.parametrize("missing", ["forward", "gradients"])
def test_a_back_end_without_a_required_method_cannot_be_made(missing):
    methods = {"forward": Doubling.forward, "gradients": Doubling.gradients}
    del methods[missing]
    with pytest.raises(TypeError, match=f"Incomplete.*{missing}"):
        type("Incomplete", (Backend,), {"name": "incomplete", **methods})()


def test_a_kernel_is_packed_once_for_each_form():
    calls, packed = [], {}

    def pack(weight, form):
        calls.append(form)
        return 2 * weight

    kernel, other = torch.ones(2), torch.zeros(2)
    for weight, form in ((kernel, "a"), (kernel, "a"), (kernel, "b"), (other, "a")):
        assert torch.equal(*pack_once(packed, [weight], form, pack), 2 * weight)
    assert calls == ["a", "b", "a"]


def test_a_new_kernel_never_gets_what_an_old_one_left():
    packed = {}
    for number in range(10):  # freed tensors' identities come back
        weight = torch.full((2,), float(number))
        (doubled,) = pack_once(packed, [weight], "", lambda weight, _: 2 * weight)
        assert torch.equal(doubled, 2 * weight)


@pytest.mark.parametrize("backend", ["pytorch", "cpp"])
def test_calls_that_share_packed_kernels_pack_once(backend):
    if reason := registry.why_not(backend, CPU):
        pytest.skip(reason)
    shapes = ((1, 2, 3, 3), (1, 2, 3, 3), (1, 1, 3, 3), (2, 2, 1, 1))
    call, packed = DeformConv(*map(torch.rand, shapes)), {}
    for _ in range(2):
        (output,), _ = foreach_deform_conv_with_moments([call], [(3, 3)], backend, packed)
        torch.testing.assert_close(output, modulated_deform_conv2d(*call, backend="torchvision"))
        ((_, form),) = packed.values()
    packed[next(iter(packed))] = call.weight, torch.zeros_like(form)
    (output,), _ = foreach_deform_conv_with_moments([call], [(3, 3)], backend, packed)
    assert not output.any()  # what is there is taken, and nothing packed again
