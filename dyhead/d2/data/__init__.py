"""The host's `data`."""

from dyhead.d2._host import HOST

if HOST == "detectron2":
    from detectron2.data import (
        DatasetCatalog,
        DatasetFromList,
        DatasetMapper,
        MapDataset,
        Metadata,
        MetadataCatalog,
        ToIterableDataset,
        build_batch_data_loader,
        build_detection_test_loader,
        build_detection_train_loader,
        get_detection_dataset_dicts,
        print_instances_class_histogram,
    )
else:
    from dyhead.d2._embedded.data import (
        DatasetCatalog,
        DatasetFromList,
        DatasetMapper,
        MapDataset,
        Metadata,
        MetadataCatalog,
        ToIterableDataset,
        build_batch_data_loader,
        build_detection_test_loader,
        build_detection_train_loader,
        get_detection_dataset_dicts,
        print_instances_class_histogram,
    )

__all__ = [
    "DatasetCatalog",
    "DatasetFromList",
    "DatasetMapper",
    "MapDataset",
    "Metadata",
    "MetadataCatalog",
    "ToIterableDataset",
    "build_batch_data_loader",
    "build_detection_test_loader",
    "build_detection_train_loader",
    "get_detection_dataset_dicts",
    "print_instances_class_histogram",
]
