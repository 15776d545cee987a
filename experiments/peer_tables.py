"""Formats what the peers reached as one Markdown table per data set."""

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

from peer_protocol import CLASSIFIER, INPUT_SIZE
from peer_timing import Milliseconds
from run_results import Result, number
from tabulate import tabulate

SCORES = ("AP", "AP50", "AP75")
OWN = "own"  # this project as a peer, whose rows come first


@dataclass(frozen=True)
class PeerModel:
    """A row: a model of a peer with the weights that it starts from."""

    peer: str
    model: str
    weights: str

    @property
    def name(self) -> str:
        """A name for files and logs."""
        weights = self.weights.rpartition("/")[2]
        return f"{self.peer}-{self.model}-{weights}"

    @property
    def start(self) -> str:
        """The data its weights are of: a classifier's file is of ImageNet, a detector's of COCO."""
        if not self.weights.endswith(".pt"):
            return self.weights
        return "ImageNet" if Path(self.weights).stem.endswith(CLASSIFIER) else "COCO"


class PlannedRun(NamedTuple):
    """A training to do, of some minutes."""

    model: PeerModel
    data: str
    minutes: float
    seed: int

    @property
    def title(self) -> str:
        """Its name for people."""
        return f"{self.data}: {self.model.name}, {self.minutes:g} min, seed {self.seed}"


class PeerRun(NamedTuple):
    """A complete training.

    Attributes:
        planned: what it is.
        key: the name of its folder, which other settings change.
        result: its scores and what its peer says of it.
    """

    planned: PlannedRun
    key: str
    result: Result


def format_table(
    runs: Sequence[PeerRun],
    minutes: Sequence[float],
    timings: Mapping[PeerModel, Milliseconds],
) -> str:
    """Format the runs on one data set; scores of several seeds are averaged.

    Times of several sessions do not compare: ratios are of the one that has most detectors.
    """
    lengths = [f"{value:g} min" for value in minutes]
    headings = ["detector", "weights", "input", *lengths]
    headings += ["ms", "x fastest", "ms with loading", "parameters"]
    models = sorted(
        dict.fromkeys(run.planned.model for run in runs), key=lambda model: model.peer != OWN
    )
    timed = [timings[model] for model in models if model in timings]
    session = statistics.mode(timing.session for timing in timed) if timed else ""
    fastest = min((each.detecting for each in timed if each.session == session), default=0.0)
    rows = []
    for model in models:
        own = [run for run in runs if run.planned.model == model]
        cells = [
            scores_cell([run.result for run in own if run.planned.minutes == value])
            for value in minutes
        ]
        timing = timings.get(model)
        parameters = f"{own[-1].result['parameters'] / 1e6:.1f} M"
        rows.append(
            [f"{model.peer} {model.model}", model.start, input_cell(own), *cells]
            + _timing_cells(timing, fastest if timing and timing.session == session else None)
            + [parameters]
        )
    return tabulate(rows, headings, tablefmt="pipe", disable_numparse=True)


def input_cell(runs: Sequence[PeerRun]) -> str:
    """Format the input's height x width of runs; results before these told it have none."""
    sizes = dict.fromkeys(tuple(run.result.get(INPUT_SIZE, ())) for run in runs)
    return ", ".join(" x ".join(map(str, size)) or "unknown" for size in sizes)


def scores_cell(results: Sequence[Result]) -> str:
    """Format the mean AP / AP50 / AP75 of the seeds of one length, and of several AP's range."""
    if not results:
        return ""
    means = [statistics.mean(result[key] or 0.0 for result in results) for key in SCORES]
    text = " / ".join(number(mean) for mean in means)
    if len(results) == 1:
        return text
    precisions = [result["AP"] or 0.0 for result in results]
    return f"{text} (AP {min(precisions):.1f} to {max(precisions):.1f}, {len(results)} seeds)"


def _timing_cells(timing: Milliseconds | None, fastest: float | None) -> list[str]:
    if timing is None:
        return ["", "", ""]
    return [
        f"{timing.detecting:.1f}",
        f"{timing.detecting / fastest:.2f}" if fastest else "",
        f"{timing.with_loading:.1f}",
    ]


