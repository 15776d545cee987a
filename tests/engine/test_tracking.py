"""Tracking services get a run's numbers and config; what fails there does not stop the training."""

import json
import math
import struct
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch

from dyhead.d2.config import CfgNode
from dyhead.engine import tracking
from dyhead.engine.tracking import Service, TrackedRun
from dyhead.engine.trainer import Trainer
from dyhead.errors import UserError

MakeConfig = Callable[..., CfgNode]
pytestmark = pytest.mark.usefixtures("without_pictures")


def train(cfg: CfgNode, resume: bool = False) -> None:
    torch.manual_seed(0)
    trainer = Trainer(cfg)
    trainer.resume_or_load(resume=resume)
    trainer.train()


class Fake(Service):
    """Remembers what it was told."""

    calls: list[Any] = []

    def begin(self, run: TrackedRun, known: str | None) -> str:
        self.calls.append(("begin", run, known))
        return f"run {len(self.calls)}"

    def log(self, scalars: Mapping[str, float], iteration: int) -> None:
        self.calls.append(("log", dict(scalars), iteration))

    def end(self) -> None:
        self.calls.append(("end",))


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Any]]:
    """The calls to a service that replaces that of the module `json`, which is installed."""
    Fake.calls = []
    monkeypatch.setitem(tracking.SERVICES, "json", Fake)
    yield Fake.calls


FAKE: dict[str, Any] = {"SOLVER.TRACKING.SERVICES": ("json",)}


def test_a_service_gets_names_config_and_every_written_number(
    make_config: MakeConfig, calls: list[Any]
) -> None:
    cfg = make_config(**FAKE, **{"SOLVER.TRACKING.NAME": "first", "TEST.EVAL_PERIOD": 2})
    train(cfg)
    _, run, known = calls[0]
    assert (run.project, run.name, run.folder, known) == ("dyhead", "first", cfg.OUTPUT_DIR, None)
    assert run.config["SOLVER.MAX_ITER"] == 4
    logged = {i: scalars for kind, scalars, i in calls[1:-1] if kind == "log"}
    lines = Path(cfg.OUTPUT_DIR, "metrics.json").read_text().splitlines()
    for record in map(json.loads, lines):
        expected = {name: value for name, value in record.items() if name != "iteration"}
        assert logged[record["iteration"]].keys() == expected.keys()
        for name, value in expected.items():
            wanted = math.nan if value is None else value  # JSON has no NaN
            assert logged[record["iteration"]][name] == pytest.approx(wanted, nan_ok=True)
    assert calls[-1] == ("end",)


def test_a_resumed_run_goes_on_at_the_service_and_a_new_one_begins(
    make_config: MakeConfig, calls: list[Any]
) -> None:
    train(make_config(**FAKE))
    train(make_config(**FAKE, **{"SOLVER.MAX_ITER": 6}), resume=True)
    train(make_config(**FAKE))
    assert [call[2] for call in calls if call[0] == "begin"] == [None, "run 1", None]


