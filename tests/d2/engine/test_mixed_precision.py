"""Mixed precision of the embedded host, which also runs on a CPU."""

import itertools

import pytest
import torch
from embedded_host.engine import AMPTrainer, SimpleTrainer
from torch import nn


class Regression(nn.Module):
    """Fits x -> 2 x and notes the type that it computes in."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(4, 4)
        self.computed_in: set[torch.dtype] = set()

    def forward(self, x):
        y = self.layer(x)
        self.computed_in.add(y.dtype)
        return {"loss": (y.float() - 2 * x).square().mean()}


def train(trainer_type, **kwargs):
    torch.manual_seed(0)
    model = Regression()
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    data = itertools.cycle(torch.randn(5, 8, 4))
    trainer = trainer_type(model, data, optimizer, **kwargs)
    trainer.train(0, 20)
    return trainer


def losses(trainer) -> list[float]:
    return [loss for loss, _ in trainer.storage.history("total_loss").values()]


def test_it_learns_as_full_precision_does():
    mixed, full = train(AMPTrainer), train(SimpleTrainer)
    assert mixed.model.computed_in == {torch.bfloat16}
    assert mixed.model.layer.weight.dtype == torch.float32
    assert losses(mixed) == pytest.approx(losses(full), rel=0.02)


@pytest.mark.parametrize("zero_grad_before_forward", [False, True])
def test_a_scaled_loss_takes_the_same_steps(zero_grad_before_forward):
    kwargs = {"zero_grad_before_forward": zero_grad_before_forward}
    scaler = torch.amp.GradScaler("cpu", init_scale=256.0)
    scaled = train(AMPTrainer, grad_scaler=scaler, log_grad_scaler=True, **kwargs)
    assert scaled.storage.latest()["[metric]grad_scaler"][0] == 256.0
    assert losses(scaled) == pytest.approx(losses(train(AMPTrainer, **kwargs)), rel=1e-3)


def test_its_state_is_restored():
    trainer = train(AMPTrainer, grad_scaler=torch.amp.GradScaler("cpu", init_scale=256.0))
    restored = train(AMPTrainer, grad_scaler=torch.amp.GradScaler("cpu", init_scale=2.0))
    restored.load_state_dict(trainer.state_dict())
    assert restored.grad_scaler.get_scale() == 256.0
    restored.load_state_dict(train(AMPTrainer).state_dict())  # one that did not scale
    assert restored.grad_scaler.get_scale() == 256.0


def test_several_devices_in_one_process_are_refused():
    model = nn.DataParallel(nn.Linear(1, 1))
    with pytest.raises(ValueError, match="one process for each device"):
        AMPTrainer(model, [], torch.optim.SGD(model.parameters(), 0.1))


def test_a_loss_that_is_not_finite_stops_a_thread_writing_metrics_too():
    model = Regression()
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    data = itertools.repeat(torch.full((1, 4), float("nan")))
    trainer = SimpleTrainer(model, data, optimizer, async_write_metrics=True)
    with pytest.raises(FloatingPointError):
        trainer.train(0, 3)
