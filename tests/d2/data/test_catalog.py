import copy
import pickle

import pytest

from dyhead.d2.data import DatasetCatalog, Metadata, MetadataCatalog

pytestmark = pytest.mark.usefixtures("unregister")


def test_a_dataset_is_loaded_by_its_name_anew_each_time():
    DatasetCatalog.register("one", lambda: [{"image_id": 1}])
    first, second = DatasetCatalog.get("one"), DatasetCatalog.get("one")
    assert first == second == [{"image_id": 1}]
    assert first is not second
    assert "one" in DatasetCatalog
    assert "one" in DatasetCatalog.list()


def test_a_name_is_registered_once():
    DatasetCatalog.register("one", list)
    with pytest.raises(AssertionError, match="already registered"):
        DatasetCatalog.register("one", list)
    DatasetCatalog.remove("one")
    DatasetCatalog.register("one", list)


def test_what_is_registered_has_to_be_callable():
    with pytest.raises(AssertionError):
        DatasetCatalog.register("one", [{}])


def test_an_unknown_name_is_answered_with_the_known_ones():
    DatasetCatalog.register("known", list)
    with pytest.raises(KeyError, match="nowhere.*known"):
        DatasetCatalog.get("nowhere")


def test_metadata_is_one_object_per_name():
    metadata = MetadataCatalog.get("one")
    assert metadata.name == "one"
    metadata.thing_classes = ["a"]
    assert MetadataCatalog.get("one") is metadata
    assert MetadataCatalog.get("one").thing_classes == ["a"]


def test_metadata_cannot_change():
    metadata = MetadataCatalog.get("one").set(thing_classes=["a"], json_file="x")
    metadata.set(thing_classes=["a"])
    with pytest.raises(AssertionError, match="thing_classes"):
        metadata.thing_classes = ["b"]


def test_missing_metadata_is_named():
    metadata = MetadataCatalog.get("one").set(json_file="x")
    with pytest.raises(AttributeError, match="thing_classes.*one"):
        _ = metadata.thing_classes
    assert metadata.get("thing_classes") is None
    assert metadata.get("thing_classes", ["a"]) == ["a"]
    assert not hasattr(metadata, "thing_classes")


def test_as_dict_is_a_copy():
    metadata = Metadata(name="one", json_file="x")
    content = metadata.as_dict()
    assert content == {"name": "one", "json_file": "x"}
    content["json_file"] = "y"
    assert metadata.json_file == "x"


@pytest.mark.parametrize("clone", [copy.deepcopy, lambda m: pickle.loads(pickle.dumps(m))])
def test_metadata_can_be_copied_and_sent_to_other_processes(clone):
    metadata = Metadata(name="one", thing_classes=["a"])
    assert clone(metadata) == metadata
