"""Training images are mixed with others of the same sets, which their own random numbers choose."""

import logging
from collections import Counter

import numpy as np
import pytest
import torch

from dyhead.d2.data import DatasetCatalog
from dyhead.data import register_datasets
from dyhead.data.seeding import seed_cpu_generators
from dyhead.data.training_mapper import Others, TrainingMapper, build_training_mappers
from dyhead.errors import UserError

MIXES = ("MOSAIC", "COPY_PASTE", "MIXUP")


@pytest.fixture
def records(coco, cfg):
    cfg.DATASETS.COCO_JSON = [["pets", str(coco.write()), str(coco.images)]]
    register_datasets(cfg)
    cfg.INPUT.MIN_SIZE_TRAIN = (40,)
    return DatasetCatalog.get("pets")


def mapped_twice(mapper, record, seed=4):
    results = []
    for _ in range(2):
        seed_cpu_generators(seed)
        results.append(mapper(record))
        mapper(record)  # leaves the generators elsewhere
    return results


def same(one, two):
    fields = [x["instances"].get_fields() for x in (one, two)]
    return (
        torch.equal(one["image"], two["image"])
        and torch.equal(fields[0]["gt_boxes"].tensor, fields[1]["gt_boxes"].tensor)
        and torch.equal(fields[0]["gt_classes"], fields[1]["gt_classes"])
    )


@pytest.mark.parametrize("name", MIXES)
def test_the_seed_alone_decides_and_the_last_steps_mix_nothing(records, cfg, name):
    cfg.INPUT.AUG[name].PROB = 1.0
    mapper, last_mapper = build_training_mappers(cfg, records)
    assert same(*mapped_twice(mapper, records[0]))
    plain = mapped_twice(last_mapper, records[0])
    assert same(*plain)
    assert len(plain[0]["instances"]) == 1
    seeds = range(8)
    mixed = []
    for seed in seeds:
        seed_cpu_generators(seed)
        mixed.append(len(mapper(records[0])["instances"]))
    assert max(mixed) > 1


def test_nothing_is_in_the_way_of_a_config_that_mixes_and_finishes_nothing(records, cfg):
    mapper, last_mapper = build_training_mappers(cfg, records)
    assert mapper is last_mapper and not isinstance(mapper, TrainingMapper)
    cfg.INPUT.AUG.COLOR.PROB = 1.0
    mapper, last_mapper = build_training_mappers(cfg, records)
    assert mapper is last_mapper and isinstance(mapper, TrainingMapper)


def test_colours_change_in_the_last_steps_too_and_move_nothing(records, cfg):
    before = mapped_twice(build_training_mappers(cfg, records)[1], records[0])[0]
    cfg.INPUT.AUG.COLOR.PROB = cfg.INPUT.AUG.MOSAIC.PROB = 1.0
    after = mapped_twice(build_training_mappers(cfg, records)[1], records[0])[0]
    assert not torch.equal(before["image"], after["image"])
    assert before["image"].shape == after["image"].shape
    boxes = [mapped["instances"].gt_boxes.tensor for mapped in (before, after)]
    assert torch.equal(*boxes)


@pytest.mark.parametrize("name", MIXES)
def test_probabilities_are_those_of_being_mixed(records, cfg, name):
    cfg.INPUT.AUG[name].PROB = 0.3
    mapper, _ = build_training_mappers(cfg, records)
    calls = []
    mix, probability = mapper._mixes[0]
    mapper._mixes = [(lambda *given: calls.append(1) or mix(*given), probability)]
    seed_cpu_generators(1)
    for _ in range(200):
        mapper(records[0])
    assert 40 < len(calls) < 80


def test_a_broken_partner_is_counted_and_replaced(records, coco, cfg, caplog):
    whole = (coco.images / "2.png").read_bytes()
    (coco.images / "2.png").write_bytes(whole[:60])
    cfg.INPUT.AUG.MOSAIC.PROB = 1.0
    mapper, last_mapper = build_training_mappers(cfg, records)
    with caplog.at_level(logging.WARNING, logger="dyhead"):
        results = mapped_twice(mapper, records[0])
        for _ in range(5):
            assert mapper(records[0]) is not None
    assert same(*results)
    assert "2.png" in caplog.text and "skipped so far" in caplog.text
    assert mapper(records[1]) is None  # the image itself: the stream takes another one


def test_partners_that_are_all_broken_end_the_training_by_name(records, coco, cfg):
    cfg.INPUT.AUG.MIXUP.PROB = 1.0
    mapper, _ = build_training_mappers(cfg, records[1:])
    for name in ("2.png", "3.png"):
        (coco.images / name).write_bytes(b"no picture")
    with pytest.raises(UserError, match="100 images in a row"):
        mapper(records[0])


def test_partners_are_drawn_by_their_weights():
    weights = np.array([1.0, 0.0, 2.5, 0.5])
    others = Others([{"id": i} for i in range(4)], weights)
    counts = Counter(others.draw()["id"] for _ in range(4000))
    shares = [counts[i] / 4000 for i in range(4)]
    np.testing.assert_allclose(shares, weights / 4, atol=0.03)
    alike = Counter(Others([{"id": i} for i in range(4)]).draw()["id"] for _ in range(4000))
    np.testing.assert_allclose([alike[i] / 4000 for i in range(4)], 0.25, atol=0.03)


def test_pictures_keep_what_is_known_of_them(records, cfg):
    cfg.INPUT.AUG.MOSAIC.PROB = 1.0
    mapped = build_training_mappers(cfg, records)[0](records[0])
    for key in ("file_name", "image_id", "height", "width"):
        assert mapped[key] == records[0][key]
    assert mapped["instances"].image_size == tuple(mapped["image"].shape[-2:])


def test_labels_of_pixels_are_refused():
    mapper = TrainingMapper(lambda record: {"image": None, "sem_seg": None}, [lambda image: image])
    with pytest.raises(UserError, match="INPUT.AUG changes boxes"):
        mapper({})
