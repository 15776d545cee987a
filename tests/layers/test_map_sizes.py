"""Maps of other sizes: the official kernel's reading of offset maps, and maps of one column."""

import pytest
import torch
import torch.nn.functional as F

from dyhead.layers.map_sizes import READINGS, flat_read, read_at_size, widened


def test_reads_each_samples_memory_from_its_beginning():
    offsets = torch.arange(2 * 3 * 4 * 5).view(2, 3, 4, 5)
    read = flat_read(offsets, 2, 3)
    for sample in range(2):
        memory = offsets[sample].flatten().tolist()
        for channel in range(3):
            for y in range(2):
                for x in range(3):
                    assert read[sample, channel, y, x] == memory[(channel * 2 + y) * 3 + x]


def test_memory_format_does_not_change_the_reading():
    offsets = torch.randn(2, 3, 4, 5)
    expected = flat_read(offsets, 2, 3)
    assert flat_read(offsets.to(memory_format=torch.channels_last), 2, 3).equal(expected)
    wider = torch.cat((offsets, offsets), dim=1)
    assert flat_read(wider[:, :3], 2, 3).equal(expected)


@pytest.mark.parametrize("reading", READINGS)
@pytest.mark.parametrize("size", [(4, 5), (1, 1)])
def test_maps_of_the_size_wanted_keep_their_values(reading, size):
    offset, mask = torch.randn(2, 18, *size), torch.rand(2, 9, *size)
    read = read_at_size(reading, offset, mask, *size)
    assert read[0].equal(offset) and read[1].equal(mask)


def test_gradient_reaches_only_what_was_read():
    offsets = torch.randn(1, 3, 4, 5, requires_grad=True)
    flat_read(offsets, 2, 3).sum().backward()
    assert offsets.grad.flatten().tolist() == [1] * 18 + [0] * 42


@pytest.mark.parametrize("height", [1, 2, 5])
def test_a_column_of_zeros_changes_no_value_and_no_gradient(height: int) -> None:
    torch.manual_seed(0)
    feature = torch.randn(2, 4, height, 1, dtype=torch.float64, requires_grad=True)
    weight = torch.randn(4, 4, 3, 3, dtype=torch.float64, requires_grad=True)
    outputs, gradients = [], []
    for each in (feature, widened(feature)):
        output = F.conv2d(each, weight, stride=2, padding=1)
        gradients.append(torch.autograd.grad(output.square().sum(), (feature, weight)))
        outputs.append(output)
    assert torch.equal(*outputs)
    for one, other in zip(*gradients, strict=True):
        torch.testing.assert_close(one, other)


def test_wider_maps_stay_as_they_are() -> None:
    feature = torch.randn(1, 2, 1, 2)
    assert widened(feature) is feature


@pytest.mark.parametrize("height", [1, 2, 4])
def test_gradients_in_bfloat16_are_those_in_float32(height: int) -> None:
    torch.manual_seed(0)
    weight = torch.randn(64, 64, 3, 3)
    for _ in range(20):
        freed = [torch.full((n,), float("nan"), dtype=torch.bfloat16) for n in (36864, 4096, 100)]
        del freed  # what is read without having been written is NaN now, more often than not
        feature = torch.randn(1, 64, height, 1).bfloat16().float()
        gradients = []
        for dtype in (torch.float32, torch.bfloat16):
            own = weight.detach().to(dtype, copy=True).requires_grad_()
            F.conv2d(widened(feature.to(dtype)), own, stride=2, padding=1).sum().backward()
            assert own.grad is not None
            gradients.append(own.grad.float())
        torch.testing.assert_close(*gradients, rtol=0.02, atol=0.05)
