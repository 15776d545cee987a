"""Trains or evaluates a detector: what `train_net.py`, `dyhead train` and `dyhead eval` run."""

import argparse
import os
from typing import Any

import dyhead.modeling  # noqa: F401  registers the models
from dyhead.checkpoint.find import latest_checkpoint
from dyhead.checkpoint.pixels import settle_pixels
from dyhead.d2.config import CfgNode
from dyhead.d2.evaluation import verify_results
from dyhead.d2.utils import comm
from dyhead.detector import prepare_detector
from dyhead.engine.arguments import load_run_config
from dyhead.engine.output_lock import held_output_folder
from dyhead.engine.setup import begin_run, prepare_run, set_up_host
from dyhead.engine.stops import StopSignals
from dyhead.engine.trainer import Trainer
from dyhead.errors import user_errors
from dyhead.safe_io.tag import TAG
from dyhead.shortages import name_shortages


def setup(args: argparse.Namespace) -> CfgNode:
    """Create the config and do what every run starts with; returns the frozen config."""
    return _setup(*load_run_config(args), args)


def _setup(cfg: CfgNode, explicit_keys: set[str], args: argparse.Namespace) -> CfgNode:
    prepare_run(cfg, explicit_keys, args)
    if cfg.MODEL.PIXELS_FROM_WEIGHTS:
        cfg = settle_pixels(cfg, _weights_to_load(cfg, args))
    cfg.freeze()
    set_up_host(cfg, args)
    return cfg


def _weights_to_load(cfg: CfgNode, args: argparse.Namespace) -> str:
    """Return MODEL.WEIGHTS, or with --resume the latest checkpoint where there is one."""
    if args.resume and os.path.isfile(os.path.join(cfg.OUTPUT_DIR, TAG)):
        return str(latest_checkpoint(cfg.OUTPUT_DIR))
    return str(cfg.MODEL.WEIGHTS)


def evaluate(
    cfg: CfgNode, args: argparse.Namespace, trainer: type[Trainer] = Trainer
) -> dict[str, Any]:
    """Evaluate MODEL.WEIGHTS, or with --resume the latest checkpoint, on DATASETS.TEST."""
    tested = cfg.clone()
    tested.defrost()
    tested.MODEL.WEIGHTS = _weights_to_load(cfg, args)
    detector = prepare_detector(
        tested, dataset=cfg.DATASETS.TEST[0], allow_partial=args.allow_partial
    )
    begin_run(cfg, is_new_run=False, config_file=args.config_file)
    results = trainer.test(detector.cfg, detector.model)
    if comm.is_main_process():
        verify_results(cfg, results)
    return results


def main(args: argparse.Namespace, trainer: type[Trainer] = Trainer) -> Any:
    """Run what the command line asks for; several processes call this at once.

    Args:
        args: the command line.
        trainer: the project's, or one that derives from it.

    Raises:
        UserError: an input cannot be used, or the machine lacks memory, room or processes for it.
        Stopped: a signal stopped a training, in good order.
    """
    with name_shortages():
        cfg, explicit_keys = load_run_config(args)
        with held_output_folder(cfg.OUTPUT_DIR):
            return _run(_setup(cfg, explicit_keys, args), args, trainer)


def _run(cfg: CfgNode, args: argparse.Namespace, trainer: type[Trainer]) -> Any:
    if args.eval_only:
        return evaluate(cfg, args, trainer)
    with user_errors():
        training = trainer(cfg)
        training.resume_or_load(resume=args.resume)
    begin_run(cfg, is_new_run=training.start_iter == 0, config_file=args.config_file)
    with StopSignals():
        return training.train()
