"""Where a run computes, and how it ends on a user's error."""

import pytest
from torch import multiprocessing

from dyhead.engine.arguments import parse_arguments
from dyhead.engine.launch import _join_torchrun, exit_on_user_error, launch, plan_devices
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


def test_several_machines_need_an_address() -> None:
    line = ["--config", "any.yaml", "--num-machines", "2"]
    with pytest.raises(UserError, match="--dist-url is needed"):
        launch(lambda args: None, parse_arguments(line))


def test_torchrun_with_more_processes_than_gpus_is_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("torch.cuda.device_count", lambda: 2)
    environment = {"LOCAL_WORLD_SIZE": "4", "LOCAL_RANK": "3"}
    with pytest.raises(UserError, match="4 processes, but this machine has 2 GPUs"):
        _join_torchrun("cuda", environment)


def test_bugs_keep_their_traceback() -> None:
    with pytest.raises(ValueError, match="a bug"), exit_on_user_error():
        raise ValueError("a bug")
