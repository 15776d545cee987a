"""The official kernel's reading of offset maps that are larger than the output."""

import pytest
import torch

from dyhead.ops import flat_read


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


def test_same_size_is_the_map_itself():
    offsets = torch.randn(2, 3, 4, 5)
    assert flat_read(offsets, 4, 5) is offsets


def test_gradient_reaches_only_what_was_read():
    offsets = torch.randn(1, 3, 4, 5, requires_grad=True)
    flat_read(offsets, 2, 3).sum().backward()
    assert offsets.grad.flatten().tolist() == [1] * 18 + [0] * 42


def test_growing_is_refused():
    with pytest.raises(ValueError, match="Cannot read a 5 x 5 map from offsets of 4 x 5"):
        flat_read(torch.randn(1, 3, 4, 5), 5, 5)
