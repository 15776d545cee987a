"""The host's `evaluation`."""

from dyhead.d2._host import HOST

if HOST == "detectron2":
    from detectron2.evaluation import (
        COCOEvaluator,
        DatasetEvaluator,
        DatasetEvaluators,
        inference_context,
        inference_on_dataset,
        print_csv_format,
        verify_results,
    )
else:
    from dyhead.d2._embedded.evaluation import (
        COCOEvaluator,
        DatasetEvaluator,
        DatasetEvaluators,
        inference_context,
        inference_on_dataset,
        print_csv_format,
        verify_results,
    )

__all__ = [
    "COCOEvaluator",
    "DatasetEvaluator",
    "DatasetEvaluators",
    "inference_context",
    "inference_on_dataset",
    "print_csv_format",
    "verify_results",
]
