"""Trains or evaluates a detector: what `train_net.py`, `dyhead train` and `dyhead eval` run."""

import argparse
import logging
from typing import Any

import dyhead.modeling  # noqa: F401  registers the models
from dyhead.checkpoint import SafeCheckpointer
from dyhead.config import load_config
from dyhead.d2.config import CfgNode
from dyhead.d2.engine import default_setup
from dyhead.d2.evaluation import verify_results
from dyhead.d2.utils import comm
from dyhead.engine.setup import prepare_run
from dyhead.engine.trainer import Trainer
from dyhead.errors import user_errors

logger = logging.getLogger("dyhead.train_net")


def setup(args: argparse.Namespace) -> CfgNode:
    """Create the config and do what every run starts with; returns the frozen config."""
    cfg, explicit_keys = load_config(args.config_file, args.opts)
    prepare_run(cfg, explicit_keys, args)
    cfg.freeze()
    with user_errors():
        default_setup(cfg, args)
    return cfg


def evaluate(cfg: CfgNode, resume: bool) -> dict[str, Any]:
    """Evaluate MODEL.WEIGHTS, or with `resume` the latest checkpoint, on DATASETS.TEST."""
    model = Trainer.build_model(cfg)
    checkpointer = SafeCheckpointer(model, save_dir=cfg.OUTPUT_DIR, cfg=cfg)
    if not cfg.MODEL.WEIGHTS and not (resume and checkpointer.has_checkpoint()):
        logger.warning('MODEL.WEIGHTS is "": evaluating random weights.')
    with user_errors():
        checkpointer.resume_or_load(cfg.MODEL.WEIGHTS, resume=resume)
    results = Trainer.test(cfg, model)
    if comm.is_main_process():
        verify_results(cfg, results)
    return results


def main(args: argparse.Namespace) -> Any:
    """Run what the command line asks for; several processes call this at once."""
    cfg = setup(args)
    if args.eval_only:
        return evaluate(cfg, args.resume)
    with user_errors():
        trainer = Trainer(cfg)
        trainer.resume_or_load(resume=args.resume)
    return trainer.train()
