"""Reads the ground truth and the detections of an evaluation that a run has left."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dyhead.d2.data import DatasetCatalog, MetadataCatalog
from dyhead.data.original_ids import lost_images, original_category_ids, original_image_ids
from dyhead.data.sources.json_file import read_json
from dyhead.errors import UserError
from dyhead.evaluation.evaluators import COST_NAME
from dyhead.evaluation.original_ids import RESULTS_NAME
from dyhead.evaluation.results_file import read_results

Json = dict[str, Any]


@dataclass(frozen=True)
class EvaluationFiles:
    """The files of an evaluation, read.

    Attributes:
        dataset: name of the data set.
        folder: of detections, scores and cost, as seen from the run's; with slashes.
        truth: in COCO's form, with "area" and "iscrowd" of each annotation.
        results: in COCO's form, with the ids of `truth`.
        picture_files: by image id.
        original_ids: the ids that the user's file has, by image id where they are other ones.
        scores: the evaluation's own scores.json; empty where there is none.
        cost: the evaluation's cost.json; empty where there is none.
    """

    dataset: str
    folder: str
    truth: Json
    results: Sequence[Json]
    picture_files: Mapping[Any, Path]
    original_ids: Mapping[Any, Any]
    scores: Mapping[str, float | None]
    cost: Mapping[str, Any]


def read_evaluation(dataset: str, folder: Path, run: Path) -> EvaluationFiles:
    """Read what an evaluation left.

    Args:
        dataset: a registered data set.
        folder: the evaluation's.
        run: the folder of the run, for names and errors.

    Raises:
        UserError: detections or ground truth are missing; the message says how to get them.
    """
    path = folder / RESULTS_NAME
    if not path.is_file():
        raise UserError(f"{path} is missing: `dyhead eval {run}` makes it.")
    try:
        records = DatasetCatalog.get(dataset)
    except OSError as error:  # of a set that comes with the host, or is a program's own
        raise UserError(f"The data set {dataset!r} cannot be read: {error}") from error
    truth = _read_truth(dataset, folder)
    return EvaluationFiles(
        dataset,
        folder.relative_to(run).as_posix(),
        truth,
        _read_results(path, dataset, truth),
        {record["image_id"]: Path(record["file_name"]) for record in records},
        original_image_ids(dataset),
        _read_optional(folder / "scores.json"),
        _read_cost(folder / COST_NAME),
    )


def _read_truth(dataset: str, folder: Path) -> Json:
    json_file = MetadataCatalog.get(dataset).get("json_file")
    written = folder / f"{dataset}_coco_format.json"  # by the evaluation of sets without a json
    path = Path(json_file) if json_file else written
    if not path.is_file():
        raise UserError(f"The ground truth of {dataset!r} is missing: {path} does not exist.")
    truth: Json = read_json(path)
    if not truth.get("annotations"):
        lack = MetadataCatalog.get(dataset).get("lack_of_objects") or "no annotations"
        raise UserError(
            f"{dataset!r} has {lack}, so there is nothing to measure: label its pictures, or name"
            " another set in DATASETS.TEST."
        )
    for annotation in truth["annotations"]:  # as the evaluation completes them
        annotation.setdefault("iscrowd", 0)
        annotation.setdefault("area", annotation["bbox"][2] * annotation["bbox"][3])
    return truth


def _read_results(path: Path, dataset: str, truth: Mapping[str, Any]) -> list[Json]:
    """Read results, which have the ids of the user's file, with those that the host evaluates."""
    images, categories = original_image_ids(dataset), original_category_ids(dataset)
    return read_results(
        path,
        {images.get(each["id"], each["id"]): each["id"] for each in truth["images"]},
        {categories.get(each["id"], each["id"]): each["id"] for each in truth["categories"]},
        lost_images(dataset),
    )


def _read_cost(path: Path) -> dict[str, Any]:
    cost = _read_optional(path)
    for key in ("seconds_per_image", "peak_memory_gib"):
        if not isinstance(cost.get(key), int | float | None):
            raise UserError(
                f"{path} has the value {cost[key]!r} for {key}, which is no number: `dyhead eval`"
                " makes it anew."
            )
    return cost


def _read_optional(path: Path) -> dict[str, Any]:
    if not path.is_file():
        return {}
    content = read_json(path)
    if not isinstance(content, dict):
        raise UserError(f"{path} is no table of names and values: `dyhead eval` makes it anew.")
    return content
