"""Compares this project with the detectors that a user would take instead, in the same minutes.

    python experiments/peers.py --data bccd --data deeppcb --name mine --plan
    python experiments/peers.py --data bccd --name mine --ultralytics-python ~/yolo/bin/python

Every peer is trained on the same pictures for 5, 10 and 20 minutes of wall clock with the same
threads, by a script of experiments/peers that runs in an environment of its own, where the user has
installed it. pycocotools scores the detections of all; at the end all of them are timed in turns,
one picture at a time. The other libraries get the input size of this project's own_dataset; its
other recipes keep their own, and the tables tell each row's. Runs that are complete are not
repeated. Results: experiments/results/<name>.json and .md; those of earlier calls stay in them,
until a run, or a timing in turns with as many others, takes their place; a row is of one recipe, or
of the same versions, so that its other runs leave the tables. experiments/public_data.py makes the
data of the published results.
"""

import argparse
import functools
import hashlib
import json
import os
import sys
from collections.abc import Iterator, Sequence
from itertools import product
from pathlib import Path

from data_sets import annotations_digest, find_data_sets, prepare_data
from job_runner import Job, Runner
from one_call import make_call
from peer_data import input_size, score
from peer_protocol import Task
from peer_results import merge, read_report, restore
from peer_scripts import Description, Peer, describe, environment
from peer_tables import OWN, PeerModel, PeerRun, PlannedRun, Report
from peer_timing import Milliseconds, time_in_turns
from run_results import Result
from study_plan import changed_config, fingerprint

from dyhead.config import find_config
from dyhead.info.devices import describe_devices
from dyhead.safe_io.json_text import write_json
from dyhead.safe_io.save import write_text_atomically

PROJECT = Path(__file__).resolve().parents[1]
RECIPE = "own_dataset"  # whose input size the other libraries get
OVERHEAD = 90.0  # seconds of a run outside its training: imports, detection


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, action="append", required=True, metavar="FOLDER")
    parser.add_argument("--minutes", type=float, nargs="+", default=[5.0, 10.0, 20.0])
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--hours", type=float, default=10.0, help="the budget")
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1, help="of every peer")
    parser.add_argument(
        "--torchvision-python", default=sys.executable, metavar="PATH", help="default: this one"
    )
    parser.add_argument("--ultralytics-python", metavar="PATH", help="default: without Ultralytics")
    parser.add_argument(
        "--ultralytics-weights", nargs="*", default=[], metavar="FILE", help="to start from as well"
    )
    parser.add_argument(
        "--only", nargs="+", default=[], metavar="NAME", help="parts of rows' names"
    )
    parser.add_argument("--rounds", type=int, default=10, help="of the timing, 5 pictures each")
    parser.add_argument("--name", default="peers", help="of the results (default: %(default)s)")
    parser.add_argument("--output", type=Path, help="folder of the runs (default: output/<name>)")
    parser.add_argument("--results", type=Path, default=PROJECT / "experiments" / "results")
    parser.add_argument("--plan", action="store_true", help="print the runs and hours, run nothing")
    args = parser.parse_args(arguments)
    args.output = (args.output or PROJECT / "output" / args.name).resolve()
    return args


