"""The beginning of a standard training program: arguments, setup, writers."""

import argparse
import logging
import os
import sys
from typing import Any

import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from dyhead.safe_io.save import write_text_atomically

from ..config import CfgNode
from ..config.supported import check_supported
from ..utils import comm
from ..utils.collect_env import collect_env_info
from ..utils.env import seed_all_rng
from ..utils.events import CommonMetricPrinter, EventWriter, JSONWriter, TensorboardXWriter
from ..utils.file_io import PathManager
from ..utils.logger import setup_logger

__all__ = [
    "create_ddp_model",
    "default_argument_parser",
    "default_setup",
    "default_writers",
]

_EXAMPLES = """
Examples:

On one machine:
    $ {program} --num-gpus 8 --config-file cfg.yaml

With other options than the file's:
    $ {program} --config-file cfg.yaml MODEL.WEIGHTS /path/to/weights.pth SOLVER.BASE_LR 0.001

On several machines:
    (machine0)$ {program} --machine-rank 0 --num-machines 2 --dist-url <URL> [...]
    (machine1)$ {program} --machine-rank 1 --num-machines 2 --dist-url <URL> [...]
"""


def create_ddp_model(
    model: nn.Module, *, fp16_compression: bool = False, **kwargs: Any
) -> nn.Module:
    """Wrap the model in DistributedDataParallel where there are several processes.

    Args:
        model: on this process's GPU, or on the CPU.
        fp16_compression: exchange gradients as float16.
        kwargs: arguments of DistributedDataParallel.
    """
    if comm.get_world_size() == 1:
        return model
    if any(parameter.is_cuda for parameter in model.parameters()):
        kwargs.setdefault("device_ids", [comm.get_local_rank()])
    parallel = DistributedDataParallel(model, **kwargs)
    if fp16_compression:
        from torch.distributed.algorithms.ddp_comm_hooks.default_hooks import fp16_compress_hook

        parallel.register_comm_hook(state=None, hook=fp16_compress_hook)
    return parallel


def default_argument_parser(epilog: str | None = None) -> argparse.ArgumentParser:
    """Build the parser of a training program's arguments.

    Args:
        epilog: shown after the help; None shows examples.
    """
    parser = argparse.ArgumentParser(
        epilog=epilog or _EXAMPLES.format(program=sys.argv[0]),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--config-file", default="", metavar="FILE", help="path to config file")
    parser.add_argument(
        "--resume",
        action="store_true",
        help="go on from the last checkpoint in OUTPUT_DIR, if there is one",
    )
    parser.add_argument("--eval-only", action="store_true", help="evaluate only, do not train")
    parser.add_argument("--num-gpus", type=int, default=1, help="number of GPUs *per machine*")
    parser.add_argument("--num-machines", type=int, default=1, help="total number of machines")
    parser.add_argument(
        "--machine-rank", type=int, default=0, help="the number of this machine, from 0"
    )
    parser.add_argument(
        "--dist-url",
        default=f"tcp://127.0.0.1:{_port_of_user()}",
        help="where the processes meet, as for torch.distributed's init_method",
    )
    parser.add_argument(
        "opts",
        default=None,
        nargs=argparse.REMAINDER,
        help='further config options at the end of the command: "PATH.KEY VALUE" pairs',
    )
    return parser


def _port_of_user() -> int:
    """Return a port, the same for a user each time, so that a run left over is noticed."""
    user = os.getuid() if hasattr(os, "getuid") else 1
    return 2**15 + 2**14 + user % 2**14


def default_setup(cfg: CfgNode, args: Any) -> None:
    """Check the config, set up logs and seeds, and write the merged config to OUTPUT_DIR.

    The environment and the whole config go to the log file alone.

    Args:
        cfg: the full config.
        args: the command line's arguments, logged; the attributes `config_file` and `eval_only`
            are used where they exist.

    Raises:
        ValueError: the config asks for what this host does not have.
    """
    check_supported(cfg)
    rank = comm.get_rank()
    if comm.is_main_process() and cfg.OUTPUT_DIR:
        os.makedirs(cfg.OUTPUT_DIR, exist_ok=True)
    setup_logger(cfg.OUTPUT_DIR or None, distributed_rank=rank, name="fvcore")
    logger = setup_logger(cfg.OUTPUT_DIR or None, distributed_rank=rank)

    logger.info("Process %d of %d (counted from 0)", rank, comm.get_world_size())
    logger.debug("Environment info:\n%s", collect_env_info())
    logger.info("Command line arguments: %s", args)
    _log_config(cfg, getattr(args, "config_file", ""), logger)

    seed_all_rng(None if cfg.SEED < 0 else cfg.SEED + rank)
    if not getattr(args, "eval_only", False):
        # Trying algorithms out does not pay for the few images of an evaluation.
        torch.backends.cudnn.benchmark = cfg.CUDNN_BENCHMARK
    if cfg.FLOAT32_PRECISION and torch.cuda.is_available():
        _set_float32_precision(cfg.FLOAT32_PRECISION)


def _log_config(cfg: CfgNode, config_file: str, logger: logging.Logger) -> None:
    if config_file:
        with open(PathManager.get_local_path(config_file), encoding="utf-8") as file:
            logger.debug("The config file %s:\n%s", config_file, file.read())
    if comm.is_main_process() and cfg.OUTPUT_DIR:
        path = os.path.join(cfg.OUTPUT_DIR, "config.yaml")
        logger.debug("The whole config:\n%s", cfg.dump())
        write_text_atomically(cfg.dump(), path)
        logger.info("The whole config is in %s", path)


def _set_float32_precision(precision: str) -> None:
    """Let GPUs multiply float32 by TF32, unless `precision` is "highest"."""
    torch.set_float32_matmul_precision(precision)
    torch.backends.cudnn.allow_tf32 = precision != "highest"


def default_writers(output_dir: str, max_iter: int | None = None) -> list[EventWriter]:
    """Build the writers for the console, `metrics.json` and TensorBoard.

    Args:
        output_dir: the folder of the files; made if missing.
        max_iter: iterations of the whole training, for the console's ETA.
    """
    os.makedirs(output_dir, exist_ok=True)
    return [
        CommonMetricPrinter(max_iter),
        JSONWriter(os.path.join(output_dir, "metrics.json")),
        TensorboardXWriter(output_dir),
    ]
