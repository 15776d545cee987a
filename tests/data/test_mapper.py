"""Broken images are skipped and counted in training, and stop an evaluation by name."""

import logging

import numpy as np
import pytest
import torch
from PIL import Image
from stored_pictures import save_turned

from dyhead.d2.data import DatasetCatalog
from dyhead.d2.data import transforms as T
from dyhead.d2.structures import BoxMode
from dyhead.data import CheckedMapper, register_datasets
from dyhead.data.stream import BATCH_KEY
from dyhead.errors import UserError


@pytest.fixture
def records(coco, cfg):
    cfg.DATASETS.COCO_JSON = [["pets", str(coco.write()), str(coco.images)]]
    register_datasets(cfg)
    loaded = DatasetCatalog.get("pets")
    whole = (coco.images / "2.png").read_bytes()
    (coco.images / "2.png").write_bytes(whole[:60])  # the header is whole, the pixels are not
    return loaded


@pytest.fixture
def small_cfg(cfg):
    cfg.INPUT.MIN_SIZE_TRAIN = (40,)
    cfg.INPUT.MIN_SIZE_TEST = 40
    return cfg


def test_training_skips_counts_and_names(records, small_cfg, caplog):
    mapper = CheckedMapper(small_cfg, is_train=True)
    with caplog.at_level(logging.WARNING, logger="dyhead"):
        mapped = [mapper(record) for record in (*records, records[1])]
    assert [one is None for one in mapped] == [False, True, False, True]
    assert mapped[0]["image"].shape == (3, 40, 60) and len(mapped[0]["instances"]) == 1
    assert mapper.skipped == 2
    assert "2.png" in caplog.text and "2 skipped so far" in caplog.text


def test_evaluation_stops_with_the_files_name(records, small_cfg):
    mapper = CheckedMapper(small_cfg, is_train=False)
    assert mapper(records[0])["image"].shape == (3, 40, 60)
    with pytest.raises(UserError, match=r"2\.png can't be read"):
        mapper(records[1])


@pytest.fixture
def labelled(records, tmp_path):
    """A record with labels of its pixels: 9 where the picture is bright, 4 where it is dark."""
    record = records[0]
    bright = np.arange(record["height"] * record["width"]).reshape(record["height"], -1) % 60 > 20
    Image.fromarray(np.dstack([bright * np.uint8(255)] * 3)).save(record["file_name"])
    Image.fromarray(np.where(bright, 9, 4).astype(np.uint8)).save(tmp_path / "labels.png")
    return {**record, "sem_seg_file_name": str(tmp_path / "labels.png")}


ONE_SIZE = ["INPUT.ONE_SIZE_PER_BATCH", True, "INPUT.MIN_SIZE_TRAIN", (40, 60, 80)]
CROPS = [
    *("INPUT.AUG.FIXED_SIZE.SIZE", [24, 24], "INPUT.AUG.FIXED_SIZE.SCALES", [1.0, 2.0]),
    *("INPUT.AUG.FIXED_SIZE.PAD", False, "INPUT.AUG.MIN_VISIBLE", 0.9),
]


def test_the_batch_of_the_stream_does_not_go_into_the_model(records, small_cfg):
    mapped = CheckedMapper(small_cfg, is_train=True)({**records[0], BATCH_KEY: (1, 2)})
    assert "image" in mapped and BATCH_KEY not in mapped


@pytest.mark.parametrize("keys", [ONE_SIZE, CROPS], ids=["one size", "crops"])
def test_labels_of_pixels_follow_their_picture_and_change_nothing_else(labelled, small_cfg, keys):
    small_cfg.merge_from_list(keys)
    mapper = CheckedMapper(small_cfg, is_train=True)
    plain = {key: value for key, value in labelled.items() if key != "sem_seg_file_name"}
    counts = set()
    for seed in range(12):
        mapped = []
        for record in (plain, labelled):
            np.random.seed(seed)
            mapped.append(mapper({**record, BATCH_KEY: (1, seed)}))
        without, with_labels = mapped
        labels = with_labels.pop("sem_seg")
        assert with_labels.keys() == without.keys()
        np.testing.assert_array_equal(with_labels["image"], without["image"])
        boxes = [each["instances"].gt_boxes.tensor.tolist() for each in mapped]
        assert boxes[0] == boxes[1]
        counts.add((len(boxes[0]), *labels.shape))
        assert labels.dtype == torch.int64 and set(labels.unique().tolist()) <= {4, 9}
        brightness = with_labels["image"][0]
        is_sure = (brightness < 50) | (brightness > 200)  # the rest is blended at the edges
        assert is_sure.sum() > 0.8 * labels.numel()
        assert torch.equal((labels == 9)[is_sure], (brightness > 200)[is_sure])
    assert len(counts) > 1  # sizes, or the objects that are left


