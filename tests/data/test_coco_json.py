"""A COCO json named in the config becomes a data set of the host, checked."""

import json
import logging
from pathlib import Path

import pytest
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from dyhead.checkpoint.model_card import ModelCard, describe
from dyhead.d2.data import DatasetCatalog, MetadataCatalog
from dyhead.data import register_datasets
from dyhead.data.coco_json import category_ids, class_names
from dyhead.errors import UserError


def test_gaps_in_category_ids_become_contiguous_classes(coco, cfg):
    coco.add_box(90, category_id=7, iscrowd=1)
    cfg.DATASETS.COCO_JSON = [["pets", str(coco.write()), str(coco.images)]]
    cfg.DATASETS.TRAIN = ("pets",)
    register_datasets(cfg)
    records = DatasetCatalog.get("pets")
    metadata = MetadataCatalog.get("pets")
    assert metadata.thing_classes == ["cat", "dog"]
    assert metadata.thing_dataset_id_to_contiguous_id == {3: 0, 7: 1}
    assert [len(record["annotations"]) for record in records] == [2, 1, 1]
    assert records[0]["annotations"][1]["category_id"] == 1
    assert records[0]["annotations"][1]["iscrowd"] == 1
    assert records[0]["file_name"] == str(coco.images / "1.png")
    assert metadata.json_file == str(coco.folder / "instances.json")


def test_registering_twice_changes_nothing_and_new_files_replace(coco, cfg, make_coco):
    cfg.DATASETS.COCO_JSON = [["pets", str(coco.write()), str(coco.images)]]
    register_datasets(cfg)
    loader = DatasetCatalog["pets"]
    register_datasets(cfg)
    assert DatasetCatalog["pets"] is loader
    other = make_coco("other")
    other.add_image(4)
    other.add_box(4, image_id=4)
    cfg.DATASETS.COCO_JSON = [["pets", str(other.write()), str(other.images)]]
    register_datasets(cfg)
    assert len(DatasetCatalog.get("pets")) == 4


def test_a_set_of_which_nothing_usable_is_left_is_refused_with_the_cause(coco, cfg):
    for annotation in coco.content["annotations"]:
        annotation["bbox"][2] = 0
    cfg.DATASETS.COCO_JSON = [["pets", str(coco.write()), str(coco.images)]]
    register_datasets(cfg)
    with pytest.raises(UserError, match=r"(?s)no usable annotations.*3 x box without width"):
        DatasetCatalog.get("pets")


def test_training_and_evaluation_use_the_repaired_copy(coco, cfg, caplog):
    coco.add_box(1, bbox=[30, 20, 9, 9])  # an id used before: pycocotools would mix them up
    coco.add_box(91, bbox=[3, 3, 0, 9])
    cfg.DATASETS.COCO_JSON = [["pets", str(coco.write()), str(coco.images)]]
    register_datasets(cfg)
    with caplog.at_level(logging.WARNING, logger="dyhead"):
        records = DatasetCatalog.get("pets")
        DatasetCatalog.get("pets")
    reports = [message for message in caplog.messages if "Problems in" in message]
    assert len(reports) == 1, "reported once, not at each loading"
    assert "1 x box without width" in reports[0] and "1 x annotation id" in reports[0]
    assert sum(len(record["annotations"]) for record in records) == 4

    json_file = MetadataCatalog.get("pets").json_file
    assert json_file.startswith(cfg.OUTPUT_DIR)
    truth = COCO(json_file)
    found = truth.loadRes(
        [
            {**{k: a[k] for k in ("image_id", "category_id", "bbox")}, "score": 1.0}
            for a in truth.dataset["annotations"]
        ]
    )
    evaluation = COCOeval(truth, found, "bbox")
    evaluation.evaluate()
    evaluation.accumulate()
    evaluation.summarize()
    assert evaluation.stats[0] == pytest.approx(1.0)


@pytest.mark.parametrize("truth", ["none", "empty", "crowds"])
def test_a_set_without_objects_loads_for_prediction(coco, cfg, caplog, truth):
    """The host's json then has no annotations, for which it writes results and scores nothing."""
    if truth == "crowds":
        for annotation in coco.content["annotations"]:
            annotation["iscrowd"] = 1
    else:
        coco.content["annotations"] = []
    if truth == "none":
        del coco.content["annotations"]
    cfg.DATASETS.COCO_JSON = [["pets", str(coco.write()), str(coco.images)]]
    register_datasets(cfg)
    with caplog.at_level(logging.WARNING, logger="dyhead"):
        records = [DatasetCatalog.get("pets") for _ in range(2)][1]
    assert [record["annotations"] for record in records] == [[], [], []]
    used = json.loads(Path(MetadataCatalog.get("pets").json_file).read_text())
    assert len(used["images"]) == 3 and "annotations" not in used
    reason = "3 annotations are marked iscrowd" if truth == "crowds" else "no annotations"
    (said,) = [text for text in caplog.messages if "nothing to learn or score" in text]
    assert reason in said, "said once, not at each loading"


def test_the_number_of_images_that_the_file_names_is_known(coco, cfg):
    (coco.images / "2.png").unlink()
    cfg.DATASETS.COCO_JSON = [["pets", str(coco.write()), str(coco.images)]]
    register_datasets(cfg)
    assert len(DatasetCatalog.get("pets")) == 2
    assert MetadataCatalog.get("pets").num_named_images == 3


