"""Writers of a run's numbers to services that track experiments: W&B, MLflow, trackio."""

import importlib.util
import json
import logging
import os
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from dyhead.config.load import leaf_keys, value_of
from dyhead.d2.config import CfgNode
from dyhead.d2.utils.events import EventWriter, get_event_storage
from dyhead.errors import UserError
from dyhead.safe_io.json_text import write_json

RUNS_FILE = "tracking.json"  # what each service calls a run, for its resume

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class TrackedRun:
    """Tells a service of a run: names, folder of its files, and its config."""

    project: str
    name: str
    folder: str
    config: Mapping[str, Any]


class Service(ABC):
    """A run at a service."""

    @abstractmethod
    def begin(self, run: TrackedRun, known: str | None) -> str:
        """Begin a run, or go on with one.

        Args:
            run: what the service is told.
            known: what an earlier `begin` has returned, for a resumed run.

        Returns:
            what the service knows the run by.
        """

    @abstractmethod
    def log(self, scalars: Mapping[str, float], iteration: int) -> None:
        """Send what was measured at an iteration."""

    @abstractmethod
    def end(self) -> None:
        """End the run; what is on its way arrives."""


class Wandb(Service):
    """Weights & Biases; WANDB_MODE=offline leaves the run in OUTPUT_DIR/wandb, for `wandb sync`."""

    def begin(self, run: TrackedRun, known: str | None) -> str:  # noqa: D102
        import wandb

        self._run = wandb.init(
            project=run.project,
            name=run.name,
            dir=run.folder,
            config=dict(run.config),
            id=known,
            resume="allow" if known else None,
        )
        # A resumed run may measure an iteration again: as a step it would have to grow.
        self._run.define_metric("*", step_metric="iteration")
        return str(self._run.id)

    def log(self, scalars: Mapping[str, float], iteration: int) -> None:  # noqa: D102
        self._run.log({**scalars, "iteration": iteration})

    def end(self) -> None:  # noqa: D102
        self._run.finish()


class MLflow(Service):
    """MLflow, at MLFLOW_TRACKING_URI, or else in files below OUTPUT_DIR/mlruns."""

    def begin(self, run: TrackedRun, known: str | None) -> str:  # noqa: D102
        from mlflow import MlflowClient
        from mlflow.entities import Param

        address = os.environ.get("MLFLOW_TRACKING_URI")
        if not address:
            address = Path(run.folder, "mlruns").resolve().as_uri()
            os.environ.setdefault("MLFLOW_ALLOW_FILE_STORE", "true")
        self._client = MlflowClient(address)
        if known:
            self._id = known
            self._client.update_run(known, status="RUNNING")
            return known
        found = self._client.get_experiment_by_name(run.project)
        experiment = found.experiment_id if found else self._client.create_experiment(run.project)
        self._id = self._client.create_run(experiment, run_name=run.name).info.run_id
        parameters = [Param(key, str(value)[:500]) for key, value in run.config.items()]
        for begin in range(0, len(parameters), 100):  # as many as a request takes
            self._client.log_batch(self._id, params=parameters[begin : begin + 100])
        return self._id

    def log(self, scalars: Mapping[str, float], iteration: int) -> None:  # noqa: D102
        from mlflow.entities import Metric

        now = int(time.time() * 1000)
        metrics = [Metric(_plain(name), v, now, iteration) for name, v in scalars.items()]
        self._client.log_batch(self._id, metrics=metrics)

    def end(self) -> None:  # noqa: D102
        self._client.set_terminated(self._id)


class Trackio(Service):
    """The service of trackio, in a database of this machine (TRACKIO_DIR)."""

    def begin(self, run: TrackedRun, known: str | None) -> str:  # noqa: D102
        import trackio

        name = known or f"{run.name}-{time.strftime('%Y%m%d-%H%M%S')}"
        self._run = trackio.init(
            project=run.project,
            name=name,
            config=dict(run.config),
            resume="allow" if known else "never",
            embed=False,
        )
        return name

    def log(self, scalars: Mapping[str, float], iteration: int) -> None:  # noqa: D102
        own_words = {"time": "step_time"}  # trackio has a time of its own
        named = {own_words.get(name, name): value for name, value in scalars.items()}
        self._run.log(named, step=iteration)

    def end(self) -> None:  # noqa: D102
        self._run.finish()


