from dataclasses import replace

import pytest

from dyhead.analysis import Cost, analyze_detector
from dyhead.analysis.report import format_analysis
from dyhead.d2.modeling import build_model
from dyhead.errors import UserError


@pytest.fixture
def analyze(make_config):
    def run(*opts, name="Base-ATSS-DyHead-R18-small.yaml", size=(64, 96)):
        return analyze_detector(build_model(make_config(*opts, name=name)), size)

    return run


@pytest.fixture(scope="module")
def quickstart(make_config):
    return analyze_detector(build_model(make_config()), (64, 96))


def test_parts_make_up_the_whole(quickstart, make_config):
    analysis = quickstart
    outer = [part for part in analysis.parts if part.depth == 0]
    assert [part.name for part in outer] == ["bottom-up", "FPN", "block 1", "block 2", "head"]
    assert sum((part.cost for part in outer), Cost()) == analysis.total
    detector = build_model(make_config())
    assert analysis.total.parameters == sum(p.numel() for p in detector.parameters())
    assert analysis.total.multiply_adds == sum(analysis.by_operator.values())
    assert not analysis.unmeasured


@pytest.mark.parametrize(
    "opts",
    [
        ("MODEL.DEFORM_CONV_BACKEND", "pytorch"),
        ("MODEL.CHANNELS_LAST", "False"),
        ("MODEL.COMPILE.ENABLED", "True"),
    ],
)
def test_how_it_is_executed_changes_nothing(analyze, quickstart, opts):
    assert analyze(*opts) == quickstart


@pytest.mark.parametrize("backend", ["pytorch", "torchvision"])
def test_the_back_end_changes_nothing(analyze, quickstart, monkeypatch, backend):
    monkeypatch.setenv("DYHEAD_DEFORM_CONV", backend)
    assert analyze() == quickstart


def test_attentions_make_up_their_block(analyze):
    parts = {part.name: part.cost for part in analyze("MODEL.DYHEAD.NUM_CONVS", "1").parts}
    attentions = [parts[f"{kind} attention"] for kind in ("spatial", "scale", "task")]
    # What the fused attentions keep belongs to all of them: it is the block's own.
    block, alone = parts["block 1"], sum(attentions, Cost())
    assert replace(alone, saved_bytes=block.saved_bytes) == block
    assert 0 < alone.saved_bytes < block.saved_bytes
    assert all(cost.parameters and cost.multiply_adds for cost in attentions)


@pytest.mark.parametrize(("bias", "parameters"), [("True", 1_917_276), ("False", 1_916_508)])
def test_parameters_of_the_official_block(analyze, bias, parameters):
    analysis = analyze(
        "MODEL.DYHEAD.BIAS", bias, "MODEL.DYHEAD.NUM_CONVS", "2", size=(64, 64),
        name="dyhead_r50_atss_fpn_1x.yaml",
    )  # fmt: skip
    blocks = [part.cost for part in analysis.parts if part.name.startswith("block ")]
    assert [cost.parameters for cost in blocks] == [parameters] * 2


def test_towers_are_shown_where_there_are_some(analyze, quickstart):
    names = [part.name for part in analyze("MODEL.ATSS.NUM_CONVS", "1").parts]
    assert "cls tower" in names
    assert "cls tower" not in [part.name for part in quickstart.parts]


def test_image_dependent_stages_are_reported_unmeasured(make_config):
    detector = build_model(make_config(name="../experiments/configs/rcnn.yaml"))
    analysis = analyze_detector(detector, (64, 64))
    assert list(analysis.unmeasured) == ["proposal_generator", "roi_heads"]
    whole = analysis.total.parameters + sum(analysis.unmeasured.values())
    assert whole == sum(p.numel() for p in detector.parameters())


@pytest.mark.parametrize("name", ["fcos", "reppoints", "retinanet"])
def test_the_head_of_every_dense_detector_is_measured(analyze, name):
    analysis = analyze(name=f"../experiments/configs/{name}.yaml", size=(64, 64))
    head = next(part.cost for part in analysis.parts if part.name == "head")
    assert head.multiply_adds and head.parameters and not analysis.unmeasured


def test_size_that_the_pyramid_cannot_take_is_refused_with_the_fix(analyze):
    with pytest.raises(UserError, match="multiples of 8 pixels, not 64 x 70: use --size 64 72"):
        analyze(size=(64, 70))


def test_text_names_every_number_and_what_is_left_out(quickstart):
    analysis = quickstart
    text = format_analysis(analysis)
    for part in analysis.parts:
        assert part.name in text
    for name, calls in analysis.uncounted.items():
        assert f"{name} {calls}" in text
    assert f"{analysis.total.parameters:,}" in text
