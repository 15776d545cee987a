"""ImageNet weights of Swin Transformers give the same features under our names."""

from pathlib import Path
from typing import Any

import timm
import torch
import torchvision
from small_models import make
from torch import Tensor, nn

from dyhead.checkpoint import SafeCheckpointer
from dyhead.checkpoint.importers import import_weights
from dyhead.modeling.backbone.swin import SwinTransformer

TINY_SWIN: dict[str, Any] = {"embed_dim": 12, "depths": (2, 2, 2, 2), "num_heads": (1, 2, 3, 4)}


def assert_swin_features(weights: dict[str, Tensor], expected: Tensor, images: Tensor) -> None:
    """Ours, loaded from a file of `weights`, give the last stage before its norm as `expected`."""
    ours = SwinTransformer(["stage5"], drop_path_rate=0.0, **TINY_SWIN).eval()
    imported = import_weights(weights)
    assert imported is not None
    incompatible = ours.load_state_dict(imported.weights, strict=False)
    assert incompatible.missing_keys == ["norm3.weight", "norm3.bias"]
    assert not incompatible.unexpected_keys
    with torch.no_grad():
        actual = ours(images)["stage5"].permute(0, 2, 3, 1)
    normal = nn.functional.layer_norm(expected, expected.shape[-1:])
    torch.testing.assert_close(actual, normal, rtol=1e-4, atol=1e-4)


def test_timm_swin_gives_the_same_features() -> None:
    torch.manual_seed(0)
    theirs = timm.models.swin_transformer.SwinTransformer(img_size=448, **TINY_SWIN).eval()
    images = torch.randn(1, 3, 448, 448)  # every stage has several windows
    with torch.no_grad():
        expected = theirs.layers(theirs.patch_embed(images))
    assert_swin_features(theirs.state_dict(), expected, images)


def test_torchvision_swin_gives_the_same_features() -> None:
    torch.manual_seed(0)
    theirs = torchvision.models.SwinTransformer(
        patch_size=[4, 4],
        window_size=[7, 7],
        embed_dim=TINY_SWIN["embed_dim"],
        depths=list(TINY_SWIN["depths"]),
        num_heads=list(TINY_SWIN["num_heads"]),
    ).eval()
    images = torch.randn(1, 3, 328, 264)
    with torch.no_grad():
        expected = theirs.features(images)
    assert_swin_features(theirs.state_dict(), expected, images)


def test_swins_own_file_fits_as_it_is(tmp_path: Path) -> None:
    cfg, model = make("dyhead_swint_atss_fpn_2x_ms.yaml")
    bottom_up = model.backbone.fpn.bottom_up
    state = {n: v for n, v in bottom_up.state_dict().items() if not n.startswith("norm")}
    state |= {"norm.weight": torch.zeros(96), "head.weight": torch.zeros(5, 96)}
    state |= {"layers.0.blocks.1.attn_mask": torch.zeros(4)}
    path = tmp_path / "swin.pth"
    torch.save({"model": state}, path)
    _, other = make("dyhead_swint_atss_fpn_2x_ms.yaml")
    for parameter in other.parameters():
        nn.init.zeros_(parameter.data)
    SafeCheckpointer(other, cfg=cfg).load(str(path))
    loaded = other.backbone.fpn.bottom_up.state_dict()
    for name, value in bottom_up.state_dict().items():
        assert name.startswith("norm") or torch.equal(loaded[name], value), name
