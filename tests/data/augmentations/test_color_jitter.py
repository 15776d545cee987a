"""Colours change by chance, alike for either order of channels, and within their strengths."""

import pytest
import torch

from dyhead.data.augmentations.color_jitter import ColorJitter
from dyhead.data.seeding import seed_cpu_generators


def picture(channels=3):
    generator = torch.Generator().manual_seed(1)
    return torch.randint(0, 256, (channels, 12, 15), dtype=torch.uint8, generator=generator)


def test_bgr_pictures_get_the_colours_of_rgb_ones():
    for seed in range(8):
        results = []
        for is_bgr in (False, True):
            seed_cpu_generators(seed)
            jitter = ColorJitter(1.0, 0.1, 0.5, 0.5, 0.1, is_bgr=is_bgr)
            image = picture().flip(0) if is_bgr else picture()
            changed = jitter(image)
            assert changed.dtype == torch.uint8 and not torch.equal(changed, image)
            results.append(changed.flip(0) if is_bgr else changed)
        assert torch.equal(*results)


def test_the_probability_is_that_of_a_change():
    jitter, image = ColorJitter(0.3, 0.5, 0.0, 0.0, 0.0, is_bgr=True), picture()
    changed = sum(not torch.equal(jitter(image), image) for _ in range(400))
    assert 90 < changed < 150


def test_brightness_stays_within_its_strength():
    image = torch.full((3, 2, 2), 100, dtype=torch.uint8)
    jitter = ColorJitter(1.0, 0.2, 0.0, 0.0, 0.0, is_bgr=False)
    values = [int(jitter(image)[0, 0, 0]) for _ in range(300)]
    assert 79 <= min(values) < 85 and 115 < max(values) <= 120


def test_grey_pictures_have_brightness_and_contrast_alone():
    jitter = ColorJitter(1.0, 0.5, 0.5, 0.5, 0.5, is_bgr=False)
    changed = jitter(picture(1))
    assert changed.shape == (1, 12, 15) and changed.dtype == torch.uint8
    colours = ColorJitter(1.0, 0.0, 0.0, 0.5, 0.5, is_bgr=False)
    assert torch.equal(colours(picture(1)), picture(1))


@pytest.mark.parametrize("is_bgr", [False, True])
def test_the_picture_itself_stays_as_it_is(is_bgr):
    image = picture()
    before = image.clone()
    ColorJitter(1.0, 0.5, 0.5, 0.5, 0.5, is_bgr=is_bgr)(image)
    assert torch.equal(image, before)
