"""Broken images are skipped and counted in training, and stop an evaluation by name."""

import logging

import pytest

from dyhead.d2.data import DatasetCatalog
from dyhead.data import CheckedMapper, register_datasets
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
