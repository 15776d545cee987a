"""A run's devices and processes, and its end on a user's error."""

import inspect
import logging
import signal
import sys
from pathlib import Path

import pytest
from script_runs import report_of_script
from torch import multiprocessing

from dyhead.config import load_config
from dyhead.d2.engine import launch as launch_processes
from dyhead.engine.arguments import parse_arguments
from dyhead.engine.devices import plan_devices
from dyhead.engine.exits import exit_on_user_error, log_without_traceback
from dyhead.engine.launch import _join_torchrun, launch
from dyhead.engine.setup import _set_device
from dyhead.errors import UserError


@pytest.mark.parametrize(
    ("device", "is_explicit", "num_gpus", "present", "expected"),
    [
        ("cuda", False, 0, 8, ("cpu", 1)),
        ("cuda", False, 8, 8, ("cuda", 8)),
        ("cuda", False, 1, 8, ("cuda", 1)),
        ("cuda", False, 4, 0, ("cpu", 1)),
        ("cpu", True, 1, 0, ("cpu", 1)),
        ("cpu", True, 4, 8, ("cpu", 4)),
        ("mps", True, 1, 0, ("mps", 1)),
    ],
)
def test_device_and_processes(
    device: str, is_explicit: bool, num_gpus: int, present: int, expected: tuple[str, int]
) -> None:
    assert plan_devices(device, is_explicit, num_gpus, present)[:2] == expected


def test_one_line_where_there_is_no_gpu() -> None:
    assert "MODEL.DEVICE cpu" in plan_devices("cuda", False, 1, 0).message
    assert "8 GPUs are not used" in plan_devices("cpu", True, 1, 8).message
    assert plan_devices("cuda", False, 1, 1).message == ""
    assert plan_devices("cuda", False, 0, 0).message == ""


@pytest.mark.parametrize("num_gpus", [-1, 3])
def test_impossible_numbers_are_refused(num_gpus: int) -> None:
    with pytest.raises(UserError, match="--num-gpus"):
        plan_devices("cuda", False, num_gpus, 2)


def test_a_gpu_that_is_not_there_is_refused() -> None:
    assert plan_devices("cuda:1", True, 1, 2).device == "cuda:1"
    with pytest.raises(UserError, match="'cuda:2', but this machine has 2 GPUs.* cuda:1 or less"):
        plan_devices("cuda:2", True, 1, 2)


def test_one_gpu_for_several_processes_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr("torch.cuda.device_count", lambda: 2)
    cfg = load_config("quickstart", ["MODEL.DEVICE", "cuda:1"])[0]
    _set_device(cfg, {"MODEL.DEVICE"}, num_gpus=1)
    assert cfg.MODEL.DEVICE == "cuda:1"
    monkeypatch.setattr("dyhead.d2.utils.comm.get_world_size", lambda: 2)
    with pytest.raises(UserError, match="MODEL.DEVICE 'cuda:1' is one GPU.* 2 processes"):
        _set_device(cfg, {"MODEL.DEVICE"}, num_gpus=2)


def test_an_unknown_device_is_refused() -> None:
    with pytest.raises(UserError, match="MODEL.DEVICE 'gpu'"):
        plan_devices("gpu", True, 1, 0)


@pytest.mark.parametrize(
    "error",
    [
        UserError("the key is wrong"),
        FloatingPointError("the key is wrong"),
        multiprocessing.ProcessRaisedException(
            "Traceback ...\ndyhead.errors.UserError: the key is wrong\n", 0, 1
        ),
        UserError(
            "Caught UserError in DataLoader worker process 0.\nOriginal Traceback ...\n"
            "dyhead.errors.UserError: the key is wrong\n"
        ),
    ],
)
def test_user_errors_end_with_one_sentence(error: Exception) -> None:
    with pytest.raises(SystemExit) as exit_, exit_on_user_error():
        raise error
    assert exit_.value.code == "Error: the key is wrong"


@pytest.mark.parametrize(
    ("exit_code", "signal_name", "reason"),
    [(1, None, "ended itself with exit code 1: its last lines"), (-9, "SIGKILL", "lack of memory")],
)
def test_a_process_that_ended_itself_is_not_taken_for_a_killed_one(
    exit_code: int, signal_name: str | None, reason: str
) -> None:
    error = multiprocessing.ProcessExitedException("", 1, 2, exit_code, signal_name)
    with pytest.raises(SystemExit) as exit_, exit_on_user_error():
        raise error
    assert "Process 1 of the run" in str(exit_.value.code)
    assert ("lack of memory" in str(exit_.value.code)) == (reason == "lack of memory")
    assert reason in str(exit_.value.code)


