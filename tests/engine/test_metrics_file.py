"""The trainer writes metrics.json as strict JSON, on either host."""

import json

from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from dyhead.config import load_config
from dyhead.d2.utils.events import EventStorage, JSONWriter, TensorboardXWriter
from dyhead.engine import Trainer
from dyhead.engine.metrics_file import MetricsWriter
from dyhead.visualization.curves import curve_of, read_metrics


def test_an_ap_that_cannot_be_computed_is_null(tmp_path):
    writer = MetricsWriter(str(tmp_path / "metrics.json"))
    with EventStorage(7) as storage:
        storage.put_scalars(**{"bbox/AP": 4.5, "bbox/APs": float("nan")}, smoothing_hint=False)
        writer.write()
    writer.close()
    (line,) = (tmp_path / "metrics.json").read_text().splitlines()
    assert json.loads(line, parse_constant=lambda constant: constant) == {
        "bbox/AP": 4.5,
        "bbox/APs": None,
        "iteration": 7,
    }


def test_what_was_measured_of_steps_that_are_done_anew_does_not_count(tmp_path):
    path = tmp_path / "metrics.json"
    for start, values in ((0, {19: 3.0, 39: 2.0, 59: 1.0, 79: 0.5}), (40, {49: 1.5})):
        writer = MetricsWriter(str(path), start=start)
        for iteration, value in values.items():
            with EventStorage(iteration) as storage:
                storage.put_scalar("total_loss", value, smoothing_hint=False)
                writer.write()
        writer.close()
    assert curve_of(read_metrics(path), "total_loss") == ([19, 39, 49], [3.0, 2.0, 1.5])
    assert path.read_text().count("total_loss") == 5  # nothing is deleted


def test_a_resumed_trainer_says_where(tmp_path):
    """To TensorBoard as well, which then forgets what is later."""
    trainer = Trainer.__new__(Trainer)
    trainer.cfg, _ = load_config("")
    trainer.cfg.OUTPUT_DIR = str(tmp_path)
    trainer.max_iter = 6
    for start, steps in ((0, (1, 3, 4)), (3, (5,))):
        trainer.start_iter = start
        writers = trainer.open_writers()
        for step in steps:
            with EventStorage(step) as storage:
                storage.put_scalar("total_loss", float(step), smoothing_hint=False)
                for writer in writers:
                    if isinstance(writer, MetricsWriter | TensorboardXWriter):
                        writer.write()
        for writer in writers:
            writer.close()
        for file in tmp_path.glob("events.out.tfevents.1*"):  # those of one second have no order
            file.rename(tmp_path / f"events.out.tfevents.{start}")
    assert curve_of(read_metrics(tmp_path / "metrics.json"), "total_loss")[0] == [1, 3, 5]
    events = EventAccumulator(str(tmp_path)).Reload().Scalars("total_loss")
    assert [event.step for event in events] == [1, 3, 5]


def test_the_trainer_writes_by_it_alone(tmp_path):
    trainer = Trainer.__new__(Trainer)
    trainer.cfg, _ = load_config("")
    trainer.cfg.OUTPUT_DIR = str(tmp_path)
    trainer.max_iter, trainer.start_iter = 5, 0
    built = trainer.open_writers()
    assert [type(w) for w in built if isinstance(w, MetricsWriter | JSONWriter)] == [MetricsWriter]
    for writer in built:
        writer.close()
