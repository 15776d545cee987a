"""The project's trainer: it puts the training of a config together."""

import logging
import os
import weakref
from collections.abc import Iterable, Mapping
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
from dyhead.d2.engine import (
    DefaultTrainer,
    HookBase,
    TrainerBase,
    create_ddp_model,
    default_writers,
    hooks,
)
from dyhead.d2.evaluation import (
    DatasetEvaluator,
    DatasetEvaluators,
    inference_on_dataset,
    print_csv_format,
    verify_results,
)
from dyhead.d2.modeling import build_model
from dyhead.d2.solver import build_lr_scheduler
from dyhead.d2.utils import comm
from dyhead.d2.utils.events import EventWriter
from dyhead.data import CheckedMapper
from dyhead.data.training_sets import load_training_sets
from dyhead.engine.execution import prepare_execution
from dyhead.engine.guard import FiniteGuard
from dyhead.engine.hooks import CurvesHook, ScoresHook, training_card
from dyhead.engine.optimizer import build_optimizer
from dyhead.engine.precision import (
    build_step_trainer,
    build_test_precision,
    keep_predictions_in_float32,
)
from dyhead.engine.setup import set_aside
from dyhead.errors import user_errors
from dyhead.evaluation.evaluators import build_evaluators
from dyhead.evaluation.inference_optimization import optimized_for_inference
from dyhead.evaluation.reports import write_reports
from dyhead.modeling.tta import build_multi_scale_testing

logger = logging.getLogger(__name__)


