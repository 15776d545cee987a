"""What a run needs before Detectron2's `default_setup`: device, data sets, output folder."""

import argparse
import logging
import os

from dyhead.d2 import HOST
from dyhead.d2.config import CfgNode
from dyhead.d2.data import DatasetCatalog
from dyhead.d2.safe_io.save import write_text_atomically
from dyhead.d2.utils import comm
from dyhead.d2.utils.collect_env import collect_env_info
from dyhead.d2.utils.logger import setup_logger
from dyhead.data import fill_num_classes, register_datasets
from dyhead.data.coco_json import resolve_entries
from dyhead.engine.launch import plan_devices
from dyhead.errors import UserError, user_errors

logger = logging.getLogger(__name__)


def prepare_run(cfg: CfgNode, explicit_keys: set[str], args: argparse.Namespace) -> None:
    """Complete `cfg` for this machine and its data, and prepare OUTPUT_DIR.

    Args:
        cfg: changed in place: MODEL.DEVICE, SOLVER.AMP.ENABLED, DATALOADER.NUM_WORKERS and the
            number of classes.
        explicit_keys: the keys that the user set.
        args: the command line.

    Raises:
        UserError: no config was named, or a data set or an option cannot be used.
    """
    if not args.config_file:
        raise UserError("No config: name one, for example --config configs/quickstart.yaml.")
    with user_errors("OUTPUT_DIR cannot be written"):
        os.makedirs(cfg.OUTPUT_DIR, exist_ok=True)
        write_text_atomically(collect_env_info() + "\n", os.path.join(cfg.OUTPUT_DIR, "env.txt"))
    setup_logger(cfg.OUTPUT_DIR, distributed_rank=comm.get_rank(), name="dyhead")
    logger.info("Running on the %s host", "embedded" if HOST == "embedded" else "Detectron2")
    _set_device(cfg, explicit_keys, args.num_gpus)
    if "DATALOADER.NUM_WORKERS" not in explicit_keys:  # more than there are cores only wait
        num_workers = min(cfg.DATALOADER.NUM_WORKERS, os.cpu_count() or 1)
        cfg.DATALOADER.NUM_WORKERS = num_workers
    with user_errors():
        # absolute paths: the config that a run leaves works from any folder
        cfg.DATASETS.COCO_JSON = resolve_entries(cfg.DATASETS.COCO_JSON)
        register_datasets(cfg)
        fill_num_classes(cfg, explicit_keys, args.eval_only)
        for name in cfg.DATASETS.TEST:  # not only after the training, when it is needed
            DatasetCatalog.get(name)
    if args.eval_only:
        return
    _check_training(cfg, comm.get_world_size())
    if comm.is_main_process() and not args.resume:
        # A new run must not mix with the curves of an earlier one in the same folder.
        set_aside(os.path.join(cfg.OUTPUT_DIR, "metrics.json"))


def _set_device(cfg: CfgNode, explicit_keys: set[str], num_gpus: int) -> None:
    plan = plan_devices(cfg.MODEL.DEVICE, "MODEL.DEVICE" in explicit_keys, num_gpus)
    cfg.MODEL.DEVICE = plan.device
    if plan.message:
        logger.info(plan.message)
    if cfg.SOLVER.AMP.ENABLED and not plan.device.startswith("cuda"):
        cfg.SOLVER.AMP.ENABLED = False
        logger.warning("SOLVER.AMP.ENABLED needs a GPU: computing in float32 on %s.", plan.device)


def _check_training(cfg: CfgNode, num_processes: int) -> None:
    if not cfg.DATASETS.TRAIN:
        raise UserError("DATASETS.TRAIN is empty: name the data sets to train on.")
    if cfg.SOLVER.IMS_PER_BATCH % num_processes:
        raise UserError(
            f"SOLVER.IMS_PER_BATCH is {cfg.SOLVER.IMS_PER_BATCH}: make it a multiple of the"
            f" {num_processes} processes."
        )


def set_aside(path: str) -> None:
    """Rename a file of an earlier run, if there is one, to <path>.previous, .previous2, ..."""
    if not os.path.exists(path):
        return
    number, target = 1, f"{path}.previous"
    while os.path.exists(target):
        number += 1
        target = f"{path}.previous{number}"
    os.replace(path, target)
    logger.info("A new run starts in a used folder: %s is now %s", path, target)