def test_an_object_stays_of_which_just_the_share_is_left(records):
    """The first picture is cropped to its left half; a box of the whole has half of its area."""
    record = records[0]
    height, width = record["height"], record["width"]
    whole = {"bbox": [0, 0, width, height], "bbox_mode": BoxMode.XYXY_ABS, "category_id": 0}
    crop = T.CropTransform(0, 0, width // 2, height)
    for least, number in ((0.5, 1), (0.51, 0)):
        mapper = CheckedMapper(True, augmentations=[crop], image_format="BGR", least_visible=least)
        assert len(mapper({**record, "annotations": [whole]})["instances"]) == number


def test_an_image_that_changed_its_size_is_broken(records, small_cfg):
    mapper = CheckedMapper(small_cfg, is_train=True)
    assert mapper({**records[0], "width": 61}) is None


def test_training_gives_up_when_every_image_is_broken(records, small_cfg):
    mapper = CheckedMapper(small_cfg, is_train=True)
    with pytest.raises(UserError, match="100 images in a row"):
        for _ in range(101):
            mapper(records[1])


def test_errors_that_are_no_broken_image_are_not_swallowed(records, small_cfg):
    mapper = CheckedMapper(small_cfg, is_train=True)
    with pytest.raises(KeyError):
        mapper({**records[0], "annotations": [{}]})


def test_deep_and_turned_pictures_are_read_right_on_either_host(coco, small_cfg):
    levels = np.arange(240, dtype=np.uint16).reshape(40, 6).repeat(10, axis=1)
    levels[0, 0] = 255
    Image.fromarray(levels << 4).save(coco.images / "1.png")
    save_turned(np.dstack([levels.astype(np.uint8)] * 3), 6, coco.images / "2.tif")
    small_cfg.INPUT.RANDOM_FLIP = "none"
    for name in ("1.png", "2.tif"):
        mapped = CheckedMapper(small_cfg, is_train=True)({"file_name": str(coco.images / name)})
        np.testing.assert_array_equal(mapped["image"][0].numpy(), levels)


def test_extreme_shapes_are_mapped(coco, small_cfg):
    small_cfg.INPUT.MAX_SIZE_TRAIN = 400
    for number, (width, height) in {1: (3000, 2), 2: (1, 5000)}.items():
        Image.new("RGB", (width, height)).save(coco.images / f"{number}.png")
        coco.content["images"][number - 1].update(width=width, height=height)
        coco.content["annotations"][number - 1]["bbox"] = [0, 0, width, height]
    small_cfg.DATASETS.COCO_JSON = [["pets", str(coco.write()), str(coco.images)]]
    register_datasets(small_cfg)
    mapper = CheckedMapper(small_cfg, is_train=True)
    for record, size in zip(DatasetCatalog.get("pets"), ((1, 400), (400, 1)), strict=False):
        mapped = mapper(record)
        assert mapped["image"].shape == (3, *size)
        (box,) = mapped["instances"].gt_boxes.tensor.tolist()
        assert box == [0, 0, *size[::-1]]


def test_larger_pictures_than_the_config_allows_are_skipped(coco, small_cfg, monkeypatch, caplog):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", None)
    record = {"file_name": str(coco.images / "1.png")}
    small_cfg.INPUT.MAX_PIXELS = 60 * 40
    assert CheckedMapper(small_cfg, is_train=True)(record) is not None
    small_cfg.INPUT.MAX_PIXELS = 60 * 40 - 2
    assert CheckedMapper(small_cfg, is_train=True)(record) is None
    assert "set INPUT.MAX_PIXELS" in caplog.text
