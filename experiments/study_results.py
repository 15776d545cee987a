"""The results of the study: a json file that later calls go on from, and its tables as Markdown."""

import json
import re
from collections.abc import Mapping, Sequence
from itertools import product
from pathlib import Path
from typing import Any

from run_results import Result, refuse_other_settings, restore_result
from study_plan import Entry, unique_runs
from study_tables import ERRORS, as_values, format_study

from dyhead.errors import UserError
from dyhead.safe_io.json_text import write_json
from dyhead.safe_io.save import write_text_atomically

LOSS = "total_loss"  # what lines of metrics.json that come from training steps have
PACE = ("device", "cores", "runs at a time")  # what the steps in a minute depend on
TOLD = (*PACE, "torch", "python", "commit")  # that each run says of itself
DESCRIPTION = ("name", "data", "detector", "seed", "options")  # of a run beside its result


def read_results(path: Path, trainings: Mapping[str, Any]) -> dict[str, Any]:
    """Read the results of earlier calls.

    Args:
        path: the json file.
        trainings: what the trainings of this call have in common, such as their steps.

    Returns:
        its "settings", "tables", "annotations", "classes" and "runs", which are empty where there
        is no such file; "annotations" has the digest of each data set by its name, "classes" their
        number.

    Raises:
        UserError: it holds other trainings.
    """
    maps: dict[str, Any] = {name: {} for name in ("settings", "annotations", "classes")}
    empty = {**maps, "tables": [], "runs": []}
    if not path.is_file():
        return empty
    known = {**empty, **json.loads(path.read_text("utf-8"))}
    if known["runs"]:
        refuse_other_settings(path, known["settings"], trainings)
    return known


def read_run(folder: Path, keeps_weights: bool, machine: Mapping[str, Any]) -> Result:
    """Read the scores and the number of steps of a training, and delete its checkpoints.

    Args:
        folder: of the training.
        keeps_weights: leaves the checkpoints there.
        machine: that it ran on, which becomes a part of the result, as does the commit of the code
            that the training itself has told.

    Raises:
        OSError: there are none.
    """
    scores: Result = json.loads((folder / "inference" / "scores.json").read_text(encoding="utf-8"))
    lines = (folder / "metrics.json").read_text(encoding="utf-8").splitlines()
    iterations = [metrics["iteration"] for metrics in map(json.loads, lines) if LOSS in metrics]
    for checkpoint in () if keeps_weights else folder.glob("*.pth"):
        checkpoint.unlink()
    found = {"steps": 1 + max(iterations), **machine, "commit": _read_commit(folder)}
    return {**scores, **_read_errors(folder), **found}


def _read_commit(folder: Path) -> str:
    """Read the commit in the first line of env.txt; "" where it tells none."""
    path = folder / "env.txt"
    told = re.match(r".*, commit (\S+)", path.read_text("utf-8")) if path.is_file() else None
    return told[1] if told else ""


def _read_errors(folder: Path) -> Result:
    """Read the AP50 that each kind of error costs; nothing without a report on the run."""
    path = folder / "report" / "report.json"
    if not path.is_file():
        return {}
    (run,) = json.loads(path.read_text(encoding="utf-8"))["runs"]
    found = [evaluation["errors"]["kinds"] for evaluation in run["evaluations"].values()]
    return {ERRORS: {kind: cost["gain"] for kind, cost in found[0].items()}} if found else {}


def refuse_other_machines(
    runs: Sequence[Mapping[str, Any]], settings: Mapping[str, Any], machine: Mapping[str, Any]
) -> None:
    """Refuse to go on from runs that had the same minutes on another machine: no equal length.

    Args:
        runs: results of earlier calls.
        settings: of these calls, for runs that do not say it themselves.
        machine: that this call runs on.

    Raises:
        UserError: a run had another device, number of cores or of runs at a time.
    """
    for key, run in product(PACE, runs):
        before = run.get(key, settings.get(key, machine[key]))
        if before != machine[key]:
            raise UserError(
                f"Runs of equal minutes that are complete had {key} {before!r}, not"
                f" {machine[key]!r}, so their minutes hold another number of steps: give these"
                " another --name."
            )


def restore(known: Sequence[dict[str, Any]], plan: Sequence[Entry], output: Path) -> list[Any]:
    """Take runs as complete whose results were written, where their folders are gone.

    Args:
        known: runs of the json file.
        plan: the runs that the tables show.
        output: the folder of the runs.

    Returns:
        what the tables do not show: runs of configs or annotations that are no longer the same.
    """
    results = {run["name"]: run for run in known}
    names = {run.name for run in unique_runs(plan)}
    for name in names & set(results):
        result = {k: v for k, v in results[name].items() if k not in DESCRIPTION}
        restore_result(output / name, result)
    return [run for run in known if run["name"] not in names]


def write_results(
    path: Path,
    settings: Mapping[str, Any],
    plan: Sequence[Entry],
    results: Mapping[str, Result],
    others: Sequence[dict[str, Any]],
    failures: Mapping[str, str],
) -> None:
    """Write the json file, and the tables with the same name and .md.

    Args:
        path: the json file.
        settings: of the trainings and the machine.
        plan: the runs that the tables show.
        results: of the runs that are complete, by their names.
        others: runs of the json file that the tables do not show.
        failures: by the title of a run.
    """
    runs = [
        {
            "name": run.name,
            "data": run.data,
            "detector": run.title,
            "seed": run.seed,
            "options": without_data(run.options),
            **results[run.name],
        }
        for run in unique_runs(plan)
        if run.name in results
    ]
    content = {
        "settings": dict(settings),
        "tables": as_values(plan, dict(results)),
        "annotations": {run.data: run.annotations for run in unique_runs(plan)},
        "classes": {run.data: run.num_classes for run in unique_runs(plan)},
        "runs": [*runs, *others],
        "failures": dict(failures),
    }
    write_json(content, path, indent=1)
    said = describe(settings, runs)
    text = f"# {path.stem}\n\n{said}\n\n{format_study(plan, dict(results))}\n"
    write_text_atomically(text, path.with_suffix(".md"))


def describe(settings: Mapping[str, Any], runs: Sequence[Mapping[str, Any]]) -> str:
    """Say in a paragraph what the tables hold."""
    told = {key: dict.fromkeys(str(run.get(key) or "unknown") for run in runs) for key in TOLD}
    described = {**settings, **{key: ", ".join(values) for key, values in told.items()}}
    said = "; ".join(f"{key}: {value}" for key, value in described.items() if value != "")
    return (
        f"Written by `python experiments/study.py`. Runs: {len(runs)}; {said}. AP with the range"
        " over the seeds; against its baseline: the difference over the seeds that both have; p:"
        " two-sided, of a paired t-test over these; ahead: those with a higher AP."
    )


def without_data(options: Sequence[str]) -> str:
    """Format overrides without the paths of this machine."""
    pairs = zip(options[::2], options[1::2], strict=True)
    return " ".join(f"{key} {value}" for key, value in pairs if key != "DATASETS.SOURCES")
