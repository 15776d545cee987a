"""Weights of other codes are recognised by their names and mean the same in our modules."""

import pickle
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
import torchvision
from safetensors.torch import save_file
from torch import Tensor, nn

import dyhead.modeling  # noqa: F401  registers the models
from dyhead.checkpoint import SafeCheckpointer
from dyhead.checkpoint.importers import import_weights, mmdetection, official
from dyhead.config import load_config
from dyhead.d2.config import CfgNode
from dyhead.d2.layers import ShapeSpec
from dyhead.d2.modeling import build_model, build_resnet_backbone
from dyhead.modeling.backbone.swin import SwinTransformer

CONFIGS = Path(__file__).parents[2] / "configs"
SMALL = [
    *("MODEL.DEVICE", "cpu", "MODEL.DYHEAD.NUM_CONVS", "1"),
    *("MODEL.DYHEAD.CHANNELS", "32", "MODEL.FPN.OUT_CHANNELS", "32"),
    *("MODEL.ATSS.NUM_CLASSES", "3"),
]
SMALL_SWIN = ["MODEL.SWINT.EMBED_DIM", "12", "MODEL.SWINT.DEPTHS", "[2, 2, 2, 2]"]
TINY_RESNET = ["MODEL.RESNETS.RES2_OUT_CHANNELS", "16", "MODEL.RESNETS.STEM_OUT_CHANNELS", "8"]


def make(config: str, *changes: str) -> tuple[CfgNode, nn.Module]:
    """A config and its model, small, with random numbers in every weight and statistic."""
    opts = [*SMALL, *(SMALL_SWIN if "swin" in config else TINY_RESNET), *changes]
    cfg, _ = load_config(str(CONFIGS / config), opts)
    torch.manual_seed(0)
    model = build_model(cfg)
    for value in [*model.parameters(), *(b for n, b in model.named_buffers() if "running" in n)]:
        nn.init.uniform_(value.data, 0.1, 1)
    return cfg, model.eval()


def assert_same_weights(model: nn.Module, other: nn.Module) -> None:
    ours, theirs = model.state_dict(), other.state_dict()
    assert ours.keys() == theirs.keys()
    for name, value in ours.items():
        assert torch.equal(value, theirs[name]), name


# --- Official DyHead -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "config", ["dyhead_r50_atss_fpn_1x.yaml", "dyhead_swint_atss_fpn_2x_ms.yaml"]
)
def test_official_checkpoint_comes_back(tmp_path: Path, config: str) -> None:
    cfg, model = make(config)
    names = official.to_official(model.state_dict())
    assert any(name.startswith("backbone.dyhead_tower.0.DyConv.2.bn") for name in names)
    assert not any(name.startswith("backbone.fpn.") for name in names)
    path = tmp_path / "official.pth"
    torch.save({"model": names, "optimizer": {"state": {}}, "iteration": 89999}, path)
    _, other = make(config)
    nn.init.zeros_(other.head.cls_logits.weight)
    SafeCheckpointer(other, cfg=cfg).load(str(path), checkpointables=[])
    assert_same_weights(other, model)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("MODEL.DYHEAD.COARSER_OFFSETS", "crop"),
        ("MODEL.FPN.RELU_BEFORE_P7", "False"),
        ("MODEL.DYHEAD.SIZE_DIVISIBILITY", "32"),
        ("INPUT.FORMAT", "RGB"),
        ("MODEL.ANCHOR_GENERATOR.OFFSET", "0.0"),
    ],
)
def test_a_config_that_disagrees_is_told_what_to_change(
    tmp_path: Path, key: str, value: str
) -> None:
    cfg, model = make("dyhead_r50_atss_fpn_1x.yaml", key, value)
    path = tmp_path / "official.pth"
    torch.save({"model": official.to_official(model.state_dict())}, path)
    with pytest.raises(ValueError, match=rf"official DyHead need.* set {key} .*dyhead convert"):
        SafeCheckpointer(model, cfg=cfg).load(str(path))
    SafeCheckpointer(model).load(str(path))  # without a config there is nothing to check


