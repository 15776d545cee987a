"""The config keys of training on several data sets at once."""

from dyhead.d2.config import CfgNode


def add_sampling_config(cfg: CfgNode) -> None:
    """Add DATASETS.TRAIN_RATIOS."""
    # One positive number per data set of DATASETS.TRAIN: its share of the images that are drawn.
    # With (1, 2) two of the second come per one of the first. Empty: all images are drawn alike.
    cfg.DATASETS.TRAIN_RATIOS = []
