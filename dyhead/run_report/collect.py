"""Collects all that a report says of a run from the files that the run has left."""

import logging
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TypeVar

from dyhead.checkpoint.find import CONFIG_NAME
from dyhead.config.origin import Origin, read_origin
from dyhead.d2.config import CfgNode
from dyhead.data.register import register_datasets
from dyhead.errors import UserError
from dyhead.evaluation.evaluators import COST_NAME
from dyhead.evaluation.original_ids import RESULTS_NAME
from dyhead.evaluation.run_folder import evaluation_folder
from dyhead.run_report.config_difference import ConfigDifference, base_difference
from dyhead.run_report.data_health import describe_data, unreadable
from dyhead.run_report.doubts import doubts
from dyhead.run_report.evaluation import Evaluation, measure
from dyhead.run_report.evaluation_files import EvaluationFiles, read_evaluation
from dyhead.run_report.training_log import METRICS_NAME, TrainingLog, read_training_log

logger = logging.getLogger(__name__)
_Found = TypeVar("_Found")


@dataclass(frozen=True)
class RunReport:
    """All that is said of a run.

    Attributes:
        name: of the run, another one for each run of a report.
        path: its folder.
        cfg: its config.
        log: of its training, where it left one.
        evaluations: the files and the measures of each evaluated data set, by its name.
        difference: of its config from the packaged one that it was made from, or is nearest to.
        health: of its data, in lines.
        missing: sentences on what is not there, and how to get it.
    """

    name: str
    path: Path
    cfg: CfgNode
    log: TrainingLog | None
    evaluations: Mapping[str, tuple[EvaluationFiles, Evaluation]]
    difference: ConfigDifference
    health: list[str]
    missing: list[str]


def collect_run(name: str, folder: Path, cfg: CfgNode, with_data: bool = True) -> RunReport:
    """Collect what a run has left; what is missing is named and left out.

    Args:
        name: of the run.
        folder: what it has left is there.
        cfg: its config; copies of data that needs repair go to its OUTPUT_DIR.
        with_data: look at its data sets, too.
    """
    missing: list[str] = []
    log = _optional(lambda: read_training_log(folder, cfg.SOLVER.IMS_PER_BATCH), missing)
    missing += [] if log is None else _lost_losses(log)
    if not cfg.DATASETS.TEST:
        missing.append("DATASETS.TEST names no data set, so there are no scores.")
    is_registered = _optional(lambda: _register(cfg), missing)
    evaluations = {}
    for dataset in cfg.DATASETS.TEST if is_registered else ():
        read = _optional(partial(_evaluation, dataset, cfg, folder), missing)
        if read is not None:
            evaluations[dataset] = read
            missing += doubts(*read, folder)
    health = _health(cfg) if with_data and is_registered else []
    difference = base_difference(cfg, _origin(folder))
    return RunReport(name, folder, cfg, log, evaluations, difference, health, missing)


def _optional(read: Callable[[], _Found], missing: list[str]) -> _Found | None:
    """Read something; where that is not possible, say why in `missing`."""
    try:
        return read()
    except UserError as error:
        missing.append(" ".join(str(error).split()))
        return None


def _lost_losses(log: TrainingLog) -> Iterator[str]:
    for name, steps in log.lost.items():
        yield (
            f"{name} is not finite in {len(steps):,} of {len(steps) + len(log.losses[name][0]):,}"
            f" records of {METRICS_NAME}, at first in iteration {steps[0]:,}: its curve leaves them"
            " out."
        )


def _register(cfg: CfgNode) -> bool:
    register_datasets(cfg)
    return True


def _origin(folder: Path) -> Origin | None:
    path = folder / CONFIG_NAME  # a training that a program began without files has none
    return read_origin(path) if path.is_file() else None


def _evaluation(dataset: str, cfg: CfgNode, run: Path) -> tuple[EvaluationFiles, Evaluation]:
    folder = evaluation_folder(cfg, dataset, run, (RESULTS_NAME, COST_NAME))
    if not (folder / RESULTS_NAME).is_file():
        folder = evaluation_folder(cfg, dataset, run)
    files = read_evaluation(dataset, folder, run)
    return files, measure(files.truth, files.results)


def _health(cfg: CfgNode) -> list[str]:
    try:
        return describe_data(cfg)
    except (UserError, OSError) as error:
        return [unreadable(error)]
