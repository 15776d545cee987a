"""Builds the augmentation of training images, and the resizing of test images, from cfg.INPUT."""

from collections.abc import Callable

from torch import Tensor

from dyhead.d2.config import CfgNode
from dyhead.d2.data import transforms as T
from dyhead.data.augmentations.color_jitter import ColorJitter
from dyhead.data.augmentations.copy_paste import CopyPaste
from dyhead.data.augmentations.fixed_size import CropToSize, PadToSize, ScaleJitter
from dyhead.data.augmentations.iou_crop import IoUCrop
from dyhead.data.augmentations.mixup import Mixup
from dyhead.data.augmentations.mosaic import Mosaic
from dyhead.data.augmentations.sample import Sample
from dyhead.data.resizing import ResizeBatch, ResizeShortestEdge

Mix = Callable[[Sample, Callable[[], Sample]], Sample]  # of a sample, and what draws others


def build_augmentation(cfg: CfgNode, is_train: bool) -> list[T.Augmentation]:
    """Build what is applied to every image and its boxes, in the order of application.

    An augmentation of your own is one more element of a list here: any of
    `dyhead.d2.data.transforms`, or a class derived from `Augmentation` there.

    Args:
        cfg: INPUT's sizes, CROP and RANDOM_FLIP are read, and AUG's IOU_CROP and FIXED_SIZE.
        is_train: build the augmentation of training; otherwise that of evaluation.
    """
    return _of_training(cfg) if is_train else _of_evaluation(cfg)


def build_mixes(cfg: CfgNode) -> list[tuple[Mix, float]]:
    """Build what mixes several training images, each with its probability, in their order.

    An image that was mixed with others may be mixed again by the next one.
    """
    aug, fill = cfg.INPUT.AUG, cfg.MODEL.PIXEL_MEAN
    mosaic, copy_paste, mixup = aug.MOSAIC, aug.COPY_PASTE, aug.MIXUP
    least = aug.MIN_VISIBLE
    mixes: list[tuple[Mix, float]] = [
        (Mosaic(mosaic.SCALES, aug.FIXED_SIZE.SIZE, fill, least), mosaic.PROB),
        (CopyPaste(copy_paste.MAX_OBJECTS, least), copy_paste.PROB),
        (Mixup(mixup.ALPHA, least), mixup.PROB),
    ]
    return [(mix, probability) for mix, probability in mixes if probability]


def build_finish(cfg: CfgNode) -> list[Callable[[Tensor], Tensor]]:
    """Build what is done to the pixels of a training image at last, (C, H, W) of uint8."""
    color, fixed = cfg.INPUT.AUG.COLOR, cfg.INPUT.AUG.FIXED_SIZE
    finish: list[Callable[[Tensor], Tensor]] = []
    if color.PROB:
        strengths = color.BRIGHTNESS, color.CONTRAST, color.SATURATION, color.HUE
        finish.append(ColorJitter(color.PROB, *strengths, is_bgr=cfg.INPUT.FORMAT == "BGR"))
    if fixed.SIZE and fixed.PAD:
        finish.append(PadToSize(fixed.SIZE, cfg.MODEL.PIXEL_MEAN))
    return finish


def least_visible_share(cfg: CfgNode) -> float:
    """Return the share of a box that the crops of INPUT.AUG have to leave; 0: they are off."""
    aug = cfg.INPUT.AUG
    return aug.MIN_VISIBLE if aug.IOU_CROP.PROB or aug.FIXED_SIZE.SIZE else 0.0


def _of_training(cfg: CfgNode) -> list[T.Augmentation]:
    inputs = cfg.INPUT
    flip, crop, iou_crop = inputs.RANDOM_FLIP, inputs.CROP, inputs.AUG.IOU_CROP
    augmentation: list[T.Augmentation] = []
    if crop.ENABLED:  # first: its pixels are those of the file
        augmentation.append(T.RandomCrop(crop.TYPE, crop.SIZE))
    if iou_crop.PROB:
        augmentation.append(T.RandomApply(IoUCrop(iou_crop.MIN_SCALE), iou_crop.PROB))
    augmentation += _resizing(cfg)
    if flip != "none":
        augmentation.append(
            T.RandomFlip(horizontal=flip == "horizontal", vertical=flip == "vertical")
        )
    return augmentation


def _resizing(cfg: CfgNode) -> list[T.Augmentation]:
    inputs, fixed = cfg.INPUT, cfg.INPUT.AUG.FIXED_SIZE
    if fixed.SIZE:
        return [ScaleJitter(fixed.SIZE, fixed.SCALES), CropToSize(fixed.SIZE)]
    sizes = inputs.MIN_SIZE_TRAIN, inputs.MAX_SIZE_TRAIN, inputs.MIN_SIZE_TRAIN_SAMPLING
    return [ResizeBatch(*sizes) if inputs.ONE_SIZE_PER_BATCH else ResizeShortestEdge(*sizes)]


def _of_evaluation(cfg: CfgNode) -> list[T.Augmentation]:
    return [ResizeShortestEdge(cfg.INPUT.MIN_SIZE_TEST, cfg.INPUT.MAX_SIZE_TEST, "choice")]
