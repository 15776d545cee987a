"""Says what is missing beside the detections of an evaluation, or does not fit to them."""

import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from dyhead.evaluation.evaluators import COST_NAME
from dyhead.run_report.evaluation import Evaluation
from dyhead.run_report.evaluation_files import EvaluationFiles

_TOLERANCE = 0.01  # AP, from 0 to 100
_OUTSIDE = 0.05  # of a picture's side, that a box may reach beyond it


def doubts(files: EvaluationFiles, evaluation: Evaluation, run: Path) -> Iterator[str]:
    """Yield sentences on an evaluation.

    Args:
        files: of the evaluation.
        evaluation: its measures.
        run: the folder of the run, for the command that evaluates again.
    """
    if not files.cost:
        yield (
            f"{COST_NAME} of {files.dataset} is missing in {files.folder}, with seconds per"
            f" picture and memory: `dyhead eval {run}` makes it."
        )
    yield from _changed_pictures(files, run)
    written, measured = files.scores.get("AP"), evaluation.scores.overall["AP"]
    if written is not None and not _is_near(written, measured):
        yield (
            f"scores.json of {files.dataset} in {files.folder} has an AP of {_rounded(written)},"
            f" its detections one of {measured:.2f}: pictures, labels or detections have changed"
            f" since. `dyhead eval {run}` evaluates anew."
        )


def _is_near(written: Any, measured: float) -> bool:
    return isinstance(written, int | float) and abs(written - measured) <= _TOLERANCE


def _rounded(written: Any) -> str:
    return f"{written:.2f}" if isinstance(written, int | float) else repr(written)


def _changed_pictures(files: EvaluationFiles, run: Path) -> Iterator[str]:
    """Name a picture that detections reach far beyond: detectors cut them off at its border."""
    images = {image["id"]: image for image in files.truth["images"]}
    found = dict.fromkeys(
        result["image_id"]
        for result in files.results
        if _leaves(result["bbox"], images[result["image_id"]])
    )
    if found:
        first = images[next(iter(found))]
        yield (
            f"Detections on {files.dataset} in {files.folder} reach beyond their pictures in"
            f" {len(found):,} of these, such as {first['file_name']} with {first['width']} x"
            f" {first['height']} pixels, which seem to have been larger when they were evaluated:"
            f" put them back as they were, or evaluate again with `dyhead eval {run}`."
        )


def _leaves(box: Sequence[float], image: Mapping[str, Any]) -> bool:
    x, y, width, height = box
    ends = ((x + width, "width"), (y + height, "height"))
    return any(end > (1 + _OUTSIDE) * image.get(side, math.inf) for end, side in ends)