def test_each_of_two_services_is_resumed(
    make_config: MakeConfig, calls: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(tracking.SERVICES, "math", type("Other", (Fake,), {}))
    both: dict[str, Any] = {"SOLVER.TRACKING.SERVICES": ("json", "math")}
    train(make_config(**both))
    begun = [call for call in calls if call[0] == "begin"]
    train(make_config(**both, **{"SOLVER.MAX_ITER": 6}), resume=True)
    again = [call[2] for call in calls if call[0] == "begin"][len(begun) :]
    assert len(again) == 2 and None not in again


def test_a_service_that_fails_does_not_stop_the_training(
    make_config: MakeConfig,
    calls: list[Any],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    def fail(*_: Any) -> str:
        raise ConnectionError("no network")

    monkeypatch.setattr(Fake, "begin", fail)
    cfg = make_config(**FAKE)
    train(cfg)
    assert "json gets no more of this run: no network" in caplog.text
    assert Path(cfg.OUTPUT_DIR, "model_final.pth").is_file() and not calls


def test_unknown_services_are_refused(make_config: MakeConfig) -> None:
    with pytest.raises(UserError, match="use some of wandb, mlflow, trackio"):
        Trainer(make_config(**{"SOLVER.TRACKING.SERVICES": ("wandbb",)}))


def test_a_service_that_is_not_installed_is_refused_with_its_installation(
    make_config: MakeConfig, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setitem(tracking.SERVICES, "not_there", Fake)
    (tmp_path / "not_there").mkdir()  # a folder is importable, but no package
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(UserError, match=r'pip install "dyhead\[not_there\]"'):
        Trainer(make_config(**{"SOLVER.TRACKING.SERVICES": ("not_there",)}))


def losses(cfg: CfgNode) -> dict[int, float]:
    lines = map(json.loads, Path(cfg.OUTPUT_DIR, "metrics.json").read_text().splitlines())
    return {line["iteration"]: line["total_loss"] for line in lines if "total_loss" in line}


def run_twice(make_config: MakeConfig, service: str) -> CfgNode:
    """Train four steps and, resumed, two more."""
    settings: dict[str, Any] = {"SOLVER.TRACKING.SERVICES": (service,)}
    train(make_config(**settings))
    cfg = make_config(**settings, **{"SOLVER.MAX_ITER": 6})
    train(cfg, resume=True)
    return cfg


def test_wandb_keeps_a_run_offline(
    make_config: MakeConfig, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    pytest.importorskip("wandb")
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_SILENT", "true")
    cfg = run_twice(make_config, "wandb")
    assert read_wandb(Path(cfg.OUTPUT_DIR)) == pytest.approx(losses(cfg))


def read_wandb(folder: Path) -> dict[int, float]:
    """Read the total loss by iteration from the files of offline runs, which have to be one."""
    from wandb.proto import wandb_internal_pb2

    found: dict[int, float] = {}
    files = sorted(folder.glob("wandb/offline-run-*/run-*.wandb"))
    assert len({path.stem for path in files}) == 1, files
    for path in files:
        for data in leveldb_records(path.read_bytes()[7:]):  # after W&B's own header
            record = wandb_internal_pb2.Record()
            record.ParseFromString(data)
            items = record.history.item
            row = {i.key or i.nested_key[0]: json.loads(i.value_json) for i in items}
            if "total_loss" in row:
                found[row["iteration"]] = row["total_loss"]
    return found


def leveldb_records(log: bytes, offset: int = 7) -> Iterator[bytes]:
    """Yield the records of a LevelDB log, whose blocks count `offset` bytes before it."""
    place, parts = 0, b""
    while place + 7 <= len(log):
        left = 2**15 - (place + offset) % 2**15
        if left < 7:  # no room for a header: padding
            place += left
            continue
        length, kind = struct.unpack("<HB", log[place + 4 : place + 7])  # after a checksum
        parts += log[place + 7 : place + 7 + length]
        place += 7 + length
        if kind in (1, 4):  # whole, or its last part
            yield parts
            parts = b""


def test_mlflow_keeps_a_run_in_files(
    make_config: MakeConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    mlflow = pytest.importorskip("mlflow")
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    cfg = run_twice(make_config, "mlflow")
    client = mlflow.MlflowClient(f"file://{cfg.OUTPUT_DIR}/mlruns")
    experiment = client.get_experiment_by_name("dyhead")
    (run,) = client.search_runs([experiment.experiment_id])
    history = client.get_metric_history(run.info.run_id, "total_loss")
    assert {each.step: each.value for each in history} == pytest.approx(losses(cfg))
    assert run.data.params["SOLVER.IMS_PER_BATCH"] == "2"
    assert (run.info.run_name, run.info.status) == ("run", "FINISHED")


def test_trackio_keeps_a_run_in_its_database(
    make_config: MakeConfig, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("TRACKIO_DIR", str(tmp_path / "trackio"))
    pytest.importorskip("trackio")
    cfg = run_twice(make_config, "trackio")
    from trackio.sqlite_storage import SQLiteStorage

    (name,) = json.loads(Path(cfg.OUTPUT_DIR, "tracking.json").read_text()).values()
    found = SQLiteStorage.get_logs("dyhead", name)
    assert {each["step"]: each["total_loss"] for each in found if "total_loss" in each} == (
        pytest.approx(losses(cfg))
    )


def test_nothing_is_imported_for_a_run_without_services(make_config: MakeConfig) -> None:
    before = set(sys.modules)
    train(make_config())
    assert not {"wandb", "mlflow", "trackio"} & (set(sys.modules) - before)
