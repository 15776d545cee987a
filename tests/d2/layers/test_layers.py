"""Properties of the host's layers."""

import copy

import pytest
import torch
import torchvision
from torch import nn

from dyhead.d2.layers import (
    CNNBlockBase,
    Conv2d,
    DepthwiseSeparableConv2d,
    FrozenBatchNorm2d,
    ShapeSpec,
    batched_nms,
    cat,
    ciou_loss,
    diou_loss,
    empty_input_loss_func_wrapper,
    get_norm,
    nonzero_tuple,
)

DEVICES = ["cpu"] + (["cuda"] if torch.cuda.is_available() else [])


def random_batch_norm(channels: int = 8) -> nn.BatchNorm2d:
    torch.manual_seed(0)
    norm = nn.BatchNorm2d(channels, eps=1e-3)
    for values in (norm.weight, norm.bias, norm.running_mean, norm.running_var):
        values.data.uniform_(0.5, 2.0)
    return norm.eval()


def frozen_from(norm: nn.BatchNorm2d) -> nn.Module:
    return FrozenBatchNorm2d.convert_frozen_batchnorm(copy.deepcopy(norm))


def test_shape_spec_is_unknown_unless_said():
    assert ShapeSpec(channels=3) == ShapeSpec(3, None, None, None)
    assert ShapeSpec(stride=8).channels is None


def test_cat_does_not_copy_a_single_tensor():
    x = torch.rand(2, 3)
    assert cat([x]) is x
    assert torch.equal(cat([x, x], dim=1), torch.cat([x, x], dim=1))


@pytest.mark.parametrize("x", [torch.tensor([0, 3, 0, 1]), torch.eye(3), torch.tensor(2.0)])
def test_nonzero_tuple_indexes_the_non_zero_elements(x):
    indices = nonzero_tuple(x)
    assert len(indices) == max(x.dim(), 1)
    assert torch.equal(torch.atleast_1d(x)[indices], x[x != 0].reshape(-1))


def test_conv_applies_norm_then_activation():
    torch.manual_seed(0)
    norm = random_batch_norm(4)
    conv = Conv2d(3, 4, 3, padding=1, bias=False, norm=norm, activation=torch.relu)
    x = torch.randn(2, 3, 5, 6)
    plain = nn.functional.conv2d(x, conv.weight, padding=1)
    torch.testing.assert_close(conv(x), torch.relu(norm(plain)))
    assert {"weight", "norm.weight", "norm.running_var"} <= conv.state_dict().keys()


@pytest.mark.parametrize("norm", ["", "FrozenBN", "GN"])
def test_conv_takes_an_empty_batch(norm):
    conv = Conv2d(3, 32, 3, stride=2, padding=1, norm=get_norm(norm, 32))
    output = conv(torch.zeros(0, 3, 8, 8))
    assert output.shape == (0, 32, 4, 4)
    output.sum().backward()
    assert not conv.weight.grad.any()


@pytest.mark.parametrize(
    ("norm", "kind"),
    [
        ("BN", nn.BatchNorm2d),
        ("SyncBN", nn.SyncBatchNorm),
        ("FrozenBN", FrozenBatchNorm2d),
        ("GN", nn.GroupNorm),
        (nn.InstanceNorm2d, nn.InstanceNorm2d),
    ],
)
def test_get_norm_gives_the_named_layer(norm, kind):
    assert isinstance(get_norm(norm, 64), kind)


def test_get_norm_has_32_groups_and_no_norm_at_all():
    assert get_norm("GN", 64).num_groups == 32
    assert get_norm("", 64) is None
    assert get_norm(None, 64) is None


def test_unknown_norm_is_refused():
    with pytest.raises((KeyError, ValueError), match="BatchNorm9"):
        get_norm("BatchNorm9", 64)


