import pytest

from dyhead.analysis import analyze_detector, measure_table2, table2
from dyhead.analysis.report import format_table2
from dyhead.d2.modeling import build_model
from dyhead.errors import UserError

SMALL = (64, 64)


@pytest.fixture(scope="module")
def table(make_config):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(table2, "PAPER_DELTAS", {1: -84.69, 3: 2.0})
        return measure_table2(make_config(), SMALL)


def test_shallower_detector_costs_what_measuring_it_gives(table, make_config):
    detector = build_model(make_config("MODEL.DYHEAD.NUM_CONVS", "1"))
    measured = analyze_detector(detector, SMALL).total.multiply_adds
    assert [depth.blocks for depth in table.depths] == [1, 3]
    assert table.depths[0].delta == measured - table.baseline


def test_relative_difference_is_positive_where_ours_is_more(table):
    first = table.depths[0]
    assert first.relative_difference == pytest.approx((first.delta + 84.69e9) / 84.69e9)
    assert "-84.69" in format_table2(table)


def test_baseline_has_its_towers(table, make_config):
    towers = make_config("MODEL.DYHEAD.NUM_CONVS", "0", "MODEL.ATSS.NUM_CONVS", "4")
    measured = analyze_detector(build_model(towers), SMALL)
    assert "cls tower" in [part.name for part in measured.parts]
    assert table.baseline == measured.total.multiply_adds


def test_config_without_blocks_is_refused(make_config):
    cfg = make_config("MODEL.BACKBONE.NAME", "build_retinanet_resnet_fpn_backbone")
    with pytest.raises(UserError, match="build_retinanet_resnet_fpn_backbone.* builds none"):
        measure_table2(cfg, SMALL)


def test_other_detectors_are_refused(make_config):
    cfg = make_config("MODEL.META_ARCHITECTURE", "RetinaNet")
    with pytest.raises(UserError, match="compares ATSS detectors"):
        measure_table2(cfg, SMALL)


@pytest.mark.slow
def test_paper_within_half_a_percent(make_config):
    table = measure_table2(make_config(name="dyhead_r50_atss_fpn_1x.yaml"))
    for depth in table.depths:
        assert abs(depth.relative_difference) <= 0.005, depth