class Contest:
    """One call of the command: its peers, its runs and its results."""

    def __init__(self, args: argparse.Namespace) -> None:
        """Prepare the data and ask every peer for its models.

        Raises:
            UserError: data or a peer cannot be used, or the results of this name are of another
                device or number of threads.
        """
        self.args = args
        self.output: Path = args.output
        data_sets = find_data_sets(args.data)
        self.data = {each.name: prepare_data(each, self.output / "data") for each in data_sets}
        self.digests = {name: annotations_digest(path) for name, path in self.data.items()}
        self.sizes = {name: input_size(path, RECIPE) for name, path in self.data.items()}
        self.environment = environment(args.threads)
        self.peers = {peer.name: peer for peer in self._peers()}
        self.descriptions = {name: self._describe(peer) for name, peer in self.peers.items()}
        self.plan = list(self._plan())
        device = "cuda:0" if args.device.startswith("cuda") else "cpu"
        self.device = describe_devices()[device]["name"]
        self.known = read_report(self.results_path, self.device, args.threads)
        self.folders = {each: Path(self.task(each).output) for each in self._of_rows()}
        restore(self.known, self.folders)
        self.timings: dict[str, dict[PeerModel, Milliseconds]] = {}
        self.runner = Runner(
            self._groups(), 3600 * args.hours, 1, self.environment, self.write_results
        )

    @property
    def results_path(self) -> Path:
        """The file of results; the tables have the same name, with .md."""
        return self.args.results / f"{self.args.name}.json"

    def _peers(self) -> Iterator[Peer]:
        yield Peer(OWN, sys.executable)
        yield Peer("torchvision", self.args.torchvision_python)
        if self.args.ultralytics_python:
            yield Peer("ultralytics", self.args.ultralytics_python)

    def _describe(self, peer: Peer) -> Description:
        more = self.args.ultralytics_weights if peer.name == "ultralytics" else []
        found = describe(peer, self.environment, more)
        return Description(found.versions, [each for each in found.models if self._is_wanted(each)])

    def _is_wanted(self, model: PeerModel) -> bool:
        return not self.args.only or any(part in model.name for part in self.args.only)

    def _plan(self) -> Iterator[PlannedRun]:
        """Yield the shortest trainings of all models first."""
        models = [model for each in self.descriptions.values() for model in each.models]
        seeds = range(1, self.args.seeds + 1)
        for seed, minutes, data in product(seeds, self.args.minutes, self.data):
            for model in models:
                yield PlannedRun(model, data, minutes, seed)

    def _of_rows(self) -> list[PlannedRun]:
        """List the runs of this call, and those of earlier calls in its rows."""
        rows = {(planned.model, planned.data) for planned in self.plan}
        earlier = (run.planned for run in self.known.runs)
        return [*self.plan, *(each for each in earlier if (each.model, each.data) in rows)]

    def _groups(self) -> list[list[Job]]:
        """List runs of the same seed, minutes and data together: a comparison of all models."""
        groups: dict[tuple[str, float, int], list[Job]] = {}
        for planned in self.plan:
            groups.setdefault(planned[1:], []).append(self.job(planned))
        return list(groups.values())

    def task(self, planned: PlannedRun) -> Task:
        """Return the options of the peer's script."""
        height, width = self.sizes[planned.data]
        length = (planned.minutes, height, width, planned.seed, self.args.threads, self.args.device)
        model, weights = planned.model.model, planned.model.weights
        settings = (model, weights, *length, self.digests[planned.data], self._state(planned.model))
        key = hashlib.sha256(repr(settings).encode()).hexdigest()[:8]
        folder = self.output / f"{planned.data}-{planned.model.name}-{planned.minutes:g}min-{key}"
        return Task(model, weights, str(self.data[planned.data]), *length, str(folder))

    @functools.cache  # noqa: B019  (one contest a process)
    def _state(self, model: PeerModel) -> str:
        """Tell the state of a peer by this project's recipe, or else by its packages' versions."""
        if model.peer == OWN:
            return fingerprint(find_config(model.model), ())
        return repr(sorted(self.descriptions[model.peer].versions.items()))

    def _changed(self, model: PeerModel) -> str:
        if model.peer != OWN:
            return ""
        return changed_config(find_config(model.model), (), self._state(model))

    @functools.cache  # noqa: B019  (one contest a process)
    def job(self, planned: PlannedRun) -> Job:
        """Make the command of a training."""
        task = self.task(planned)
        return Job(
            planned.title,
            (*self.peers[planned.model.peer].command, "train", *task.arguments()),
            Path(task.output),
            OVERHEAD + 60 * planned.minutes,
            functools.partial(read_peer, self.data[planned.data]),
            planned.model.name,
            functools.partial(self._changed, planned.model),
        )

    def run(self) -> None:
        """Run what is not complete and fits, and time what there is."""
        self.runner.run()
        self.time()

    def time(self) -> None:
        """Time every model's longest training, data set by data set."""
        for data in self.data:
            longest: dict[PeerModel, PlannedRun] = {}
            for planned in sorted(self.plan, key=lambda each: (each.minutes, -each.seed)):
                if planned.data == data and self.job(planned).result() is not None:
                    longest[planned.model] = planned
            commands = {
                model.name: (*self.peers[model.peer].command, "time", *self.task(it).arguments())
                for model, it in longest.items()
            }
            print(f"Timing {len(commands)} detectors in turns on {data}", flush=True)
            measured = time_in_turns(commands, self.environment, self.output, self.args.rounds, 5)
            self.timings[data] = {m: measured[m.name] for m in longest if m.name in measured}

    def write_results(self) -> None:
        """Write the results of what is complete by now, with those of earlier calls."""
        report = self.report()
        write_json(report.as_values(), self.results_path, indent=1)
        write_text_atomically(report.as_text(), self.results_path.with_suffix(".md"))

    def report(self) -> Report:
        """Collect what is complete by now, in this call and in earlier ones."""
        found = ((planned, self.job(planned)) for planned in self.plan)
        results = ((planned, job.folder.name, job.result()) for planned, job in found)
        new = Report(
            name=self.args.name,
            device=self.device,
            threads=self.args.threads,
            sizes=self.sizes,
            digests=self.digests,
            versions={name: found.versions for name, found in self.descriptions.items()},
            runs=[PeerRun(*run, result) for *run, result in results if result is not None],
            earlier=[],
            timings=self.timings,
            failures=self.runner.failures,
        )
        return merge(self.known, new, self.folders)

    def print_plan(self) -> None:
        """Print the runs in their order, which are complete, and how long the rest takes."""
        for number, planned in enumerate(self.plan, start=1):
            job = self.job(planned)
            state = "complete" if job.result() else f"{self.runner.expected(job) / 60:.1f} min"
            print(f"{number:4} {job.title}: {state}")
        hours = self.runner.seconds_left() / 3600
        print(f"{len(self.plan)} runs: about {hours:.1f} hours to go.", flush=True)


def read_peer(data: Path, folder: Path) -> Result:
    """Read what a peer has left, and score its detections.

    Raises:
        OSError: something is missing.
    """
    facts: Result = json.loads((folder / "peer.json").read_text(encoding="utf-8"))
    return {**facts, **score(data, folder / "detections.json")}


def main(arguments: Sequence[str] | None = None) -> None:
    """Run what is not complete and fits, time what there is, and write the tables."""
    args = parse(arguments)
    make_call(args, lambda: Contest(args))


if __name__ == "__main__":
    main()
