"""The project's trainer: Detectron2's, with only what differs."""

import logging
import os
import weakref
from collections.abc import Iterable, Sequence
from functools import partial
from typing import Any

import torch
from torch import nn

from dyhead.checkpoint import SafeCheckpointer
from dyhead.d2.config import CfgNode
from dyhead.d2.data import (
    MetadataCatalog,
    build_detection_test_loader,
    build_detection_train_loader,
)
from dyhead.d2.engine import DefaultTrainer, HookBase, SimpleTrainer, create_ddp_model
from dyhead.d2.evaluation import DatasetEvaluator, DatasetEvaluators
from dyhead.d2.modeling import build_model
from dyhead.d2.utils import comm
from dyhead.data import CheckedMapper
from dyhead.data.training_sets import load_training_sets
from dyhead.engine.coco_evaluation import build_coco_evaluator
from dyhead.engine.cost import CostEvaluator
from dyhead.engine.evaluation import inference_folder, leave_reports
from dyhead.engine.evaluation_form import evaluation_form
from dyhead.engine.execution import prepare_execution
from dyhead.engine.guard import FiniteGuard
from dyhead.engine.hooks import CurvesHook
from dyhead.engine.mixed_precision import MixedPrecisionTrainer
from dyhead.engine.optimizer import build_optimizer
from dyhead.engine.precision import (
    build_test_precision,
    keep_predictions_in_float32,
    training_type,
)
from dyhead.engine.setup import set_aside
from dyhead.engine.training_card import ScoresHook, training_card
from dyhead.errors import user_errors
from dyhead.modeling.tta import build_multi_scale_testing

logger = logging.getLogger(__name__)


