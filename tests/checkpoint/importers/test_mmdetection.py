"""MMDetection's checkpoints are recognised and mean the same in our modules."""

import re
from pathlib import Path

import pytest
import torch
from small_models import assert_same_weights, make
from torch import Tensor, nn

from dyhead.checkpoint import SafeCheckpointer
from dyhead.checkpoint.importers import mmdetection


def mmdetection_names(own: dict[str, Tensor]) -> dict[str, Tensor]:
    """Own weights as MMDetection keeps them, written from its modules' names."""
    parts = {
        "spatial_attention.coarser.norm": "spatial_conv_high.norm",
        "spatial_attention.same.norm": "spatial_conv_mid.norm",
        "spatial_attention.finer.norm": "spatial_conv_low.norm",
        "spatial_attention.coarser": "spatial_conv_high.conv",
        "spatial_attention.same": "spatial_conv_mid.conv",
        "spatial_attention.finer": "spatial_conv_low.conv",
        "spatial_attention.offset_and_mask": "spatial_conv_offset",
        "scale_attention.score": "scale_attn_module.1",
        "task_attention.squeeze": "task_attn_module.conv1.conv",
        "task_attention.expand": "task_attn_module.conv2.conv",
    }
    theirs = {}
    for name, value in own.items():
        for prefix, kind in (("backbone.blocks.", "neck.1.dyhead_blocks."),):
            name = name.replace(prefix, kind)
        for ours, part in parts.items():
            name = name.replace(ours, part)
        if "task_attn_module" in name and name.endswith("weight"):
            value = value[:, :, None, None]
        name = re.sub(
            r"backbone.fpn.fpn_(lateral|output)(\d)",
            lambda m: (
                f"neck.0.{'lateral' if m[1] == 'lateral' else 'fpn'}_convs.{int(m[2]) - 3}.conv"
            ),
            name,
        )
        name = re.sub(
            r"backbone.fpn.top_block.p(\d)",
            lambda m: f"neck.0.fpn_convs.{int(m[1]) - 3}.conv",
            name,
        )
        name = name.replace("head.cls_logits", "bbox_head.atss_cls")
        name = name.replace("head.bbox_pred", "bbox_head.atss_reg")
        name = name.replace("head.centerness", "bbox_head.atss_centerness")
        name = name.replace("head.scales", "bbox_head.scales")
        name, value = mmdetection_backbone(
            name.replace("backbone.fpn.bottom_up", "backbone"), value
        )
        theirs[name] = value
    return theirs


def mmdetection_backbone(name: str, value: Tensor) -> tuple[str, Tensor]:
    name = re.sub(r"stem\.conv1\.norm", "bn1", name).replace("stem.conv1", "conv1")
    name = re.sub(r"res(\d)", lambda m: f"layer{int(m[1]) - 1}", name)
    name = name.replace("shortcut.norm", "downsample.1").replace("shortcut", "downsample.0")
    name = re.sub(r"(layer\d\.\d+)\.conv(\d)\.norm", r"\1.bn\2", name)
    name = name.replace("patch_embed.proj", "patch_embed.projection")
    name = re.sub(r"backbone\.layers", "backbone.stages", name)
    name = re.sub(r"attn\.(qkv|proj|rel)", r"attn.w_msa.\1", name)
    name = name.replace("mlp.fc1", "ffn.layers.0.0").replace("mlp.fc2", "ffn.layers.1")
    if "downsample.reduction" in name or "downsample.norm" in name:
        value = unfolded_order(value)
    return name, value


def unfolded_order(value: Tensor) -> Tensor:
    """From (0,0), (1,0), (0,1), (1,1) blocks of channels to channels of rows of positions."""
    channels = value.shape[-1] // 4
    order = [block * channels + c for c in range(channels) for block in (0, 2, 1, 3)]
    return value[..., order]


