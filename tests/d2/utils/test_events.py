import json
import logging

import pytest
import torch

from dyhead.d2 import HOST
from dyhead.d2.utils.events import (
    CommonMetricPrinter,
    EventStorage,
    JSONWriter,
    TensorboardXWriter,
    get_event_storage,
    has_event_storage,
)

embedded_only = pytest.mark.skipif(HOST != "embedded", reason="of the embedded host only")


@pytest.fixture
def messages():
    """Text of what is logged by the printer; it works without propagation, too."""
    texts = []
    handler = logging.Handler()
    handler.emit = lambda record: texts.append(record.getMessage())
    logger = logging.getLogger("detectron2.utils.events")
    level = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    yield texts
    logger.removeHandler(handler)
    logger.setLevel(level)


def read_lines(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_storages_form_a_stack():
    assert not has_event_storage()
    with EventStorage() as outer:
        assert get_event_storage() is outer
        with EventStorage(7) as inner:
            assert get_event_storage() is inner
            assert inner.iter == 7
        assert get_event_storage() is outer
    assert not has_event_storage()
    with pytest.raises((AssertionError, RuntimeError)):
        get_event_storage()


def test_storage_leaves_the_stack_on_an_error():
    with pytest.raises(KeyError), EventStorage():
        raise KeyError
    assert not has_event_storage()


def test_scalars_have_name_scope_iteration_and_history():
    storage = EventStorage(3)
    storage.put_scalar("lr", torch.tensor(0.5), smoothing_hint=False)
    with storage.name_scope("val"):
        storage.put_scalars(a=1, b=2.0, cur_iter=9)
    storage.step()
    storage.put_scalar("lr", 0.25, smoothing_hint=False)
    assert storage.latest() == {"lr": (0.25, 4), "val/a": (1.0, 9), "val/b": (2.0, 9)}
    assert storage.history("lr").values() == [(0.5, 3), (0.25, 4)]
    with pytest.raises(KeyError):
        storage.history("absent")


def test_smoothing_hint_cannot_change():
    storage = EventStorage()
    storage.put_scalar("loss", 1.0)
    with pytest.raises((AssertionError, ValueError)):
        storage.put_scalar("loss", 1.0, smoothing_hint=False)


def test_smoothing_takes_the_median_of_the_last_iterations():
    storage = EventStorage()
    for iteration in range(20):
        storage.put_scalar("every", iteration)
        if iteration % 5 == 4:
            storage.put_scalar("fifth", iteration)
        storage.put_scalar("plain", iteration, smoothing_hint=False)
        storage.step()
    assert storage.count_samples("every", 10) == 10
    assert storage.count_samples("fifth", 10) == 2
    assert storage.latest_with_smoothing_hint(10) == {
        "every": (14.5, 19),
        "fifth": (16.5, 19),
        "plain": (19.0, 19),
    }


def test_json_writer_writes_each_iteration_once(tmp_path):
    path = tmp_path / "metrics.json"
    with EventStorage() as storage:
        writer = JSONWriter(str(path))
        for k in range(60):
            if k % 17 == 0:
                storage.put_scalar("rare", k, smoothing_hint=False)
            storage.put_scalar("key", k, smoothing_hint=False)
            if (k + 1) % 20 == 0:
                writer.write()
                writer.write()
            storage.step()
        writer.close()
    assert read_lines(path) == [
        {"iteration": 17, "rare": 17.0},
        {"iteration": 19, "key": 19.0},
        {"iteration": 34, "rare": 34.0},
        {"iteration": 39, "key": 39.0},
        {"iteration": 51, "rare": 51.0},
        {"iteration": 59, "key": 59.0},
    ]


@embedded_only
def test_json_writer_goes_on_after_a_line_that_was_cut_off(tmp_path):
    path = tmp_path / "metrics.json"
    path.write_text('{"iteration": 0, "key": 1.0}\n{"iteration": 1, "ke')
    with EventStorage(2) as storage:
        storage.put_scalar("key", 3.0)
        writer = JSONWriter(str(path))
        writer.write()
        writer.close()
    last = path.read_text().splitlines()[-1]
    assert json.loads(last) == {"iteration": 2, "key": 3.0}


def test_tensorboard_writer_writes_scalars_and_images(tmp_path):
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    with EventStorage(5) as storage:
        storage.put_scalar("loss", 2.0)
        storage.put_image("picture", torch.zeros(3, 4, 6, dtype=torch.uint8))
        writer = TensorboardXWriter(str(tmp_path))
        writer.write()
        writer.write()
        writer.close()
    events = EventAccumulator(str(tmp_path))
    events.Reload()
    assert [(e.step, e.value) for e in events.Scalars("loss")] == [(5, 2.0)]
    assert [(e.step, e.width, e.height) for e in events.Images("picture")] == [(5, 6, 4)]


def test_tensorboard_writer_that_never_writes_makes_no_file(tmp_path):
    TensorboardXWriter(str(tmp_path / "logs")).close()
    assert not (tmp_path / "logs").exists()


def test_printer_shows_losses_metrics_times_rate_and_eta(messages):
    with EventStorage() as storage:
        for _ in range(2):
            storage.put_scalars(time=60.0, data_time=0.5)
            storage.put_scalar("loss_cls", 1.5)
            storage.put_scalar("[metric]accuracy", 0.75)
            storage.put_scalar("lr", 0.01, smoothing_hint=False)
            storage.step()
        CommonMetricPrinter(10).write()
        CommonMetricPrinter().write()
    with_eta, without_eta = messages
    for part in ("eta: 0:07:00", "iter: 2", "loss_cls: 1.5", "[metric]accuracy: 0.75"):
        assert part in with_eta
    for part in ("time: 60.0", "data_time: 0.5", "lr: 0.01"):
        assert part in with_eta
    assert "eta" not in without_eta
    assert storage.latest()["eta_seconds"] == (420.0, 2)


def test_printer_is_silent_once_training_is_finished(messages):
    with EventStorage(10) as storage:
        storage.put_scalar("loss", 1.0)
        CommonMetricPrinter(10).write()
    assert messages == []


def test_printer_estimates_by_the_clock_where_no_time_is_measured(messages):
    with EventStorage() as storage:
        printer = CommonMetricPrinter(100)
        printer.write()
        storage.iter += 10
        printer.write()
    assert "eta" not in messages[0]
    assert "eta: 0:00:0" in messages[1]
