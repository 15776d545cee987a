"""Warns of pictures that are in the training and in the test sets, before a training."""

import logging
from collections.abc import Iterable, Sequence
from pathlib import Path

from dyhead.d2.data import MetadataCatalog
from dyhead.data.checks import CheckReport
from dyhead.data.checks.contents import PictureSet, check_contents

IMAGE_FILES = "image_files"  # metadata of a data set that was loaded: the paths of its images

logger = logging.getLogger(__name__)


def warn_of_leaks(training_files: Sequence[str], test_names: Iterable[str]) -> None:
    """Log the files of test sets that have the same content as one for training.

    Copies that were saved anew are for `dyhead check` to find, which reads the pixels.

    Args:
        training_files: paths of the images for training.
        test_names: data sets; those that were not loaded by the project are passed over.
    """
    training = PictureSet("training", Path(), training_files)
    for name in test_names:
        files = MetadataCatalog.get(name).get(IMAGE_FILES)
        if files is None:
            continue
        report = CheckReport(f"the training images and {name}")
        check_contents([training, PictureSet(name, Path(), files)], report, by_pixels=False)
        if report.has_faults:
            logger.warning("%s", report)
