"""The results of the peers in a json file that later calls go on from."""

import dataclasses
import json
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from peer_tables import PeerModel, PeerRun, PlannedRun, Report
from peer_timing import Milliseconds
from run_results import refuse_other_settings, restore_result


def read_report(path: Path, device: str, threads: int) -> Report:
    """Read the results of earlier calls.

    Args:
        path: the json file.
        device: that this call runs on.
        threads: of each of its peers.

    Returns:
        a report without runs where there is no such file.

    Raises:
        UserError: it holds runs on another device or number of threads.
    """
    empty = Report(path.stem, device, threads, {}, {}, {}, [], [], {}, {})
    if not path.is_file():
        return empty
    known: dict[str, Any] = json.loads(path.read_text("utf-8"))
    if not known["runs"] and not known.get("earlier"):
        return empty
    refuse_other_settings(path, known, {"device": device, "threads": threads})
    timings: dict[str, dict[PeerModel, Milliseconds]] = {}
    for each in known["milliseconds"]:
        model = PeerModel(each["peer"], each["model"], each["weights"])
        session = each.get("session", "")
        measured = Milliseconds(each["detecting"], each["with_loading"], session)
        timings.setdefault(each["data"], {})[model] = measured
    sizes = {name: tuple(size) for name, size in known["input (height, width)"].items()}
    return dataclasses.replace(
        empty,
        sizes=sizes,
        digests=known.get("annotations", {}),
        versions=known["versions"],
        runs=[_read_run(run) for run in known["runs"]],
        earlier=[_read_run(run) for run in known.get("earlier", [])],
        timings=timings,
        failures=known["failures"],
    )


def _read_run(run: dict[str, Any]) -> PeerRun:
    model = PeerModel(**run["model"])
    planned = PlannedRun(model, run["data"], run["minutes"], run["seed"])
    return PeerRun(planned, run.get("key", ""), run["result"])


def restore(known: Report, folders: Mapping[PlannedRun, Path]) -> None:
    """Take runs as complete whose results were written, where their folders are gone.

    Args:
        known: the results of earlier calls.
        folders: as this call names them; a run of the same folder had the same settings.
    """
    for run in (*known.runs, *known.earlier):
        folder = folders.get(run.planned)
        if folder and folder.name == run.key:
            restore_result(folder, run.result)


def merge(known: Report, new: Report, folders: Mapping[PlannedRun, Path]) -> Report:
    """Put the results of this call between those of earlier ones, which stay.

    Args:
        known: the results of earlier calls. Runs and their times leave the tables where this call
            has their rows with other settings, versions or annotations.
        new: those of this call.
        folders: of the runs of this call, and of the known ones in its rows, as this call names
            them.
    """
    changed = {
        data
        for data in new.sizes
        if data in known.sizes
        and (known.sizes[data], known.digests.get(data)) != (new.sizes[data], new.digests[data])
    }
    keys = {planned: folder.name for planned, folder in folders.items()}
    valid = [
        run
        for run in known.runs
        if run.planned.data not in changed and run.key == keys.get(run.planned, run.key)
    ]
    runs = {run.planned: run for run in (*valid, *new.runs)}
    shown = {(run.planned, run.key) for run in runs.values()}
    earlier = [r for r in (*known.runs, *known.earlier) if (r.planned, r.key) not in shown]
    still_shown = {(run.planned.data, run.planned.model) for run in valid}
    timings: dict[str, dict[PeerModel, Milliseconds]] = {}
    for data in (*known.timings, *new.timings):
        of_data = known.timings.get(data, {})
        of_data = {model: ms for model, ms in of_data.items() if (data, model) in still_shown}
        timings[data] = _merge_timings(of_data, new.timings.get(data, {}))
    failures = {**known.failures, **new.failures}
    complete = {planned.title for planned in runs}
    return dataclasses.replace(
        new,
        sizes={**known.sizes, **new.sizes},
        digests={**known.digests, **new.digests},
        versions={**known.versions, **new.versions},
        runs=list(runs.values()),
        earlier=earlier,
        timings=timings,
        failures={title: line for title, line in failures.items() if title not in complete},
    )


def _merge_timings(
    known: Mapping[PeerModel, Milliseconds], new: Mapping[PeerModel, Milliseconds]
) -> dict[PeerModel, Milliseconds]:
    """Let new times take the place of known ones, but of no session with more detectors.

    Times compare within a session alone, so a detector that was timed again with fewer others would
    lose its ratio to them.
    """
    sizes = Counter(each.session for each in (*known.values(), *new.values()))
    kept = {
        model: milliseconds
        for model, milliseconds in known.items()
        if model not in new or sizes[milliseconds.session] > sizes[new[model].session]
    }
    return {**known, **new, **kept}
