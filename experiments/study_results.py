"""The results of the study: a json file that later calls go on from, and its tables as Markdown."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from job_runner import DONE, Result
from study_plan import Entry, unique_runs
from study_tables import as_values, format_study

from dyhead.errors import UserError
from dyhead.safe_io.json_text import write_json
from dyhead.safe_io.save import write_text_atomically

DESCRIPTION = ("name", "data", "detector", "seed", "options")  # of a run beside its result


def read_results(path: Path, trainings: Mapping[str, Any]) -> dict[str, Any]:
    """Read the results of earlier calls.

    Args:
        path: the json file.
        trainings: what the trainings of this call have in common, such as their steps.

    Returns:
        its "tables" and "runs", empty lists where there is no such file.

    Raises:
        UserError: it holds other trainings.
    """
    if not path.is_file():
        return {"tables": [], "runs": []}
    known: dict[str, Any] = json.loads(path.read_text("utf-8"))
    for key, value in trainings.items():
        before = known["settings"].get(key, "")
        if known["runs"] and before != value:
            raise UserError(
                f"{path} holds trainings with {key} {before!r}, not {value!r}: give these another"
                " --name."
            )
    return known


def restore(known: Sequence[dict[str, Any]], plan: Sequence[Entry], output: Path) -> list[Any]:
    """Take runs as complete whose results were written, where their folders are gone.

    Args:
        known: runs of the json file.
        plan: the runs that the tables show.
        output: the folder of the runs.

    Returns:
        what the tables do not show: runs of configs that are no longer the same.
    """
    results = {run["name"]: run for run in known}
    names = {run.name for run in unique_runs(plan)}
    for name in names & set(results):
        folder = output / name
        if not (folder / DONE).is_file():
            folder.mkdir(parents=True, exist_ok=True)
            result = {k: v for k, v in results[name].items() if k not in DESCRIPTION}
            write_json(result, folder / DONE, indent=1)
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
        "runs": [*runs, *others],
        "failures": dict(failures),
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    write_json(content, path, indent=1)
    said = describe(settings, len(runs))
    text = f"# {path.stem}\n\n{said}\n\n{format_study(plan, dict(results))}\n"
    write_text_atomically(text, path.with_suffix(".md"))


def describe(settings: Mapping[str, Any], num_runs: int) -> str:
    """Say in a paragraph what the tables hold."""
    said = "; ".join(f"{key}: {value}" for key, value in settings.items() if value != "")
    return (
        f"Written by `python experiments/study.py`. Runs: {num_runs}; {said}. AP with the range"
        " over the seeds; p: two-sided, of a paired t-test over the seeds' AP; ahead: seeds with a"
        " higher AP than the baseline's."
    )


def without_data(options: Sequence[str]) -> str:
    """Format overrides without the paths of this machine."""
    pairs = zip(options[::2], options[1::2], strict=True)
    return " ".join(f"{key} {value}" for key, value in pairs if key != "DATASETS.SOURCES")
