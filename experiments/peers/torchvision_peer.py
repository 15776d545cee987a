"""Detectors of torchvision as a peer, trained as its reference scripts do, but for some minutes."""

import math
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
import torchvision
from peer_protocol import LOWEST_SCORE, Found, Model, Part, Peer, Task, main, read_rgb
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset
from torchvision.transforms import v2
from torchvision.tv_tensors import BoundingBoxes

MODELS = (
    "ssdlite320_mobilenet_v3_large",
    "fasterrcnn_mobilenet_v3_large_320_fpn",
    "fcos_resnet50_fpn",
    "retinanet_resnet50_fpn",
)
# Learning rates of the references, by the number of images that they are for.
RATES = {
    "ssdlite320": 0.15 / 192,
    "fasterrcnn": 0.02 / 16,
    "fcos": 0.01 / 16,
    "retinanet": 0.01 / 16,
}
BATCH = 8
WARM_UP = 0.05  # share of the training
WEIGHTS = "weights.pth"


class Recipe:
    """Optimizer and augmentation of a detector.

    Source: torchvision's references/detection: SGD, rates for a number of images, flips; SSDLite
    with crops too, and a rate that falls as a cosine. Here every rate does, over the time, after a
    warm-up.
    """

    def __init__(self, model: str) -> None:
        is_ssd = model.startswith("ssd")
        self.rate = RATES[model.partition("_")[0]] * BATCH
        self.weight_decay = 4e-5 if is_ssd else 1e-4
        crops = [v2.RandomIoUCrop()] if is_ssd else []
        self.transform = v2.Compose([*crops, v2.RandomHorizontalFlip(), v2.SanitizeBoundingBoxes()])

    def rate_at(self, share: float) -> float:
        """Return the learning rate when a share of the time is over."""
        warm_up = min(1.0, 0.01 + share / WARM_UP)
        return self.rate * warm_up * 0.5 * (1 + math.cos(math.pi * min(1.0, share)))


class Pictures(Dataset):
    """Pictures as float tensors in [0, 1] with boxes in XYXY and labels from 1 on."""

    def __init__(self, part: Part, transform: Any) -> None:
        self._pictures = [picture for picture in part.pictures if picture.boxes]
        self._transform = transform

    def __len__(self) -> int:
        """Count the pictures that have a box."""
        return len(self._pictures)

    def __getitem__(self, index: int) -> tuple[Tensor, dict[str, Tensor]]:
        """Read and augment a picture."""
        given = self._pictures[index]
        boxes = torch.tensor([box[:4] for box in given.boxes])
        boxes[:, 2:] += boxes[:, :2]
        target = {
            "boxes": BoundingBoxes(boxes, format="XYXY", canvas_size=(given.height, given.width)),
            "labels": torch.tensor([box[4] + 1 for box in given.boxes]),
        }
        image, target = self._transform(v2.functional.to_image(read_rgb(given.path)), target)
        return image.float() / 255, {
            key: value.as_subclass(Tensor) for key, value in target.items()
        }


def build(task: Task, num_classes: int, weights: str, **options: Any) -> nn.Module:
    """Build a detector for the input size of the task."""
    backbone = "DEFAULT" if weights == "ImageNet" else None
    if not task.model.startswith("ssd"):
        sides = {"min_size": min(task.height, task.width), "max_size": max(task.height, task.width)}
        options |= sides
    model = getattr(torchvision.models.detection, task.model)(
        weights=None, weights_backbone=backbone, num_classes=num_classes + 1, **options
    )
    if task.model.startswith("ssd"):  # whose function fixes 320 x 320; its anchors are relative
        model.transform.fixed_size = (task.width, task.height)
    return model.to(task.device)


class TorchvisionModel(Model):
    """A detector of torchvision."""

    def __init__(self, model: nn.Module, device: str) -> None:
        self.parameters = sum(parameter.numel() for parameter in model.parameters())
        self._model = model.eval()
        self._device = device

    def read(self, path: str) -> Tensor:
        """Read a picture as (3, H, W), uint8."""
        return v2.functional.pil_to_tensor(read_rgb(path))

    @torch.inference_mode()
    def detect(self, picture: Tensor) -> Found:
        """Detect in a picture that `read` gave."""
        (found,) = self._model([picture.to(self._device).float() / 255])
        labels = found["labels"] - 1
        return Found(found["boxes"].tolist(), found["scores"].tolist(), labels.tolist())


class TorchvisionPeer(Peer):
    """Trains MODELS from random and from ImageNet weights."""

    def versions(self) -> dict[str, str]:
        """Return the versions of torchvision and PyTorch."""
        return {"torchvision": torchvision.__version__, "torch": torch.__version__}

    def models(self) -> list[tuple[str, str]]:
        """Return each model with random and with ImageNet weights."""
        return [(model, weights) for model in MODELS for weights in ("random", "ImageNet")]

    def train(self, task: Task) -> None:
        """Train until the minutes are over."""
        recipe = Recipe(task.model)
        model = build(task, len(task.train.class_names), task.weights).train()
        parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
        optimizer = torch.optim.SGD(
            parameters, recipe.rate, momentum=0.9, weight_decay=recipe.weight_decay
        )
        batches = endless(Pictures(task.train, recipe.transform), task)
        start, share, step = time.monotonic(), 0.0, 0
        while share < 1:
            for group in optimizer.param_groups:
                group["lr"] = recipe.rate_at(share)
            loss = train_step(model, optimizer, next(batches), task.device)
            step += 1
            share = (time.monotonic() - start) / (60 * task.minutes)
            print(f"step {step}, {100 * share:.0f}% of the time, loss {loss:.3f}", flush=True)
        torch.save(model.state_dict(), Path(task.output) / WEIGHTS)

    def load(self, task: Task, is_timed: bool) -> TorchvisionModel:
        """Load the weights of the training."""
        options = {} if is_timed else {"score_thresh": LOWEST_SCORE}
        if "rcnn" in task.model:
            options = {f"box_{key}": value for key, value in options.items()}
        model = build(task, len(task.val.class_names), "random", **options)
        state = torch.load(Path(task.output) / WEIGHTS, map_location=task.device, weights_only=True)
        model.load_state_dict(state)
        return TorchvisionModel(model, task.device)


def endless(pictures: Pictures, task: Task) -> Iterator[list[tuple[Tensor, dict[str, Tensor]]]]:
    """Give batches without end, in another order each time."""
    loader: DataLoader = DataLoader(
        pictures,
        BATCH,
        shuffle=True,
        num_workers=max(1, task.threads // 2),
        collate_fn=list,
        drop_last=len(pictures) >= BATCH,
        persistent_workers=True,
    )
    while True:
        yield from loader


def train_step(
    model: nn.Module, optimizer: torch.optim.Optimizer, batch: list[Any], device: str
) -> float:
    """Take one step; return the sum of the losses.

    Raises:
        FloatingPointError: it is not finite.
    """
    images = [image.to(device) for image, _ in batch]
    targets = [{key: value.to(device) for key, value in target.items()} for _, target in batch]
    loss: Tensor = sum(model(images, targets).values())
    if not loss.isfinite():
        raise FloatingPointError("The loss is not finite.")
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    return float(loss)


if __name__ == "__main__":
    main(TorchvisionPeer())
