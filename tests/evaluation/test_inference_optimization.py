"""Optimized for inference a model predicts the same, and afterwards it is as it was."""

from pathlib import Path

import pytest
import torch
from torch import nn

from dyhead.config import load_config
from dyhead.d2.layers import Conv2d, FrozenBatchNorm2d
from dyhead.evaluation.inference_optimization import fold_frozen_norms, optimized_for_inference

CONFIG = Path(__file__).parents[2] / "configs" / "Base-ATSS-DyHead-R18-small.yaml"


def make_norm(channels: int) -> FrozenBatchNorm2d:
    norm = FrozenBatchNorm2d(channels)
    norm.weight.uniform_(0.5, 2)
    norm.bias.normal_()
    norm.running_mean.normal_()
    norm.running_var.uniform_(0.1, 3)
    return norm


def make_model(has_bias: bool = False, layout: torch.memory_format = torch.contiguous_format):
    torch.manual_seed(0)
    model = nn.Sequential(
        Conv2d(3, 8, 3, bias=has_bias, norm=make_norm(8), activation=torch.relu),
        Conv2d(8, 8, 3, bias=has_bias, norm=nn.BatchNorm2d(8)),
        Conv2d(8, 4, 1),
    )
    return model.double().eval().to(memory_format=layout)


@pytest.mark.parametrize("has_bias", [False, True])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_values_are_the_same_and_the_norm_does_not_run(has_bias, layout):
    model = make_model(has_bias, layout)
    image = torch.randn(2, 3, 9, 9, dtype=torch.float64)
    expected = model(image)
    calls = []
    model[0].norm.register_forward_hook(lambda *_: calls.append(1))
    fold_frozen_norms(model)
    assert torch.allclose(model(image), expected, atol=1e-12)
    assert model[0].weight.is_contiguous(memory_format=layout)
    assert isinstance(model[1].norm, nn.BatchNorm2d)
    assert not calls


def test_the_model_is_its_own_again_even_after_an_error():
    model = make_model()
    before = dict(model.named_parameters())
    state = {name: value.clone() for name, value in model.state_dict().items()}
    cfg, _ = load_config(str(CONFIG))
    with pytest.raises(KeyError), optimized_for_inference(cfg, model):
        assert model[0].weight is not before["0.weight"]
        raise KeyError
    assert all(value is before[name] for name, value in model.named_parameters())
    assert model.state_dict().keys() == state.keys()
    assert all(torch.equal(value, state[name]) for name, value in model.state_dict().items())


def test_what_derives_from_the_hosts_convolution_is_left_alone():
    class Other(Conv2d):
        pass

    model = nn.Sequential(Other(3, 4, 1, norm=make_norm(4)))
    fold_frozen_norms(model)
    assert isinstance(model[0].norm, FrozenBatchNorm2d)


@pytest.mark.parametrize("channels_last", [False, True])
def test_weights_are_channels_last_within_only(channels_last):
    cfg, _ = load_config(str(CONFIG), ["MODEL.CHANNELS_LAST", str(channels_last)])
    model = make_model()
    image = torch.randn(2, 3, 9, 9, dtype=torch.float64)
    expected, before = model(image), [(p, p.data_ptr(), p.stride()) for p in model.parameters()]
    with optimized_for_inference(cfg, model):
        last = model[1].weight.is_contiguous(memory_format=torch.channels_last)
        assert last == channels_last
        assert model[0].norm is None
        assert torch.allclose(model(image), expected, atol=1e-12)
    after = [(p, p.data_ptr(), p.stride()) for p in model.parameters()]
    assert all(a[0] is b[0] and a[1:] == b[1:] for a, b in zip(after, before, strict=True))
