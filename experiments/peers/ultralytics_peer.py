"""Ultralytics' smallest detectors as a peer, with the library's own settings.

It needs the package ultralytics, which users install in an environment of its own. Nothing is
downloaded: models start from random weights, or from a file: a detector's, or with -cls in its name
a classifier's, whose backbone is taken.
"""

import os
import re
import shutil
from pathlib import Path
from typing import Any

os.environ.setdefault("YOLO_OFFLINE", "true")
os.environ.setdefault("YOLO_AUTOINSTALL", "false")

import torch  # noqa: E402
import ultralytics  # noqa: E402
from peer_protocol import (  # noqa: E402
    CLASSIFIER,
    LOWEST_SCORE,
    Found,
    Model,
    Part,
    Peer,
    Task,
    main,
    read_rgb,
)
from ultralytics.utils import torch_utils  # noqa: E402

CURRENT = {11, 26}  # versions of YOLO
STRIDE = 32


class UltralyticsModel(Model):
    """A trained YOLO; `settings` are those of its `predict`."""

    def __init__(self, yolo: Any, settings: dict[str, Any]) -> None:
        self.parameters = sum(parameter.numel() for parameter in yolo.model.parameters())
        self._yolo, self._settings = yolo, settings

    def read(self, path: str) -> Any:
        """Read a picture."""
        return read_rgb(path)

    def detect(self, picture: Any) -> Found:
        """Detect in a picture that `read` gave."""
        (result,) = self._yolo.predict(picture, verbose=False, **self._settings)
        boxes = result.boxes
        return Found(boxes.xyxy.tolist(), boxes.conf.tolist(), boxes.cls.int().tolist())


class UltralyticsPeer(Peer):
    """Trains the smallest model of each version from random weights."""

    def versions(self) -> dict[str, str]:
        """Return the versions of Ultralytics and PyTorch."""
        return {"ultralytics": ultralytics.__version__, "torch": torch.__version__}

    def models(self) -> list[tuple[str, str]]:
        """Return the current models that the package describes, or else its newest."""
        folder = Path(ultralytics.__file__).parent / "cfg" / "models"
        found = (re.fullmatch(r"yolo(\d+)", path.stem) for path in folder.glob("*/yolo*.yaml"))
        numbers = {int(match[1]) for match in found if match}
        return [(f"yolo{n}n", "random") for n in sorted(CURRENT & numbers or {max(numbers)})]

    def input_size(self, task: Task) -> tuple[int, int]:
        """Return the task's, scaled so that the longer side is a multiple of the stride."""
        scale = longer_side(task) / max(task.height, task.width)
        return round(scale * task.height), round(scale * task.width)

    def train(self, task: Task) -> None:
        """Train with the default settings; all time goes into training, none into validation."""
        use_threads(task.threads)
        yolo = start(task)
        yolo.train(
            data=write_yolo(task),
            time=task.minutes / 60,
            imgsz=max(task.height, task.width),
            seed=task.seed,
            device=task.device,
            workers=task.threads,
            project=task.output,
            name="run",
            exist_ok=True,
            val=False,
            plots=False,
        )

    def load(self, task: Task, is_timed: bool) -> UltralyticsModel:
        """Load the last weights, which are averaged.

        The longer side of every picture is resized to the task's, whichever it is; the other one is
        padded to the next multiple of the stride.
        """
        use_threads(task.threads)
        yolo = ultralytics.YOLO(Path(task.output) / "run" / "weights" / "last.pt")
        settings: dict[str, Any] = {"imgsz": longer_side(task), "rect": True, "device": task.device}
        return UltralyticsModel(yolo, settings | ({} if is_timed else {"conf": LOWEST_SCORE}))


def longer_side(task: Task) -> int:
    """Return the longer side of the input, as the library rounds it: up, to the stride."""
    return -(-max(task.height, task.width) // STRIDE) * STRIDE


def start(task: Task) -> Any:
    """Build the detector of a task with the weights that it starts from."""
    if task.weights == "random":
        return ultralytics.YOLO(f"{task.model}.yaml")
    name = Path(task.weights).stem
    if name.endswith(CLASSIFIER):  # as it is it would train a classifier
        return ultralytics.YOLO(f"{name.removesuffix(CLASSIFIER)}.yaml").load(task.weights)
    return ultralytics.YOLO(task.weights)


def use_threads(threads: int) -> None:
    """Let it use as many threads as the others: by itself it leaves one core out."""
    torch_utils.NUM_THREADS = threads
    torch.set_num_threads(threads)


def write_yolo(task: Task) -> str:
    """Write the data in YOLO's layout, pictures as links; return the path of its yaml."""
    folder = Path(task.output) / "data"
    for name, part in (("train", task.train), ("val", task.val)):
        write_part(folder, name, part)
    names = "".join(f"  {i}: {name!r}\n" for i, name in enumerate(task.train.class_names))
    text = f"path: {folder}\ntrain: images/train\nval: images/val\nnames:\n{names}"
    path = folder / "data.yaml"
    path.write_text(text, encoding="utf-8")
    return str(path)


def write_part(folder: Path, name: str, part: Part) -> None:
    """Write images/<name> and labels/<name>: class and centre, width, height in shares."""
    for kind in ("images", "labels"):
        (folder / kind / name).mkdir(parents=True, exist_ok=True)
    for index, picture in enumerate(part.pictures):
        image = folder / "images" / name / f"{index:06}{Path(picture.path).suffix}"
        try:
            image.symlink_to(picture.path)
        except OSError:  # Windows, without the right to make links
            shutil.copy(picture.path, image)
        lines = [
            f"{number} {(x + w / 2) / picture.width} {(y + h / 2) / picture.height}"
            f" {w / picture.width} {h / picture.height}\n"
            for x, y, w, h, number in picture.boxes
        ]
        label = folder / "labels" / name / f"{index:06}.txt"
        label.write_text("".join(lines), encoding="utf-8")


if __name__ == "__main__":
    main(UltralyticsPeer())