def test_layer_norm_is_over_channels():
    norm = get_norm("LN", 6)
    x = torch.randn(2, 6, 3, 4) * 5 + 1
    y = norm(x)
    torch.testing.assert_close(y.mean(dim=1), torch.zeros(2, 3, 4), atol=1e-5, rtol=0)
    torch.testing.assert_close(y.var(dim=1, unbiased=False), torch.ones(2, 3, 4))
    assert norm.state_dict().keys() == {"weight", "bias"}


def test_frozen_norm_starts_as_identity_with_buffers_only():
    norm = FrozenBatchNorm2d(5)
    x = torch.randn(2, 5, 3, 3)
    torch.testing.assert_close(norm(x), x)
    assert list(norm.parameters()) == []
    assert set(norm.state_dict()) == {"weight", "bias", "running_mean", "running_var"}


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("requires_grad", [False, True])
def test_frozen_norm_is_batch_norm_in_evaluation(device, requires_grad):
    norm = random_batch_norm().to(device)
    frozen = frozen_from(norm).to(device).train()
    x = torch.randn(2, 8, 4, 5, device=device, requires_grad=requires_grad)
    reference = x.detach().clone().requires_grad_(requires_grad)
    y, expected = frozen(x), norm(reference)
    torch.testing.assert_close(y, expected)
    if requires_grad:
        weights = torch.randn_like(y)
        (y * weights).sum().backward()
        (expected * weights).sum().backward()
        torch.testing.assert_close(x.grad, reference.grad)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("requires_grad", [False, True])
def test_frozen_norm_keeps_the_type_of_its_input(device, requires_grad):
    frozen = frozen_from(random_batch_norm()).to(device)
    half = torch.float16 if device == "cuda" else torch.bfloat16
    x = torch.randn(1, 8, 3, 3, device=device).to(half).requires_grad_(requires_grad)
    with torch.autocast(device, dtype=half):
        assert frozen(x).dtype == half


def test_frozen_norm_does_not_learn():
    model = nn.Sequential(nn.Conv2d(3, 8, 3), frozen_from(random_batch_norm())).train()
    before = copy.deepcopy(model[1].state_dict())
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    model(torch.randn(2, 3, 6, 6)).square().sum().backward()
    assert model[0].weight.grad.abs().sum() > 0
    optimizer.step()
    for name, value in model[1].state_dict().items():
        assert torch.equal(value, before[name]), name


def test_conversion_reaches_nested_layers_and_nothing_else():
    model = nn.Sequential(
        nn.Conv2d(3, 8, 1),
        nn.Sequential(random_batch_norm(), nn.GroupNorm(2, 8)),
        nn.SyncBatchNorm(8),
    ).eval()
    x = torch.randn(1, 3, 4, 4)
    expected = model(x)
    assert FrozenBatchNorm2d.convert_frozen_batchnorm(model) is model
    assert isinstance(model[1][0], FrozenBatchNorm2d)
    assert isinstance(model[1][1], nn.GroupNorm)
    assert isinstance(model[2], FrozenBatchNorm2d)
    torch.testing.assert_close(model.train()(x), expected)


def test_conversion_handles_a_norm_without_scale_and_shift():
    norm = nn.BatchNorm2d(4, affine=False)
    norm.running_mean.uniform_()
    x = torch.randn(2, 4, 3, 3)
    torch.testing.assert_close(frozen_from(norm)(x), norm.eval()(x))


def test_frozen_norm_loads_weights_with_folded_statistics():
    frozen = FrozenBatchNorm2d(3)
    frozen.running_mean.fill_(9.0)
    missing, unexpected = frozen.load_state_dict(
        {"weight": torch.full((3,), 2.0), "bias": torch.ones(3)}, strict=False
    )
    assert not missing
    assert not unexpected
    x = torch.randn(1, 3, 2, 2)
    torch.testing.assert_close(frozen(x), 2 * x + 1, atol=1e-4, rtol=1e-4)


def test_frozen_norm_loads_a_batch_norm_and_back():
    norm = random_batch_norm()
    frozen = FrozenBatchNorm2d(8, eps=norm.eps)
    frozen.load_state_dict(norm.state_dict(), strict=False)
    x = torch.randn(1, 8, 2, 2)
    torch.testing.assert_close(frozen(x), norm(x))
    again = nn.BatchNorm2d(8, eps=norm.eps).eval()
    again.load_state_dict(frozen.state_dict(), strict=False)
    torch.testing.assert_close(again(x), norm(x))


