"""A trace holds the deformable convolution as one operator, on every back end."""

import io

import pytest
import torch

from dyhead.layers import DyHeadBlock
from dyhead.ops import choose_backend
from dyhead.ops.backends import BACKEND_VARIABLE

SIZES = [(12, 16), (6, 8), (3, 4)]


def make_levels(seed: int) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(1, 16, *size, generator=generator) for size in SIZES]


class Listed(torch.nn.Module):
    """A block that takes its levels one by one and gives a tuple."""

    def __init__(self, block: DyHeadBlock) -> None:
        super().__init__()
        self.block = block

    def forward(self, *levels: torch.Tensor) -> tuple[torch.Tensor, ...]:
        return tuple(self.block(list(levels)))


@pytest.mark.parametrize("backend", ["bags", "torchvision", "cpp"])
def test_a_traced_block_gives_other_inputs_their_values(
    backend: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(BACKEND_VARIABLE, backend)
    try:
        choose_backend(torch.device("cpu"))
    except ValueError as error:
        pytest.skip(str(error))
    torch.manual_seed(0)
    module = Listed(DyHeadBlock(16, 16)).eval()
    with torch.no_grad():
        traced = torch.jit.trace(module, tuple(make_levels(0)))
        file = io.BytesIO()
        torch.jit.save(traced, file)
        file.seek(0)
        loaded = torch.jit.load(file)
        for found, expected in zip(loaded(*make_levels(1)), module(*make_levels(1)), strict=True):
            torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)


def test_the_legacy_onnx_exporter_refuses_in_one_sentence() -> None:
    pytest.importorskip("onnx")
    module = Listed(DyHeadBlock(16, 16)).eval()
    with pytest.raises(Exception, match="legacy ONNX exporter cannot export a deformable"):
        torch.onnx.export(module, tuple(make_levels(0)), io.BytesIO(), dynamo=False)
