"""The trainer writes metrics.json as strict JSON, on either host."""

import json

from dyhead.config import load_config
from dyhead.d2.utils.events import EventStorage, JSONWriter
from dyhead.engine import Trainer
from dyhead.engine.metrics_file import MetricsWriter


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


def test_the_trainer_writes_by_it_alone(tmp_path):
    trainer = Trainer.__new__(Trainer)
    trainer.cfg, _ = load_config("")
    trainer.cfg.OUTPUT_DIR = str(tmp_path)
    trainer.max_iter = 5
    built = trainer.open_writers()
    assert [type(w) for w in built if isinstance(w, MetricsWriter | JSONWriter)] == [MetricsWriter]
    for writer in built:
        writer.close()
