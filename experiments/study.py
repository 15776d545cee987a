"""Trains detectors with and without DyHead on small data, within a budget of hours.

    python experiments/study.py --data bccd --data deeppcb --name mine --plan
    python experiments/study.py --data bccd --data deeppcb --name mine       # one night on 2 cores
    python experiments/study.py --data bccd --name g --device cuda --minutes .3 --hours .17 --jobs 4
    python experiments/study.py --data bccd --name costs --equal multiply-adds --steps 600
    python experiments/study.py --data bccd --equal steps --steps 700 --tables recipe --name s700

It makes tables per data set (experiments/comparisons.py): five detectors with and without DyHead,
forms of it, the attentions, the number of blocks; and, on demand, the parts of the small recipe.
Every training has the same minutes, steps or multiply-adds. Runs that are complete, by their folder
or by the results of an earlier call, are not repeated: call it again to go on, with more hours,
seeds, tables or data as well. The first seed of all comparisons comes before the second of any, and
a comparison is begun only if it fits into the hours. Results: experiments/results/<name>.json and
.md, written after each run; those of earlier calls stay in them. A data set is known by the name of
its folder and by its annotations: where these were corrected, or results say nothing of them, it is
trained again, and the earlier results stay beside the tables. Other minutes, or minutes of another
machine, need another --name than the published results, study, whose data
experiments/public_data.py makes.
"""

import argparse
import functools
import os
import platform
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from comparisons import TABLES
from data_sets import DataSet, changed_annotations, find_data_sets, with_annotations
from job_runner import Job, Runner
from one_call import make_call
from run_results import Result, result_in
from study_costs import count_multiply_adds
from study_plan import EQUAL, Entry, Length, Run, changed_config, make_plan, unique_runs
from study_results import (
    PACE,
    read_results,
    read_run,
    refuse_other_machines,
    restore,
    write_results,
)

from dyhead.errors import UserError
from dyhead.info.devices import describe_devices

PROJECT = Path(__file__).resolve().parents[1]
RESULTS = PROJECT / "experiments" / "results"
START_UP = 40.0  # seconds of a run outside its training: imports, data, what a signal waits for
SECONDS_PER_STEP = 1.0  # expected, until the first runs have shown it
SHOWN_TITLES = 6  # of the runs, where the one that is asked for is not among them


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--data",
        type=Path,
        action="append",
        required=True,
        metavar="FOLDER",
        help="labelled data, with train.json and val.json or in another format; repeatable",
    )
    parser.add_argument(
        "--tables",
        type=_table_names,
        default=[name for name in TABLES if name != "recipe"],
        metavar="NAME,...",
        help=f"some of {', '.join(TABLES)} (default: all but recipe)",
    )
    parser.add_argument(
        "--only",
        action="append",
        metavar="TEXT",
        help='run only what has this in its name, such as "ATSS with DyHead", with its baseline;'
        " may be given several times",
    )
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument(
        "--hours", type=float, default=12.0, help="the budget (default: %(default)s)"
    )
    _add_length(parser)
    _add_execution(parser)
    parser.add_argument("--plan", action="store_true", help="print the runs and hours, run nothing")
    parser.add_argument("opts", nargs="*", metavar="KEY VALUE", help="config overrides of all runs")
    args = parser.parse_intermixed_args(arguments)
    args.output = (args.output or PROJECT / "output" / args.name).resolve()
    return args


def _table_names(text: str) -> list[str]:
    names = text.split(",")
    if unknown := [name for name in names if name not in TABLES]:
        raise argparse.ArgumentTypeError(f"{unknown[0]!r} is unknown: use {', '.join(TABLES)}")
    return names


