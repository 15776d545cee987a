"""The standard training of the model that a config describes."""

import logging
import weakref
from collections import OrderedDict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from torch import nn
from torch.optim import Optimizer

from ..checkpoint import DetectionCheckpointer
from ..config import CfgNode
from ..data import build_detection_test_loader, build_detection_train_loader
from ..evaluation import (
    DatasetEvaluator,
    inference_on_dataset,
    print_csv_format,
    verify_results,
)
from ..modeling import build_model
from ..solver import LRScheduler, build_lr_scheduler, build_optimizer
from ..utils import comm
from ..utils.events import EventWriter
from ..utils.logger import setup_logger
from . import hooks
from .defaults import create_ddp_model, default_writers
from .simple_trainer import AMPTrainer, SimpleTrainer
from .train_loop import HookBase, TrainerBase

__all__ = ["DefaultTrainer"]

logger = logging.getLogger("detectron2.engine.defaults")


class DefaultTrainer(TrainerBase):
    """Builds everything from a config, trains, evaluates and saves.

    What differs in a project is overridden: each part comes from a method called `build_*`.

    Attributes:
        cfg: the config, scaled to the number of processes if SOLVER.REFERENCE_WORLD_SIZE asks so.
        scheduler: the learning rate schedule.
        checkpointer: saves and restores model, optimizer, schedule and iteration.
    """

    def __init__(self, cfg: CfgNode) -> None:
        super().__init__()
        if not logging.getLogger("detectron2").isEnabledFor(logging.INFO):
            setup_logger()
        self.cfg = cfg = self.auto_scale_workers(cfg, comm.get_world_size())
        self.max_iter = cfg.SOLVER.MAX_ITER
        self._trainer = self._build_step_trainer()
        self.scheduler = self.build_lr_scheduler(cfg, self.optimizer)
        own_state = weakref.proxy(self)  # no cycle: a dropped trainer frees its memory at once
        self.checkpointer = DetectionCheckpointer(self.model, cfg.OUTPUT_DIR, trainer=own_state)
        self.register_hooks(self.build_hooks())

    def _build_step_trainer(self) -> SimpleTrainer:
        """Build what does the single iterations; the optimizer gets the parameters before DDP."""
        model = self.build_model(self.cfg)
        optimizer = self.build_optimizer(self.cfg, model)
        data_loader = self.build_train_loader(self.cfg)
        parallel = create_ddp_model(model, broadcast_buffers=False)
        step_trainer = AMPTrainer if self.cfg.SOLVER.AMP.ENABLED else SimpleTrainer
        return step_trainer(parallel, data_loader, optimizer)

    @property
    def model(self) -> nn.Module:
        """The model being trained, wrapped where there are several processes."""
        return self._trainer.model

    @model.setter
    def model(self, value: nn.Module) -> None:
        self._trainer.model = value

    @property
    def data_loader(self) -> Iterable[Any]:
        """The training batches."""
        return self._trainer.data_loader

    @data_loader.setter
    def data_loader(self, value: Iterable[Any]) -> None:
        self._trainer.data_loader = value

    @property
    def optimizer(self) -> Optimizer:
        """The optimizer of the model."""
        return self._trainer.optimizer

    @optimizer.setter
    def optimizer(self, value: Optimizer) -> None:
        self._trainer.optimizer = value

    def resume_or_load(self, resume: bool = True) -> None:
        """Go on from the last checkpoint in OUTPUT_DIR, or else load MODEL.WEIGHTS.

        Resuming restores optimizer, schedule and iteration too. MODEL.WEIGHTS give the model's
        weights only, for a training from iteration 0.

        Args:
            resume: False ignores checkpoints in OUTPUT_DIR.
        """
        self.checkpointer.resume_or_load(self.cfg.MODEL.WEIGHTS, resume=resume)
        if resume and self.checkpointer.has_checkpoint():
            self.start_iter = self.iter + 1  # the checkpoint has the last finished iteration

    def build_hooks(self) -> list[HookBase | None]:
        """Timer, schedule, checkpoints, evaluation and writers, in this order.

        Checkpoints come before the evaluation, so that one is there if that fails; writers come
        last, so that they write the results.
        """
        built: list[HookBase | None] = [hooks.IterationTimer(), hooks.LRScheduler()]
        if comm.is_main_process():
            period = self.cfg.SOLVER.CHECKPOINT_PERIOD
            built.append(hooks.PeriodicCheckpointer(self.checkpointer, period))
        built.append(hooks.EvalHook(self.cfg.TEST.EVAL_PERIOD, self._test_and_keep_results))
        if comm.is_main_process():
            built.append(hooks.PeriodicWriter(self.build_writers(), period=20))
        return built

    def _test_and_keep_results(self) -> Mapping[str, Any]:
        self._last_eval_results = self.test(self.cfg, self.model)
        return self._last_eval_results

    def build_writers(self) -> list[EventWriter]:
        """Writers of events to OUTPUT_DIR and to the console."""
        return default_writers(self.cfg.OUTPUT_DIR, self.max_iter)

    def train(self) -> Any:  # type: ignore[override]
        """Train to the end.

        Returns:
            The last evaluation's results where TEST.EXPECTED_RESULTS asks to verify them.
        """
        super().train(self.start_iter, self.max_iter)
        if len(self.cfg.TEST.EXPECTED_RESULTS) and comm.is_main_process():
            verify_results(self.cfg, self._last_eval_results)
            return self._last_eval_results
        return None

    def run_step(self) -> None:
        """Do one iteration."""
        self._trainer.iter = self.iter
        self._trainer.run_step()

    def state_dict(self) -> dict[str, Any]:
        """The loop's, the hooks' and the optimizer's state."""
        return {**super().state_dict(), "_trainer": self._trainer.state_dict()}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Restore what `state_dict` gave."""
        super().load_state_dict(state_dict)
        self._trainer.load_state_dict(state_dict["_trainer"])

    @classmethod
    def build_model(cls, cfg: CfgNode) -> nn.Module:
        """The model that MODEL.META_ARCHITECTURE names, on MODEL.DEVICE."""
        model = build_model(cfg)
        logger.info("Model:\n%s", model)
        return model

    @classmethod
    def build_optimizer(cls, cfg: CfgNode, model: nn.Module) -> Optimizer:
        """The optimizer of the model's parameters."""
        return build_optimizer(cfg, model)

    @classmethod
    def build_lr_scheduler(cls, cfg: CfgNode, optimizer: Optimizer) -> LRScheduler:
        """The learning rate schedule, stepped once an iteration."""
        return build_lr_scheduler(cfg, optimizer)

    @classmethod
    def build_train_loader(cls, cfg: CfgNode) -> Iterable[Any]:
        """Endless training batches."""
        return build_detection_train_loader(cfg)

    @classmethod
    def build_test_loader(cls, cfg: CfgNode, dataset_name: str) -> Iterable[Any]:
        """The batches of a data set to evaluate on, in order."""
        return build_detection_test_loader(cfg, dataset_name)

    @classmethod
    def build_evaluator(cls, cfg: CfgNode, dataset_name: str) -> DatasetEvaluator:
        """What evaluates on a data set: a subclass that evaluates has to define this."""
        raise NotImplementedError(
            "To evaluate, define build_evaluator() in your trainer, or pass evaluators to test()."
        )

    @classmethod
    def test(
        cls,
        cfg: CfgNode,
        model: nn.Module,
        evaluators: DatasetEvaluator | Sequence[DatasetEvaluator] | None = None,
    ) -> dict[str, Any]:
        """Evaluate the model on every data set in DATASETS.TEST.

        Args:
            cfg: the config.
            model: with its weights loaded.
            evaluators: one for each data set; None builds them.

        Returns:
            The metrics, under the data set's name where there are several data sets.

        Raises:
            ValueError: the number of evaluators is not that of data sets.
        """
        names = cfg.DATASETS.TEST
        if isinstance(evaluators, DatasetEvaluator):
            evaluators = [evaluators]
        if evaluators is not None and len(evaluators) != len(names):
            raise ValueError(f"{len(evaluators)} evaluators for {len(names)} data sets.")
        results: dict[str, Any] = OrderedDict()
        for index, name in enumerate(names):
            evaluator = None if evaluators is None else evaluators[index]
            results[name] = cls._test_on(cfg, model, name, evaluator)
        return next(iter(results.values())) if len(results) == 1 else results

    @classmethod
    def _test_on(
        cls, cfg: CfgNode, model: nn.Module, name: str, evaluator: DatasetEvaluator | None
    ) -> dict[str, Any]:
        data_loader = cls.build_test_loader(cfg, name)
        if evaluator is None:
            try:
                evaluator = cls.build_evaluator(cfg, name)
            except NotImplementedError:
                logger.warning(
                    "%s is not evaluated: define build_evaluator() in your trainer, or pass"
                    " evaluators to test().",
                    name,
                )
                return {}
        results = inference_on_dataset(model, data_loader, evaluator)
        if comm.is_main_process():
            logger.info("Evaluation results for %s in csv format:", name)
            print_csv_format(results)
        return results

    @staticmethod
    def auto_scale_workers(cfg: CfgNode, num_workers: int) -> CfgNode:
        """Scale a config made for SOLVER.REFERENCE_WORLD_SIZE processes to another number.

        Images per process stay the same: batch and learning rate grow with the number of
        processes, all counts of iterations shrink with it (Goyal et al., arXiv:1706.02677).

        Args:
            cfg: unchanged; returned itself where nothing is to scale (reference 0 or equal).
            num_workers: the number of processes.

        Raises:
            ValueError: the batch cannot be divided among the reference's processes.
        """
        reference = cfg.SOLVER.REFERENCE_WORLD_SIZE
        if reference in (0, num_workers):
            return cfg
        if cfg.SOLVER.IMS_PER_BATCH % reference:
            raise ValueError(
                f"SOLVER.IMS_PER_BATCH {cfg.SOLVER.IMS_PER_BATCH} is no multiple of"
                f" SOLVER.REFERENCE_WORLD_SIZE {reference}."
            )
        was_frozen = cfg.is_frozen()
        cfg = cfg.clone()
        cfg.defrost()
        _scale(cfg, num_workers / reference)
        cfg.SOLVER.REFERENCE_WORLD_SIZE = num_workers
        logger.info(
            "Scaled the config to %d processes: batch %d, learning rate %g, %d iterations.",
            num_workers,
            cfg.SOLVER.IMS_PER_BATCH,
            cfg.SOLVER.BASE_LR,
            cfg.SOLVER.MAX_ITER,
        )
        if was_frozen:
            cfg.freeze()
        return cfg


def _scale(cfg: CfgNode, scale: float) -> None:
    solver = cfg.SOLVER
    solver.IMS_PER_BATCH = round(solver.IMS_PER_BATCH * scale)
    solver.BASE_LR *= scale
    for key in ("MAX_ITER", "WARMUP_ITERS", "CHECKPOINT_PERIOD"):
        solver[key] = round(solver[key] / scale)
    solver.STEPS = tuple(round(step / scale) for step in solver.STEPS)
    cfg.TEST.EVAL_PERIOD = round(cfg.TEST.EVAL_PERIOD / scale)
