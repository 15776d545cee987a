"""A file in training and test set is warned of before the training."""

import logging

import numpy as np
from PIL import Image

from dyhead.d2.data import DatasetCatalog
from dyhead.data import register_datasets
from dyhead.data.leaks import warn_of_leaks


def test_files_of_the_same_content_are_warned_of(coco, make_coco, cfg, caplog):
    other = make_coco("other")
    for number in (2, 3):
        pixels = np.full((40, 60, 3), 10 * number, np.uint8)
        Image.fromarray(pixels).save(other.images / f"{number}.png")
    sets = [["pets", coco], ["others", other]]
    cfg.DATASETS.COCO_JSON = [[name, str(each.write()), str(each.images)] for name, each in sets]
    register_datasets(cfg)
    training = [image["file_name"] for image in DatasetCatalog.get("pets")]
    with caplog.at_level(logging.WARNING, logger="dyhead"):
        caplog.clear()
        warn_of_leaks(training, ["others"])
        assert not caplog.records, "a set that was not loaded"
        DatasetCatalog.get("others")
        caplog.clear()
        warn_of_leaks(training, ["others"])
        warn_of_leaks(training[1:], ["others"])
    (message,) = caplog.messages
    assert "1 x picture that is in the training set too" in message
    assert str(other.images / "1.png") in message
