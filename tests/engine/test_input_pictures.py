"""TensorBoard shows the pictures that the model was trained on first, with their boxes."""

import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from dyhead.d2.config import CfgNode
from dyhead.engine.input_pictures import TAG, InputPicturesHook
from dyhead.engine.trainer import Trainer
from dyhead.visualization.model_input import draw_model_input

MakeConfig = Callable[..., CfgNode]

pytestmark = pytest.mark.usefixtures("without_pictures")


def train(cfg: CfgNode) -> list[list[dict]]:
    """Train, and return the batches that the model was given."""
    trainer = Trainer(cfg)
    seen: list[list[dict]] = []
    trainer.model.register_forward_pre_hook(
        lambda model, inputs: seen.append(inputs[0]) if model.training else None
    )
    trainer.resume_or_load(resume=False)
    trainer.train()
    return seen


def test_the_first_two_batches_are_shown_as_the_model_got_them(make_config: MakeConfig) -> None:
    cfg = make_config(**{"SOLVER.MAX_ITER": 4})
    seen = train(cfg)
    events = EventAccumulator(cfg.OUTPUT_DIR, size_guidance={"images": 0}).Reload()
    assert events.Tags()["images"] == [f"{TAG}/{i}" for i in range(len(seen[0]))]
    for index in range(len(seen[0])):
        shown = events.Images(f"{TAG}/{index}")
        assert [each.step for each in shown] == [0, 1]
        for each, batch in zip(shown, seen, strict=False):
            picture = Image.open(io.BytesIO(each.encoded_image_string))
            expected = draw_model_input(batch[index], cfg.INPUT.FORMAT, ("plain", "other"))
            assert np.array_equal(np.asarray(picture), np.asarray(expected))


def test_without_tensorboard_nothing_is_drawn(
    make_config: MakeConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(InputPicturesHook, "is_useful", staticmethod(lambda: False))
    cfg = make_config(**{"SOLVER.MAX_ITER": 2})
    train(cfg)
    (file,) = Path(cfg.OUTPUT_DIR).glob("events.out.tfevents*")
    assert "images" not in {k for k, v in EventAccumulator(str(file)).Reload().Tags().items() if v}
