"""The config keys of the Swin Transformer backbone."""

from dyhead.d2.config import CfgNode


def add_swin_config(cfg: CfgNode) -> None:
    """Add MODEL.SWINT with the names and defaults of the official code, which are Swin-T's.

    | | EMBED_DIM | DEPTHS | NUM_HEADS |
    | --- | --- | --- | --- |
    | Swin-T | 96 | [2, 2, 6, 2] | [3, 6, 12, 24] |
    | Swin-S | 96 | [2, 2, 18, 2] | [3, 6, 12, 24] |
    | Swin-B | 128 | [2, 2, 18, 2] | [4, 8, 16, 32] |
    | Swin-L | 192 | [2, 2, 18, 2] | [6, 12, 24, 48] |

    MODEL.BACKBONE.FREEZE_AT counts as in the official code, not as for a ResNet: 0 freezes the
    patch embedding, 2 the first stage too, 3 the first two, and so on; -1 freezes nothing.
    """
    cfg.MODEL.SWINT = CfgNode()
    cfg.MODEL.SWINT.EMBED_DIM = 96  # channels of the first stage; each next one has twice as many
    # Features that are given out: "stage2" (stride 4) to "stage5" (stride 32); stages that none of
    # them needs are left out.
    cfg.MODEL.SWINT.OUT_FEATURES = ["stage2", "stage3", "stage4", "stage5"]
    cfg.MODEL.SWINT.DEPTHS = [2, 2, 6, 2]  # blocks of each stage
    cfg.MODEL.SWINT.NUM_HEADS = [3, 6, 12, 24]  # attention heads in each stage
    cfg.MODEL.SWINT.WINDOW_SIZE = 7  # side of the attention windows; released weights: 7 or 12
    cfg.MODEL.SWINT.MLP_RATIO = 4  # hidden channels of a block's MLP over its channels
    cfg.MODEL.SWINT.DROP_PATH_RATE = 0.2  # chance that the last block is left out in training
    cfg.MODEL.SWINT.APE = False  # add a learned embedding of the absolute position
    cfg.MODEL.SWINT.VERSION = 1  # version of the Swin Transformer; there is no other
    cfg.MODEL.SWINT.OUT_NORM = True  # LayerNorm on every output feature; always so
    # Recompute each block's inside in the backward pass: less memory, more time, same gradients.
    cfg.MODEL.SWINT.USE_CHECKPOINT = False
