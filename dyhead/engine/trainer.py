"""The project's trainer: Detectron2's, with what differs in this project."""

import logging
import os
import sys
import time
import weakref
from collections.abc import Iterable, Mapping, Sequence
from contextlib import nullcontext
from functools import partial
from typing import Any

import torch
from torch import nn

from dyhead.checkpoint import SafeCheckpointer
from dyhead.checkpoint.pixels import settle_pixels
from dyhead.checkpoint.resume import check_optimizer
from dyhead.config.check import check_config
from dyhead.d2 import HOST
from dyhead.d2.config import CfgNode
from dyhead.d2.data import MetadataCatalog, build_detection_test_loader
from dyhead.d2.engine import DefaultTrainer, HookBase, hooks
from dyhead.d2.evaluation import DatasetEvaluator, DatasetEvaluators
from dyhead.d2.modeling import build_model
from dyhead.d2.utils import comm
from dyhead.d2.utils.events import (
    CommonMetricPrinter,
    EventWriter,
    JSONWriter,
    TensorboardXWriter,
)
from dyhead.data import CheckedMapper
from dyhead.data.training_loader import build_training_loader
from dyhead.data.training_sets import count_training_images, loading_once
from dyhead.engine.accumulation import accumulate_gradients
from dyhead.engine.best_checkpoint import BEST_NAME, BestCheckpointHook
from dyhead.engine.by_progress import PrinterByProgress
from dyhead.engine.early_stopping import EarlyStoppingHook, StoppedEarly
from dyhead.engine.execution import prepare_execution
from dyhead.engine.guard import FiniteGuard
from dyhead.engine.hooks import CurvesHook, ReportHook, ScoresHook, training_card
from dyhead.engine.input_pictures import InputPicturesHook
from dyhead.engine.kept_checkpoints import adopt_earlier_checkpoints, keep_last_checkpoints
from dyhead.engine.late_writers import LateWriters
from dyhead.engine.metrics_file import MetricsWriter
from dyhead.engine.minutes import build_budget_hooks, check_time_used
from dyhead.engine.optimizer import build_optimizer
from dyhead.engine.orderly_end import (
    end_after_failure,
    save_and_end,
    save_early_end,
    save_missing_end,
    saved_if_it_fails,
)
from dyhead.engine.precision import (
    build_step_trainer,
    build_test_precision,
    keep_predictions_in_float32,
)
from dyhead.engine.progress import ProgressHook, TrainingProgress
from dyhead.engine.progress_bar import ProgressBarHook
from dyhead.engine.resumed_solver import check_length, own_settings, solver_values
from dyhead.engine.run_state import GatherHook, RunState
from dyhead.engine.same_start import check_same_start
from dyhead.engine.schedule import EpochHook, settle_schedule
from dyhead.engine.scores import check_best, warn_of_idle_patience
from dyhead.engine.setup import set_aside
from dyhead.engine.stops import StopHook, StopRequested, interruptible
from dyhead.engine.tracking import build_trackers, check_tracking
from dyhead.engine.weight_average import (
    AverageHook,
    WeightAverage,
    check_average,
    evaluate_within,
    restore_training_weights,
)
from dyhead.errors import UserError, user_errors
from dyhead.evaluation.evaluators import build_evaluators
from dyhead.evaluation.inference_optimization import optimized_for_inference
from dyhead.evaluation.reports import write_reports
from dyhead.modeling.registered_names import answer_unknown_names
from dyhead.modeling.tta import build_multi_scale_testing

logger = logging.getLogger(__name__)


