"""Trains or evaluates a detector: what `train_net.py`, `dyhead train` and `dyhead eval` run."""

import argparse
import os
from typing import Any

import dyhead.modeling  # noqa: F401  registers the models
from dyhead.checkpoint.find import latest_checkpoint
from dyhead.d2.config import CfgNode
from dyhead.d2.engine import default_setup
from dyhead.d2.evaluation import verify_results
from dyhead.d2.utils import comm
from dyhead.detector import prepare_detector
from dyhead.engine.arguments import load_run_config
from dyhead.engine.output_lock import held_output_folder
from dyhead.engine.setup import prepare_run
from dyhead.engine.stops import StopSignals
from dyhead.engine.trainer import Trainer
from dyhead.errors import user_errors


def setup(args: argparse.Namespace) -> CfgNode:
    """Create the config and do what every run starts with; returns the frozen config."""
    return _setup(*load_run_config(args), args)


def _setup(cfg: CfgNode, explicit_keys: set[str], args: argparse.Namespace) -> CfgNode:
    prepare_run(cfg, explicit_keys, args)
    cfg.freeze()
    with user_errors():
        default_setup(cfg, args)
    return cfg


def evaluate(cfg: CfgNode, args: argparse.Namespace) -> dict[str, Any]:
    """Evaluate MODEL.WEIGHTS, or with --resume the latest checkpoint, on DATASETS.TEST."""
    if args.resume and os.path.isfile(os.path.join(cfg.OUTPUT_DIR, "last_checkpoint")):
        cfg = cfg.clone()
        cfg.defrost()
        cfg.MODEL.WEIGHTS = str(latest_checkpoint(cfg.OUTPUT_DIR))
    detector = prepare_detector(cfg, dataset=cfg.DATASETS.TEST[0], allow_partial=args.allow_partial)
    results = Trainer.test(detector.cfg, detector.model)
    if comm.is_main_process():
        verify_results(cfg, results)
    return results


def main(args: argparse.Namespace) -> Any:
    """Run what the command line asks for; several processes call this at once.

    Raises:
        Stopped: a signal stopped a training, in good order.
    """
    cfg, explicit_keys = load_run_config(args)
    with held_output_folder(cfg.OUTPUT_DIR):
        return _run(_setup(cfg, explicit_keys, args), args)


def _run(cfg: CfgNode, args: argparse.Namespace) -> Any:
    if args.eval_only:
        return evaluate(cfg, args)
    with user_errors():
        trainer = Trainer(cfg)
        trainer.resume_or_load(resume=args.resume)
    with StopSignals():
        return trainer.train()
