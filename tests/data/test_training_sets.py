"""The config filters images out of the training sets."""

from typing import Any

import pytest

from dyhead.config import load_config
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
    dataset, make_sampler = training_sets.load_training_sets(cfg)
    assert dataset == [{}] and make_sampler is not None
    assert asked == {"names": ("one", "two"), "filter_empty": False, "min_keypoints": fewest}