@dataclass(frozen=True)
class Report:
    """The results of one call, or of several.

    Attributes:
        name: its title.
        device: that all ran on.
        threads: of each.
        sizes: height and width of the input that the other libraries get, by data set.
        digests: of the annotations, by data set.
        versions: of the packages of every peer.
        runs: those that are complete.
        earlier: runs with other settings than those of the same row in `runs`, or to come there.
        timings: by data set.
        failures: the last line of a log, by the title of what failed.
    """

    name: str
    device: str
    threads: int
    sizes: Mapping[str, tuple[int, int]]
    digests: Mapping[str, str]
    versions: Mapping[str, Mapping[str, str]]
    runs: Sequence[PeerRun]
    earlier: Sequence[PeerRun]
    timings: Mapping[str, Mapping[PeerModel, Milliseconds]]
    failures: Mapping[str, str]

    def as_values(self) -> dict[str, Any]:
        """Return plain values."""
        timings = [
            {"data": data, **asdict(model), **asdict(measured)}
            for data, of_data in self.timings.items()
            for model, measured in of_data.items()
        ]
        return {
            "device": self.device,
            "threads": self.threads,
            "input (height, width)": dict(self.sizes),
            "annotations": dict(self.digests),
            "versions": dict(self.versions),
            "runs": [_run_values(run) for run in self.runs],
            "earlier": [_run_values(run) for run in self.earlier],
            "milliseconds": timings,
            "failures": dict(self.failures),
        }

    def as_text(self) -> str:
        """Format a Markdown page."""
        parts = [f"# {self.name}", self._introduction()]
        for data in self.sizes:
            if runs := [run for run in self.runs if run.planned.data == data]:
                minutes = sorted({run.planned.minutes for run in runs})
                table = format_table(runs, minutes, self.timings.get(data, {}))
                parts += [f"## {data}", table]
        parts += [f"- {title} failed: {line}" for title, line in self.failures.items()]
        return "\n\n".join(parts) + "\n"

    def _introduction(self) -> str:
        return (
            f"Written by `python experiments/peers.py` on {self.device}, threads: {self.threads}."
            " AP / AP50 / AP75 by pycocotools after minutes of training, means over the seeds;"
            " this project's minutes include its final evaluation, the others' only training."
            f" Lowest score of detections that count: {self._lowest_scores()}."
            " Input: height x width in detection, of pictures of the most frequent size;"
            " Ultralytics trains, as it does for everyone, on squares of the longer side."
            " Medians of milliseconds per picture, one at a time, detectors in turns, each with its"
            " library's own lowest score; those without a ratio were timed in another call, whose"
            f" times do not compare. {self._versions()}."
        )

    def _lowest_scores(self) -> str:
        """Name those of every peer's runs."""
        found: dict[str, dict[str, None]] = {}
        for run in self.runs:
            lowest = str(run.result.get("lowest score", "unknown"))
            found.setdefault(run.planned.model.peer, {})[lowest] = None
        return ", ".join(f"{peer} {' and '.join(each)}" for peer, each in found.items())

    def _versions(self) -> str:
        """Name the packages of every peer, in all versions that its runs had."""
        found: dict[str, dict[str, dict[str, None]]] = {}
        for run in self.runs:
            peer = run.planned.model.peer
            of_run = run.result.get("versions", self.versions.get(peer, {}))
            for package, version in of_run.items():
                found.setdefault(peer, {}).setdefault(package, {})[version] = None
        described = {
            peer: ", ".join(f"{name} {' and '.join(each)}" for name, each in packages.items())
            for peer, packages in found.items()
        }
        return "; ".join(f"{peer}: {packages}" for peer, packages in described.items())


def _run_values(run: PeerRun) -> dict[str, Any]:
    values = run.planned._asdict()
    return {**values, "model": asdict(run.planned.model), "key": run.key, "result": run.result}
