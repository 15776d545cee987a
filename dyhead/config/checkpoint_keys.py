"""The config keys of what a run saves."""

from dyhead.d2.config import CfgNode


def add_checkpoint_config(cfg: CfgNode) -> None:
    """Add SOLVER.CHECKPOINT_FINAL_STRIPPED."""
    # Save weights and model card alone in model_final.pth: half of the size with SGD, a third with
    # AdamW. A training cannot be resumed from it, only from the checkpoints before it.
    cfg.SOLVER.CHECKPOINT_FINAL_STRIPPED = False