class Trainer(DefaultTrainer):
    """Detectron2's `DefaultTrainer`, made safe.

    It checks every image, loss and gradient, saves atomically, chooses the optimizer by config and
    leaves tables and pictures. A project of one's own overrides the methods called `build_*`.

    Attributes:
        scores: of the evaluations, for the cards of the checkpoints.
        average: of the weights, where SOLVER.EMA asks for it.
        run_state: the place in the data, and the seed of all that is random.
        progress: how far the training is.
        clock: gives the seconds that SOLVER.MINUTES counts.
        finished_step: the last one that changed the weights, counted from 0; -1 before the first.
        was_stopped_early: by SOLVER.BEST.PATIENCE.
    """

    finished_step = -1
    was_stopped_early = False
    clock = staticmethod(time.monotonic)

    checkpointer: SafeCheckpointer
    scores: ScoresHook
    run_state: RunState
    progress: TrainingProgress
    average: WeightAverage | None

    def __init__(self, cfg: CfgNode) -> None:
        """Build model, optimizer, data loader, scheduler, checkpointer and hooks from `cfg`.

        Raises:
            UserError: the host cannot train so, or a value cannot be used.
            TypeError: a subclass has left out the parent's hooks.
        """
        check_config(cfg)
        is_on_cpu = torch.device(cfg.MODEL.DEVICE).type == "cpu"
        if HOST == "detectron2" and is_on_cpu and comm.get_world_size() > 1:
            raise UserError(
                "Genuine Detectron2 trains several processes on GPUs only: train in one process,"
                " or set DYHEAD_HOST=embedded for several on the CPU."
            )
        check_best(cfg)
        check_tracking(cfg)
        with loading_once():
            cfg = settle_schedule(settle_pixels(cfg), count_training_images)
            warn_of_idle_patience(cfg)
            super().__init__(cfg)
        if not isinstance(self.checkpointer, SafeCheckpointer):
            raise TypeError(f"{type(self).__name__}.build_hooks must call super().build_hooks().")

    def build_hooks(self) -> list[HookBase | None]:
        """Build Detectron2's hooks, and those of the project.

        The latter are orderly stops, scores for the checkpoints' cards, the curves at the end, and
        pictures of the first batches for TensorBoard.

        `DefaultTrainer` calls this last, when all else is built and no hook has taken any of it.
        So this is the place where the project's step trainer and checkpointer replace the ones that
        its constructor has made, for which Detectron2 has no method to override.
        """
        if not isinstance(self.checkpointer, SafeCheckpointer):
            self._replace_parts()
        built = super().build_hooks()
        if self.average is not None:
            evaluate_within(built, self.average.applied)
        evaluate_within(built, partial(saved_if_it_fails, weakref.proxy(self)))
        _insert_before(built, hooks.EvalHook, StopHook())
        if comm.get_world_size() > 1:
            periods = self.cfg.SOLVER.CHECKPOINT_PERIOD, self.cfg.TEST.EVAL_PERIOD
            gather = GatherHook(self.run_state, *periods)
            # The checkpointer's hook is there in the main process alone: all gather before it.
            _insert_before(built, (hooks.PeriodicCheckpointer, StopHook), gather)
        if comm.is_main_process():  # after the writers, whose file the curves are drawn from
            built += [self.scores, CurvesHook(self.cfg.OUTPUT_DIR)]
            if self.cfg.TEST.REPORT:
                built.append(ReportHook())
            if InputPicturesHook.is_useful():
                built.append(self._build_input_pictures())
            if ProgressBarHook.is_useful():
                built.append(ProgressBarHook(self.cfg.SOLVER.IMS_PER_BATCH))
        if self.cfg.SOLVER.EPOCHS:
            built.insert(0, EpochHook(self.cfg.SOLVER.EPOCHS))
        if self.average is not None:
            built.append(AverageHook(self.average))
        keep_last_checkpoints(built, self.cfg.SOLVER.CHECKPOINTS_KEPT)
        return self._build_progress_hooks(built) + built + self._build_best_hooks()

    def _build_progress_hooks(self, built: list[Any]) -> list[HookBase]:
        """Build the hooks that come first, for the others ask how far the training is."""
        if not self.cfg.SOLVER.MINUTES:
            return [ProgressHook(self.progress)]
        return build_budget_hooks(self.cfg, built, self.scheduler, self.progress, self.clock)

    def _build_input_pictures(self) -> HookBase:
        names = MetadataCatalog.get(self.cfg.DATASETS.TRAIN[0]).get("thing_classes") or []
        return InputPicturesHook(self.model, self.cfg.INPUT.FORMAT, names)

    def _build_best_hooks(self) -> list[HookBase]:
        """Build what SOLVER.BEST asks for."""
        best, period = self.cfg.SOLVER.BEST, self.cfg.TEST.EVAL_PERIOD
        built: list[HookBase] = []
        if best.METRIC and comm.is_main_process():
            built.append(BestCheckpointHook(best.METRIC, best.MODE))
        if best.PATIENCE:
            waiting = best.METRIC, best.MODE, best.PATIENCE, best.MIN_DELTA
            built.append(EarlyStoppingHook(*waiting, eval_period=period))
        return built

    def build_writers(self) -> list[EventWriter]:
        """Build what opens the run's files when it first writes: see `open_writers`."""
        own_state = weakref.proxy(self)  # no cycle: see `_replace_parts`
        return [LateWriters(partial(type(self).open_writers, own_state))]

    def open_writers(self) -> list[EventWriter]:
        """Build the host's writers, with a strict metrics.json, and those of SOLVER.TRACKING."""
        built = super().build_writers()
        path = os.path.join(self.cfg.OUTPUT_DIR, "metrics.json")
        for index, writer in enumerate(built):
            if isinstance(writer, JSONWriter):
                writer.close()
                built[index] = MetricsWriter(path, start=self.start_iter)
            elif isinstance(writer, TensorboardXWriter) and self.start_iter:
                folder, start = self.cfg.OUTPUT_DIR, self.start_iter  # what is later is done anew
                built[index] = TensorboardXWriter(folder, purge_step=start + 1)
            elif isinstance(writer, CommonMetricPrinter) and self.cfg.SOLVER.MINUTES:
                built[index] = PrinterByProgress(lambda: self.max_iter)
        return built + build_trackers(self.cfg, lambda: self.start_iter > 0)

    def _replace_parts(self) -> None:
        cfg, model = self.cfg, self.model
        with user_errors():
            accumulate_gradients(cfg, getattr(model, "module", model))
        self._trainer = build_step_trainer(cfg, model, self.data_loader, self.optimizer)
        self._trainer.register_hooks([FiniteGuard(model)])
        self.scores = ScoresHook(cfg.SOLVER.BEST.METRIC)
        seed = cfg.SEED if cfg.SEED >= 0 else comm.shared_random_seed()
        ema, bare = cfg.SOLVER.EMA, getattr(model, "module", model)
        self.average = WeightAverage(bare, ema.DECAY) if ema.ENABLED else None
        own_state = weakref.proxy(self)  # no cycle: a dropped trainer frees its memory at once
        self.checkpointer = SafeCheckpointer(
            model,
            cfg.OUTPUT_DIR,
            cfg=cfg,
            card=partial(training_card, own_state),
            stripped=(BEST_NAME, *(["model_final"] * cfg.SOLVER.CHECKPOINT_FINAL_STRIPPED)),
            saving=self.average.applied if self.average else nullcontext,
            trainer=own_state,
        )
        self.run_state = RunState(self.checkpointer.model, self.data_loader, seed)
        self.progress = TrainingProgress(cfg.SOLVER.MAX_ITER)

    def resume_or_load(self, resume: bool = True) -> None:
        """Go on from the latest checkpoint if `resume`, else start anew from MODEL.WEIGHTS.

        A run goes on exactly: with the images, random numbers and state that it would have had. A
        new run sets an earlier one's `last_checkpoint` aside, but not before all else is ready.

        Raises:
            UserError: the processes have different data or configs, or have loaded different files.
        """
        super().resume_or_load(resume)
        num_images = getattr(self.data_loader, "num_images", None)
        check_same_start(self.cfg, self.model, self.start_iter, num_images)
        if resume and not self.checkpointer.has_checkpoint():
            logger.warning(
                "Nothing to resume in %s: starting from MODEL.WEIGHTS.", self.cfg.OUTPUT_DIR
            )
        if not resume and comm.is_main_process():
            set_aside(os.path.join(self.cfg.OUTPUT_DIR, "last_checkpoint"))

    def train(self) -> Any:  # type: ignore[override]
        """Train to the end, or to a signal that `StopSignals` takes.

        Returns:
            As `DefaultTrainer.train`.

        Raises:
            Stopped: by a signal, after the step was finished and saved.
        """
        self.finished_step = self.start_iter - 1
        save_missing_end(self)
        if self.start_iter:
            adopt_earlier_checkpoints(self._hooks, self.checkpointer.resumable)
        if self.cfg.SOLVER.MINUTES and self.progress.share < 1:
            self.max_iter = sys.maxsize  # until the first hook begins to fit it
        try:
            return super().train()
        except StoppedEarly:
            return save_early_end(self)
        except StopRequested as stop:
            raise save_and_end(self, stop) from None
        except RuntimeError as error:
            if (end := end_after_failure(self, error)) is None:
                raise
            raise end from error
        finally:
            self._trainer._data_loader_iter_obj = None  # ends the loader's workers

    def before_step(self) -> None:
        """Run the hooks before an iteration.

        Raises:
            StoppedEarly: the end has come before the one that the loop began with, which genuine
                Detectron2 knows alone.
        """
        if self.iter >= self.max_iter:
            raise StoppedEarly
        super().before_step()

    def after_train(self) -> None:
        """Run the hooks at the end, and none that evaluates after a failure.

        Genuine Detectron2 evaluates also where the last step has failed: one process alone would
        do so, and then wait for the others, which wait for it elsewhere. And it counts one step too
        many where none was left.
        """
        self.iter = min(self.iter, self.max_iter)
        if self.iter < self.max_iter:
            for hook in self._hooks:
                if isinstance(hook, hooks.EvalHook):
                    hook._eval_after_train = False
        super().after_train()

    def run_step(self) -> None:
        """Do one iteration, with the random numbers of its own."""
        self.run_state.begin_step(self.iter)
        super().run_step()
        if self.average is not None:
            self.average.update()
        self.finished_step = self.iter

    def state_dict(self) -> dict[str, Any]:
        """Return all that a run needs to go on exactly, except for the weights."""
        average = {} if self.average is None else {"average": self.average.state_dict()}
        return {
            **super().state_dict(),
            **average,
            "checkpoints": [os.path.basename(path) for path in self.checkpointer.resumable],
            "parameters": [name for name, _ in self._optimized()],
            "solver": solver_values(self.cfg),
            "run": self.run_state.state_dict(self.iter),
        }

    def check_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Compare a saved state with this run's model and optimizer, and change nothing.

        Raises:
            ValueError: it does not fit; the message names the parameter.
        """
        if type(state_dict["iteration"]) is not int:
            raise ValueError("its number of steps is missing")
        if self.cfg.SOLVER.MINUTES:
            check_time_used(self.cfg, state_dict)
        else:
            check_length(state_dict["iteration"] + 1, self.max_iter)
        if "average" in state_dict:
            check_average(state_dict["average"], self.checkpointer.model.state_dict())
        names = {parameter: name for name, parameter in self._optimized()}
        saved = state_dict["_trainer"]["optimizer"]
        check_optimizer(saved, self.optimizer, names, state_dict.get("parameters"))

    def _optimized(self) -> list[tuple[str, nn.Parameter]]:
        """Return names and parameters in the order of the optimizer."""
        names = {parameter: name for name, parameter in self.checkpointer.model.named_parameters()}
        groups = self.optimizer.param_groups
        return [(names.get(p, "?"), p) for group in groups for p in group["params"]]

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Restore a run of any precision; the loss scale only where both runs have one."""
        step = dict(state_dict["_trainer"])
        own_scale = self._trainer.state_dict().get("grad_scaler")
        step["grad_scaler"] = step.get("grad_scaler") or own_scale
        with own_settings(self, state_dict):
            super().load_state_dict({**state_dict, "_trainer": step})
        names = (os.path.basename(name) for name in state_dict.get("checkpoints", ()))
        earlier = [os.path.join(self.cfg.OUTPUT_DIR, name) for name in names]
        self.checkpointer.resumable[:0] = earlier
        self.run_state.load_state_dict(state_dict.get("run"), self.iter)
        self._load_average(state_dict.get("average"))

    def _load_average(self, state: Mapping[str, Any] | None) -> None:
        if state is not None and self.average is None:
            restore_training_weights(self.checkpointer.model, state)
        elif state is not None and self.average is not None:
            self.average.load_state_dict(state)
        elif self.average is not None:
            logger.info("The checkpoint has no average of weights: SOLVER.EMA begins with them.")

    @classmethod
    def build_model(cls, cfg: CfgNode) -> nn.Module:
        """Build the model as it will be executed, and log its size.

        Raises:
            UserError: the config describes no model that can be built, or none for this machine.
        """
        with user_errors(), answer_unknown_names(cfg):
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

        DATASETS.TRAIN_RATIOS decides how often each data set is drawn from, INPUT.AUG what becomes
        of the images. The loader knows its place, for a resumed run, unless the order of the images
        is known to the host alone.

        Raises:
            UserError: the ratios or the augmentation cannot be used, or the data sets' classes
                differ.
        """
        return build_training_loader(cfg, _worker_timeout(cfg))

    @classmethod
    def build_test_loader(cls, cfg: CfgNode, dataset_name: str) -> Iterable[list[dict[str, Any]]]:
        """Build Detectron2's loader; an image that cannot be read stops the run by its name."""
        mapper = CheckedMapper(cfg, is_train=False)
        loader = build_detection_test_loader(cfg, dataset_name, mapper=mapper)
        loader.timeout = _worker_timeout(cfg)  # neither host takes it as an argument here
        return loader

    @classmethod
    def build_evaluator(cls, cfg: CfgNode, dataset_name: str) -> DatasetEvaluator:
        """Build COCO scores below OUTPUT_DIR/inference, and the cost of computing them."""
        return DatasetEvaluators(build_evaluators(cfg, dataset_name))

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

        Args:
            cfg: the config.
            model: with its weights loaded.
            evaluators: one for each data set; None builds them.

        Returns:
            {task: {metric: value}}, below the data set's name where there are several.
        """
        tested = build_test_precision(cfg, build_multi_scale_testing(cfg, model))
        # A signal while weights are folded or unfolded would leave some that no run resumes from.
        with optimized_for_inference(cfg, model), interruptible():
            results = super().test(cfg, tested, evaluators)
        if comm.is_main_process():
            write_reports(cfg, results)
        return results


def _insert_before(built: list[Any], kinds: Any, hook: HookBase) -> None:
    """Put a hook before the first one of some kinds, or at the end."""
    places = (index for index, present in enumerate(built) if isinstance(present, kinds))
    built.insert(next(places, len(built)), hook)


def _worker_timeout(cfg: CfgNode) -> int:
    """Return the seconds that the loader waits for its workers; 0, for ever, where it has none."""
    return cfg.DATALOADER.TIMEOUT if cfg.DATALOADER.NUM_WORKERS else 0
