"""Evaluating a model on data sets."""

from ..utils.not_served import not_served
from .coco_evaluation import COCOEvaluator
from .evaluator import (
    DatasetEvaluator,
    DatasetEvaluators,
    inference_context,
    inference_on_dataset,
)
from .testing import print_csv_format, verify_results

CityscapesInstanceEvaluator = not_served("CityscapesInstanceEvaluator", "the data set Cityscapes")
CityscapesSemSegEvaluator = not_served("CityscapesSemSegEvaluator", "the data set Cityscapes")
PascalVOCDetectionEvaluator = not_served("PascalVOCDetectionEvaluator", "the metric of Pascal VOC")
COCOPanopticEvaluator = not_served("COCOPanopticEvaluator", "panoptic segmentation")
LVISEvaluator = not_served("LVISEvaluator", "the data set LVIS")
SemSegEvaluator = not_served("SemSegEvaluator", "semantic segmentation")