def test_a_users_error_is_logged_without_traceback(caplog: pytest.LogCaptureFixture) -> None:
    logger = logging.getLogger("training loop")
    logger.addFilter(log_without_traceback)
    for error in (UserError("the key is wrong"), ValueError("a bug")):
        try:
            raise error
        except ValueError:
            logger.exception("Exception during training:")
    assert "Training stopped: the key is wrong" in caplog.text
    assert "Traceback" in caplog.text and "UserError" not in caplog.text


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (["--num-machines", "2"], "--dist-url is needed"),
        (["--num-machines", "2", "--dist-url", "host"], "--dist-url is needed"),
        (["--machine-rank", "1"], "counted from 0"),
    ],
)
def test_several_machines_need_an_address_and_a_rank(line: list[str], message: str) -> None:
    with pytest.raises(UserError, match=message):
        launch(lambda args: None, parse_arguments(["--config", "any.yaml", *line]))


def test_torchrun_with_more_processes_than_gpus_is_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("torch.cuda.device_count", lambda: 2)
    environment = {"LOCAL_WORLD_SIZE": "4", "LOCAL_RANK": "3"}
    with pytest.raises(UserError, match="4 processes, but this machine has 2 GPUs"):
        _join_torchrun("cuda", environment)


def test_one_process_on_each_of_several_machines_is_stopped_by_its_parents_signal(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Else the parent would end at once, before the process that it has started has saved."""
    before, during = signal.getsignal(signal.SIGTERM), []
    monkeypatch.setattr(
        sys.modules["dyhead.engine.launch"],  # the package has the function under this name
        "launch_processes",
        lambda *_, **__: during.append(signal.getsignal(signal.SIGTERM)),
    )
    line = ["--config", "quickstart", "--num-machines", "2", "--dist-url", "tcp://127.0.0.1:1"]
    launch(lambda args: None, parse_arguments([*line, "MODEL.DEVICE", "cpu"]))
    assert during and during[0] is not before
    assert signal.getsignal(signal.SIGTERM) is before


def test_processes_of_torchrun_wait_as_long_as_those_of_detectron2s_launch(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    begun: list[tuple[object, ...]] = []
    monkeypatch.setattr("torch.cuda.device_count", lambda: 2)
    monkeypatch.setattr("torch.cuda.set_device", lambda _: None)
    monkeypatch.setattr(
        "torch.distributed.init_process_group", lambda name, timeout: begun.append((name, timeout))
    )
    monkeypatch.setattr("dyhead.d2.utils.comm.create_local_process_group", lambda _: None)
    monkeypatch.setattr("dyhead.d2.utils.comm.synchronize", lambda: None)
    _join_torchrun("cuda", {"LOCAL_WORLD_SIZE": "2", "LOCAL_RANK": "1"})
    usual = inspect.signature(launch_processes).parameters["timeout"].default
    assert begun == [("nccl", usual)]


PROGRAM = """
import json, os, sys
import torch
import torch.distributed as dist
from dyhead.d2.utils import comm
from dyhead.engine import launch, parse_arguments

def main(args):
    seen = {"rank": comm.get_rank(), "backend": dist.get_backend()}
    seen["gpus"] = torch.cuda.device_count()
    gathered = comm.gather({**seen, "threads": torch.get_num_threads()})
    if comm.is_main_process():
        json.dump(gathered, open(sys.argv[1], "w"))

if __name__ == "__main__":
    torch.set_num_threads(4)
    before = dict(os.environ)
    line = ["--config", "quickstart", "--num-gpus", "2", "MODEL.DEVICE", "cpu"]
    launch(main, parse_arguments(line))
    assert dict(os.environ) == before
"""


@pytest.mark.slow
def test_processes_on_the_cpu_share_its_threads_and_see_no_gpus(tmp_path: Path) -> None:
    found = report_of_script(PROGRAM, tmp_path, CUDA_VISIBLE_DEVICES="0")
    seen = {"backend": "gloo", "gpus": 0, "threads": 2}
    assert found == [{"rank": rank, **seen} for rank in (0, 1)]


def test_bugs_keep_their_traceback() -> None:
    with pytest.raises(ValueError, match="a bug"), exit_on_user_error():
        raise ValueError("a bug")