class Trainer(DefaultTrainer):
    """A DefaultTrainer that also trains on several CPU processes, and safely.

    It checks every image, loss and gradient, saves atomically, chooses the optimizer by config and
    leaves tables and pictures.
    """

    def __init__(self, cfg: CfgNode) -> None:
        """Build model, optimizer, data loader, scheduler, checkpointer and hooks from `cfg`.

        DefaultTrainer's own constructor places a model of several processes on GPUs and takes the
        unsafe checkpointer, so its parts are put together here.
        """
        super(DefaultTrainer, self).__init__()
        cfg = self.auto_scale_workers(cfg, comm.get_world_size())
        model = self.build_model(cfg)
        optimizer = self.build_optimizer(cfg, model)
        data_loader = self.build_train_loader(cfg)
        model = _distribute(model, cfg.MODEL.DEVICE)
        self._trainer = _build_step_trainer(cfg, model, data_loader, optimizer)
        self._trainer.register_hooks([FiniteGuard(model)])
        self.scheduler = self.build_lr_scheduler(cfg, optimizer)
        self.scores = ScoresHook()
        own_state = weakref.proxy(self)
        self.checkpointer = SafeCheckpointer(
            model,
            cfg.OUTPUT_DIR,
            cfg=cfg,
            card=partial(training_card, own_state),
            stripped=("model_final",) if cfg.SOLVER.CHECKPOINT_FINAL_STRIPPED else (),
            trainer=own_state,
        )
        self.start_iter = 0
        self.max_iter = cfg.SOLVER.MAX_ITER
        self.cfg = cfg
        self.register_hooks(self.build_hooks())

    def resume_or_load(self, resume: bool = True) -> None:
        """Go on from the latest checkpoint if `resume`, else start anew from MODEL.WEIGHTS.

        A new run sets an earlier one's `last_checkpoint` aside, but not before all else is ready.
        """
        super().resume_or_load(resume=resume)
        if resume and not self.checkpointer.has_checkpoint():
            logger.warning(
                "Nothing to resume in %s: starting from MODEL.WEIGHTS.", self.cfg.OUTPUT_DIR
            )
        if not resume and comm.is_main_process():
            set_aside(os.path.join(self.cfg.OUTPUT_DIR, "last_checkpoint"))

    def build_hooks(self) -> list[HookBase | None]:
        """Detectron2's hooks, scores for the checkpoints' cards, and the curves at the end."""
        hooks = super().build_hooks()
        if comm.is_main_process():
            hooks += [self.scores, CurvesHook(self.cfg.OUTPUT_DIR)]
        return hooks

    @classmethod
    def build_model(cls, cfg: CfgNode) -> nn.Module:
        """Build the model as it will be executed, and log its size.

        Raises:
            UserError: the config describes no model that can be built, or none for this machine.
        """
        with user_errors():
            model = build_model(cfg)
            prepare_execution(cfg, model)
        keep_predictions_in_float32(model)
        num_parameters = sum(parameter.numel() for parameter in model.parameters())
        logger.info(
            "Model: %s on %s, %.2f M parameters",
            cfg.MODEL.META_ARCHITECTURE,
            cfg.MODEL.DEVICE,
            num_parameters / 1e6,
        )
        return model

    @classmethod
    def build_optimizer(cls, cfg: CfgNode, model: nn.Module) -> torch.optim.Optimizer:
        """Build `SOLVER.OPTIMIZER`."""
        return build_optimizer(cfg, model)

    @classmethod
    def build_train_loader(cls, cfg: CfgNode) -> Iterable[list[dict[str, Any]]]:
        """Detectron2's loader, skipping images that cannot be read with a counted warning.

        DATASETS.TRAIN_RATIOS decides how often each data set is drawn from.

        Raises:
            UserError: the ratios cannot be used, or the data sets' classes differ.
        """
        dataset, sampler = load_training_sets(cfg)
        _describe_training(cfg, len(dataset))
        mapper = CheckedMapper(cfg, is_train=True)
        return build_detection_train_loader(cfg, mapper=mapper, dataset=dataset, sampler=sampler)

    @classmethod
    def build_test_loader(cls, cfg: CfgNode, dataset_name: str) -> Iterable[list[dict[str, Any]]]:
        """Detectron2's loader; an image that cannot be read stops the evaluation by its name."""
        mapper = CheckedMapper(cfg, is_train=False)
        return build_detection_test_loader(cfg, dataset_name, mapper=mapper)

    @classmethod
    def build_evaluator(cls, cfg: CfgNode, dataset_name: str) -> DatasetEvaluator:
        """COCO scores below OUTPUT_DIR/inference, and the cost of computing them."""
        folder = inference_folder(cfg, dataset_name)
        return DatasetEvaluators(
            [
                CostEvaluator(cfg.MODEL.DEVICE),
                build_coco_evaluator(dataset_name, folder, fast=cfg.TEST.FAST_COCO_EVAL),
            ]
        )

    @classmethod
    def test(
        cls,
        cfg: CfgNode,
        model: nn.Module,
        evaluators: DatasetEvaluator | Sequence[DatasetEvaluator] | None = None,
    ) -> dict[str, Any]:
        """Evaluate on DATASETS.TEST, and leave a table and a picture of each data set.

        Where TEST.AUG.ENABLED, every evaluation is by multi-scale testing, and no other.
        TEST.PRECISION holds for all of them.

        Returns:
            {task: {metric: value}}, below the data set's name where there are several.
        """
        tested = build_test_precision(cfg, build_multi_scale_testing(cfg, model))
        with evaluation_form(cfg, model):
            results = super().test(cfg, tested, evaluators)
        if comm.is_main_process():
            leave_reports(cfg, results)
        return results


def _build_step_trainer(
    cfg: CfgNode, model: nn.Module, data_loader: Iterable[Any], optimizer: torch.optim.Optimizer
) -> SimpleTrainer:
    """What does the single steps."""
    if not cfg.SOLVER.AMP.ENABLED:
        return SimpleTrainer(model, data_loader, optimizer)
    dtype = training_type(cfg)
    logger.info("Training in mixed precision: %s", str(dtype).removeprefix("torch."))
    return MixedPrecisionTrainer(model, data_loader, optimizer, dtype)


def _describe_training(cfg: CfgNode, num_images: int) -> None:
    """One line that tells a newcomer what is about to happen."""
    solver = cfg.SOLVER
    logger.info(
        "Training on %d images of %s, %d classes: %d steps of %d images, about %.1f passes over the"
        " data; results go to %s",
        num_images,
        ", ".join(cfg.DATASETS.TRAIN),
        len(MetadataCatalog.get(cfg.DATASETS.TRAIN[0]).thing_classes),
        solver.MAX_ITER,
        solver.IMS_PER_BATCH,
        solver.MAX_ITER * solver.IMS_PER_BATCH / max(1, num_images),
        cfg.OUTPUT_DIR,
    )


def _distribute(model: nn.Module, device: str) -> nn.Module:
    """Average gradients over the processes, if there are several."""
    if torch.device(device).type == "cpu":
        return create_ddp_model(model, broadcast_buffers=False, device_ids=None)
    return create_ddp_model(model, broadcast_buffers=False)
