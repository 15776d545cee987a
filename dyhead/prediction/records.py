"""Writes the detections of many pictures: COCO's result format, and a table."""

import csv
import os
from pathlib import Path
from typing import Any

from dyhead.prediction.detections import Detections
from dyhead.prediction.sources import CSV_NAME, JSON_NAME
from dyhead.safe_io.json_text import strict_json

_COLUMNS = ("file_name", "frame", "image_id", "category_id", "name", "score")
_BOX = ("x", "y", "width", "height")  # pixels
_DIGITS = 2  # of coordinates: a hundredth of a pixel
_SCORE_DIGITS = 5


class Records:
    """Writes predictions.json and predictions.csv, one record per object, as they are found.

    A record is an entry of COCO's result format with `file_name` and, for videos, `frame` (from 0)
    in addition; in the table also with the name of its class.

    The files appear under their names when they are closed, and until then are hidden ones,
    .predictions.unfinished.json and .csv. Close them after an error too: what was found until then
    can be read.

    Args:
        folder: an existing one.

    Raises:
        OSError: they cannot be written; the methods raise it too.
    """

    def __init__(self, folder: Path) -> None:
        self._json = _UnfinishedFile(folder / JSON_NAME)
        self._csv = _UnfinishedFile(folder / CSV_NAME)
        self._table = csv.writer(self._csv.file, lineterminator="\n")
        self._table.writerow([*_COLUMNS, *_BOX])
        self._separator = "["

    def add(
        self, detections: Detections, image_id: int, file_name: str, frame: int | None = None
    ) -> None:
        """Add the detections of one picture, or of one frame of a video."""
        where: dict[str, Any] = {"file_name": file_name}
        if frame is not None:
            where["frame"] = frame
        for entry, name in zip(detections.to_coco(image_id), detections.names, strict=True):
            entry["bbox"] = [round(value, _DIGITS) for value in entry["bbox"]]
            entry["score"] = round(entry["score"], _SCORE_DIGITS)
            result = {**entry, **where}
            self._json.file.write(self._separator + strict_json(result))
            self._separator = ",\n"
            row = {"frame": "", **result, "name": name}
            self._table.writerow([*(row[column] for column in _COLUMNS), *result["bbox"]])

    def close(self) -> None:
        """Finish the files."""
        self._json.file.write("[]\n" if self._separator == "[" else "]\n")
        self._json.finish()
        self._csv.finish()


class _UnfinishedFile:
    """A text file that gets its name at the end."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._unfinished = path.with_name(f".{path.stem}.unfinished{path.suffix}")
        self.file = open(self._unfinished, "w", encoding="utf-8", newline="")  # noqa: SIM115

    def finish(self) -> None:
        self.file.flush()
        os.fsync(self.file.fileno())
        self.file.close()
        os.replace(self._unfinished, self._path)
