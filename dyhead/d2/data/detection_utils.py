"""The host's `data.detection_utils`."""

from dyhead.d2._host import HOST

if HOST == "detectron2":
    from detectron2.data.detection_utils import (
        SizeMismatchError,
        annotations_to_instances,
        build_augmentation,
        check_image_size,
        filter_empty_instances,
        read_image,
        transform_instance_annotations,
    )
else:
    from dyhead.d2._embedded.data.detection_utils import (
        SizeMismatchError,
        annotations_to_instances,
        build_augmentation,
        check_image_size,
        filter_empty_instances,
        read_image,
        transform_instance_annotations,
    )

__all__ = [
    "SizeMismatchError",
    "annotations_to_instances",
    "build_augmentation",
    "check_image_size",
    "filter_empty_instances",
    "read_image",
    "transform_instance_annotations",
]