def test_freezing_a_block_stops_gradients_and_statistics():
    class Block(CNNBlockBase):
        def __init__(self):
            super().__init__(3, 8, 2)
            self.conv = Conv2d(3, 8, 3, stride=2, padding=1, norm=nn.BatchNorm2d(8))

        def forward(self, x):
            return self.conv(x)

    block = Block()
    assert (block.in_channels, block.out_channels, block.stride) == (3, 8, 2)
    x = torch.randn(4, 3, 8, 8)
    expected = block.eval()(x)
    assert block.freeze() is block
    assert not any(parameter.requires_grad for parameter in block.parameters())
    torch.testing.assert_close(block.train()(x), expected)
    torch.testing.assert_close(block(x), expected)


def test_nms_keeps_the_best_of_each_class():
    boxes = torch.tensor([[0, 0, 10, 10], [1, 1, 10, 10], [0, 0, 10, 10], [50, 50, 60, 60]])
    scores = torch.tensor([0.6, 0.9, 0.5, 0.7])
    classes = torch.tensor([0, 0, 1, 0])
    keep = batched_nms(boxes.float(), scores, classes, 0.5)
    assert keep.tolist() == [1, 3, 2]


def test_nms_tells_classes_apart_in_half_precision():
    boxes = torch.tensor([[1000.0, 1000.0, 1004.0, 1004.0]]).repeat(2, 1).half()
    keep = batched_nms(boxes, torch.tensor([0.9, 0.8]), torch.tensor([0, 79]), 0.5)
    assert keep.tolist() == [0, 1]


def test_nms_of_nothing_is_nothing():
    keep = batched_nms(torch.zeros(0, 4), torch.zeros(0), torch.zeros(0, dtype=torch.long), 0.5)
    assert keep.shape == (0,)
    assert keep.dtype == torch.long


def test_a_wrapped_loss_is_zero_on_no_target_with_a_gradient():
    loss = empty_input_loss_func_wrapper(nn.functional.cross_entropy)
    logits = torch.zeros(0, 3, requires_grad=True)
    value = loss(logits, torch.zeros(0, dtype=torch.long))
    value.backward()
    assert value == 0 and logits.grad is not None
    logits, target = torch.randn(4, 3), torch.tensor([0, 2, 1, 1])
    assert loss(logits, target) == nn.functional.cross_entropy(logits, target)


def test_a_depthwise_separable_convolution_is_two_convolutions():
    torch.manual_seed(0)
    activations = {"activation1": torch.relu, "activation2": torch.tanh}
    conv = DepthwiseSeparableConv2d(4, 6, norm1="BN", **activations).eval()
    x = torch.randn(2, 4, 7, 8)
    first = nn.functional.conv2d(x, conv.depthwise.weight, padding=1, groups=4)
    first = torch.relu(conv.depthwise.norm(first))
    expected = nn.functional.conv2d(first, conv.pointwise.weight, conv.pointwise.bias)
    torch.testing.assert_close(conv(x), torch.tanh(expected))
    assert conv.depthwise.bias is None and conv.pointwise.bias is not None


@pytest.mark.parametrize(
    ("loss", "reference"),
    [
        (ciou_loss, torchvision.ops.complete_box_iou_loss),
        (diou_loss, torchvision.ops.distance_box_iou_loss),
    ],
)
def test_box_losses_are_torchvisions(loss, reference):
    boxes = torch.tensor([[0.0, 0, 10, 12], [3, 4, 30, 20]])
    others = torch.tensor([[1.0, 2, 9, 15], [10, 4, 25, 40]])
    torch.testing.assert_close(loss(boxes, others), reference(boxes, others))
    summed = reference(boxes, others, reduction="sum")
    torch.testing.assert_close(loss(boxes, others, reduction="sum"), summed)