def _add_length(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--equal", choices=EQUAL, default="minutes", help="of all trainings")
    parser.add_argument(
        "--minutes", type=float, default=6.5, help="of a training (default: %(default)s)"
    )
    parser.add_argument(
        "--steps",
        type=int,
        default=600,
        help="of a training; with --equal multiply-adds of ATSS without DyHead",
    )


def _add_execution(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--device", help="cpu or cuda (default: the config's, or what there is)")
    parser.add_argument(
        "--jobs", type=int, default=os.cpu_count() or 1, help="runs at a time (default: the cores)"
    )
    parser.add_argument("--name", default="study", help="of the results (default: %(default)s)")
    parser.add_argument("--output", type=Path, help="folder of the runs (default: output/<name>)")
    parser.add_argument("--results", type=Path, default=RESULTS, help="folder of the tables")
    parser.add_argument("--keep-weights", action="store_true", help="of every run")


class Study:
    """One call of the command: its plan, its runs and its results."""

    def __init__(self, args: argparse.Namespace) -> None:
        """Plan the runs.

        Raises:
            UserError: data cannot be used, no run has the name that is asked for, or the results of
                this name are of other trainings or, for equal minutes, of another machine.
        """
        self.args = args
        self.output: Path = args.output
        data_sets = with_annotations(find_data_sets(args.data), self.output / "data")
        self.data_sets = {each.name: each for each in data_sets}
        self.plan = self._make_plan(args.tables, data_sets, args.seeds)
        self.chosen = self._chosen()
        self.jobs = {run: self._job(run) for run in unique_runs(self.chosen)}
        known = read_results(self.results_path, self.trainings())
        self.reported = self._plan_with(known, data_sets)
        if args.equal == "minutes":
            runs = [*known["runs"], *self.results().values()]
            refuse_other_machines(runs, known["settings"], self.machine())
        self.not_shown = restore(known["runs"], self.reported, self.output)
        self.runner = Runner(
            [[self.jobs[run] for run in entry.runs] for entry in self.chosen],
            3600 * args.hours,
            args.jobs,
            {"OMP_NUM_THREADS": str(max(1, (os.cpu_count() or 1) // args.jobs))},
            self.write_results,
            lambda result: all(result.get(key) == self.machine()[key] for key in PACE),
            needs_all=True,
        )

    def _chosen(self) -> list[Entry]:
        """List the comparisons to run; a row without baseline is a part of the others.

        Raises:
            UserError: no row has a name that was asked for.
        """
        compared = [entry for entry in self.plan if entry.baseline]
        parts = self.args.only or [""]
        for part in parts:
            if not any(part in entry.run.label for entry in compared):
                titles = dict.fromkeys(entry.run.title for entry in compared)
                some = ", ".join(repr(title) for title in list(titles)[:SHOWN_TITLES])
                raise UserError(
                    f"--only {part!r} is in none of the names of --tables"
                    f" {','.join(self.args.tables)}: name a part of one, such as of {some}."
                )
        return [entry for entry in compared if any(part in entry.run.label for part in parts)]

    @property
    def results_path(self) -> Path:
        """The file of results; the tables have the same name, with .md."""
        return self.args.results / f"{self.args.name}.json"

    def _make_plan(
        self, tables: Sequence[str], data_sets: Sequence[DataSet], seeds: int
    ) -> list[Entry]:
        args = self.args
        device = ("MODEL.DEVICE", args.device) if args.device else ()
        multiply_adds = functools.partial(
            count_multiply_adds, overrides=tuple(args.opts), folder=self.output / "costs"
        )
        return make_plan(
            [TABLES[name] for name in TABLES if name in tables],
            data_sets,
            range(1, seeds + 1),
            Length(args.equal, args.minutes, args.steps, multiply_adds),
            (*device, *args.opts),
        )

    def _plan_with(self, known: dict[str, Any], data_sets: Sequence[DataSet]) -> list[Entry]:
        """Plan what the tables show: the runs of this call and of those before."""
        tables = [*self.args.tables, *(table["table"] for table in known["tables"])]
        named = {data_set.name for data_set in data_sets}
        others = dict.fromkeys(run["data"] for run in known["runs"] if run["data"] not in named)
        seeds = max([self.args.seeds, *(run["seed"] for run in known["runs"])])
        digests, classes = known["annotations"], known["classes"]
        others_known = (
            DataSet(name, name, name, digests.get(name, ""), classes.get(name, 0))
            for name in others
        )
        return self._make_plan(tables, [*data_sets, *others_known], seeds)

    def _job(self, run: Run) -> Job:
        """Make the command of a run, under the title that the run has here."""
        folder = self.output / run.name
        command = (sys.executable, str(PROJECT / "train_net.py"), "--config", str(run.config))
        options = (*run.options, "SEED", str(run.seed), "OUTPUT_DIR", str(folder))
        return Job(
            run.label,
            (*command, *options),
            folder,
            self._expected_seconds(run),
            functools.partial(
                read_run, keeps_weights=self.args.keep_weights, machine=self.machine()
            ),
            changed=functools.partial(self._changed, run),
        )

    def _changed(self, run: Run) -> str:
        """Say what was changed since the run was planned: it would train under a wrong name."""
        return changed_config(run.config, run.options, run.key) or changed_annotations(
            self.data_sets[run.data], self.output / "data"
        )

    def _expected_seconds(self, run: Run) -> float:
        if self.args.equal == "minutes":
            return START_UP + 60 * self.args.minutes
        steps = run.options[run.options.index("SOLVER.MAX_ITER") + 1]
        return START_UP + SECONDS_PER_STEP * int(steps)

    def print_plan(self) -> None:
        """Print the runs in their order, which are complete, and how long the rest takes."""
        for number, job in enumerate(self.jobs.values(), start=1):
            state = "complete" if job.result() else f"{self.runner.expected(job) / 60:.1f} min"
            print(f"{number:4} {job.title}: {state}")
        hours = self.runner.seconds_left() / 3600
        print(
            f"{len(self.jobs)} runs, {self.args.jobs} at a time: about {hours:.1f} hours to go, of"
            f" a budget of {self.args.hours:g}."
        )

    def run(self) -> None:
        """Run what is not complete and fits."""
        self.runner.run()

    def results(self) -> dict[str, Result]:
        """Return the results of the complete runs, by name."""
        names = [run.name for run in unique_runs(self.reported)]
        found = {name: result_in(self.output / name) for name in names}
        return {name: result for name, result in found.items() if result is not None}

    def trainings(self) -> dict[str, Any]:
        """Describe what all trainings of these results have in common."""
        args = self.args
        length = args.minutes if args.equal == "minutes" else args.steps
        unit = "minutes" if args.equal == "minutes" else "steps"
        return {"equal": args.equal, unit: length, "overrides": " ".join(args.opts)}

    @functools.cache  # noqa: B019  (one study a process)
    def machine(self) -> dict[str, Any]:
        """Describe what runs the trainings."""
        args = self.args
        devices = describe_devices()
        device = "cuda:0" if args.device != "cpu" and "cuda:0" in devices else "cpu"
        return {
            "device": devices[device]["name"],
            "cores": os.cpu_count(),
            "runs at a time": args.jobs,
            "torch": torch.__version__,
            "python": platform.python_version(),
        }

    def write_results(self) -> None:
        """Write the results of what is complete by now."""
        write_results(
            self.results_path,
            {**self.trainings(), **self.machine()},
            self.reported,
            self.results(),
            self.not_shown,
            self.runner.failures,
        )


def main(arguments: Sequence[str] | None = None) -> None:
    """Run what is not complete and fits, and write the tables."""
    args = parse(arguments)
    make_call(args, lambda: Study(args))


if __name__ == "__main__":
    main()
