"""The host's `data.common`."""

from dyhead.d2._host import HOST

if HOST == "detectron2":
    from detectron2.data.common import (
        AspectRatioGroupedDataset,
        DatasetFromList,
        MapDataset,
        ToIterableDataset,
    )
else:
    from dyhead.d2._embedded.data.common import (
        AspectRatioGroupedDataset,
        DatasetFromList,
        MapDataset,
        ToIterableDataset,
    )

__all__ = [
    "AspectRatioGroupedDataset",
    "DatasetFromList",
    "MapDataset",
    "ToIterableDataset",
]
