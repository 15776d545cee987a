"""Running a model over a data set, on either host."""

import io
import logging
import sys

import pytest
import torch
from embedded_host.evaluation import inference_on_dataset as embedded_inference_on_dataset
from embedded_host.utils import logger as embedded_logger
from torch import nn

from dyhead.d2.evaluation import (
    DatasetEvaluator,
    DatasetEvaluators,
    inference_context,
    inference_on_dataset,
)


class Collector(DatasetEvaluator):
    def __init__(self, name="sum"):
        self.name = name

    def reset(self):
        self.outputs = []

    def process(self, inputs, outputs):
        assert len(inputs) == len(outputs)
        self.outputs += outputs

    def evaluate(self):
        return {self.name: float(sum(self.outputs))}


class Doubler(nn.Module):
    def forward(self, inputs):
        assert not self.training and not torch.is_grad_enabled()
        return [2 * x for x in inputs]


def test_every_batch_goes_through_model_and_evaluator():
    model = Doubler()
    assert inference_on_dataset(model, [[1, 2], [3], [4]], Collector()) == {"sum": 20.0}
    assert model.training  # back in its mode


@pytest.mark.parametrize("num_batches", [1, 4, 5, 6, 7, 30])
def test_any_number_of_batches_will_do(num_batches):
    result = inference_on_dataset(Doubler(), [[1]] * num_batches, Collector())
    assert result == {"sum": 2.0 * num_batches}


def test_several_evaluators_and_none():
    data = [[1], [2]]
    both = inference_on_dataset(Doubler(), data, [Collector("a"), Collector("b")])
    assert both == {"a": 6.0, "b": 6.0}
    assert inference_on_dataset(Doubler(), data, None) == {}


def test_evaluators_must_not_share_a_name():
    evaluators = DatasetEvaluators([Collector("a"), Collector("a")])
    evaluators.reset()
    with pytest.raises(AssertionError):
        evaluators.evaluate()


def test_callbacks_are_called_at_each_stage():
    calls: list[str] = []
    names = ("on_start", "before_inference", "after_inference", "on_end")
    callbacks = {name: lambda name=name: calls.append(name) for name in names}
    inference_on_dataset(Doubler(), [[1], [2]], None, callbacks)
    assert calls == ["on_start", *(["before_inference", "after_inference"] * 2), "on_end"]


def test_plain_functions_are_models_too():
    assert inference_on_dataset(lambda x: x, [[1], [2]], Collector()) == {"sum": 3.0}


@pytest.mark.parametrize("training", [True, False])
def test_the_mode_is_restored(training):
    model = nn.Linear(1, 1).train(training)
    with inference_context(model):
        assert not model.training
    assert model.training is training


class TestEmbedded:
    def test_the_mode_is_restored_after_an_error_too(self):
        class Broken(nn.Module):
            def forward(self, inputs):
                raise RuntimeError("broken")

        model = Broken()
        with pytest.raises(RuntimeError, match="broken"):
            embedded_inference_on_dataset(model, [[1]], None)
        assert model.training

    def test_an_empty_data_set_is_no_error(self):
        assert embedded_inference_on_dataset(Doubler(), [], Collector()) == {"sum": 0.0}

    def test_a_terminal_shows_a_bar_with_speed(self, monkeypatch):
        class Terminal(io.StringIO):
            def isatty(self):
                return True

        terminal = Terminal()
        monkeypatch.setattr(sys, "stderr", terminal)
        embedded_inference_on_dataset(Doubler(), [[1, 2]] * 8, Collector())
        assert "Inference: 100%" in terminal.getvalue()
        assert "8/8" in terminal.getvalue() and "s/img" in terminal.getvalue()

    def test_a_file_gets_log_lines_only(self, monkeypatch, caplog):
        stream = io.StringIO()
        monkeypatch.setattr(sys, "stderr", stream)
        monkeypatch.setattr(embedded_logger, "_last_times", {})  # no line was logged before
        logger = logging.getLogger("detectron2.evaluation.evaluator")
        with caplog.at_level(logging.INFO, logger.name):
            embedded_inference_on_dataset(Doubler(), [[1, 2]] * 30, Collector())
        assert stream.getvalue() == ""
        assert "Inference done 11/30" in caplog.text and "ETA=" in caplog.text
        assert "Inference took 0:00:00" in caplog.text and "on 1 processes" in caplog.text
