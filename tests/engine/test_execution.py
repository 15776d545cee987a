"""Back end, memory layout, compilation and recomputation by config: the same model, other speed."""

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from small_backbone import SMALL_BACKBONE
from torch import nn

import dyhead.modeling  # noqa: F401  registers the models
from dyhead.d2.config import CfgNode
from dyhead.engine.execution import prepare_execution
from dyhead.engine.trainer import Trainer
from dyhead.errors import UserError
from dyhead.ops import choose_backend, set_default_backend
from dyhead.ops.backends import registry

MakeConfig = Callable[..., CfgNode]
SMALL_ATSS = {
    "MODEL.META_ARCHITECTURE": "ATSS",
    **SMALL_BACKBONE,
    "MODEL.ATSS.NUM_CONVS": 0,
    "MODEL.DYHEAD.NUM_CONVS": 2,
    "SOLVER.MAX_ITER": 2,
    "SOLVER.CHECKPOINT_PERIOD": 1000,
}
NEEDS_COMPILER = pytest.mark.skipif(
    not any(map(shutil.which, (os.environ.get("CXX", "g++"), "clang++"))), reason="no C++ compiler"
)


@pytest.fixture(autouse=True)
def own_choices(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """No back end chosen from outside, and none left behind, nor compiled code."""
    monkeypatch.delenv("DYHEAD_DEFORM_CONV", raising=False)
    yield
    set_default_backend("")
    torch.compiler.reset()


def build(cfg: CfgNode) -> Any:
    torch.manual_seed(0)
    return Trainer.build_model(cfg)


def features_and_gradients(model: Any, size: tuple[int, int] = (128, 128)) -> list[torch.Tensor]:
    """In float64: in float32 a sampling point now and then lies on the other side of a pixel."""
    torch.manual_seed(1)
    model.double()
    features = list(model.backbone(torch.randn(2, 3, *size, dtype=torch.float64)).values())
    total = sum((feature * feature).mean() for feature in features)
    trained = [p for p in model.backbone.parameters() if p.requires_grad]
    return [*features, *torch.autograd.grad(total, trained)]


def assert_alike(actual: list[torch.Tensor], expected: list[torch.Tensor]) -> None:
    for one, other in zip(actual, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-9 * other.abs().max().item())


def test_channels_last_changes_the_layout_and_nothing_else(make_config: MakeConfig) -> None:
    models = {
        enabled: build(make_config(**SMALL_ATSS, **{"MODEL.CHANNELS_LAST": enabled}))
        for enabled in (True, False)
    }
    states = {enabled: model.state_dict() for enabled, model in models.items()}
    assert list(states[True]) == list(states[False])
    for name, value in states[True].items():
        assert torch.equal(value, states[False][name])
    is_cpu = models[True].device.type == "cpu"  # there it waits for the evaluation
    weight = models[True].backbone.fpn.fpn_output3.weight
    assert weight.is_contiguous() == is_cpu
    models[True].to(memory_format=torch.channels_last)
    assert weight.is_contiguous(memory_format=torch.channels_last)
    feature = models[True].backbone(torch.randn(1, 3, 128, 160))["p3"]
    assert feature.is_contiguous(memory_format=torch.channels_last)
    assert_alike(*(features_and_gradients(models[enabled]) for enabled in (True, False)))


@pytest.mark.usefixtures("without_pictures")
@pytest.mark.parametrize("first", [True, False])
def test_checkpoints_fit_either_layout(
    make_config: MakeConfig, tmp_path: Path, first: bool
) -> None:
    output = {"OUTPUT_DIR": str(tmp_path / "run")}
    layouts = [torch.channels_last, torch.contiguous_format][:: 1 if first else -1]
    trained = Trainer(make_config(**SMALL_ATSS, **output))
    trained.model.to(memory_format=layouts[0])
    trained.train()
    resumed = Trainer(make_config(**{**SMALL_ATSS, **output, "SOLVER.MAX_ITER": 3}))
    resumed.model.to(memory_format=layouts[1])
    resumed.resume_or_load(resume=True)
    for name, value in trained.model.state_dict().items():
        assert torch.equal(resumed.model.state_dict()[name], value)
    resumed.train()


def test_config_chooses_the_deformable_convolution(make_config: MakeConfig) -> None:
    for name in ("torchvision", "pytorch"):
        build(make_config(**{"MODEL.DEFORM_CONV_BACKEND": name}))
        assert choose_backend(torch.device("cpu")) == name


def test_models_of_one_process_compute_with_their_own_settings(make_config: MakeConfig) -> None:
    own, models = [("torchvision", "high"), ("pytorch", "medium"), ("", "")], []
    before = torch.get_float32_matmul_precision()
    for backend, precision in own:
        settings = {"MODEL.DEFORM_CONV_BACKEND": backend, "FLOAT32_PRECISION": precision}
        models.append(build(make_config(**SMALL_ATSS, **settings)).eval())
    found = []
    for model in models:
        model.backbone.register_forward_hook(
            lambda *_: found.append(
                (registry._default_backend, torch.get_float32_matmul_precision())
            )
        )
    with torch.no_grad():
        for model in models:
            model([{"image": torch.zeros(3, 64, 64)}])
    assert found == [*own[:2], ("", before)]


@pytest.mark.parametrize("name", ["cudnn", "triton"])
def test_deformable_convolutions_that_cannot_run_are_refused_before_training(
    make_config: MakeConfig, name: str
) -> None:
    with pytest.raises(UserError, match=f"MODEL.DEFORM_CONV_BACKEND '{name}' "):
        build(make_config(**{"MODEL.DEFORM_CONV_BACKEND": name}))


def test_variable_that_names_no_back_end_is_refused_before_training(
    make_config: MakeConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DYHEAD_DEFORM_CONV", "fast")
    with pytest.raises(UserError, match="DYHEAD_DEFORM_CONV='fast'"):
        build(make_config())


def count_saved(model: Any) -> int:
    """Bytes that a forward pass of the blocks keeps for backward."""
    sizes = {}

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        sizes[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    features = {f"p{i}": torch.rand(1, 32, 2**k, 2**k) for i, k in ((3, 5), (4, 4), (5, 3))}
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        outputs = model.backbone.blocks(features)
    del outputs
    return sum(sizes.values())


def test_recomputing_blocks_keeps_less_and_gives_the_same(make_config: MakeConfig) -> None:
    models = {
        enabled: build(make_config(**SMALL_ATSS, **{"MODEL.DYHEAD.CHECKPOINT": enabled}))
        for enabled in (True, False)
    }
    assert list(models[True].state_dict()) == list(models[False].state_dict())
    assert count_saved(models[True]) < count_saved(models[False]) / 3
    results = [features_and_gradients(models[enabled]) for enabled in (True, False)]
    for one, other in zip(*results, strict=True):
        torch.testing.assert_close(one, other)


def test_fused_blocks_give_what_plain_ones_give(make_config: MakeConfig) -> None:
    models = [
        build(make_config(**SMALL_ATSS, **{"MODEL.DYHEAD.FUSED": fused})) for fused in (True, False)
    ]
    assert [model.backbone.blocks[0].fused for model in models] == [True, False]
    assert_alike(*map(features_and_gradients, models))


@pytest.mark.slow
@pytest.mark.parametrize("recompute", [False, True])
@pytest.mark.parametrize("fused", [True, False])
def test_backbone_compiles_without_a_graph_break(
    make_config: MakeConfig, fused: bool, recompute: bool
) -> None:
    keys = {"MODEL.DYHEAD.FUSED": fused, "MODEL.DYHEAD.CHECKPOINT": recompute}
    model = build(make_config(**SMALL_ATSS, **keys))
    expected = features_and_gradients(model)
    model.backbone.compile(fullgraph=True, backend="aot_eager")
    assert_alike(features_and_gradients(model), expected)


@pytest.mark.parametrize("recompute", [False, True])
def test_blocks_compile_without_a_graph_break(make_config: MakeConfig, recompute: bool) -> None:
    keys = {"MODEL.DYHEAD.CHECKPOINT": recompute, "MODEL.DYHEAD.NUM_CONVS": 1}
    blocks = build(make_config(**{**SMALL_ATSS, **keys})).backbone.blocks.double()
    sizes = {"p3": (8, 10), "p4": (4, 5)}
    features = {name: torch.randn(1, 32, *sizes[name]).double() for name in sizes}

    def run(function: Callable[..., Any]) -> list[torch.Tensor]:
        outputs = list(function(features).values())
        total = sum((output * output).mean() for output in outputs)
        return [*outputs, *torch.autograd.grad(total, list(blocks.parameters()))]

    compiled = torch.compile(blocks, fullgraph=True, backend="aot_eager")
    assert_alike(run(compiled), run(blocks))


def test_head_compiles_without_a_graph_break(make_config: MakeConfig) -> None:
    model = build(make_config(**SMALL_ATSS))
    features = [torch.randn(1, 32, size, size) for size in (16, 8, 4, 2, 1)]
    expected = model.head(features)
    model.head.compile(fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(model.head(features), expected)


def test_config_compiles_backbone_and_head_in_place(
    make_config: MakeConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    compiled: list[tuple[nn.Module, str]] = []
    monkeypatch.setattr(nn.Module, "compile", lambda self, mode: compiled.append((self, mode)))
    plain = build(make_config(**SMALL_ATSS))
    assert not compiled
    keys = {"MODEL.COMPILE.ENABLED": True, "MODEL.COMPILE.MODE": "reduce-overhead"}
    model = build(make_config(**SMALL_ATSS, **keys))
    assert compiled == [(model.backbone, "reduce-overhead"), (model.head, "reduce-overhead")]
    assert list(model.state_dict()) == list(plain.state_dict())


def test_cuda_graphs_are_told_of_every_step(
    make_config: MakeConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps: list[int] = []
    monkeypatch.setattr(nn.Module, "compile", lambda self, mode: None)
    monkeypatch.setattr(torch.compiler, "cudagraph_mark_step_begin", lambda: steps.append(1))
    image = {"image": torch.rand(3, 64, 64)}
    for mode, expected in (("default", 0), ("reduce-overhead", 2)):
        keys = {"MODEL.COMPILE.ENABLED": True, "MODEL.COMPILE.MODE": mode}
        model = build(make_config(**SMALL_ATSS, **keys)).eval()
        with torch.no_grad():
            model([image]), model([image])
        assert len(steps) == expected


@pytest.mark.parametrize("name", ["RetinaNet", "DyHeadRetinaNet"])
def test_a_negative_number_of_detections_is_all_of_them(make_config: MakeConfig, name: str) -> None:
    keys = {**SMALL_ATSS, "MODEL.META_ARCHITECTURE": name, "MODEL.RETINANET.SCORE_THRESH_TEST": 0.0}
    image = {"image": torch.randint(0, 255, (3, 64, 64), dtype=torch.uint8)}
    counts = []
    for number in (-1, 1_000_000):
        model = build(make_config(**keys, **{"TEST.DETECTIONS_PER_IMAGE": number})).eval()
        with torch.no_grad():
            counts.append(len(model([image])[0]["instances"]))
    assert counts[0] == counts[1] > 0


def test_what_cannot_be_compiled_is_refused(make_config: MakeConfig) -> None:
    with pytest.raises(UserError, match="ToyDetector has neither"):
        prepare_execution(make_config(**{"MODEL.COMPILE.ENABLED": True}), nn.Linear(1, 1))


@pytest.mark.slow
@NEEDS_COMPILER
@pytest.mark.usefixtures("without_pictures")
def test_a_compiled_model_trains_evaluates_and_is_resumed_uncompiled(
    make_config: MakeConfig, tmp_path: Path
) -> None:
    keys = {"MODEL.COMPILE.ENABLED": True, "MODEL.DYHEAD.NUM_CONVS": 1}
    trained = Trainer(make_config(**{**SMALL_ATSS, **keys}))
    trained.train()
    resumed = Trainer(make_config(**{**SMALL_ATSS, "MODEL.DYHEAD.NUM_CONVS": 1}))
    resumed.resume_or_load(resume=True)
    for name, value in trained.model.state_dict().items():
        assert torch.equal(resumed.model.state_dict()[name], value)
