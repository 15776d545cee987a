"""DATASETS.SOURCES: data sets of any format train and are evaluated alike."""

import json
import logging
from pathlib import Path

import pytest
import torch
from label_files import CLASSES, LABELS, WRITERS, write_coco, write_voc, write_yolo

from dyhead.d2.data import (
    DatasetCatalog,
    MetadataCatalog,
    build_detection_train_loader,
)
from dyhead.d2.evaluation import COCOEvaluator
from dyhead.d2.structures import Boxes, Instances
from dyhead.d2.utils.env import seed_all_rng
from dyhead.data import CheckedMapper, register_datasets
from dyhead.data.coco_json import category_ids, class_names
from dyhead.errors import UserError


@pytest.mark.parametrize("kind", WRITERS)
def test_a_source_of_any_format_is_a_data_set_of_the_host(cfg, tmp_path, kind):
    cfg.DATASETS.SOURCES = [["given", str(WRITERS[kind](tmp_path))]]
    cfg.DATASETS.TRAIN = ("given",)
    register_datasets(cfg)
    assert class_names("given") == list(CLASSES)
    ids = category_ids("given")
    records = DatasetCatalog.get("given")
    assert [len(record["annotations"]) for record in records] == [2, 1, 2, 1]
    assert [(r["width"], r["height"]) for r in records] == [size for size, _ in LABELS.values()]
    assert category_ids("given") == ids
    json_file = MetadataCatalog.get("given").json_file
    assert [c["name"] for c in json.loads(Path(json_file).read_text())["categories"]] == list(
        CLASSES
    )


def test_images_whose_labels_are_lost_count_among_those_that_the_set_names(cfg, tmp_path):
    """AP over the other ones says that it is over fewer."""
    write_voc(tmp_path)
    (tmp_path / "Annotations" / "a.xml").write_text("<annotation>")
    (tmp_path / "JPEGImages" / "b.png").unlink()
    cfg.DATASETS.SOURCES = [["given", str(tmp_path)]]
    cfg.DATASETS.TRAIN = ("given",)
    register_datasets(cfg)
    assert len(DatasetCatalog.get("given")) == 2
    assert MetadataCatalog.get("given").num_named_images == 4


def test_one_set_in_three_formats_gives_the_same_batches(cfg, tmp_path):
    batches = []
    writers = {"coco": write_coco, "voc": write_voc, "yolo": write_yolo}
    for name, write in writers.items():
        (tmp_path / name).mkdir()
        cfg.DATASETS.SOURCES.append([name, str(write(tmp_path / name))])
    cfg.INPUT.MIN_SIZE_TRAIN, cfg.SOLVER.IMS_PER_BATCH, cfg.DATALOADER.NUM_WORKERS = (48, 64), 2, 0
    register_datasets(cfg)
    for name in writers:
        cfg.DATASETS.TRAIN, cfg.SEED = (name,), 5
        seed_all_rng(5)
        loader = iter(build_detection_train_loader(cfg, mapper=CheckedMapper(cfg, is_train=True)))
        batches.append([image for _ in range(3) for image in next(loader)])
    for other in batches[1:]:
        for expected, found in zip(batches[0], other, strict=True):
            assert torch.equal(found["image"], expected["image"])
            boxes = (found["instances"].gt_boxes.tensor, expected["instances"].gt_boxes.tensor)
            torch.testing.assert_close(*boxes, rtol=0, atol=1e-4)
            classes = [each["instances"].gt_classes for each in (found, expected)]
            assert torch.equal(*classes)


def test_one_set_in_every_format_gives_the_same_ap(cfg, tmp_path):
    for name, write in WRITERS.items():
        (tmp_path / name).mkdir()
        cfg.DATASETS.SOURCES.append([name, str(write(tmp_path / name))])
    register_datasets(cfg)
    results = [evaluate(name, tmp_path / "out") for name in WRITERS]
    assert 20 < results[0]["AP"] < 90
    for result in results[1:]:
        assert result == pytest.approx(results[0], nan_ok=True)


def evaluate(name, folder):
    """Score shifted boxes, of which some have the wrong class."""
    records = DatasetCatalog.get(name)
    evaluator = COCOEvaluator(name, output_dir=str(folder / name.replace(" ", "_")))
    evaluator.reset()
    for number, record in enumerate(records):
        boxes = torch.tensor([annotation["bbox"] for annotation in record["annotations"]])
        boxes[:, 2:] += boxes[:, :2]
        instances = Instances((record["height"], record["width"]))
        instances.pred_boxes = Boxes(boxes + number)
        instances.scores = torch.linspace(0.9, 0.5, len(boxes)) - number / 10
        classes = torch.tensor([a["category_id"] for a in record["annotations"]])
        instances.pred_classes = (classes + (number == 2)) % 3
        evaluator.process([record], [{"instances": instances}])
    return evaluator.evaluate()["bbox"]


def test_parts_and_folders_that_are_named_are_found_from_the_folder_of_data_sets(
    cfg, tmp_path, monkeypatch
):
    write_yolo(tmp_path)
    monkeypatch.setenv("DETECTRON2_DATASETS", str(tmp_path.parent))
    cfg.DATASETS.SOURCES = [["given", f"{tmp_path.name}/data.yaml#train"]]
    register_datasets(cfg)
    assert len(DatasetCatalog.get("given")) == 4


def test_a_set_is_divided_by_the_keys_of_the_config(cfg, tmp_path):
    path = write_coco(tmp_path)
    cfg.DATASETS.SOURCES = [[part, f"{path}#{part}"] for part in ("train", "val")]
    cfg.DATASETS.VAL_RATIO = 0.5
    register_datasets(cfg)
    train, val = ([r["file_name"] for r in DatasetCatalog.get(part)] for part in ("train", "val"))
    assert len(train) == len(val) == 2 and not set(train) & set(val)
    assert class_names("val") == list(CLASSES)
    cfg.DATASETS.VAL_RATIO = 0.25
    register_datasets(cfg)
    assert len(DatasetCatalog.get("val")) == 1


def test_a_name_in_sources_takes_the_place_of_the_same_in_coco_json(cfg, tmp_path):
    cfg.DATASETS.COCO_JSON = [["given", "nowhere.json", "nowhere"]]
    cfg.DATASETS.SOURCES = [["given", str(write_coco(tmp_path))]]
    register_datasets(cfg)
    assert len(DatasetCatalog.get("given")) == 4


def test_what_was_left_out_in_reading_is_reported(cfg, tmp_path, caplog):
    path = write_yolo(tmp_path)
    (tmp_path / "labels" / "train" / "d.txt").write_text("bee\n")
    cfg.DATASETS.SOURCES = [["given", str(path)]]
    register_datasets(cfg)
    with caplog.at_level(logging.INFO, logger="dyhead"):
        DatasetCatalog.get("given")
    (report,) = [message for message in caplog.messages if "Problems in" in message]
    assert "1 x label that cannot be read: left out" in report and "d.txt, line 1: 'bee'" in report


@pytest.mark.parametrize("entry", [["a"], "abc", ["a", "b", "c", "d"], ["a", 3], 3])
def test_a_malformed_entry_is_shown_with_the_form(cfg, entry):
    cfg.DATASETS.SOURCES = [entry]
    with pytest.raises(UserError, match=r"DATASETS.SOURCES has the entry .*\[name, path\] or"):
        register_datasets(cfg)
