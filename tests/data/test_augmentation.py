"""Images are augmented as the config says, and as Detectron2's own mapper does it."""

import numpy as np
import pytest
from PIL import Image

from dyhead.d2.data import DatasetMapper
from dyhead.d2.data import transforms as T
from dyhead.data import CheckedMapper
from dyhead.data.augmentation import build_augmentation
from dyhead.data.resizing import ResizeShortestEdge


def applied_to(image, augmentation, seed=5):
    np.random.seed(seed)
    aug_input = T.AugInput(image)
    T.AugmentationList(augmentation)(aug_input)
    return aug_input.image


@pytest.mark.parametrize("is_train", [True, False])
@pytest.mark.parametrize(
    "changes",
    [
        [],
        ["INPUT.CROP.ENABLED", True, "INPUT.CROP.TYPE", "absolute", "INPUT.CROP.SIZE", [40, 30]],
        ["INPUT.RANDOM_FLIP", "vertical", "INPUT.CROP.ENABLED", True],
        ["INPUT.RANDOM_FLIP", "none", "INPUT.MIN_SIZE_TRAIN", (30, 40, 50)],
        ["INPUT.MIN_SIZE_TRAIN", (20, 90), "INPUT.MIN_SIZE_TRAIN_SAMPLING", "range"],
        ["INPUT.MIN_SIZE_TEST", 0],
    ],
    ids=str,
)
def test_images_become_those_of_detectron2s_own_mapper(cfg, changes, is_train):
    cfg.merge_from_list(["INPUT.MIN_SIZE_TRAIN", (64,), "INPUT.MIN_SIZE_TEST", 48, *changes])
    own = DatasetMapper.from_config(cfg, is_train)["augmentations"]
    image = np.random.default_rng(0).integers(0, 256, (60, 80, 3), dtype=np.uint8)
    for seed in range(8):
        ours = applied_to(image, build_augmentation(cfg, is_train), seed)
        np.testing.assert_array_equal(ours, applied_to(image, own, seed))


def test_images_are_cropped_then_resized_then_flipped(cfg):
    cfg.INPUT.CROP.ENABLED = True
    kinds = [type(part) for part in build_augmentation(cfg, is_train=True)]
    assert kinds == [T.RandomCrop, ResizeShortestEdge, T.RandomFlip]
    kinds = [type(part) for part in build_augmentation(cfg, is_train=False)]
    assert kinds == [ResizeShortestEdge]


@pytest.mark.parametrize("is_train", [True, False])
def test_the_mapper_applies_it(cfg, tmp_path, monkeypatch, is_train):
    pixels = np.random.default_rng(0).integers(0, 256, (6, 8, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    flip = T.RandomFlip(1.0)
    monkeypatch.setattr("dyhead.data.mapper.build_augmentation", lambda *_: [flip])
    mapped = CheckedMapper(cfg, is_train)({"file_name": str(tmp_path / "a.png")})
    image = mapped["image"].permute(1, 2, 0).numpy()
    np.testing.assert_array_equal(image, pixels[:, ::-1, ::-1])  # mirrored, and BGR