def test_another_number_of_blocks_is_noticed(tmp_path: Path) -> None:
    _, model = make("dyhead_r50_atss_fpn_1x.yaml")
    cfg, larger = make("dyhead_r50_atss_fpn_1x.yaml", "MODEL.DYHEAD.NUM_CONVS", "2")
    path = tmp_path / "official.pth"
    torch.save({"model": official.to_official(model.state_dict())}, path)
    with pytest.raises(ValueError, match=r"set MODEL.DYHEAD.NUM_CONVS 1 or"):
        SafeCheckpointer(larger, cfg=cfg).load(str(path))


def test_another_number_of_classes_is_reported_and_loads(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    _, model = make("dyhead_r50_atss_fpn_1x.yaml")
    cfg, other = make("dyhead_r50_atss_fpn_1x.yaml", "MODEL.ATSS.NUM_CLASSES", "7")
    path = tmp_path / "official.pth"
    torch.save({"model": official.to_official(model.state_dict())}, path)
    SafeCheckpointer(other, cfg=cfg).load(str(path))
    assert "other shape: 2 (head.cls_logits.bias, head.cls_logits.weight)" in caplog.text
    assert torch.equal(other.head.bbox_pred.weight, model.head.bbox_pred.weight)


# --- MMDetection ---------------------------------------------------------------------------------


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


def test_merging_order_undoes_mmdetections() -> None:
    weight = torch.randn(3, 20)
    assert torch.equal(mmdetection.official_merging_order(unfolded_order(weight)), weight)


# --- ImageNet backbones --------------------------------------------------------------------------


def resnet_of(cfg: CfgNode) -> nn.Module:
    return build_resnet_backbone(cfg, ShapeSpec(channels=3)).eval()


@pytest.mark.parametrize("depth", [18, 50])
def test_torchvision_resnet_gives_the_same_features(tmp_path: Path, depth: int) -> None:
    torch.manual_seed(0)
    theirs = getattr(torchvision.models, f"resnet{depth}")().eval()
    path = tmp_path / "resnet.pth"
    torch.save(theirs.state_dict(), path)
    cfg, _ = load_config("", ["MODEL.RESNETS.DEPTH", str(depth)])
    cfg.MODEL.RESNETS.STRIDE_IN_1X1 = False
    cfg.MODEL.RESNETS.OUT_FEATURES = ["res5"]
    if depth == 18:
        cfg.MODEL.RESNETS.RES2_OUT_CHANNELS = 64
    ours = resnet_of(cfg)
    SafeCheckpointer(ours).load(str(path))
    images = torch.randn(1, 3, 64, 96)
    with torch.no_grad():
        features = torchvision.models._utils.IntermediateLayerGetter(theirs, {"layer4": "res5"})
        expected = features(images)["res5"]
        actual = ours(images)["res5"]
    torch.testing.assert_close(actual, expected, rtol=1e-4, atol=1e-4)


def test_timm_resnet_has_the_same_names() -> None:
    imported = import_weights(timm.create_model("resnet50").state_dict())
    assert imported is not None
    assert (
        imported.weights.keys()
        == import_weights(torchvision.models.resnet50().state_dict()).weights.keys()
    )


def msra_blobs(model: nn.Module) -> dict[str, np.ndarray]:
    """A ResNet's weights as the MSRA files name them."""
    blobs = {"fc1000_w": np.zeros((2, 2), np.float32), "conv1_w_momentum": np.zeros(1, np.float32)}
    branches = {
        "conv1": "branch2a",
        "conv2": "branch2b",
        "conv3": "branch2c",
        "shortcut": "branch1",
    }
    for name, value in model.state_dict().items():
        if "running" in name or "num_batches" in name:
            continue
        stage, *rest = name.split(".")
        kind = {"weight": "w"}[rest[-1]] if "norm" not in rest else f"bn_{rest[-1][0]}"
        kind = {"bn_w": "bn_s"}.get(kind, kind)
        if stage == "stem":
            key = "conv1_w" if kind == "w" else f"res_conv1_{kind}"
        else:
            key = f"{stage}_{rest[0]}_{branches[rest[1]]}_{kind}"
        blobs[key] = value.numpy()
    return blobs


def test_msra_pickle_loads_with_statistics_folded_in(tmp_path: Path) -> None:
    cfg, model = make("dyhead_r50_atss_fpn_1x.yaml")
    bottom_up = model.backbone.fpn.bottom_up
    path = tmp_path / "R-50.pkl"
    path.write_bytes(pickle.dumps(msra_blobs(bottom_up), protocol=2))
    _, other = make("dyhead_r50_atss_fpn_1x.yaml")
    for parameter in other.parameters():
        nn.init.zeros_(parameter.data)
    SafeCheckpointer(other, cfg=cfg).load(str(path))
    loaded = other.backbone.fpn.bottom_up.state_dict()
    for name, value in bottom_up.state_dict().items():
        if "running_mean" in name:
            value = torch.zeros_like(value)
        if "running_var" in name:
            value = torch.full_like(value, 1 - 1e-5)
        assert torch.equal(loaded[name], value), name


def test_caffe2_statistics_group_norm_and_strangers_are_kept() -> None:
    weights = {
        "conv1_w": torch.zeros(4, 3, 7, 7),
        "res_conv1_bn_s": torch.ones(4),
        "res_conv1_bn_rm": torch.full((4,), 2.0),
        "res_conv1_bn_riv": torch.full((4,), 3.0),
        "res2_0_branch2a_w": torch.zeros(8, 4, 1, 1),
        "res2_0_branch2b_w": torch.zeros(8, 2, 3, 3),  # 4 groups: a ResNeXt
        "mystery": torch.zeros(1),
        "pred_w": torch.zeros(1),
    }
    imported = import_weights(weights)
    assert imported is not None
    assert torch.equal(imported.weights["stem.conv1.norm.running_mean"], torch.full((4,), 2.0))
    assert torch.equal(imported.weights["stem.conv1.norm.running_var"], torch.full((4,), 3.0))
    assert "mystery" in imported.weights and "pred_w" not in imported.weights
    assert imported.requirements["MODEL.RESNETS.STRIDE_IN_1X1"] is False
    assert imported.requirements["MODEL.PIXEL_STD"][0] == 57.375

    with_groups = import_weights(
        {
            "conv1_w": torch.zeros(4, 3, 7, 7),
            "conv1_gn_s": torch.ones(4),
            "res2_0_branch2a_w": torch.zeros(4, 4, 1, 1),
            "res2_0_branch2a_gn_b": torch.ones(4),
        }
    )
    assert with_groups is not None
    assert with_groups.weights.keys() == {
        "stem.conv1.weight",
        "stem.conv1.norm.weight",
        "res2.0.conv1.weight",
        "res2.0.conv1.norm.bias",
    }
    assert with_groups.requirements["MODEL.RESNETS.STRIDE_IN_1X1"] is False


def test_backbone_under_detectron2s_names(tmp_path: Path) -> None:
    cfg, model = make("dyhead_r50_atss_fpn_1x.yaml")
    weights = {n: v.numpy() for n, v in model.backbone.fpn.bottom_up.state_dict().items()}
    weights["stem.fc.weight"] = np.zeros((2, 2), np.float32)
    path = tmp_path / "R-50.pkl"
    zoo = {"model": weights, "__author__": "torchvision", "matching_heuristics": True}
    path.write_bytes(pickle.dumps(zoo))
    _, other = make("dyhead_r50_atss_fpn_1x.yaml")
    for parameter in other.parameters():
        nn.init.zeros_(parameter.data)
    SafeCheckpointer(other, cfg=cfg).load(str(path))
    assert_same_weights(other.backbone.fpn.bottom_up, model.backbone.fpn.bottom_up)


def test_backbone_trained_otherwise_gets_a_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    cfg, model = make("dyhead_r50_atss_fpn_1x.yaml", "MODEL.RESNETS.STRIDE_IN_1X1", "False")
    path = tmp_path / "R-50.pkl"
    path.write_bytes(pickle.dumps(msra_blobs(model.backbone.fpn.bottom_up)))
    SafeCheckpointer(model, cfg=cfg).load(str(path))
    assert "trained with other settings" in caplog.text
    assert "MODEL.RESNETS.STRIDE_IN_1X1 True" in caplog.text
    assert "INPUT.FORMAT" not in caplog.text


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


# --- Other sources and files ---------------------------------------------------------------------


def test_detectron2s_pyramid_goes_below_dyhead(tmp_path: Path) -> None:
    cfg, model = make("dyhead_r50_atss_fpn_1x.yaml")
    zoo = {
        name.replace("backbone.fpn.", "backbone."): value.numpy()
        for name, value in model.state_dict().items()
        if name.startswith("backbone.fpn.")
    }
    zoo["head.cls_score.weight"] = np.zeros((1, 1), np.float32)
    path = tmp_path / "model_final.pkl"
    path.write_bytes(pickle.dumps({"model": zoo, "__author__": "Detectron2 Model Zoo"}))
    _, other = make("dyhead_r50_atss_fpn_1x.yaml")
    nn.init.zeros_(other.backbone.fpn.fpn_lateral3.weight)
    SafeCheckpointer(other, cfg=cfg).load(str(path))
    assert torch.equal(
        other.backbone.fpn.fpn_lateral3.weight, model.backbone.fpn.fpn_lateral3.weight
    )


def test_counters_of_batch_norm_come_back(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    cfg, model = make("dyhead_r50_atss_fpn_1x.yaml", "MODEL.FPN.NORM", "BN")
    for name, buffer in model.named_buffers():
        if name.endswith("num_batches_tracked"):
            buffer.fill_(7)
    SafeCheckpointer(model, str(tmp_path)).save("own")
    _, other = make("dyhead_r50_atss_fpn_1x.yaml", "MODEL.FPN.NORM", "BN")
    SafeCheckpointer(other, cfg=cfg).load(str(tmp_path / "own.pth"))
    assert_same_weights(other, model)
    assert not [record for record in caplog.records if record.levelname == "WARNING"]


def test_training_states_of_other_codes_stay_out(tmp_path: Path) -> None:
    cfg, model = make("dyhead_r50_atss_fpn_1x.yaml")
    path = tmp_path / "official.pth"
    state = {"state": {0: {"momentum_buffer": torch.zeros(3)}}, "param_groups": []}
    names = official.to_official(model.state_dict())
    torch.save({"model": names, "optimizer": state, "iteration": 89999}, path)
    optimizer = torch.optim.SGD(model.parameters(), lr=1)
    rest = SafeCheckpointer(model, cfg=cfg, optimizer=optimizer).load(str(path))
    assert not optimizer.state and "iteration" not in rest


def test_own_weights_as_safetensors(tmp_path: Path) -> None:
    cfg, model = make("dyhead_r50_atss_fpn_1x.yaml", "MODEL.DYHEAD.COARSER_OFFSETS", "resize")
    save_file(model.state_dict(), tmp_path / "own.safetensors")
    _, other = make("dyhead_r50_atss_fpn_1x.yaml")
    nn.init.zeros_(other.head.cls_logits.weight)
    SafeCheckpointer(other, cfg=cfg).load(str(tmp_path / "own.safetensors"))
    assert_same_weights(other, model)


def test_the_kind_of_file_is_told_by_its_content(tmp_path: Path) -> None:
    model = nn.Linear(2, 2)
    save_file(model.state_dict(), tmp_path / "misnamed.pth")
    torch.save(model.state_dict(), tmp_path / "misnamed.pkl")
    torch.save(model.state_dict(), tmp_path / "old.pkl", _use_new_zipfile_serialization=False)
    for name in ("misnamed.pth", "misnamed.pkl", "old.pkl"):
        other = nn.Linear(2, 2)
        SafeCheckpointer(other).load(str(tmp_path / name))
        assert torch.equal(other.weight, model.weight)


def test_weights_of_another_detector_are_refused(tmp_path: Path) -> None:
    cfg, model = make("dyhead_r50_atss_fpn_1x.yaml")
    _, swin = make("dyhead_swint_atss_fpn_2x_ms.yaml")
    path = tmp_path / "swin.pth"
    bottom_up = swin.backbone.fpn.bottom_up.state_dict()
    torch.save({"model": bottom_up}, path)
    with pytest.raises(ValueError, match=r"Hardly a weight .*MODEL.BACKBONE.NAME"):
        SafeCheckpointer(model, cfg=cfg).load(str(path))


def test_the_same_names_with_other_shapes_are_no_match(tmp_path: Path) -> None:
    cfg, model = make("dyhead_swint_atss_fpn_2x_ms.yaml")
    changes = ("MODEL.SWINT.EMBED_DIM", "24", "MODEL.DYHEAD.CHANNELS", "16")
    _, other = make("dyhead_swint_atss_fpn_2x_ms.yaml", *changes)
    path = tmp_path / "official.pth"
    torch.save({"model": official.to_official(other.state_dict())}, path)
    with pytest.raises(ValueError, match="Hardly a weight"):
        SafeCheckpointer(model, cfg=cfg).load(str(path))


@pytest.mark.parametrize(
    ("meta_architecture", "backbone"),
    [
        ("RetinaNet", "build_retinanet_resnet_fpn_dyhead_backbone"),
        ("GeneralizedRCNN", "build_resnet_fpn_dyhead_backbone"),
    ],
)
def test_official_detectors_of_detectron2_come_back(
    tmp_path: Path, meta_architecture: str, backbone: str
) -> None:
    levels = [f"p{level}" for level in ((3, 4, 5, 6, 7) if "retina" in backbone else (2, 3, 4, 5))]
    stages = [f"res{level[1]}" for level in levels if int(level[1]) < 6]
    changes: dict[str, Any] = {
        "MODEL.META_ARCHITECTURE": meta_architecture,
        "MODEL.BACKBONE.NAME": backbone,
        "MODEL.RESNETS.OUT_FEATURES": stages,
        "MODEL.FPN.IN_FEATURES": stages,
        "MODEL.RPN.IN_FEATURES": [*levels, "p6"],
        "MODEL.ROI_HEADS.NAME": "StandardROIHeads",
        "MODEL.ROI_HEADS.IN_FEATURES": levels,
        "MODEL.ROI_BOX_HEAD.NAME": "FastRCNNConvFCHead",
        "MODEL.ROI_BOX_HEAD.NUM_FC": 1,
        "MODEL.ROI_BOX_HEAD.FC_DIM": 8,
        "MODEL.ROI_BOX_HEAD.POOLER_RESOLUTION": 2,
        "MODEL.ANCHOR_GENERATOR.SIZES": [[32], [64], [128], [256], [512]],
    }
    opts = [str(part) for item in changes.items() for part in item]
    cfg, _ = load_config("", [*SMALL, *TINY_RESNET, *opts])
    model, other = build_model(cfg), build_model(cfg)
    path = tmp_path / "official.pth"
    torch.save({"model": official.to_official(model.state_dict())}, path)
    SafeCheckpointer(other, cfg=cfg).load(str(path))
    assert_same_weights(other, model)