@pytest.mark.parametrize(
    "config",
    [
        "dyhead_r50_atss_fpn_1x_mmdet_reproduction.yaml",
        "dyhead_r50_atss_fpn_1x_mmdet_simple.yaml",
        "dyhead_swinl_atss_fpn_2x_ms_mmdet.yaml",
    ],
)
def test_mmdetection_checkpoint_comes_back(
    tmp_path: Path, config: str, caplog: pytest.LogCaptureFixture
) -> None:
    cfg, model = make(config)
    path = tmp_path / "mmdetection.pth"
    state = mmdetection_names(model.state_dict())
    assert not any("fpn_lateral" in n or n.startswith("head.") for n in state)
    torch.save({"meta": {"epoch": 12, "CLASSES": ("a", "b")}, "state_dict": state}, path)
    _, other = make(config)
    for parameter in other.parameters():
        nn.init.zeros_(parameter.data)
    SafeCheckpointer(other, cfg=cfg).load(str(path))
    biases = [n for n in model.state_dict() if re.search(r"(same|finer|coarser)\.bias", n)]
    assert not biases
    assert_same_weights(other, model)
    assert "Weights from MMDetection" in caplog.text or not caplog.text


def test_mmdetection_weights_need_mmdetections_options(tmp_path: Path) -> None:
    _, model = make("dyhead_r50_atss_fpn_1x_mmdet_simple.yaml")
    path = tmp_path / "simple.pth"
    torch.save({"state_dict": mmdetection_names(model.state_dict())}, path)
    cfg, other = make("dyhead_r50_atss_fpn_1x.yaml", "MODEL.ATSS.PREDICTOR_KERNEL_SIZE", "3")
    with pytest.raises(ValueError) as error:
        SafeCheckpointer(other, cfg=cfg).load(str(path))
    for wanted in (
        "MODEL.FPN.RELU_BEFORE_P7 False",
        "MODEL.ATSS.RANK_BY_CENTERNESS False",
        "MODEL.ATSS.CLIP_BEFORE_NMS True",
        "MODEL.DYHEAD.SIZE_DIVISIBILITY 32",
        "MODEL.ANCHOR_GENERATOR.OFFSET 0.0",
        "INPUT.FORMAT RGB",
        "MODEL.RESNETS.STRIDE_IN_1X1 False",
    ):
        assert wanted in str(error.value)


def test_convolutions_without_bias_get_biases_of_zero(tmp_path: Path) -> None:
    _, without = make("dyhead_r50_atss_fpn_1x_mmdet_reproduction.yaml")
    path = tmp_path / "mmdetection.pth"
    torch.save({"state_dict": mmdetection_names(without.state_dict())}, path)
    config = "dyhead_r50_atss_fpn_1x_mmdet_reproduction.yaml"
    cfg, with_bias = make(config, "MODEL.DYHEAD.BIAS", "True")
    SafeCheckpointer(with_bias, cfg=cfg).load(str(path))
    levels = [torch.randn(1, 32, 4, 4), torch.randn(1, 32, 2, 2)]
    for ours, theirs in zip(
        with_bias.backbone.blocks[0](levels), without.backbone.blocks[0](levels), strict=True
    ):
        torch.testing.assert_close(ours, theirs)


@pytest.mark.parametrize("first", [2, 3])
def test_a_pyramids_levels_are_counted_from_its_finest(first: int) -> None:
    """It ends with those of a backbone's last stage, P5, and what is computed of it."""
    number = 6 - first
    theirs = [f"neck.0.lateral_convs.{i}.conv.weight" for i in range(number)]
    theirs += [f"neck.0.fpn_convs.{i}.conv.weight" for i in range(number + 1)]
    expected = [f"backbone.fpn.fpn_lateral{i}.weight" for i in range(first, 6)]
    expected += [f"backbone.fpn.fpn_output{i}.weight" for i in range(first, 6)]
    expected += ["backbone.fpn.top_block.p6.weight"]
    imported = mmdetection.convert(dict.fromkeys(theirs, torch.zeros(1)))
    assert list(imported.weights) == expected


def test_merging_order_undoes_mmdetections() -> None:
    weight = torch.randn(3, 20)
    assert torch.equal(mmdetection.official_merging_order(unfolded_order(weight)), weight)