def test_paths_take_home_variables_and_the_folder_of_data_sets(coco, cfg, monkeypatch):
    coco.write()
    monkeypatch.setenv("DETECTRON2_DATASETS", str(coco.folder.parent))
    monkeypatch.setenv("PETS", str(coco.folder))
    monkeypatch.setenv("HOME", str(coco.folder))
    cfg.DATASETS.COCO_JSON = [
        ["under_root", "set/instances.json", "set/images"],
        ["by_variable", "$PETS/instances.json", "$PETS/images"],
        ["by_home", "~/instances.json", "~/images"],
    ]
    register_datasets(cfg)
    for name in ("under_root", "by_variable", "by_home"):
        assert len(DatasetCatalog.get(name)) == 3


@pytest.mark.parametrize("entry", [["a", "b"], "abc", ["a", "b", 3], 3])
def test_a_malformed_entry_is_shown_with_the_form(cfg, entry):
    cfg.DATASETS.COCO_JSON = [entry]
    with pytest.raises(ValueError, match=r"DATASETS.COCO_JSON has the entry .*\[name, json"):
        register_datasets(cfg)


def test_a_name_of_the_hosts_own_is_taken(cfg, coco):
    cfg.DATASETS.COCO_JSON = [["coco_2017_val", str(coco.write()), str(coco.images)]]
    with pytest.raises(ValueError, match="'coco_2017_val' .*is taken"):
        register_datasets(cfg)


def test_a_name_of_the_shapes_or_one_given_twice_is_refused(cfg, coco):
    files = [str(coco.write()), str(coco.images)]
    cfg.DATASETS.COCO_JSON = [["shapes_train", *files]]
    with pytest.raises(ValueError, match="'shapes_train' .*choose another"):
        register_datasets(cfg)
    cfg.DATASETS.COCO_JSON = [["pets", *files], ["pets", files[0], "elsewhere"]]
    with pytest.raises(ValueError, match="'pets' to two data sets"):
        register_datasets(cfg)


def test_boxes_of_integers_become_numbers_with_fractions(coco, cfg):
    cfg.DATASETS.COCO_JSON = [["pets", str(coco.write()), str(coco.images)]]
    register_datasets(cfg)
    boxes = [a["bbox"] for image in DatasetCatalog.get("pets") for a in image["annotations"]]
    assert boxes
    assert all(isinstance(value, float) for box in boxes for value in box)


@pytest.mark.parametrize("key", ["TRAIN", "TEST"])
def test_an_unknown_name_is_answered_with_the_nearest(cfg, key):
    cfg.DATASETS[key] = ("shape_train",)
    with pytest.raises(ValueError, match=f"DATASETS.{key} .*'shape_train'.*mean shapes_train"):
        register_datasets(cfg)


def test_the_file_is_read_only_when_it_is_used(cfg):
    cfg.DATASETS.COCO_JSON = [["later", "nowhere.json", "nowhere"]]
    register_datasets(cfg)
    with pytest.raises(ValueError, match="nowhere.json does not exist"):
        DatasetCatalog.get("later")


def test_config_values_survive_json(cfg, coco):
    """A list given on the command line arrives as lists or tuples."""
    entry = json.loads(json.dumps(["pets", str(coco.write()), str(coco.images)]))
    cfg.merge_from_list(["DATASETS.COCO_JSON", str([tuple(entry)])])
    register_datasets(cfg)
    assert "pets" in DatasetCatalog


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-32"])
def test_a_json_in_another_encoding_is_given_to_the_host_as_utf8(coco, cfg, encoding):
    path = coco.write()
    path.write_text(path.read_text(), encoding=encoding)
    cfg.DATASETS.COCO_JSON = [["pets", str(path), str(coco.images)]]
    register_datasets(cfg)
    assert len(DatasetCatalog.get("pets")) == 3
    assert len(COCO(MetadataCatalog.get("pets").json_file).dataset["annotations"]) == 3


def test_classes_have_the_ids_of_the_file_before_and_after_loading(coco, cfg):
    """Numbers by size, then text by its letters, are the order of the classes."""
    names = {"k2": "ant", "k10": "bee", 12: "cat", "7": "dog"}
    coco.content["categories"] = [{"id": each, "name": name} for each, name in names.items()]
    for annotation in coco.content["annotations"]:
        annotation["category_id"] = "k2"
    cfg.DATASETS.COCO_JSON = [["pets", str(coco.write()), str(coco.images)]]
    register_datasets(cfg)
    assert class_names("pets") == ["dog", "cat", "bee", "ant"]
    assert category_ids("pets") == ["7", 12, "k10", "k2"]
    records = DatasetCatalog.get("pets")
    assert class_names("pets") == ["dog", "cat", "bee", "ant"]
    assert category_ids("pets") == ["7", 12, "k10", "k2"]
    assert {a["category_id"] for record in records for a in record["annotations"]} == {3}
    card = describe(set_train(cfg, "pets"))
    assert card.category_ids == ("7", 12, "k10", "k2")
    assert ModelCard.from_plain(json.loads(json.dumps(card.as_plain()))) == card


def set_train(cfg, name):
    cfg.DATASETS.TRAIN = (name,)
    return cfg


def test_what_is_only_noted_needs_no_copy(coco, cfg, caplog):
    coco.add_box(90, image_id=2, category_id=7, bbox=[5, 6, 20, 10])
    cfg.DATASETS.COCO_JSON = [["pets", str(coco.write()), str(coco.images)]]
    register_datasets(cfg)
    with caplog.at_level(logging.INFO, logger="dyhead"):
        DatasetCatalog.get("pets")
    assert MetadataCatalog.get("pets").json_file == str(coco.folder / "instances.json")
    assert any("1 x box drawn twice, for two classes" in each for each in caplog.messages)
    assert "repaired copy" not in caplog.text
