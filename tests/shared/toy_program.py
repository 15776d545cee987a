"""Runs the toy training as a program of its own that can be stopped and killed.

A server that has everything imported forks the programs, so that each is there within a second.
"""

import json
import multiprocessing
import os
import time
from collections.abc import Callable
from multiprocessing.context import ForkServerProcess
from pathlib import Path

import torch
from small_program import write_images

CONFIG = """
MODEL: {META_ARCHITECTURE: ToyDetector, DEVICE: cpu, WEIGHTS: ""}
DATASETS: {TRAIN: [tiny], TEST: [tiny]}
INPUT: {MIN_SIZE_TRAIN: [32], MIN_SIZE_TEST: 32}
DATALOADER: {NUM_WORKERS: 0}
SOLVER: {IMS_PER_BATCH: 2, MAX_ITER: 40, STEPS: [], WARMUP_ITERS: 0, CHECKPOINT_PERIOD: 4}
TEST: {EVAL_PERIOD: 10, REPORT: False}
SEED: 3
"""


class ToyProgram:
    """The toy training into a folder, run by run.

    Attributes:
        run: its OUTPUT_DIR.
    """

    def __init__(self, folder: Path, *changes: str, num_images: int = 6) -> None:
        """Write config and pictures.

        Args:
            folder: an empty one.
            changes: keys and values of the config.
            num_images: of them.
        """
        self.run, self._said = folder / "run", folder / "said.txt"
        images = write_images(folder / "images", num_images)
        box = {"category_id": 5, "bbox": [8, 8, 40, 40], "area": 1600, "iscrowd": 0}
        content = {
            "images": images,
            "annotations": [{"id": i + 1, "image_id": i, **box} for i in range(num_images)],
            "categories": [{"id": 5, "name": "square"}],
        }
        (folder / "tiny.json").write_text(json.dumps(content))
        (folder / "toy.yaml").write_text(CONFIG)
        entry = [["tiny", str(folder / "tiny.json"), str(folder / "images")]]
        line = ["--config", str(folder / "toy.yaml"), "DATASETS.COCO_JSON", str(entry)]
        self.arguments = [*line, "OUTPUT_DIR", str(self.run), *changes]
        self._context = multiprocessing.get_context("forkserver")
        self._context.set_forkserver_preload(["dyhead.engine.train_net", "toy_program_main"])

    def start(self, *arguments: str) -> ForkServerProcess:
        """Start a run; it may have further arguments."""
        from toy_program_main import train

        self._said.write_text("")
        line = ([*self.arguments, *arguments], str(self._said))
        process = self._context.Process(target=train, args=line)
        process.start()
        return process

    def finish(self, *arguments: str) -> int | None:
        """Run to the end; return the exit status."""
        process = self.start(*arguments)
        return self.join(process)

    def join(self, process: ForkServerProcess, seconds: float = 120) -> int | None:
        """Wait for the end of a run; return the exit status."""
        process.join(seconds)
        if process.is_alive():
            process.kill()
            process.join()
            raise AssertionError(f"it hangs; it said:\n{self.said[-3000:]}")
        return process.exitcode

    @property
    def said(self) -> str:
        """The text that the last run has printed."""
        return self._said.read_text(errors="replace")

    @property
    def last_line(self) -> str:
        """The last line that the last run has printed."""
        return (self.said.strip().splitlines() or [""])[-1]

    @property
    def latest(self) -> Path | None:
        """The checkpoint that last_checkpoint names."""
        tag = self.run / "last_checkpoint"
        return self.run / tag.read_text() if tag.exists() else None

    @property
    def steps(self) -> int:
        """Steps in the tagged checkpoint, which has to be whole; 0 where there is none."""
        if self.latest is None:
            return 0
        return int(torch.load(self.latest, weights_only=True)["iteration"]) + 1


def wait_until(
    condition: Callable[[], bool], process: ForkServerProcess, seconds: float = 60
) -> bool:
    """Wait for a condition as long as a process lives; return whether it has come."""
    end = time.monotonic() + seconds
    while process.is_alive() and time.monotonic() < end:
        if condition():
            return True
        time.sleep(0.0005)
    return False


def leftovers(folder: Path) -> list[str]:
    """Return what killed runs have left half-written in a folder and those in it."""
    return [path.name for path in folder.rglob(".*.tmp")]


def kill(process: ForkServerProcess) -> bool:
    """Kill -9; return whether there was something to kill."""
    process.kill()
    process.join()
    return process.exitcode == -9


def resident_bytes(pid: int | None) -> int:
    """Return the memory that a process has in RAM, shared pages left out (Linux)."""
    fields = Path(f"/proc/{pid}/statm").read_text().split()
    return (int(fields[1]) - int(fields[2])) * os.sysconf("SC_PAGE_SIZE")
