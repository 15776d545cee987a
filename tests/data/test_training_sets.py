"""The config filters images out of the training sets, and says how often each is drawn."""

import itertools
import logging
from collections import Counter
from typing import Any

import pytest

from dyhead.config import load_config
from dyhead.d2.config import CfgNode
from dyhead.data import training_sets


@pytest.mark.parametrize(("has_key_points", "fewest"), [(True, 3), (False, 0)])
def test_the_configs_filters_reach_the_host(
    monkeypatch: pytest.MonkeyPatch, has_key_points: bool, fewest: int
) -> None:
    asked: dict[str, Any] = {}

    def get_detection_dataset_dicts(names: Any, **filters: Any) -> list[dict]:
        asked.update(filters, names=names)
        return [{}]

    monkeypatch.setattr(training_sets, "get_detection_dataset_dicts", get_detection_dataset_dicts)
    cfg, _ = load_config("")
    cfg.DATASETS.TRAIN = ("one", "two")
    cfg.DATALOADER.FILTER_EMPTY_ANNOTATIONS = False
    cfg.MODEL.KEYPOINT_ON = has_key_points
    cfg.MODEL.ROI_KEYPOINT_HEAD.MIN_KEYPOINTS_PER_IMAGE = 3
    sets = training_sets.load_training_sets(cfg)
    assert sets.records == [{}] and sets.make_sampler is not None and sets.weights is None
    assert asked == {"names": ("one", "two"), "filter_empty": False, "min_keypoints": fewest}


@pytest.fixture
def balanced(monkeypatch: pytest.MonkeyPatch) -> CfgNode:
    """A config that draws from ten images, of which one has the rare class 1 too."""
    records = [{"annotations": [{"category_id": 0}]} for _ in range(9)]
    records.append({"annotations": [{"category_id": 0}, {"category_id": 1}]})
    monkeypatch.setattr(training_sets, "get_detection_dataset_dicts", lambda *_, **__: records)
    cfg, _ = load_config("")
    cfg.DATASETS.TRAIN = ("one",)
    cfg.DATALOADER.SAMPLER_TRAIN = "RepeatFactorTrainingSampler"
    return cfg


def test_images_of_rare_classes_are_drawn_more(
    balanced: CfgNode, caplog: pytest.LogCaptureFixture
) -> None:
    balanced.DATALOADER.REPEAT_THRESHOLD = 0.4
    with caplog.at_level(logging.INFO, logger="dyhead"):
        sets = training_sets.load_training_sets(balanced)
    assert sets.weights is not None and sets.weights.tolist() == [1.0] * 9 + [2.0]  # sqrt(4)
    assert "repeats 1 of 10 images: a pass draws about 11" in caplog.text
    assert sets.make_sampler is not None
    drawn = Counter(itertools.islice(sets.make_sampler(3), 11 * 20))
    assert drawn[9] == 40 and set(drawn.values()) == {20, 40}


def test_a_threshold_that_repeats_nothing_is_told(
    balanced: CfgNode, caplog: pytest.LogCaptureFixture
) -> None:
    balanced.DATALOADER.REPEAT_THRESHOLD = 0.05
    sets = training_sets.load_training_sets(balanced)
    assert sets.weights is not None and set(sets.weights.tolist()) == {1.0}
    assert "repeats nothing" in caplog.text and "REPEAT_THRESHOLD 0.05" in caplog.text


@pytest.mark.parametrize("ratios", [(), (1.0, 3.0)])
def test_counting_the_images_says_nothing_of_how_they_are_drawn(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, ratios: tuple[float, ...]
) -> None:
    """The loader says it, once the length of the training is known."""
    sizes = {"one": 4, "two": 7}

    def get_detection_dataset_dicts(names: Any, **_: Any) -> list[dict]:
        return [{}] * sum(sizes[name] for name in ([names] if isinstance(names, str) else names))

    monkeypatch.setattr(training_sets, "get_detection_dataset_dicts", get_detection_dataset_dicts)
    cfg, _ = load_config("")
    cfg.DATASETS.TRAIN, cfg.DATASETS.TRAIN_RATIOS = ("one", "two"), ratios
    with caplog.at_level(logging.INFO, logger="dyhead"):
        assert training_sets.count_training_images(cfg) == 11
    assert not caplog.text
