"""The project's operators in ONNX, compared with themselves on small cases."""

import pytest
import torch
from torch import nn

from dyhead.ops import modulated_deform_conv2d, non_max_suppression

pytest.importorskip("onnx")
pytest.importorskip("onnxscript")
onnxruntime = pytest.importorskip("onnxruntime")

from dyhead.export import translation_table  # noqa: E402


class Convolution(nn.Module):
    """Every number that could be swapped with another is a different one."""

    geometry = {"stride": (1, 2), "padding": (2, 1), "dilation": (1, 2)}

    def __init__(self, with_bias):
        super().__init__()
        torch.manual_seed(0)
        self.weight = nn.Parameter(torch.randn(5, 3, 3, 2))
        self.bias = nn.Parameter(torch.randn(5)) if with_bias else None

    def forward(self, x, offset, mask):
        return modulated_deform_conv2d(x, offset, mask, self.weight, self.bias, **self.geometry)


class Suppression(nn.Module):
    def forward(self, boxes, scores, classes):
        return non_max_suppression(boxes, scores, classes, 3, 0.4)


def run_as_onnx(module, inputs, path):
    torch.onnx.export(
        module,
        inputs,
        str(path),
        dynamo=True,
        opset_version=20,
        custom_translation_table=translation_table(),
        external_data=False,
        verbose=False,
    )
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    names = [entry.name for entry in session.get_inputs()]
    values = [each.numpy() for each in inputs]
    (output,) = session.run(None, dict(zip(names, values, strict=True)))
    return torch.from_numpy(output)


@torch.no_grad()
@pytest.mark.parametrize("with_bias", [True, False])
def test_deformable_convolutions_are_the_same(with_bias, tmp_path):
    module = Convolution(with_bias).eval()
    x = torch.randn(2, 3, 8, 11)
    height, width = 8 + 2 * 2 - 2, (11 + 2 - 2 - 1) // 2 + 1
    offset, mask = torch.randn(2, 12, height, width) * 3, torch.rand(2, 6, height, width)
    expected = module(x, offset, mask)
    actual = run_as_onnx(module, (x, offset, mask), tmp_path / "model.onnx")
    torch.testing.assert_close(actual, expected, rtol=1e-4, atol=1e-4)


@torch.no_grad()
def test_suppressions_are_the_same(tmp_path):
    generator = torch.Generator().manual_seed(0)
    corners = torch.rand(3, 50, 2, generator=generator) * 40
    sides = 10 + torch.rand(3, 50, 2, generator=generator) * 30
    scores = torch.rand(3, 50, generator=generator)
    scores[:, ::4] = -1
    scores[2] = -1  # nothing to suppress
    classes = torch.randint(0, 3, (3, 50), generator=generator)
    inputs = torch.cat((corners, corners + sides), dim=-1), scores, classes
    expected = Suppression()(*inputs)
    assert 0 < expected.sum() < expected.numel()
    assert torch.equal(run_as_onnx(Suppression().eval(), inputs, tmp_path / "model.onnx"), expected)
