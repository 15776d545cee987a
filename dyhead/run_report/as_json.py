"""Writes a report on runs as plain containers for JSON; docs/report.md describes the keys."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from dyhead import __version__
from dyhead.evaluation.measures.precision_recall import Curve, OperatingPoint, thinned
from dyhead.run_report.collect import RunReport
from dyhead.run_report.compare import Comparison
from dyhead.run_report.evaluation import Evaluation
from dyhead.run_report.evaluation_files import EvaluationFiles
from dyhead.run_report.training_log import TrainingLog
from dyhead.visualization.curves import Curve as ScalarCurve

FORMAT = 1  # raised where a key changes its meaning or goes; new keys do not raise it


def report_as_dict(
    runs: Sequence[RunReport], comparison: Comparison | None, pictures: Sequence[str]
) -> dict[str, Any]:
    """Return a report as what `strict_json` takes; what is not known is NaN, which becomes null.

    Args:
        runs: at least one.
        comparison: of several runs.
        pictures: names of the files that are written beside it.
    """
    return {
        "format": FORMAT,
        "dyhead": __version__,
        "runs": [_run(run) for run in runs],
        "comparison": None if comparison is None else _comparison(comparison),
        "pictures": list(pictures),
    }


def _run(run: RunReport) -> dict[str, Any]:
    return {
        "name": run.name,
        "path": str(run.path),
        "missing": run.missing,
        "training": None if run.log is None else _training(run.log),
        "evaluations": {name: _evaluation(*read) for name, read in run.evaluations.items()},
        "config": {
            "file": run.difference.file or None,
            "base": run.difference.base,
            "base_is_recorded": run.difference.is_recorded,
            "differences": [
                {"key": key, "base": _plain(base), "run": _plain(own)}
                for key, base, own in run.difference.keys
            ],
        },
        "data": run.health,
    }


def _training(log: TrainingLog) -> dict[str, Any]:
    return {
        "steps": log.steps,
        "seconds_per_step": log.seconds,
        "data_seconds_per_step": log.data_seconds,
        "pictures_per_second": log.pictures_per_second,
        "losses": _curves(log.losses),
        "ap": _curves(log.precisions),
        "learning_rate": _curves(log.rates),
    }


def _curves(curves: Mapping[str, ScalarCurve]) -> dict[str, Any]:
    return {name: {"iterations": x, "values": y} for name, (x, y) in curves.items()}


def _evaluation(files: EvaluationFiles, measured: Evaluation) -> dict[str, Any]:
    evaluated = measured.evaluated
    return {
        "folder": files.folder,
        "pictures": len(evaluated.pictures),
        "objects": int(measured.num_objects.sum()),
        "detections": int(measured.num_detections.sum()),
        "cost": dict(files.cost),
        "scores": dict(measured.scores.overall),
        "by_iou": {"iou": measured.scores.ious, "ap": dict(measured.scores.by_iou)},
        "classes": [_class(index, measured) for index in range(len(evaluated.class_names))],
        "all_classes": {
            "best": _point(measured.joint_point),
            "curve": _curve(measured.joint_curve),
        },
        "confusion": {
            "classes": [*evaluated.class_names, "background"],
            "counts": measured.confusion.tolist(),
        },
        "errors": _errors(measured),
        "calibration": {
            "error": measured.calibration.error,
            "bins": [asdict(each) for each in measured.calibration.bins],
        },
        "by_picture": [
            {
                "image_id": files.original_ids.get(picture.image_id, picture.image_id),
                "file_name": picture.file_name,
                "f1": each.f1,
                "found": each.num_found,
                "false": each.num_false,
                "missed": each.num_missed,
            }
            for each in measured.pictures
            for picture in [evaluated.pictures[each.index]]
        ],
    }


def _class(index: int, measured: Evaluation) -> dict[str, Any]:
    return {
        "name": measured.evaluated.class_names[index],
        "objects": int(measured.num_objects[index]),
        "detections": int(measured.num_detections[index]),
        "scores": dict(measured.scores.by_class[index]),
        "ap_by_iou": list(measured.scores.class_by_iou[index]),
        "best": _point(measured.points[index]),
        "curve": _curve(measured.curves[index]),
    }


def _point(point: OperatingPoint) -> dict[str, float]:
    return asdict(point)


def _curve(curve: Curve) -> dict[str, list[float]]:
    shown = thinned(curve)
    return {
        "threshold": shown.thresholds.tolist(),
        "precision": shown.precision.tolist(),
        "recall": shown.recall.tolist(),
        "f1": shown.f1.tolist(),
    }


def _errors(measured: Evaluation) -> dict[str, Any]:
    costs = measured.costs
    return {
        "ap50": costs.ap50,
        "kinds": {kind.name.lower(): asdict(cost) for kind, cost in costs.kinds.items()},
        "false_positives": asdict(costs.false_positives),
        "false_negatives": asdict(costs.false_negatives),
    }


def _comparison(comparison: Comparison) -> dict[str, Any]:
    return {
        "runs": list(comparison.names),
        "rows": [
            {"label": row.label, "values": list(row.values), "differences": row.differences}
            for row in comparison.rows
        ],
        "config": [
            {"key": key, "values": [_plain(value) for value in values]}
            for key, values in comparison.keys
        ],
        "seeds": [asdict(group) for group in comparison.groups],
        "doubts": list(comparison.doubts),
    }


def _plain(value: Any) -> Any:
    return [_plain(part) for part in value] if isinstance(value, list | tuple) else value
