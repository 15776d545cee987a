"""Configs name the same data by the same place, or by a copy of the same label file."""

import shutil

import pytest

from dyhead.config import load_config
from dyhead.run_report.named_data import difference, named_data


def named(*paths, **keys):
    cfg, _ = load_config("quickstart")
    names = [f"set{number}" for number in range(len(paths))]
    cfg.DATASETS.SOURCES = [[name, str(path)] for name, path in zip(names, paths, strict=True)]
    cfg.merge_from_list([part for pair in keys.items() for part in pair])
    return named_data(cfg, names)


@pytest.fixture
def labels(tmp_path):
    path = tmp_path / "one" / "train.json"
    path.parent.mkdir()
    path.write_text('{"images": []}')
    return path


def test_a_copy_of_a_label_file_is_the_same_data_and_a_corrected_one_is_not(labels, tmp_path):
    copy = tmp_path / "copy.json"
    shutil.copy(labels, copy)
    assert named(labels) == named(copy) and not difference(named(labels), named(copy))
    copy.write_text('{"images": [1]}')
    assert named(labels) != named(copy)
    assert difference(named(labels), named(copy)) == f"{copy} in the place of {labels}"


def test_a_file_that_only_says_where_labels_are_is_known_by_its_path(tmp_path):
    for folder in ("one", "two"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "data.yaml").write_text("train: images\n")
    one, two = (tmp_path / folder / "data.yaml" for folder in ("one", "two"))
    assert named(one) == named(one) != named(two)


def test_what_is_not_there_is_known_by_its_path(tmp_path):
    assert named(tmp_path / "gone.json") == named(tmp_path / "gone.json")
    assert named(tmp_path / "gone.json") != named(tmp_path / "lost.json")


def test_the_order_of_sets_does_not_count_and_their_number_does(labels, tmp_path):
    other = tmp_path / "other.json"
    assert named(labels, other) == named(other, labels)
    assert difference(named(labels), named(labels, other)) == f"{other} in the place of nothing"


def test_another_division_of_a_set_is_other_data(labels):
    part = f"{labels.parent}#train"
    other = named(part, **{"DATASETS.VAL_RATIO": 0.4})
    assert named(part) != other
    assert difference(named(part), other) == f"{part} is divided otherwise"
    assert named(labels) == named(labels, **{"DATASETS.VAL_RATIO": 0.4}), "which has no parts"
