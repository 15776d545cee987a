"""Reads the ground truth and the detections of an evaluation that a run has left."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dyhead.d2.data import DatasetCatalog, MetadataCatalog
from dyhead.data.original_ids import original_category_ids, original_image_ids
from dyhead.errors import UserError, user_errors
from dyhead.evaluation.evaluators import COST_NAME
from dyhead.evaluation.original_ids import RESULTS_NAME

Json = dict[str, Any]


@dataclass(frozen=True)
class EvaluationFiles:
    """The files of an evaluation, read.

    Attributes:
        dataset: name of the data set.
        truth: in COCO's form, with "area" and "iscrowd" of each annotation.
        results: in COCO's form, with the ids of `truth`.
        picture_files: by image id.
        scores: the evaluation's own scores.json; empty where there is none.
        cost: the evaluation's cost.json; empty where there is none.
    """

    dataset: str
    truth: Json
    results: Sequence[Json]
    picture_files: Mapping[Any, Path]
    scores: Mapping[str, float | None]
    cost: Mapping[str, Any]


def read_evaluation(dataset: str, folder: Path, run: Path) -> EvaluationFiles:
    """Read what an evaluation left.

    Args:
        dataset: a registered data set.
        folder: the evaluation's.
        run: what to call the run in errors.

    Raises:
        UserError: detections or ground truth are missing; the message says how to get them.
    """
    results = _read_results(folder / RESULTS_NAME, run)
    records = DatasetCatalog.get(dataset)
    truth = _read_truth(dataset, folder)
    return EvaluationFiles(
        dataset,
        truth,
        _with_host_ids(results, dataset, truth, folder / RESULTS_NAME),
        {record["image_id"]: Path(record["file_name"]) for record in records},
        _read_optional(folder / "scores.json"),
        _read_optional(folder / COST_NAME),
    )


def _read_results(path: Path, run: Path) -> list[Json]:
    if not path.is_file():
        raise UserError(f"{path} is missing: `dyhead eval {run}` makes it.")
    results = _read_json(path)
    keys = {"image_id", "category_id", "bbox", "score"}
    if not isinstance(results, list) or not all(
        isinstance(each, dict) and keys <= each.keys() for each in results
    ):
        raise UserError(f"{path} is no list of COCO results: `dyhead eval {run}` makes it anew.")
    return results


def _read_truth(dataset: str, folder: Path) -> Json:
    json_file = MetadataCatalog.get(dataset).get("json_file")
    written = folder / f"{dataset}_coco_format.json"  # by the evaluation of sets without a json
    path = Path(json_file) if json_file else written
    if not path.is_file():
        raise UserError(f"The ground truth of {dataset!r} is missing: {path} does not exist.")
    truth: Json = _read_json(path)
    if not truth.get("annotations"):
        raise UserError(f"{dataset!r} has no annotations in {path}: there is nothing to measure.")
    for annotation in truth["annotations"]:  # as the evaluation completes them
        annotation.setdefault("iscrowd", 0)
        annotation.setdefault("area", annotation["bbox"][2] * annotation["bbox"][3])
    return truth


def _with_host_ids(
    results: Sequence[Json], dataset: str, truth: Mapping[str, Any], path: Path
) -> list[Json]:
    """Give results, which have the ids of the user's file, those that the host evaluates with."""
    images = {original: own for own, original in original_image_ids(dataset).items()}
    categories = {original: own for own, original in original_category_ids(dataset).items()}
    known_images = {image["id"] for image in truth["images"]}
    known_categories = {category["id"] for category in truth["categories"]}
    translated = []
    for each in results:
        image = images.get(each["image_id"], each["image_id"])
        category = categories.get(each["category_id"], each["category_id"])
        if image not in known_images or category not in known_categories:
            raise UserError(
                f"{path} is not of the data set {dataset!r}: it has image {each['image_id']},"
                f" category {each['category_id']}."
            )
        translated.append({**each, "image_id": image, "category_id": category})
    return translated


def _read_optional(path: Path) -> dict[str, Any]:
    return dict(_read_json(path)) if path.is_file() else {}


def _read_json(path: Path) -> Any:
    with user_errors(str(path)):
        return json.loads(path.read_text(encoding="utf-8"))