class Trainer(TrainerBase):
    """A training of the detector that a config describes, put together from the host's parts.

    It is Detectron2's `DefaultTrainer` for several CPU processes too, and safe: it checks every
    image, loss and gradient, saves atomically, chooses the optimizer by config and leaves tables
    and pictures. A project of one's own overrides the methods called `build_*`.

    Attributes:
        cfg: the config, scaled to the number of processes if SOLVER.REFERENCE_WORLD_SIZE asks so.
        model: the model being trained, wrapped where there are several processes.
        optimizer: of the model's parameters.
        data_loader: the training batches.
        scheduler: the learning rate schedule.
        checkpointer: saves and restores model, optimizer, schedule and iteration.
        last_results: of the latest evaluation, as `test` returns them; {} before.
    """

    def __init__(self, cfg: CfgNode) -> None:
        """Build model, optimizer, data loader, scheduler, checkpointer and hooks from `cfg`."""
        super().__init__()
        self.cfg = cfg = DefaultTrainer.auto_scale_workers(cfg, comm.get_world_size())
        self.start_iter, self.max_iter = 0, cfg.SOLVER.MAX_ITER
        model = self.build_model(cfg)
        self.optimizer = self.build_optimizer(
            cfg, model
        )  # of the parameters before they are wrapped
        self.data_loader = self.build_train_loader(cfg)
        self.model = _distribute(model, cfg.MODEL.DEVICE)
        self._trainer = build_step_trainer(cfg, self.model, self.data_loader, self.optimizer)
        self._trainer.register_hooks([FiniteGuard(self.model)])
        self.scheduler = build_lr_scheduler(cfg, self.optimizer)
        self.checkpointer = self._build_checkpointer()
        self.last_results: dict[str, Any] = {}
        self.register_hooks(self.build_hooks())

    def _build_checkpointer(self) -> SafeCheckpointer:
        own_state = weakref.proxy(self)  # no cycle: a dropped trainer frees its memory at once
        self.scores = ScoresHook()
        return SafeCheckpointer(
            self.model,
            self.cfg.OUTPUT_DIR,
            cfg=self.cfg,
            card=partial(training_card, own_state),
            stripped=("model_final",) if self.cfg.SOLVER.CHECKPOINT_FINAL_STRIPPED else (),
            trainer=own_state,
        )

    def resume_or_load(self, resume: bool = True) -> None:
        """Go on from the latest checkpoint if `resume`, else start anew from MODEL.WEIGHTS.

        A new run sets an earlier one's `last_checkpoint` aside, but not before all else is ready.
        """
        self.checkpointer.resume_or_load(self.cfg.MODEL.WEIGHTS, resume=resume)
        if resume and self.checkpointer.has_checkpoint():
            self.start_iter = self.iter + 1  # the checkpoint has the last finished iteration
        elif resume:
            logger.warning(
                "Nothing to resume in %s: starting from MODEL.WEIGHTS.", self.cfg.OUTPUT_DIR
            )
        elif comm.is_main_process():
            set_aside(os.path.join(self.cfg.OUTPUT_DIR, "last_checkpoint"))

    def train(self) -> dict[str, Any] | None:  # type: ignore[override]
        """Train to the end.

        Returns:
            The last evaluation's results where TEST.EXPECTED_RESULTS asks to verify them.
        """
        super().train(self.start_iter, self.max_iter)
        if not self.cfg.TEST.EXPECTED_RESULTS or not comm.is_main_process():
            return None
        verify_results(self.cfg, self.last_results)
        return self.last_results

    def run_step(self) -> None:
        """Do one iteration."""
        self._trainer.iter = self.iter
        self._trainer.run_step()

    def state_dict(self) -> dict[str, Any]:
        """Return the state of the loop, the hooks and the optimizer, laid out as Detectron2's."""
        return {**super().state_dict(), "_trainer": self._trainer.state_dict()}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Restore a run of any precision; the loss scale only where both runs have one."""
        super().load_state_dict(state_dict)
        saved = dict(state_dict["_trainer"])
        saved["grad_scaler"] = saved.get("grad_scaler") or self._trainer.state_dict().get(
            "grad_scaler"
        )
        self._trainer.load_state_dict(saved)

    def build_hooks(self) -> list[HookBase]:
        """Build the hooks of the loop, in their order.

        Checkpoints come before the evaluation, so that one is there if that fails; writers come
        after it, so that they write the results.
        """
        cfg, is_main = self.cfg, comm.is_main_process()
        built: list[HookBase] = [hooks.IterationTimer(), hooks.LRScheduler()]
        if cfg.TEST.PRECISE_BN.ENABLED:  # genuine Detectron2 alone has it, the other host refuses
            loader, num_batches = self.build_train_loader(cfg), cfg.TEST.PRECISE_BN.NUM_ITER
            args = (cfg.TEST.EVAL_PERIOD, self.model, loader, num_batches)
            built.append(hooks.PreciseBN(*args))  # type: ignore[attr-defined]
        if is_main:
            built.append(
                hooks.PeriodicCheckpointer(self.checkpointer, cfg.SOLVER.CHECKPOINT_PERIOD)
            )
        built.append(hooks.EvalHook(cfg.TEST.EVAL_PERIOD, self._test_and_keep_results))
        if is_main:
            built.append(hooks.PeriodicWriter(self.build_writers(), period=20))
            built += [self.scores, CurvesHook(cfg.OUTPUT_DIR)]
        return built

    def build_writers(self) -> list[EventWriter]:
        """Build the writers of events to OUTPUT_DIR and to the console."""
        return default_writers(self.cfg.OUTPUT_DIR, self.max_iter)

    def _test_and_keep_results(self) -> dict[str, Any]:
        self.last_results = self.test(self.cfg, self.model)
        return self.last_results

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
        """Build Detectron2's loader, skipping images that cannot be read with a counted warning.

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
        """Build Detectron2's loader; an image that cannot be read stops the run by its name."""
        mapper = CheckedMapper(cfg, is_train=False)
        return build_detection_test_loader(cfg, dataset_name, mapper=mapper)

    @classmethod
    def build_evaluator(cls, cfg: CfgNode, dataset_name: str) -> DatasetEvaluator:
        """Build COCO scores below OUTPUT_DIR/inference, and the cost of computing them."""
        return DatasetEvaluators(build_evaluators(cfg, dataset_name))

    @classmethod
    def test(cls, cfg: CfgNode, model: nn.Module) -> dict[str, Any]:
        """Evaluate on DATASETS.TEST, and leave a table and a picture of each data set.

        Where TEST.AUG.ENABLED, every evaluation is by multi-scale testing, and no other.
        TEST.PRECISION holds for all of them.

        Returns:
            {task: {metric: value}}, below the data set's name where there are several.
        """
        tested = build_test_precision(cfg, build_multi_scale_testing(cfg, model))
        with optimized_for_inference(cfg, model):
            found = {name: cls._test_on(cfg, tested, name) for name in cfg.DATASETS.TEST}
        results = found if len(found) > 1 else next(iter(found.values()))
        if comm.is_main_process():
            write_reports(cfg, results)
        return results

    @classmethod
    def _test_on(cls, cfg: CfgNode, model: nn.Module, dataset_name: str) -> dict[str, Any]:
        loader = cls.build_test_loader(cfg, dataset_name)
        results = inference_on_dataset(model, loader, cls.build_evaluator(cfg, dataset_name))
        if comm.is_main_process():
            logger.info("Evaluation results for %s in csv format:", dataset_name)
            print_csv_format(results)
        return results


def _describe_training(cfg: CfgNode, num_images: int) -> None:
    """Log one line that tells a newcomer what is about to happen."""
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
