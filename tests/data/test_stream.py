"""The stream of training images: nothing is seen twice or left out, whoever reads it."""

import itertools
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils.data import Sampler

from dyhead.d2.utils import comm
from dyhead.data.last_steps import LastSteps
from dyhead.data.loader_workers import print_unless_disconnected
from dyhead.data.stream import (
    BATCH_KEY,
    POSITION_KEY,
    Ending,
    MappedStream,
    TrainingBatches,
)
from dyhead.data.stream_places import Place, Unseen, groups_by_aspect, join_unseen
from dyhead.errors import UserError

SIZE = 7


class Counting(Sampler[int]):
    """The indices 0, 1, ... of a process's part of an endless stream, shifted by the seed."""

    def __init__(self, seed: int) -> None:
        self.seed, self.rank, self.world_size = seed, comm.get_rank(), comm.get_world_size()

    def __iter__(self) -> Any:
        return (i % SIZE for i in itertools.count(self.seed + self.rank, self.world_size))


def describe(record: dict[str, Any]) -> dict[str, Any]:
    return {**record, "draws": (float(np.random.rand()), float(torch.rand(())))}


DATASET = [{"id": i, "width": 1 + i % 3, "height": 2} for i in range(SIZE)]


@pytest.fixture
def process(monkeypatch: pytest.MonkeyPatch) -> Callable[[int, int], None]:
    """Call it to be the process of a rank among so many, for what is built next."""

    def become(rank: int, world_size: int) -> None:
        for module in (comm, __import__("importlib").import_module(TrainingBatches.__module__)):
            target = getattr(module, "comm", module)
            monkeypatch.setattr(target, "get_rank", lambda: rank)
            monkeypatch.setattr(target, "get_world_size", lambda: world_size)

    return become


def describe_last(record: dict[str, Any]) -> dict[str, Any]:
    return {**describe(record), "is_last": True}


def build(
    batch: int, *, is_grouped: bool, workers: int = 0, seed: int = 5, num_steps: int = 0
) -> TrainingBatches:
    """A stream; with `num_steps`, its last half is mapped by `describe_last`."""
    last_steps = LastSteps(0.5, num_steps, batch) if num_steps else None
    return TrainingBatches(
        DATASET,
        describe,
        Counting,
        seed=seed,
        total_batch_size=batch,
        groups=groups_by_aspect(DATASET) if is_grouped else None,
        num_workers=workers,
        ending=Ending(last_steps, describe_last) if last_steps else None,
    )


def test_images_that_wait_for_others_are_not_seen_yet() -> None:
    assert Unseen(10, (3, 7)).num_seen == 8 and Unseen().num_seen == 0


@pytest.mark.parametrize("is_grouped", [False, True])
def test_the_number_of_workers_does_not_matter(is_grouped: bool) -> None:
    one, two = (build(2, is_grouped=is_grouped, workers=number) for number in (0, 2))
    batches = [list(itertools.islice(loader, 6)) for loader in (one, two)]
    assert batches[0] == batches[1]
    assert one.unseen == two.unseen
    draws = [image["draws"] for batch in batches[0] for image in batch]
    assert len(set(draws)) == len(draws)
    assert not any(POSITION_KEY in image for batch in batches[0] for image in batch)


@pytest.mark.parametrize("is_grouped", [False, True])
@pytest.mark.parametrize("steps", [1, 5])
def test_a_resumed_stream_is_the_rest_of_the_stream(is_grouped: bool, steps: int) -> None:
    whole = list(itertools.islice(build(2, is_grouped=is_grouped), 12))
    first = build(2, is_grouped=is_grouped)
    assert list(itertools.islice(first, steps)) == whole[:steps]
    again = build(2, is_grouped=is_grouped, seed=99)  # the state brings the seed
    again.load_state_dict(first.state_dict([first.unseen]))
    assert again.seed == 5
    assert list(itertools.islice(again, 12 - steps)) == whole[steps:]
    assert again.unseen == _after(12, is_grouped)


def _after(steps: int, is_grouped: bool) -> Any:
    loader = build(2, is_grouped=is_grouped)
    list(itertools.islice(loader, steps))
    return loader.unseen


