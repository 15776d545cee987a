"""The interface between `experiments/peers.py` and the script of a peer.

A peer's script runs in the peer's own environment, so this module needs the standard library,
PyTorch and Pillow alone. A script is called in three ways:

    PEER.py describe         prints versions and the models that it can train
    PEER.py train OPTIONS    trains for some minutes, then detects on the validation part
    PEER.py time OPTIONS     loads what was trained and times it: see `serve_timings`

The options are those of `Task`. What is printed for peers.py begins with `MARK`, for libraries
print too. A training has to print something every few minutes, or it is taken to hang.
"""

import argparse
import functools
import json
import os
import random
import sys
import time
from abc import ABC, abstractmethod
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, NamedTuple

MARK = "@peer "
CLASSIFIER = "-cls"  # how the name of a file of Ultralytics ends that holds a classifier
LOWEST_SCORE = 0.001  # of what counts for AP
INPUT_SIZE = "input (height, width)"  # the key of the size in a result
WARM_UP = 5  # pictures
TOLD = 20  # pictures from one line of progress to the next


@dataclass(frozen=True)
class Task:
    """The options of a call.

    Attributes:
        model: a name that `describe` gives.
        weights: "random", "ImageNet" or a file.
        data: the folder of train.json and val.json.
        minutes: of training.
        height: of the input that pictures of the usual size are resized to, in pixels.
        width: the same.
        seed: of the training.
        threads: of PyTorch.
        device: "cpu" or "cuda".
        output: the folder of this peer's files.
    """

    model: str
    weights: str
    data: str
    minutes: float
    height: int
    width: int
    seed: int
    threads: int
    device: str
    output: str

    def arguments(self) -> list[str]:
        """Return them as a command line."""
        pairs = ([f"--{field.name}", str(getattr(self, field.name))] for field in fields(self))
        return [part for pair in pairs for part in pair]

    @classmethod
    def parse(cls, arguments: Sequence[str]) -> "Task":
        """Read a command line."""
        parser = argparse.ArgumentParser()
        for field in fields(cls):
            parser.add_argument(f"--{field.name}", type=field.type, required=True)  # type: ignore[arg-type]
        return cls(**vars(parser.parse_args(arguments)))

    @functools.cached_property
    def train(self) -> "Part":
        """The part to train on."""
        return Part.read(Path(self.data) / "train.json")

    @functools.cached_property
    def val(self) -> "Part":
        """The part to detect on."""
        return Part.read(Path(self.data) / "val.json")


class Picture(NamedTuple):
    """A picture with its boxes: (x, y, width, height, index of the class), in pixels."""

    id: int | str
    path: str
    height: int
    width: int
    boxes: list[tuple[float, float, float, float, int]]


class Part(NamedTuple):
    """A part of a data set; classes are counted in the order of their ids."""

    pictures: list[Picture]
    class_names: list[str]
    category_ids: list[int | str]

    @classmethod
    def read(cls, path: Path) -> "Part":
        """Read a COCO json; crowds are left out."""
        content = json.loads(path.read_text(encoding="utf-8"))
        categories = sorted(content["categories"], key=lambda category: category["id"])
        index = {category["id"]: number for number, category in enumerate(categories)}
        boxes = defaultdict(list)
        for each in content["annotations"]:
            if not each.get("iscrowd"):
                boxes[each["image_id"]].append((*each["bbox"], index[each["category_id"]]))
        pictures = [
            Picture(i["id"], i["file_name"], i["height"], i["width"], boxes[i["id"]])
            for i in content["images"]
        ]
        return cls(pictures, [category["name"] for category in categories], list(index))


def read_rgb(path: str) -> Any:
    """Read a picture from its file as an RGB image of Pillow, upright where its EXIF says how."""
    from PIL import Image, ImageOps

    with Image.open(path) as image:
        return ImageOps.exif_transpose(image).convert("RGB")


class Found(NamedTuple):
    """The detections in one picture: boxes in XYXY, pixels; scores; indices of classes."""

    boxes: Sequence[Sequence[float]]
    scores: Sequence[float]
    classes: Sequence[int]


