"""Batches of images."""

import pytest
import torch

from dyhead.d2.structures import ImageList


def test_images_are_padded_right_and_below():
    images = [torch.rand(3, 10, 7), torch.rand(3, 6, 12)]
    batch = ImageList.from_tensors(images, size_divisibility=8, pad_value=-1.0)
    assert batch.tensor.shape == (2, 3, 16, 16)
    assert [tuple(size) for size in batch.image_sizes] == [(10, 7), (6, 12)]
    assert len(batch) == 2
    for index, image in enumerate(images):
        assert torch.equal(batch[index], image)
    assert (batch.tensor[0, :, 10:] == -1).all()
    assert (batch.tensor[1, :, :, 12:] == -1).all()


@pytest.mark.parametrize("divisibility", [0, 1])
def test_no_padding_without_need(divisibility):
    image = torch.rand(3, 9, 5)
    assert torch.equal(ImageList.from_tensors([image], divisibility).tensor[0], image)


def test_images_without_channels():
    batch = ImageList.from_tensors([torch.ones(4, 5), torch.ones(3, 6)], 4)
    assert batch.tensor.shape == (2, 4, 8) and batch.tensor.sum() == 4 * 5 + 3 * 6
    assert torch.equal(batch[0], torch.ones(4, 5)) and torch.equal(batch[1], torch.ones(3, 6))


def test_constraints_of_the_backbone():
    image = torch.rand(3, 10, 12)
    square = ImageList.from_tensors([image], 4, padding_constraints={"square_size": 20})
    assert square.tensor.shape == (1, 3, 20, 20)
    divisible = ImageList.from_tensors([image], 4, padding_constraints={"size_divisibility": 32})
    assert divisible.tensor.shape == (1, 3, 32, 32)
    free = ImageList.from_tensors([image], 4, padding_constraints={"square_size": 0})
    assert free.tensor.shape == (1, 3, 12, 12)


def test_images_that_cannot_share_a_batch_are_refused():
    with pytest.raises((AssertionError, ValueError)):
        ImageList.from_tensors([torch.rand(3, 4, 4), torch.rand(1, 4, 4)])
    with pytest.raises((AssertionError, ValueError)):
        ImageList.from_tensors([])


def test_gradients_reach_the_images():
    images = [torch.rand(3, 4, 5, requires_grad=True), torch.rand(3, 6, 2, requires_grad=True)]
    ImageList.from_tensors(images, 4).tensor.sum().backward()
    assert all(torch.equal(image.grad, torch.ones_like(image)) for image in images)


def test_to_changes_the_batch_only():
    batch = ImageList.from_tensors([torch.rand(3, 4, 5)]).to(torch.float64)
    assert batch.tensor.dtype == torch.float64
    assert batch.device == torch.device("cpu")
    assert [tuple(size) for size in batch.image_sizes] == [(4, 5)]
