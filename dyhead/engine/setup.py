"""Prepares a run: checks, device, data sets, loggers, and at last its first files in OUTPUT_DIR."""

import argparse
import glob
import logging
import os
import shutil
from collections.abc import Callable

from dyhead.checkpoint.find import BEST_FIRST
from dyhead.config.check import check_config
from dyhead.config.origin import find_origin, origin_comment
from dyhead.d2 import HOST
from dyhead.d2.config import CfgNode
from dyhead.d2.data import DatasetCatalog
from dyhead.d2.engine import default_setup
from dyhead.d2.utils import comm
from dyhead.d2.utils.collect_env import collect_env_info
from dyhead.d2.utils.logger import setup_logger
from dyhead.data import fill_num_classes, register_datasets
from dyhead.data.coco_json import named_sources, resolve_entries
from dyhead.engine.devices import plan_devices
from dyhead.engine.exits import log_without_traceback
from dyhead.engine.precision import settle_precision
from dyhead.errors import UserError, user_errors
from dyhead.evaluation.run_folder import LATER_FOLDER, OWN_FOLDER, REPORT_FOLDER
from dyhead.info.commit import PROJECT, describe_code
from dyhead.modeling.tta import check_multi_scale_testing
from dyhead.safe_io.save import write_text_atomically
from dyhead.safe_io.yaml import load_yaml, load_yaml_text

# Of an earlier run, what would be taken for a new one's; the trainer sets last_checkpoint aside.
_OF_EARLIER_RUN = (
    "metrics.json",
    "curves.png",
    *BEST_FIRST,
    OWN_FOLDER,
    LATER_FOLDER,
    REPORT_FOLDER,
)

logger = logging.getLogger(__name__)


def prepare_run(cfg: CfgNode, explicit_keys: set[str], args: argparse.Namespace) -> None:
    """Complete `cfg` for this machine and its data, and open the log in OUTPUT_DIR.

    Args:
        cfg: changed in place: MODEL.DEVICE, DATALOADER.NUM_WORKERS, the paths of DATASETS.SOURCES
            and DATASETS.COCO_JSON, and the number of classes.
        explicit_keys: the keys that the user set.
        args: the command line.

    Raises:
        UserError: a data set or an option cannot be used.
    """
    _check_options(cfg, args.eval_only, comm.get_world_size())
    with user_errors("OUTPUT_DIR cannot be written"):
        os.makedirs(cfg.OUTPUT_DIR, exist_ok=True)
        if comm.is_main_process():
            write_text_atomically(_describe_environment(), os.path.join(cfg.OUTPUT_DIR, "env.txt"))
    setup_logger(cfg.OUTPUT_DIR, distributed_rank=comm.get_rank(), name="dyhead")
    logging.getLogger("detectron2.engine.train_loop").addFilter(log_without_traceback)
    logger.info("Running on the %s host", "embedded" if HOST == "embedded" else "Detectron2")
    _set_device(cfg, explicit_keys, args.num_gpus)
    settle_precision(cfg, is_training=not args.eval_only)
    if "DATALOADER.NUM_WORKERS" not in explicit_keys:  # more than there are cores only wait
        num_workers = min(cfg.DATALOADER.NUM_WORKERS, os.cpu_count() or 1)
        cfg.DATALOADER.NUM_WORKERS = num_workers
    with user_errors():
        # absolute paths: the config that a run leaves works from any folder
        cfg.DATASETS.SOURCES = resolve_entries(cfg.DATASETS.SOURCES, "SOURCES")
        cfg.DATASETS.COCO_JSON = resolve_entries(cfg.DATASETS.COCO_JSON)
        register_datasets(cfg)
        fill_num_classes(cfg, explicit_keys, args.eval_only)
        for name in cfg.DATASETS.TEST:  # not only after the training, when it is needed
            DatasetCatalog.get(name)


def _describe_environment() -> str:
    """Describe the code that runs, and what it runs on."""
    code = ", ".join(f"{name} {version}" for name, version in describe_code().items())
    return f"{code} @ {PROJECT}\n{collect_env_info()}\n"


def set_up_host(cfg: CfgNode, args: argparse.Namespace) -> None:
    """Let the host check the config, set up its loggers and seed, but not write config.yaml yet.

    Raises:
        UserError: the config asks for what the host does not have.
    """
    rank = comm.get_rank()
    for name in ("fvcore", "detectron2"):  # before the host's lines, which belong into the file
        setup_logger(cfg.OUTPUT_DIR, distributed_rank=rank, name=name, configure_stdout=False)
    without_folder = cfg.clone()
    without_folder.defrost()
    without_folder.OUTPUT_DIR = None
    with user_errors():
        default_setup(without_folder, args)


