"""This project as a peer: its small recipes, by `train_net.py`."""

import subprocess
import sys
from pathlib import Path

from peer_data import input_size
from peer_protocol import LOWEST_SCORE, Found, Model, Part, Peer, Task, main

from dyhead.config import find_config, load_config
from dyhead.detector import ReadyDetector, load_detector
from dyhead.errors import UserError
from dyhead.info.commit import describe_code
from dyhead.info.packages import find_version
from dyhead.prediction import Detector
from dyhead.prediction.inputs import Picture
from dyhead.prediction.torch_runner import TorchRunner

PROJECT = Path(__file__).resolve().parents[2]
RECIPES = ("own_dataset", "own_dataset_from_random")
USED_FROM = 0.3  # the lowest score that `Detector` gives


class OwnModel(Model):
    """A detector of this project by its Python interface."""

    def __init__(self, ready: ReadyDetector, threshold: float, part: Part) -> None:
        self.parameters = sum(parameter.numel() for parameter in ready.model.parameters())
        self._detector = Detector.from_runner(TorchRunner(ready), threshold)
        self._indices = [part.category_ids.index(each) for each in self._detector.category_ids]

    def read(self, path: str) -> Picture:
        """Read a picture."""
        return self._detector.read(path)

    def detect(self, picture: Picture) -> Found:
        """Detect in a picture that `read` gave."""
        found = self._detector(picture)
        classes = [self._indices[number] for number in found.class_ids.tolist()]
        return Found(found.boxes.tolist(), found.scores.tolist(), classes)


class OwnPeer(Peer):
    """Trains a packaged config for SOLVER.MINUTES."""

    def versions(self) -> dict[str, str]:
        """Return the versions of this project and of PyTorch."""
        return {**describe_code(), "torch": find_version("torch")}

    def models(self) -> list[tuple[str, str]]:
        """Return the recipes that there are, with the weights that they start from."""
        models = []
        for name in RECIPES:
            try:
                cfg, _ = load_config(find_config(name))
            except UserError:
                continue
            models.append((name, "ImageNet" if cfg.MODEL.WEIGHTS else "random"))
        return models

    def input_size(self, task: Task) -> tuple[int, int]:
        """Return that of the recipe, which may be another one than the others' size."""
        return input_size(Path(task.data), task.model)

    def train(self, task: Task) -> None:
        """Train in a process of its own."""
        parts = [[f"own_{part}", f"{task.data}/{part}.json"] for part in ("train", "val")]
        command = [sys.executable, str(PROJECT / "train_net.py"), "--config", task.model]
        options = ["SOLVER.MINUTES", task.minutes, "SEED", task.seed, "MODEL.DEVICE", task.device]
        options += ["DATASETS.SOURCES", parts, "DATASETS.ALLOW_OUTSIDE", True]
        options += ["TEST.EVAL_PERIOD", 0, "OUTPUT_DIR", task.output]
        subprocess.run([*command, *map(str, options)], check=True)

    def load(self, task: Task, is_timed: bool) -> OwnModel:
        """Load the run's last checkpoint."""
        lowest = [] if is_timed else ["MODEL.ATSS.INFERENCE_TH", str(LOWEST_SCORE)]
        ready = load_detector(task.output, None, lowest, device=task.device)
        return OwnModel(ready, USED_FROM if is_timed else LOWEST_SCORE, task.val)


if __name__ == "__main__":
    main(OwnPeer())
