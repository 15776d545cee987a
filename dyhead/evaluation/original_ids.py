"""Leaves results with the ids of the data set's file, where the host evaluates with other ones."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from dyhead.d2.evaluation import COCOEvaluator
from dyhead.d2.utils import comm
from dyhead.data.original_ids import (
    original_category_ids,
    original_image_ids,
    with_original_ids,
)
from dyhead.safe_io.json_text import write_json

RESULTS_NAME = "coco_instances_results.json"


class OriginalIdsEvaluator(COCOEvaluator):
    """A COCOEvaluator of the host whose results have the ids of the data set's file."""

    def __init__(self, dataset_name: str, *args: Any, **kwargs: Any) -> None:
        """See the host's class."""
        super().__init__(dataset_name, *args, **kwargs)
        self._dataset_name = dataset_name

    def evaluate(self, img_ids: Sequence[int] | None = None) -> dict[str, Any]:
        """Compute {task: {metric: value}} of the images with these ids of the host, or of all."""
        writes = self._output_dir and comm.is_main_process()
        results_json = Path(self._output_dir or "") / RESULTS_NAME
        if writes:
            results_json.unlink(missing_ok=True)  # of an earlier evaluation
        scores: dict[str, Any] = super().evaluate(img_ids)
        if writes:
            _restore_ids(results_json, self._dataset_name)
        return scores


def _restore_ids(results_json: Path, dataset_name: str) -> None:
    if not (original_image_ids(dataset_name) or original_category_ids(dataset_name)):
        return
    if results_json.is_file():
        results = with_original_ids(json.loads(results_json.read_text()), dataset_name)
        write_json(results, results_json)
