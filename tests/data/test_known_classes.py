"""Classes of checkpoints and data sets find each other by name."""

import pytest

from dyhead.data.known_classes import Classes, classes_of, known_classes, match_classes
from dyhead.data.register import register_datasets
from dyhead.errors import UserError


def match(trained, wanted, by="name"):
    return match_classes(trained, wanted, source="w.pth", dataset="pets", match=by)


def test_the_same_order_needs_no_map():
    assert match(["cat", "dog"], ("cat", "dog")) is None
    assert match(["a", "a"], ["a", "a"]) is None


def test_another_order_is_mapped_class_by_class():
    trained, wanted = ["cat", "dog", "cow"], ["cow", "cat", "dog"]
    order = match(trained, wanted)
    assert [wanted[index] for index in order] == trained


@pytest.mark.parametrize("wanted", [["cat"], ["cat", "dog", "cow"], ["cat", "cat"], ["cat", "Dog"]])
def test_other_names_are_refused(wanted):
    with pytest.raises(UserError, match="w.pth was trained for 2 classes.*'pets'"):
        match(["cat", "dog"], wanted)


def test_names_that_occur_twice_have_no_other_order():
    with pytest.raises(UserError, match="another order"):
        match(["cat", "cat", "dog"], ["dog", "cat", "cat"])


def test_ids_of_a_json_are_in_the_order_of_the_classes(cfg, coco):
    cfg.DATASETS.COCO_JSON = [["pets", str(coco.write()), str(coco.images)]]
    cfg.DATASETS.TRAIN, cfg.DATASETS.TEST = ("pets",), ()
    register_datasets(cfg)
    assert classes_of("pets") == known_classes(cfg) == Classes(("cat", "dog"), (3, 7))


def test_what_is_not_on_this_machine_is_not_known(cfg, tmp_path):
    cfg.DATASETS.COCO_JSON = [["gone", str(tmp_path / "gone.json"), str(tmp_path)]]
    for names in ((), ("gone",), ("never_registered",)):
        cfg.DATASETS.TEST = names
        assert known_classes(cfg) == Classes()
    cfg.DATASETS.TEST = ("coco_2017_val",)
    assert len(known_classes(cfg).names) == len(known_classes(cfg).category_ids) == 80
