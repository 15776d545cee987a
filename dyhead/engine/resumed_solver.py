"""The solver's settings at a resume: those of the config act, whatever the checkpoint had."""

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from dyhead.config.load import leaf_keys, value_of
from dyhead.d2.config import CfgNode
from dyhead.d2.solver import LRMultiplier

# What an optimizer's group has besides its settings.
_NO_SETTINGS = {"params", "lr"}

logger = logging.getLogger(__name__)


def solver_values(cfg: CfgNode) -> dict[str, Any]:
    """Return the keys of SOLVER with their values, as plain as a checkpoint needs them."""
    values = {name: value_of(cfg.SOLVER, name) for name in leaf_keys(cfg.SOLVER)}
    return {name: list(v) if isinstance(v, tuple) else v for name, v in values.items()}


def check_length(steps: int, max_iter: int) -> None:
    """Refuse to go on with a run that has done more steps than it is to have.

    Raises:
        ValueError: it has.
    """
    if steps > max_iter:
        raise ValueError(f"it has done {steps} steps, and SOLVER.MAX_ITER is {max_iter}")


@contextmanager
def own_settings(trainer: Any, saved: Mapping[str, Any]) -> Iterator[None]:
    """Let a trainer keep its config's rates, schedule and decays while it loads a saved state.

    Momenta and the number of steps come from the state. Every setting that differs is logged.

    Args:
        trainer: a `Trainer` whose state is loaded within the context.
        saved: its state, as `Trainer.state_dict` gives it.
    """
    groups, schedule = trainer.optimizer.param_groups, trainer.scheduler
    settings = [{k: v for k, v in group.items() if k not in _NO_SETTINGS} for group in groups]
    rates = list(schedule.base_lrs)
    yield
    # A schedule of the user's own may compute a rate from the last one: it has to take the saved.
    if not isinstance(schedule, LRMultiplier):
        if rates != list(schedule.base_lrs):
            logger.warning("The schedule is one of your own: its base rates stay the checkpoint's.")
        _describe_changes(trainer.cfg, saved.get("solver"))
        return
    if rates != list(schedule.base_lrs) and "solver" not in saved:
        logger.info("Learning rates are those of SOLVER.BASE_LR now, not the checkpoint's.")
    schedule.base_lrs = rates
    # The optimizer has made new groups of the saved ones.
    for group, own, rate in zip(
        trainer.optimizer.param_groups, settings, schedule.get_lr(), strict=True
    ):
        group.update(own, lr=rate)
    _describe_changes(trainer.cfg, saved.get("solver"))


def _describe_changes(cfg: CfgNode, saved: Mapping[str, Any] | None) -> None:
    """Log the settings that are not what they were when the checkpoint was saved."""
    if saved is None:  # a checkpoint of an older version
        return
    current = solver_values(cfg)
    changed = [name for name in current if name in saved and saved[name] != current[name]]
    if changed:
        logger.info(
            "Changed at --resume, and in force from here on: %s",
            "; ".join(f"SOLVER.{n} from {saved[n]} to {current[n]}" for n in changed),
        )
