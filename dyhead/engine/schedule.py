"""The length and the learning rate of a training, where the config gives them for another batch."""

import logging
import math
from collections.abc import Callable

from dyhead.d2.config import CfgNode
from dyhead.d2.engine import HookBase
from dyhead.errors import UserError

_LONGEST_WARM_UP = 0.2  # of a training that is counted in epochs

logger = logging.getLogger(__name__)


def settle_schedule(cfg: CfgNode, count_images: Callable[[CfgNode], int]) -> CfgNode:
    """Let SOLVER.REFERENCE_BATCH_SIZE and SOLVER.EPOCHS act; settling again changes nothing.

    Args:
        cfg: unchanged; returned itself where there is nothing to do.
        count_images: the number of images of DATASETS.TRAIN; called where it is needed.

    Raises:
        UserError: a value is negative, the rate would be scaled twice, or two lengths are given.
    """
    if cfg.SOLVER.EPOCHS and cfg.SOLVER.MINUTES:
        raise UserError(
            f"SOLVER.EPOCHS {cfg.SOLVER.EPOCHS} and SOLVER.MINUTES {cfg.SOLVER.MINUTES:g} are two"
            " lengths of one training: set one of them to 0."
        )
    for key in ("REFERENCE_BATCH_SIZE", "EPOCHS"):
        if cfg.SOLVER[key] < 0:
            raise UserError(f"SOLVER.{key} is {cfg.SOLVER[key]}: make it positive, or 0 for none.")
    settled = cfg
    if cfg.SOLVER.REFERENCE_BATCH_SIZE or cfg.SOLVER.EPOCHS:
        settled = cfg.clone()
        settled.defrost()
        _scale_rate(settled)
        if settled.SOLVER.EPOCHS:
            _count_in_epochs(settled, count_images(cfg))
        settled.freeze()
    _warn_of_warm_up(settled)
    return settled


def _scale_rate(cfg: CfgNode) -> None:
    """Let the learning rate grow with the batch (Goyal et al., arXiv:1706.02677)."""
    solver = cfg.SOLVER
    reference, batch = solver.REFERENCE_BATCH_SIZE, solver.IMS_PER_BATCH
    if not reference:
        return
    if solver.REFERENCE_WORLD_SIZE:
        raise UserError(
            "SOLVER.REFERENCE_WORLD_SIZE scales the learning rate with the batch already: set it or"
            " SOLVER.REFERENCE_BATCH_SIZE to 0."
        )
    if batch == reference:
        return
    before = solver.BASE_LR
    solver.BASE_LR *= batch / reference
    solver.BASE_LR_END *= batch / reference
    solver.REFERENCE_BATCH_SIZE = batch
    logger.info(
        "SOLVER.BASE_LR %g is for batches of %d: with %d it is %g.",
        before,
        reference,
        batch,
        solver.BASE_LR,
    )


def _count_in_epochs(cfg: CfgNode, num_images: int) -> None:
    """Replace MAX_ITER, and STEPS in the same proportion."""
    solver = cfg.SOLVER
    before = solver.MAX_ITER
    solver.MAX_ITER = math.ceil(solver.EPOCHS * num_images / solver.IMS_PER_BATCH)
    solver.STEPS = tuple(round(step * solver.MAX_ITER / before) for step in solver.STEPS)
    solver.WARMUP_ITERS = min(solver.WARMUP_ITERS, round(_LONGEST_WARM_UP * solver.MAX_ITER))
    logger.info(
        "%d epochs of %d images are %d steps of %d, %.1f an epoch; SOLVER.STEPS are %s, and"
        " WARMUP_ITERS %d.",
        solver.EPOCHS,
        num_images,
        solver.MAX_ITER,
        solver.IMS_PER_BATCH,
        num_images / solver.IMS_PER_BATCH,
        tuple(solver.STEPS),
        solver.WARMUP_ITERS,
    )


def _warn_of_warm_up(cfg: CfgNode) -> None:
    """Say where a training is over before its learning rate has grown to SOLVER.BASE_LR."""
    solver = cfg.SOLVER
    if solver.MINUTES or solver.WARMUP_ITERS < solver.MAX_ITER:  # MINUTES stretch the warm-up, too
        return
    logger.warning(
        "SOLVER.WARMUP_ITERS %d leaves none of SOLVER.MAX_ITER %d steps at the full learning rate:"
        " lower WARMUP_ITERS, to a tenth of the steps for example, or train longer.",
        solver.WARMUP_ITERS,
        solver.MAX_ITER,
    )


class EpochHook(HookBase):
    """Records the passes over the data that are done as "epoch"; register it before the writers."""

    def __init__(self, epochs: int) -> None:
        """Count up to `epochs`, those of the whole training."""
        self._epochs = epochs

    def after_step(self) -> None:
        """Record how far the training is."""
        done = self._epochs * (self.trainer.iter + 1) / self.trainer.max_iter
        self.trainer.storage.put_scalar("epoch", done, smoothing_hint=False)
