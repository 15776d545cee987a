"""Builds the augmentation of training images, and the resizing of test images, from cfg.INPUT."""

from dyhead.d2.config import CfgNode
from dyhead.d2.data import transforms as T
from dyhead.data.resizing import ResizeShortestEdge


def build_augmentation(cfg: CfgNode, is_train: bool) -> list[T.Augmentation]:
    """Build what is applied to every image and its boxes, in the order of application.

    An augmentation of your own is one more element of a list here: any of
    `dyhead.d2.data.transforms`, or a class derived from `Augmentation` there.

    Args:
        cfg: INPUT's sizes, CROP and RANDOM_FLIP are read.
        is_train: build the augmentation of training; otherwise that of evaluation.
    """
    return _of_training(cfg) if is_train else _of_evaluation(cfg)


def _of_training(cfg: CfgNode) -> list[T.Augmentation]:
    inputs = cfg.INPUT
    flip, crop = inputs.RANDOM_FLIP, inputs.CROP
    augmentation: list[T.Augmentation] = []
    if crop.ENABLED:  # first: its pixels are those of the file
        augmentation.append(T.RandomCrop(crop.TYPE, crop.SIZE))
    augmentation.append(
        ResizeShortestEdge(
            inputs.MIN_SIZE_TRAIN, inputs.MAX_SIZE_TRAIN, inputs.MIN_SIZE_TRAIN_SAMPLING
        )
    )
    if flip != "none":
        augmentation.append(
            T.RandomFlip(horizontal=flip == "horizontal", vertical=flip == "vertical")
        )
    return augmentation


def _of_evaluation(cfg: CfgNode) -> list[T.Augmentation]:
    return [ResizeShortestEdge(cfg.INPUT.MIN_SIZE_TEST, cfg.INPUT.MAX_SIZE_TEST, "choice")]
