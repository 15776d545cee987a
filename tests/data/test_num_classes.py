"""The number of classes comes from the data; what doesn't fit stops with the fix."""

import pytest

import dyhead.modeling  # noqa: F401  registers the detectors
from dyhead.d2.config import CfgNode
from dyhead.d2.modeling import META_ARCH_REGISTRY
from dyhead.data import fill_num_classes, register_datasets
from dyhead.data.num_classes import difference


@pytest.fixture
def atss_cfg(cfg, coco):
    cfg.MODEL.META_ARCHITECTURE = "ATSS"
    cfg.MODEL.ATSS = CfgNode({"NUM_CLASSES": 80})
    cfg.DATASETS.COCO_JSON = [["pets", str(coco.write()), str(coco.images)]]
    cfg.DATASETS.TRAIN = ("pets",)
    return cfg


def test_filled_from_the_data_set(atss_cfg):
    register_datasets(atss_cfg)
    fill_num_classes(atss_cfg, set())
    assert atss_cfg.MODEL.ATSS.NUM_CLASSES == 2


@pytest.mark.parametrize(
    ("architecture", "section"),
    [
        ("RetinaNet", "RETINANET"),
        ("DyHeadRetinaNet", "RETINANET"),
        ("GeneralizedRCNN", "ROI_HEADS"),
        ("FCOS", "FCOS"),
    ],
)
def test_other_architectures_have_their_section(atss_cfg, architecture, section):
    atss_cfg.MODEL.META_ARCHITECTURE = architecture
    atss_cfg.MODEL.setdefault(section, CfgNode({"NUM_CLASSES": 80}))
    register_datasets(atss_cfg)
    fill_num_classes(atss_cfg, set())
    assert atss_cfg.MODEL[section].NUM_CLASSES == 2


@pytest.mark.parametrize(
    ("base", "section"),
    [("ATSS", "ATSS"), ("RepPoints", "REPPOINTS"), ("RetinaNet", "RETINANET")],
)
def test_what_derives_from_a_detector_has_its_section(atss_cfg, monkeypatch, base, section):
    own = type("Own", (META_ARCH_REGISTRY.get(base),), {})
    monkeypatch.setitem(META_ARCH_REGISTRY._obj_map, "Own", own)
    atss_cfg.MODEL.META_ARCHITECTURE = "Own"
    atss_cfg.MODEL.setdefault(section, CfgNode({"NUM_CLASSES": 80}))
    register_datasets(atss_cfg)
    fill_num_classes(atss_cfg, set())
    assert atss_cfg.MODEL[section].NUM_CLASSES == 2


def test_built_in_names_need_no_files(atss_cfg):
    atss_cfg.DATASETS.TRAIN = ("coco_2017_train",)
    atss_cfg.DATASETS.TEST = ("coco_2017_val",)
    atss_cfg.MODEL.ATSS.NUM_CLASSES = 3
    fill_num_classes(atss_cfg, set())
    assert atss_cfg.MODEL.ATSS.NUM_CLASSES == 80


def test_generated_shapes_are_not_made_for_it(atss_cfg, tmp_path, monkeypatch):
    monkeypatch.setenv("DETECTRON2_DATASETS", str(tmp_path / "data"))
    atss_cfg.DATASETS.TRAIN, atss_cfg.DATASETS.TEST = ("shapes_train",), ("shapes_val",)
    register_datasets(atss_cfg)
    fill_num_classes(atss_cfg, set())
    assert atss_cfg.MODEL.ATSS.NUM_CLASSES == 6
    assert not (tmp_path / "data").exists()


def test_an_explicit_number_must_fit(atss_cfg):
    register_datasets(atss_cfg)
    with pytest.raises(ValueError, match=r"MODEL.ATSS.NUM_CLASSES is 80.*2 classes.*set it to 2"):
        fill_num_classes(atss_cfg, {"MODEL.ATSS.NUM_CLASSES"})
    atss_cfg.MODEL.ATSS.NUM_CLASSES = 2
    fill_num_classes(atss_cfg, {"MODEL.ATSS.NUM_CLASSES"})


def test_train_and_test_must_have_the_same_classes(atss_cfg, make_coco):
    other = make_coco("other")
    other.content["categories"][1]["name"] = "cow"
    atss_cfg.DATASETS.COCO_JSON.append(["cattle", str(other.write()), str(other.images)])
    atss_cfg.DATASETS.TEST = ("cattle",)
    register_datasets(atss_cfg)
    with pytest.raises(ValueError, match="'pets' and 'cattle' differ.*first: dog.*second: cow"):
        fill_num_classes(atss_cfg, set())


def test_another_order_of_classes_is_another_set_of_classes(atss_cfg, make_coco):
    other = make_coco("other")
    other.content["categories"] = [{"id": 3, "name": "dog"}, {"id": 7, "name": "cat"}]
    atss_cfg.DATASETS.COCO_JSON.append(["turned", str(other.write()), str(other.images)])
    atss_cfg.DATASETS.TEST = ("turned",)
    register_datasets(atss_cfg)
    with pytest.raises(ValueError, match="another order"):
        fill_num_classes(atss_cfg, set())


def test_names_that_differ_in_spelling_only_are_named():
    told = difference(["Red Cell", "plain"], ["red_cell", "plain"])
    assert "'Red Cell' and 'red_cell' differ in case or spaces only" in told
    assert "differ in case" not in difference(["cat"], ["dog"])
