"""Finds what a run has left in its folder: its config, and the folders of its evaluations."""

import os
from collections.abc import Sequence
from pathlib import Path

from dyhead.checkpoint.find import CONFIG_NAME
from dyhead.config import load_config
from dyhead.d2.config import CfgNode
from dyhead.errors import UserError
from dyhead.evaluation.original_ids import RESULTS_NAME

OWN_FOLDER = "inference"  # of a run's own evaluations, in its OUTPUT_DIR as the others
LATER_FOLDER = "evaluation"  # the OUTPUT_DIR of `dyhead eval RUN`
REPORT_FOLDER = "report"


def is_run(folder: Path) -> bool:
    """Return True for the folder of a run, its OUTPUT_DIR."""
    return (folder / CONFIG_NAME).is_file()


def read_run_config(folder: Path) -> CfgNode:
    """Read the config of a run's folder; OUTPUT_DIR is where the run lies now.

    Raises:
        UserError: the folder is none of a run.
    """
    if not is_run(folder):
        path = folder / CONFIG_NAME
        raise UserError(f"{path} does not exist: name the folder of a run, its OUTPUT_DIR.")
    cfg, _ = load_config(folder / CONFIG_NAME)
    cfg.OUTPUT_DIR = str(folder)
    return cfg


def inference_folder(cfg: CfgNode, dataset_name: str) -> str:
    """Return OUTPUT_DIR/inference, or a folder per data set below it where there are several."""
    folder = os.path.join(cfg.OUTPUT_DIR, OWN_FOLDER)
    return folder if len(cfg.DATASETS.TEST) == 1 else os.path.join(folder, dataset_name)


def evaluation_folder(
    cfg: CfgNode, dataset_name: str, run: Path, file_names: Sequence[str] = (RESULTS_NAME,)
) -> Path:
    """Return the folder of a run's own evaluation, or of a later one, whose results are newer.

    Args:
        cfg: the run's.
        dataset_name: of DATASETS.TEST.
        run: its folder.
        file_names: what is looked for; a folder that has all of them goes before one that has not.
            The first tells the time.
    """
    below = Path(inference_folder(cfg, dataset_name)).relative_to(cfg.OUTPUT_DIR)
    folders = run / below, run / LATER_FOLDER / below
    whole = [each for each in folders if all((each / name).is_file() for name in file_names)]
    return max(whole, key=lambda each: (each / file_names[0]).stat().st_mtime, default=folders[0])
