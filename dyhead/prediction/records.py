"""Writes the detections of many pictures: COCO's result format, and a table."""

import csv
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from dyhead.prediction.detections import Detections
from dyhead.prediction.sources import CSV_NAME, JSON_NAME
from dyhead.safe_io.json_text import write_json
from dyhead.safe_io.save import write_text_atomically

_COLUMNS = ("file_name", "frame", "image_id", "category_id", "name", "score")
_BOX = ("x", "y", "width", "height")  # pixels
_DIGITS = 2  # of coordinates: a hundredth of a pixel
_SCORE_DIGITS = 5


class Records:
    """Collects detections, one record per object.

    A record is an entry of COCO's result format with `file_name` and, for videos, `frame` (from 0)
    in addition; in the table also with the name of its class.
    """

    def __init__(self) -> None:
        self._results: list[dict[str, Any]] = []
        self._names: list[str] = []

    def add(
        self, detections: Detections, image_id: int, file_name: str, frame: int | None = None
    ) -> None:
        """Add the detections of one picture, or of one frame of a video."""
        where: dict[str, Any] = {"file_name": file_name}
        if frame is not None:
            where["frame"] = frame
        for entry in detections.to_coco(image_id):
            entry["bbox"] = [round(value, _DIGITS) for value in entry["bbox"]]
            entry["score"] = round(entry["score"], _SCORE_DIGITS)
            self._results.append({**entry, **where})
        self._names.extend(detections.names)

    def write(self, folder: Path) -> Sequence[Path]:
        """Write predictions.json and predictions.csv.

        Raises:
            OSError: they cannot be written.
        """
        paths = folder / JSON_NAME, folder / CSV_NAME
        write_json(self._results, paths[0])
        write_text_atomically(self._table(), paths[1])
        return paths

    def _table(self) -> str:
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow([*_COLUMNS, *_BOX])
        for result, name in zip(self._results, self._names, strict=True):
            row = {"frame": "", **result, "name": name}
            writer.writerow([*(row[column] for column in _COLUMNS), *result["bbox"]])
        return text.getvalue()