def begin_run(cfg: CfgNode, is_new_run: bool, config_file: str = "") -> None:
    """Write config.yaml, and set aside what an earlier run left in OUTPUT_DIR.

    Call it when nothing can be refused any more: a refused run leaves an earlier one's files alone.

    Args:
        cfg: the whole config.
        is_new_run: the run trains from its first step on: curves, weights and scores are others.
        config_file: the file that the config was made from, which config.yaml names in a comment.
    """
    comm.synchronize()  # MODEL.WEIGHTS may be the earlier run's: every process has loaded it
    if not comm.is_main_process():
        return
    made_from = origin_comment(find_origin(config_file) if config_file else None)
    _set_earlier_run_aside(cfg, is_new_run)
    path = os.path.join(cfg.OUTPUT_DIR, "config.yaml")
    with user_errors("OUTPUT_DIR cannot be written"):
        write_text_atomically(made_from + cfg.dump(), path)
    logger.debug("The whole config:\n%s", cfg.dump())
    logger.info("The whole config is in %s", path)


def _set_device(cfg: CfgNode, explicit_keys: set[str], num_gpus: int) -> None:
    plan = plan_devices(cfg.MODEL.DEVICE, "MODEL.DEVICE" in explicit_keys, num_gpus)
    if plan.device.startswith("cuda:") and comm.get_world_size() > 1:
        raise UserError(
            f"MODEL.DEVICE {plan.device!r} is one GPU, but the {comm.get_world_size()} processes of"
            " the run need one each: set it to cuda, and CUDA_VISIBLE_DEVICES to choose among them."
        )
    cfg.MODEL.DEVICE = plan.device
    if plan.message:
        logger.info(plan.message)


def _check_options(cfg: CfgNode, eval_only: bool, num_processes: int) -> None:
    """Refuse what either host would ignore, or answer with a failed assertion."""
    check_config(cfg)
    if cfg.MODEL.LOAD_PROPOSALS:
        raise UserError("MODEL.LOAD_PROPOSALS is not served: set it to False.")
    if cfg.MODEL.MASK_ON and HOST == "detectron2":  # the embedded host has no masks at all
        _refuse_sets_without_masks(cfg)
    if cfg.MODEL.META_ARCHITECTURE == "RetinaNet" and cfg.MODEL.RETINANET.NUM_CONVS < 1:
        raise UserError(
            f"MODEL.RETINANET.NUM_CONVS is {cfg.MODEL.RETINANET.NUM_CONVS}, but Detectron2's"
            " RetinaNet has towers: set MODEL.META_ARCHITECTURE to DyHeadRetinaNet to leave them"
            " out."
        )
    check_multi_scale_testing(cfg)
    key = "TEST" if eval_only else "TRAIN"
    if not cfg.DATASETS[key]:
        raise UserError(f"DATASETS.{key} is empty: name data sets, such as ('shapes_train',).")
    if eval_only:
        return
    num_processes = cfg.SOLVER.REFERENCE_WORLD_SIZE or num_processes
    if cfg.SOLVER.IMS_PER_BATCH % num_processes:
        raise UserError(
            f"SOLVER.IMS_PER_BATCH is {cfg.SOLVER.IMS_PER_BATCH}: make it a multiple of"
            f" {num_processes}, the number of processes (SOLVER.REFERENCE_WORLD_SIZE if set)."
        )


def _refuse_sets_without_masks(cfg: CfgNode) -> None:
    read_by_us = {name for name, *_ in named_sources(cfg)}
    if found := [name for name in cfg.DATASETS.TRAIN if name in read_by_us]:
        raise UserError(
            f"MODEL.MASK_ON needs masks, but {found[0]!r} is in DATASETS.SOURCES or COCO_JSON, read"
            " for boxes alone: register it with detectron2.data.datasets.register_coco_instances,"
            " or set MODEL.MASK_ON to False."
        )


def _set_earlier_run_aside(cfg: CfgNode, is_new_run: bool) -> None:
    """Keep what this run would overwrite with another content, or what would pass for its own."""
    config = os.path.join(cfg.OUTPUT_DIR, "config.yaml")
    with user_errors():
        if os.path.exists(config) and load_yaml(config) != load_yaml_text(cfg.dump(), config):
            set_aside(config, shutil.copyfile)  # it may be the file that --config names
        for name in _OF_EARLIER_RUN if is_new_run else ():
            set_aside(os.path.join(cfg.OUTPUT_DIR, name))
        if is_new_run:
            _set_events_aside(cfg.OUTPUT_DIR)


def _set_events_aside(folder: str) -> None:
    """Move an earlier run's files of TensorBoard into a folder, which it shows as another run.

    It joins all files of one folder whose names have "tfevents" in them.
    """
    paths = glob.glob(os.path.join(glob.escape(folder), "events.out.tfevents.*"))
    if not paths:
        return
    target = _free_name(os.path.join(folder, "events"))
    os.makedirs(target)
    for path in paths:
        os.replace(path, os.path.join(target, os.path.basename(path)))
    logger.info("This folder was used before: its TensorBoard events are kept in %s", target)


def set_aside(path: str, move: Callable[[str, str], object] = os.replace) -> None:
    """Rename what an earlier run left, if it did, to <path>.previous, .previous2, ..."""
    if not os.path.exists(path):
        return
    target = _free_name(path)
    move(path, target)
    logger.info("This folder was used before: its %s is kept as %s", os.path.basename(path), target)


def _free_name(path: str) -> str:
    number, target = 1, f"{path}.previous"
    while os.path.exists(target):
        number += 1
        target = f"{path}.previous{number}"
    return target
