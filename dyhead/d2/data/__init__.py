"""The host's `data`."""

from dyhead.d2._host import HOST

if HOST == "detectron2":
    from detectron2.data import (
        DatasetCatalog,
        DatasetMapper,
        MetadataCatalog,
        build_detection_test_loader,
        build_detection_train_loader,
        get_detection_dataset_dicts,
    )
else:
    from dyhead.d2._embedded.data import (
        DatasetCatalog,
        DatasetMapper,
        MetadataCatalog,
        build_detection_test_loader,
        build_detection_train_loader,
        get_detection_dataset_dicts,
    )

__all__ = [
    "DatasetCatalog",
    "DatasetMapper",
    "MetadataCatalog",
    "build_detection_test_loader",
    "build_detection_train_loader",
    "get_detection_dataset_dicts",
]
