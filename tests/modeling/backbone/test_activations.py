"""In-place activations that copy nothing for the backward pass."""

import copy
from collections.abc import Callable

import pytest
import timm
import torch
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks
from torch.utils.checkpoint import checkpoint

from dyhead.modeling.backbone.activations import avoid_copies

KINDS = [nn.ReLU6, nn.SiLU, nn.Hardswish, nn.Mish]


def example() -> Tensor:
    """Values on both sides of every bound, and on them."""
    generator = torch.Generator().manual_seed(0)
    values = 4 * torch.randn(200, generator=generator, dtype=torch.float64)
    return torch.cat([values, torch.tensor([-3.0, 0.0, 3.0, 6.0], dtype=torch.float64)])


def changed(kind: Callable[..., nn.Module]) -> nn.Sequential:
    model = nn.Sequential(kind(inplace=True))
    avoid_copies(model)
    return model


@pytest.mark.parametrize("kind", KINDS)
def test_values_and_gradients_are_pytorchs(kind: type[nn.Module]) -> None:
    model, leaf = changed(kind), example().requires_grad_()
    assert isinstance(model[0], kind) and type(model[0]) is not kind
    expected = kind()(leaf)
    (gradient,) = torch.autograd.grad(expected.square().sum(), leaf)
    output = model(leaf * 1)
    assert torch.equal(output, expected)
    assert torch.equal(torch.autograd.grad(output.square().sum(), leaf)[0], gradient)


@pytest.mark.parametrize("kind", KINDS)
def test_second_derivatives_are_those_of_differences(kind: type[nn.Module]) -> None:
    leaf = example()[:20].requires_grad_()  # away from the bounds, where there are none
    assert torch.autograd.gradgradcheck(lambda maps: changed(kind)(maps * 1), leaf)


@pytest.mark.parametrize("kind", KINDS)
def test_inference_overwrites_its_input_and_training_copies_nothing(kind: type[nn.Module]) -> None:
    model, maps = changed(kind), example()
    assert model(maps).data_ptr() == maps.data_ptr()
    leaf = example().requires_grad_()
    with torch.autograd.profiler.profile() as recorded:
        model(leaf * 1)
    assert not any(event.name == "aten::clone" for event in recorded.function_events)


def test_a_frozen_part_is_computed_in_place() -> None:
    maps = example()
    with torch.enable_grad():
        assert changed(nn.SiLU)(maps).data_ptr() == maps.data_ptr()


def test_relu6_keeps_one_map_where_pytorch_keeps_two() -> None:
    def kept(model: nn.Module) -> int:
        pointers = set()

        def pack(tensor: Tensor) -> Tensor:
            pointers.add(tensor.data_ptr())
            return tensor

        maps = torch.randn(1, 2, 8, 8, requires_grad=True)
        with saved_tensors_hooks(pack, lambda tensor: tensor):
            kept_alive = model(maps)
        del kept_alive
        return len(pointers)

    torch.manual_seed(0)
    plain = nn.Sequential(nn.Conv2d(2, 2, 1), nn.ReLU6(inplace=True), nn.Conv2d(2, 2, 1))
    ours = copy.deepcopy(plain)
    avoid_copies(ours)
    # The input and two weights; between the convolutions the input of ReLU6, its output, or both.
    assert (kept(plain), kept(ours)) == (5, 4)


def test_activations_that_copy_nothing_or_work_out_of_place_are_left_alone() -> None:
    model = nn.Sequential(nn.ReLU(inplace=True), nn.LeakyReLU(inplace=True), nn.ReLU6(), nn.SiLU())
    kinds = [type(module) for module in model]
    avoid_copies(model)
    assert [type(module) for module in model] == kinds


@pytest.mark.parametrize("name", ["mobilenetv2_050", "mobilenetv3_small_050", "efficientnet_lite0"])
def test_a_model_has_the_gradients_it_had(name: str) -> None:
    torch.manual_seed(0)
    plain = timm.create_model(name, features_only=True).double()
    ours = copy.deepcopy(plain)
    avoid_copies(ours)
    recomputed = copy.deepcopy(ours)
    images = torch.rand(2, 3, 64, 64, dtype=torch.float64)
    runs = [
        (plain, plain(images)),
        (ours, ours(images)),
        (recomputed, checkpoint(recomputed, images, use_reentrant=False)),
    ]
    for _, features in runs:
        sum(feature.square().sum() for feature in features).backward()
    for parameters in zip(*(model.parameters() for model, _ in runs), strict=True):
        expected = parameters[0].grad
        for parameter in parameters[1:]:
            torch.testing.assert_close(parameter.grad, expected, rtol=1e-9, atol=1e-9)
