"""Instances of an image."""

import copy
import pickle

import pytest
import torch

from dyhead.d2.structures import Boxes, Instances


def four_instances() -> Instances:
    boxes = Boxes(torch.arange(16.0).reshape(4, 4))
    return Instances((60, 80), gt_boxes=boxes, scores=torch.arange(4.0), names=list("abcd"))


def test_fields_are_attributes():
    instances = four_instances()
    assert instances.image_size == (60, 80)
    assert instances.has("scores")
    assert not instances.has("masks")
    assert instances.get("scores") is instances.scores
    instances.gt_classes = torch.zeros(4)
    assert set(instances.get_fields()) == {"gt_boxes", "scores", "names", "gt_classes"}
    instances.remove("gt_classes")
    assert not instances.has("gt_classes")
    with pytest.raises(AttributeError, match="gt_classes"):
        _ = instances.gt_classes
    with pytest.raises(KeyError):
        instances.get("gt_classes")


def test_fields_have_one_length():
    instances = four_instances()
    with pytest.raises(AssertionError, match="3"):
        instances.extra = torch.zeros(3)
    assert len(instances) == 4
    with pytest.raises(NotImplementedError):
        len(Instances((1, 1)))


def test_integer_index_gives_one_instance():
    instances = four_instances()
    for index in range(-4, 4):
        one = instances[index]
        assert len(one) == 1
        assert one.scores.item() == instances.scores[index].item()
        assert one.names == [instances.names[index]]
        assert torch.equal(one.gt_boxes.tensor[0], instances.gt_boxes.tensor[index])
    for index in (4, -5):
        with pytest.raises(IndexError):
            instances[index]


def test_selection_reaches_every_field():
    instances = four_instances()
    instances.remove("names")
    chosen = instances[instances.scores > 1.5]
    assert chosen.scores.tolist() == [2, 3]
    assert chosen.gt_boxes.tensor.shape == (2, 4)
    none = instances[instances.scores > 9]
    assert len(none) == 0
    assert none.gt_boxes.tensor.shape == (0, 4)
    assert none.image_size == instances.image_size


def test_slices_select_from_lists_too():
    assert four_instances()[1:3].names == ["b", "c"]


def test_instances_are_not_iterable():
    with pytest.raises(NotImplementedError):
        iter(four_instances())


def test_cat_joins_every_kind_of_field():
    joined = Instances.cat([four_instances(), four_instances()[:0], four_instances()[1:2]])
    assert joined.scores.tolist() == [0, 1, 2, 3, 1]
    assert joined.names == list("abcdb")
    assert joined.gt_boxes.tensor.shape == (5, 4)


def test_cat_refuses_other_sizes_and_unknown_types():
    with pytest.raises(AssertionError):
        Instances.cat([Instances((1, 2), a=[1]), Instances((2, 1), a=[1])])
    with pytest.raises(AssertionError):
        Instances.cat([])
    with pytest.raises(ValueError, match="str"):
        Instances.cat([Instances((1, 2), a="x"), Instances((1, 2), a="y")])


def test_to_and_copies():
    instances = four_instances()
    assert instances.to("cpu").names == instances.names
    for again in (copy.deepcopy(instances), pickle.loads(pickle.dumps(instances))):
        assert torch.equal(again.scores, instances.scores)
        assert again.image_size == (60, 80)
    assert "num_instances=4" in str(instances)
    assert "image_height=60" in repr(instances)
