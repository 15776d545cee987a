"""A run stops before a loss or gradient that is not finite changes a weight."""

import math
from typing import Any

import pytest
import torch
from torch import nn

from dyhead.d2.engine import SimpleTrainer
from dyhead.d2.utils.events import EventStorage
from dyhead.engine.guard import FiniteGuard, _all_finite

Batch = list[dict[str, Any]]


class Square(nn.Module):
    """Its loss is the square of weight times the image's value; `spoil` may replace the loss."""

    def __init__(self, spoil: Any = None) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(2))
        self.spoil = spoil

    def forward(self, batch: Batch) -> dict[str, torch.Tensor]:
        loss = sum((self.weight * image["value"]).square().sum() for image in batch)
        assert isinstance(loss, torch.Tensor)
        return {"loss_cls": loss, "loss_other": self.spoil(self.weight) if self.spoil else loss * 0}


def batch(value: float) -> Batch:
    return [
        {"file_name": "good.jpg", "image_id": 1, "value": 1.0},
        {"file_name": f"{value}.jpg", "image_id": 2, "value": value},
    ]


def run(model: nn.Module, batches: list[Batch]) -> SimpleTrainer:
    optimizer = torch.optim.SGD(model.parameters(), 0.01)
    trainer = SimpleTrainer(model, batches, optimizer)
    trainer.register_hooks([FiniteGuard(model)])
    trainer.max_iter = len(batches)
    with EventStorage() as trainer.storage:
        for trainer.iter in range(len(batches)):
            trainer.run_step()
    return trainer


def test_finite_steps_pass_and_train() -> None:
    model = Square()
    run(model, [batch(1.0)] * 3)
    assert (model.weight < 1).all()


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_error_names_step_losses_and_images(value: float) -> None:
    with pytest.raises(FloatingPointError) as error:
        run(Square(), [batch(1.0), batch(value)])
    message = str(error.value)
    assert "Step 1:" in message and "loss_cls=" in message and "weight" in message
    assert f"Images: good.jpg, {value}.jpg." in message


def test_no_weight_is_changed_by_the_failing_step() -> None:
    model = Square()
    with pytest.raises(FloatingPointError):
        run(model, [batch(math.nan)])
    assert model.weight.tolist() == [1.0, 1.0]


def test_gradient_alone_is_enough() -> None:
    # sqrt at 0: the loss is 0, its gradient infinite
    model = Square(spoil=lambda weight: (weight - weight.detach()).sum().sqrt())
    with pytest.raises(FloatingPointError, match="Gradients: weight"):
        run(model, [batch(1.0)])
    assert model.weight.tolist() == [1.0, 1.0]


def test_loss_alone_is_enough() -> None:
    model = Square(spoil=lambda weight: weight.detach().sum() * math.nan)
    with pytest.raises(FloatingPointError, match="loss_other=nan"):
        run(model, [batch(1.0)])


def test_evaluation_is_not_watched() -> None:
    model = Square()
    guard = FiniteGuard(model)
    model.eval()(batch(1.0))
    assert guard._losses == {}


@pytest.mark.parametrize("largest", [1e19, 3e38])
def test_a_gradient_whose_square_overflows_is_finite_all_the_same(largest: float) -> None:
    gradients = [torch.ones(5), torch.tensor([largest, -largest])]
    assert _all_finite(gradients)
    assert not _all_finite([*gradients, torch.tensor([0.0, math.inf])])
    assert not _all_finite([*gradients, torch.tensor([math.nan, 0.0])])