SERVICES: dict[str, type[Service]] = {"wandb": Wandb, "mlflow": MLflow, "trackio": Trackio}


def check_tracking(cfg: CfgNode) -> None:
    """Refuse services that this machine cannot use.

    Raises:
        UserError: a service is unknown, or its package is not installed.
    """
    for name in cfg.SOLVER.TRACKING.SERVICES:
        if name not in SERVICES:
            raise UserError(
                f"SOLVER.TRACKING.SERVICES names {name!r}: use some of {', '.join(SERVICES)}."
            )
        spec = importlib.util.find_spec(name)
        if spec is None or spec.origin is None:  # a folder of that name is no package
            raise UserError(
                f"SOLVER.TRACKING.SERVICES names {name!r}, which is not installed: `pip install"
                f' "dyhead[{name}]"`, or leave it out.'
            )


def build_trackers(cfg: CfgNode, is_resumed: Callable[[], bool]) -> list[EventWriter]:
    """Build a writer for each service of SOLVER.TRACKING.SERVICES.

    Args:
        cfg: the config, which the services get as well.
        is_resumed: tells, once the training has begun, whether it goes on with an earlier run.
    """
    tracking, folder = cfg.SOLVER.TRACKING, cfg.OUTPUT_DIR
    name = tracking.NAME or os.path.basename(os.path.abspath(folder))
    config = {key: value_of(cfg, key) for key in leaf_keys(cfg)}
    run = TrackedRun(tracking.PROJECT, name, folder, config)
    ids: dict[str, str] = {}
    return [TrackingWriter(service, run, is_resumed, ids) for service in tracking.SERVICES]


class TrackingWriter(EventWriter):
    """Sends new scalars to a service. A service that fails is left alone; the training goes on."""

    def __init__(
        self, service: str, run: TrackedRun, is_resumed: Callable[[], bool], ids: dict[str, str]
    ) -> None:
        """Prepare to write; the service is begun with the first numbers.

        Args:
            service: a key of SERVICES.
            run: what the service is told.
            is_resumed: see `build_trackers`.
            ids: of this training's runs, by service; shared, for the writers of all fill one file.
        """
        self._name, self._run, self._is_resumed, self._ids = service, run, is_resumed, ids
        self._service: Service | None = None
        self._has_failed = False
        self._last_iteration = -1

    def write(self) -> None:
        """Send what is new."""
        latest = get_event_storage().latest_with_smoothing_hint(20)
        by_iteration: dict[int, dict[str, float]] = {}
        for name, (value, iteration) in latest.items():
            if iteration > self._last_iteration:
                by_iteration.setdefault(iteration, {})[name] = value
        for iteration, scalars in sorted(by_iteration.items()):
            self._try(partial(self._log, scalars, iteration))
            self._last_iteration = iteration

    def close(self) -> None:
        """End the run at the service."""
        if self._service is not None:
            self._try(self._service.end)

    def _try(self, action: Callable[[], Any]) -> None:
        if self._has_failed:
            return
        try:
            action()
        except Exception as error:  # whatever a network, a service or its package comes up with
            self._has_failed = True
            logger.warning("%s gets no more of this run: %s", self._name, error)

    def _log(self, scalars: Mapping[str, float], iteration: int) -> None:
        self._begun().log(scalars, iteration)

    def _begun(self) -> Service:
        if self._service is None:
            path = os.path.join(self._run.folder, RUNS_FILE)
            known = _read(path) if self._is_resumed() else {}
            service = SERVICES[self._name]()
            self._ids[self._name] = service.begin(self._run, known.get(self._name))
            write_json({**known, **self._ids}, path)
            self._service = service
        return self._service


def _read(path: str) -> dict[str, Any]:
    try:
        with open(path, encoding="utf-8") as file:
            return dict(json.load(file))
    except (OSError, ValueError):
        return {}


def _plain(name: str) -> str:
    """Return a name of characters that MLflow takes."""
    return "".join(c if c.isalnum() or c in "_-. /" else "_" for c in name)