class Model(ABC):
    """A trained detector.

    Attributes:
        parameters: their number.
    """

    parameters: int

    @abstractmethod
    def read(self, path: str) -> Any:
        """Load a picture from its file, in the form that `detect` takes."""

    @abstractmethod
    def detect(self, picture: Any) -> Found:
        """Detect in one picture, its resizing and the suppression of duplicates included."""


class Peer(ABC):
    """A library of detectors."""

    @abstractmethod
    def versions(self) -> dict[str, str]:
        """Return the versions of its packages."""

    @abstractmethod
    def models(self) -> list[tuple[str, str]]:
        """Return the pairs of model and weights that it can train here."""

    def input_size(self, task: Task) -> tuple[int, int]:
        """Return the height and width that it detects at in pictures of the usual size."""
        return task.height, task.width

    @abstractmethod
    def train(self, task: Task) -> None:
        """Train and leave the weights in `task.output`."""

    @abstractmethod
    def load(self, task: Task, is_timed: bool) -> Model:
        """Load what was trained.

        Args:
            task: that of the training.
            is_timed: with the library's own lowest score for use, else with `LOWEST_SCORE`.
        """


def main(peer: Peer) -> None:
    """Do what the command line asks a peer's script for."""
    kind, *arguments = sys.argv[1:]
    if kind == "describe":
        say({"versions": peer.versions(), "models": peer.models()})
        return
    task = Task.parse(arguments)
    prepare(task)
    if kind == "train":
        train(peer, task)
    else:
        serve_timings(peer.load(task, is_timed=True), task)


def say(content: Any) -> None:
    """Print a line for peers.py."""
    print(f"{MARK}{json.dumps(content)}", flush=True)


def heard(line: str) -> Any:
    """Return the content of a line that a peer has said; None of any other line."""
    return json.loads(line.removeprefix(MARK)) if line.startswith(MARK) else None


def prepare(task: Task) -> None:
    """Set threads and seeds."""
    import torch

    os.makedirs(task.output, exist_ok=True)
    torch.set_num_threads(task.threads)
    random.seed(task.seed)
    torch.manual_seed(task.seed)


def train(peer: Peer, task: Task) -> None:
    """Train, detect, and leave detections.json (COCO's results) and peer.json in the output."""
    start = time.monotonic()
    peer.train(task)
    seconds = time.monotonic() - start
    model = peer.load(task, is_timed=False)
    detections = []
    for number, picture in enumerate(task.val.pictures):
        if number % TOLD == 0:
            print(f"Detecting in picture {number + 1} of {len(task.val.pictures)}", flush=True)
        found = _coco_form(model.detect(model.read(picture.path)), task.val)
        detections += [
            {"image_id": picture.id, "category_id": category, "bbox": box, "score": score}
            for category, box, score in found
        ]
    facts = {
        "train seconds": seconds,
        "parameters": model.parameters,
        "versions": peer.versions(),
        "lowest score": LOWEST_SCORE,
        INPUT_SIZE: peer.input_size(task),
    }
    for name, content in (("detections", detections), ("peer", facts)):
        path = Path(task.output) / f"{name}.json"
        path.write_text(json.dumps(content), encoding="utf-8")


def _coco_form(found: Found, part: Part) -> list[tuple[int | str, list[float], float]]:
    return [
        (part.category_ids[int(number)], [x0, y0, x1 - x0, y1 - y0], float(score))
        for (x0, y0, x1, y1), score, number in zip(
            [[float(side) for side in box] for box in found.boxes],
            found.scores,
            found.classes,
            strict=True,
        )
    ]


def serve_timings(model: Model, task: Task) -> None:
    """Time the detection in so many pictures as each line of the standard input says.

    The answer to a line is [seconds without loading, seconds with loading] for each picture. The
    next line goes on with the next pictures, so that peers.py can let several peers take turns.
    """
    paths = [picture.path for picture in task.val.pictures]
    for path in paths[:WARM_UP]:
        model.detect(model.read(path))
    say("ready")
    position = 0
    for line in sys.stdin:
        answers = []
        for _ in range(int(line)):
            answers.append(_time_one(model, paths[position % len(paths)]))
            position += 1
        say(answers)


def _time_one(model: Model, path: str) -> tuple[float, float]:
    start = time.perf_counter()
    picture = model.read(path)
    loaded = time.perf_counter()
    model.detect(picture)
    end = time.perf_counter()
    return end - loaded, end - start
