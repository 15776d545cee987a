"""COCO under its known names, found below $DETECTRON2_DATASETS or ./datasets."""

import os

from .builtin_meta import _get_builtin_metadata
from .coco import register_coco_instances

# name -> (image folder, annotations), below the folder "coco"
_COCO_SPLITS = {
    "coco_2014_train": ("train2014", "instances_train2014"),
    "coco_2014_val": ("val2014", "instances_val2014"),
    "coco_2014_minival": ("val2014", "instances_minival2014"),
    "coco_2014_valminusminival": ("val2014", "instances_valminusminival2014"),
    "coco_2017_train": ("train2017", "instances_train2017"),
    "coco_2017_val": ("val2017", "instances_val2017"),
    "coco_2017_test": ("test2017", "image_info_test2017"),
    "coco_2017_test-dev": ("test2017", "image_info_test-dev2017"),
    "coco_2017_val_100": ("val2017", "instances_val2017_100"),
}


def register_all_coco(root: str) -> None:
    """Register the splits of COCO that lie in `root`/coco; nothing is read yet."""
    for name, (image_folder, annotations) in _COCO_SPLITS.items():
        register_coco_instances(
            name,
            _get_builtin_metadata("coco"),
            os.path.join(root, "coco", "annotations", f"{annotations}.json"),
            os.path.join(root, "coco", image_folder),
        )


register_all_coco(os.path.expanduser(os.getenv("DETECTRON2_DATASETS", "datasets")))
