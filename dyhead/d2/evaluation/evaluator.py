"""Running a model over a data set while an evaluator collects its output."""

import datetime
import logging
import sys
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping, MutableSequence, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import nn
from tqdm import tqdm
from tqdm.contrib.logging import logging_redirect_tqdm

from ..utils.comm import get_world_size, is_main_process
from ..utils.logger import log_every_n_seconds

logger = logging.getLogger("detectron2.evaluation.evaluator")

_NUM_WARMUP = 5  # batches that are left out of the speed


class DatasetEvaluator:
    """Collects what a model puts out for a data set and computes metrics from it."""

    def reset(self) -> None:
        """Forget everything; called before each evaluation."""

    def process(self, inputs: Sequence[Any], outputs: Sequence[Any]) -> None:
        """Take the model's outputs for one batch of inputs."""

    def evaluate(self) -> dict[str, Any] | None:
        """Return task -> {metric: score} in the main process."""
        return None


class DatasetEvaluators(DatasetEvaluator):
    """Several evaluators fed together."""

    def __init__(self, evaluators: Sequence[DatasetEvaluator]) -> None:
        self._evaluators = evaluators

    def reset(self) -> None:  # noqa: D102
        for evaluator in self._evaluators:
            evaluator.reset()

    def process(self, inputs: Sequence[Any], outputs: Sequence[Any]) -> None:  # noqa: D102
        for evaluator in self._evaluators:
            evaluator.process(inputs, outputs)

    def evaluate(self) -> dict[str, Any]:
        """The results of all evaluators together.

        Raises:
            AssertionError: two evaluators give results under one name.
        """
        results: dict[str, Any] = OrderedDict()
        for evaluator in self._evaluators:
            result = evaluator.evaluate()
            if not is_main_process() or result is None:
                continue
            repeated = sorted(results.keys() & result.keys())
            if repeated:
                raise AssertionError(f"Several evaluators give results called {repeated}.")
            results.update(result)
        return results


@contextmanager
def inference_context(model: nn.Module) -> Iterator[None]:
    """Put the model into eval mode, and back into its mode afterwards."""
    was_training = model.training
    model.eval()
    try:
        yield
    finally:
        model.train(was_training)


class _Stopwatch:
    """Seconds spent on data, model and evaluator; the first batches, slow ones, do not count."""

    def __init__(self, total: int) -> None:
        self.total = total
        self.num_warmup = max(0, min(_NUM_WARMUP, total - 1))
        self.done = 0
        self._restart()

    def _restart(self) -> None:
        self.start = self.mark = time.perf_counter()
        self.seconds = {"data": 0.0, "compute": 0.0, "eval": 0.0}

    def lap(self, part: str) -> None:
        now = time.perf_counter()
        self.seconds[part] += now - self.mark
        self.mark = now

    def finish_batch(self) -> None:
        self.done += 1
        if self.done == self.num_warmup:
            self._restart()

    @property
    def num_counted(self) -> int:
        warmed_up = self.done > self.num_warmup
        return max(1, self.done - self.num_warmup) if warmed_up else max(1, self.done)

    def per_batch(self, part: str | None = None) -> float:
        seconds = self.mark - self.start if part is None else self.seconds[part]
        return seconds / self.num_counted

    def progress(self) -> str:
        left = datetime.timedelta(seconds=int(self.per_batch() * (self.total - self.done)))
        return (
            f"Inference done {self.done}/{self.total}."
            f" Dataloading: {self.per_batch('data'):.4f} s/iter."
            f" Inference: {self.per_batch('compute'):.4f} s/iter."
            f" Eval: {self.per_batch('eval'):.4f} s/iter."
            f" Total: {self.per_batch():.4f} s/iter. ETA={left}"
        )

    def log_totals(self) -> None:
        total = datetime.timedelta(seconds=int(self.mark - self.start))
        logger.info(
            "Inference took %s: %.4f s a batch, %.4f s of them in the model, on %d processes",
            total,
            self.per_batch(),
            self.per_batch("compute"),
            get_world_size(),
        )


def inference_on_dataset(
    model: Callable[[Any], Any],
    data_loader: Any,
    evaluator: DatasetEvaluator | list[DatasetEvaluator] | None,
    callbacks: Mapping[str, Callable[[], Any]] | None = None,
) -> dict[str, Any]:
    """Run the model over a data set, evaluate its output and measure its speed.

    Progress goes to the log every few seconds and, on a terminal, to a bar.

    Args:
        model: from a batch to its outputs; a module is put into eval mode meanwhile.
        data_loader: batches (lists of inputs) with a length.
        evaluator: one, several, or None to measure the speed only.
        callbacks: functions by name, called at "on_start", "before_inference", "after_inference"
            and "on_end".

    Returns:
        What the evaluator returns; an empty dict where that is None.
    """
    logger.info("Start inference on %d batches", len(data_loader))
    if evaluator is None or isinstance(evaluator, MutableSequence):
        evaluator = DatasetEvaluators(evaluator or [])
    evaluator.reset()
    with ExitStack() as stack:
        if isinstance(model, nn.Module):
            stack.enter_context(inference_context(model))
        stack.enter_context(torch.no_grad())
        bar = stack.enter_context(_progress_bar(len(data_loader)))
        stopwatch = _run(model, data_loader, evaluator, callbacks or {}, bar)
    stopwatch.log_totals()
    results = evaluator.evaluate()
    return {} if results is None else results


def _run(
    model: Callable[[Any], Any],
    data_loader: Any,
    evaluator: DatasetEvaluator,
    callbacks: Mapping[str, Callable[[], Any]],
    bar: Any,
) -> _Stopwatch:
    def call(name: str) -> None:
        if name in callbacks:
            callbacks[name]()

    call("on_start")
    stopwatch = _Stopwatch(len(data_loader))
    num_images = 0
    for inputs in data_loader:
        stopwatch.lap("data")
        call("before_inference")
        outputs = model(inputs)
        call("after_inference")
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        stopwatch.lap("compute")
        evaluator.process(inputs, outputs)
        stopwatch.lap("eval")
        stopwatch.finish_batch()
        num_images += len(inputs)
        _report(stopwatch, num_images, bar)
    call("on_end")
    return stopwatch


def _report(stopwatch: _Stopwatch, num_images: int, bar: Any) -> None:
    if bar is not None:
        images_per_batch = num_images / stopwatch.done
        bar.set_postfix_str(f"{stopwatch.per_batch() / images_per_batch:.3f} s/img", refresh=False)
        bar.update()
    if stopwatch.done > 2 * stopwatch.num_warmup or stopwatch.per_batch("compute") > 5:
        log_every_n_seconds(logging.INFO, stopwatch.progress(), n=5, name=logger.name)


@contextmanager
def _progress_bar(total: int) -> Iterator[Any]:
    """A bar on the main process's terminal, which log lines do not break; None elsewhere."""
    if not is_main_process() or not sys.stderr.isatty():
        yield None
        return
    loggers = [logging.getLogger(name) for name in ("", "detectron2", "dyhead")]
    layout = "{l_bar}{bar}| {n_fmt}/{total_fmt} [{elapsed}<{remaining}{postfix}]"
    with (
        logging_redirect_tqdm([log for log in loggers if log.handlers]),
        tqdm(total=total, desc="Inference", bar_format=layout) as bar,
    ):
        yield bar