def go_on(
    process: Callable[[int, int], None],
    is_grouped: bool,
    before: tuple[int, int],
    after: tuple[int, int],
) -> tuple[list[Any], list[Any], list[Any]]:
    """Take five steps, and five more with other processes, batches and, until loaded, seed.

    Returns:
        the batches of each process before and after, and the loaders after.
    """
    taken: list[list[Any]] = []
    state, loaders = None, []
    for (world_size, batch), seed in zip((before, after), (5, 1), strict=True):
        loaders = []
        for rank in range(world_size):
            process(rank, world_size)
            loaders.append(build(batch, is_grouped=is_grouped, seed=seed))
            if state is not None:
                loaders[-1].load_state_dict(state)
        taken.append([list(itertools.islice(loader, 5)) for loader in loaders])
        state = loaders[0].state_dict([loader.unseen for loader in loaders])
    return taken[0], taken[1], loaders


@pytest.mark.parametrize("is_grouped", [False, True])
@pytest.mark.parametrize(("before", "batch", "after", "next_batch"), [(2, 4, 1, 4), (1, 2, 3, 6)])
def test_another_number_of_processes_misses_and_repeats_nothing(
    process: Callable[[int, int], None],
    is_grouped: bool,
    before: int,
    batch: int,
    after: int,
    next_batch: int,
) -> None:
    first, second, rest = go_on(process, is_grouped, (before, batch), (after, next_batch))
    assert {len(b) for batches in first for b in batches} == {batch // before}
    assert {len(b) for batches in second for b in batches} == {next_batch // after}
    seen = Counter(im["draws"] for batches in (*first, *second) for b in batches for im in b)
    assert set(seen.values()) == {1}
    left = join_unseen([loader.unseen for loader in rest])
    assert len(seen) == left.next - len(left.pending)


def test_an_image_that_is_left_out_is_replaced_the_same_way_each_time() -> None:
    def without_fours(record: dict[str, Any]) -> dict[str, Any] | None:
        return None if record["id"] == 4 else describe(record)

    streams = [MappedStream(DATASET, without_fours, seed=2) for _ in range(2)]
    streams[1][Place(1, 4)]  # what came before does not matter
    replaced = [stream[Place(9, 4)] for stream in streams]
    assert replaced[0] == replaced[1] and replaced[0]["id"] != 4
    others = {streams[0][Place(position, 4)]["id"] for position in range(30)}
    assert others == {0, 1, 2, 3, 5, 6}


def test_a_data_set_of_which_nothing_can_be_used_is_refused() -> None:
    with pytest.raises(UserError, match="None of the 7 images"):
        MappedStream(DATASET, lambda record: None, seed=0)[Place(0, 0)]


def are_last(batches: Any, number: int) -> list[list[bool]]:
    """Tell of each image of so many batches whether it was mapped as one of the last steps."""
    return [["is_last" in image for image in batch] for batch in itertools.islice(batches, number)]


@pytest.mark.parametrize("workers", [0, 2])
def test_the_last_steps_have_their_own_mapper(workers: int) -> None:
    loader = build(2, is_grouped=False, workers=workers, num_steps=6)
    assert are_last(loader, 7) == [[False] * 2] * 3 + [[True] * 2] * 4


@pytest.mark.parametrize("is_grouped", [False, True])
@pytest.mark.parametrize("workers", [(0, 0), (0, 2), (2, 0)], ids=str)
@pytest.mark.parametrize("steps", [2, 5])
def test_a_resumed_stream_has_the_same_last_steps(
    is_grouped: bool, workers: tuple[int, int], steps: int
) -> None:
    whole = list(itertools.islice(build(2, is_grouped=is_grouped, num_steps=8), 8))
    first = build(2, is_grouped=is_grouped, workers=workers[0], num_steps=8)
    before = list(itertools.islice(first, steps))
    again = build(2, is_grouped=is_grouped, workers=workers[1], num_steps=8)
    again.load_state_dict(first.state_dict([first.unseen]))
    assert before + list(itertools.islice(again, 8 - steps)) == whole
    assert {"is_last" in image for batch in whole for image in batch} == {True, False}


def test_batches_of_another_size_begin_the_last_steps_at_the_same_step() -> None:
    first = build(1, is_grouped=False, num_steps=8)
    list(itertools.islice(first, 2))
    again = build(3, is_grouped=False, num_steps=8)
    again.load_state_dict(first.state_dict([first.unseen]))
    assert are_last(again, 4) == [[False] * 3] * 2 + [[True] * 3] * 2


@pytest.mark.parametrize("workers", [0, 1])
def test_workers_see_another_length_of_the_training(workers: int) -> None:
    loader = build(1, is_grouped=False, workers=workers, num_steps=1000)
    batches = iter(loader)
    assert are_last(batches, 3) == [[False]] * 3
    loader.plan(40)
    assert are_last(batches, 17 + 2) == [[False]] * 17 + [[True]] * 2


def test_a_stream_without_an_ending_goes_on_from_one_that_had_it_and_back() -> None:
    plain, ending = build(2, is_grouped=False), build(2, is_grouped=False, num_steps=4)
    plain.load_state_dict(ending.state_dict([ending.unseen]))
    ending.load_state_dict(plain.state_dict([plain.unseen]))
    assert are_last(ending, 3) == [[False] * 2] * 2 + [[True] * 2]


def batch_numbers(batches: Any, steps: int) -> list[set[int]]:
    """Return the numbers that the images of each of the next batches know, with the right seed."""
    known = [[image[BATCH_KEY] for image in batch] for batch in itertools.islice(batches, steps)]
    assert {seed for batch in known for seed, _ in batch} == {5}
    return [{number for _, number in batch} for batch in known]


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("is_grouped", [False, True])
def test_images_know_their_batch(workers: int, is_grouped: bool) -> None:
    loader = build(3, is_grouped=is_grouped, workers=workers)
    assert batch_numbers(loader, 9) == [{number} for number in range(9)]


@pytest.mark.parametrize("is_grouped", [False, True])
@pytest.mark.parametrize(("before", "batch", "after", "next_batch"), [(2, 4, 1, 3), (1, 2, 3, 6)])
def test_batches_of_a_step_have_one_number_also_after_a_resume_with_others(
    process: Callable[[int, int], None],
    is_grouped: bool,
    before: int,
    batch: int,
    after: int,
    next_batch: int,
) -> None:
    first, second, _ = go_on(process, is_grouped, (before, batch), (after, next_batch))
    for batches in first:
        assert batch_numbers(batches, 5) == [{number} for number in range(5)]
    steps = [batch_numbers(batches, 5) for batches in second]
    assert all(each == steps[0] for each in steps)
    (number,) = steps[0][0]
    assert steps[0] == [{each} for each in range(number, number + 5)]


def test_batches_are_of_one_group() -> None:
    batches = itertools.islice(build(3, is_grouped=True), 12)
    kinds = [{image["width"] > image["height"] for image in batch} for batch in batches]
    assert sorted(map(len, kinds)) == [1] * 12 and set.union(*kinds) == {False, True}


def test_images_of_unknown_size_make_batches_with_those_that_are_not_wider() -> None:
    sizes = [{"width": 3, "height": 2}, {"width": 2, "height": 2}, {}, {"width": 1, "height": 2}]
    assert groups_by_aspect(sizes).tolist() == [0, 1, 1, 1]


# A worker's server of file descriptors, whose client hangs up as soon as it is connected.
HANG_UP = """
import socket, sys, time
from multiprocessing.reduction import DupFd
{hook}
address, _ = DupFd(1)._id
client = socket.socket(socket.AF_UNIX)
client.connect(address)
client.close()
time.sleep(1)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="file descriptors are handed over by sockets")
@pytest.mark.parametrize("is_worker", [False, True])
def test_a_run_that_ends_while_a_batch_is_handed_over_prints_nothing(is_worker: bool) -> None:
    hook = (
        "from dyhead.data import loader_workers;"
        " sys.excepthook = loader_workers.print_unless_disconnected"
    )
    code = HANG_UP.format(hook=hook if is_worker else "")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert ("Traceback" in done.stderr) is not is_worker, done.stderr


def test_other_errors_of_a_worker_are_printed(capsys: pytest.CaptureFixture[str]) -> None:
    error = ValueError("something else")
    print_unless_disconnected(ValueError, error, None)
    assert "ValueError: something else" in capsys.readouterr().err
