"""The tables compare what they say."""

from itertools import product

import pytest
from comparisons import (
    PARTS,
    PLAIN_ATSS,
    TABLES,
    Variant,
    attentions_table,
    depth_table,
    detectors_table,
    forms_table,
    recipe_table,
)
from study_plan import config_file, fingerprint

from dyhead.config import load_config
from dyhead.d2.config import CfgNode

VARIANTS = list(dict.fromkeys(row.variant for table in TABLES.values() for row in table.rows))


def load(variant: Variant) -> CfgNode:
    return load_config(config_file(variant), variant.options)[0]


@pytest.mark.parametrize("variant", VARIANTS, ids=lambda variant: variant.title)
def test_every_config_loads_and_is_evaluated_at_the_end_alone(variant: Variant) -> None:
    cfg = load(variant)
    assert cfg.TEST.EVAL_PERIOD == 0
    assert cfg.SOLVER.CHECKPOINT_PERIOD > 100 * cfg.SOLVER.MAX_ITER


@pytest.mark.parametrize("table", TABLES.values(), ids=list(TABLES))
def test_baselines_stand_in_their_own_table(table) -> None:
    own = [row.variant for row in table.rows]
    assert len(set(own)) == len(own)
    for row in table.rows:
        assert row.baseline is None or row.baseline in own
        assert len(row.labels) == len(table.headings)
        assert row.baseline or any(other.baseline == row.variant for other in table.rows)


def test_a_detector_and_its_baseline_differ_in_dyhead_alone() -> None:
    rows = [row for row in detectors_table().rows if row.baseline]
    for row in rows[:-1]:  # the last is Figure 2c's, which has another box head
        assert row.baseline is not None
        found, baseline = load(row.variant), load(row.baseline)
        assert (found.MODEL.DYHEAD.NUM_CONVS > 0) and baseline.MODEL.DYHEAD.NUM_CONVS == 0
        found.MODEL.DYHEAD.NUM_CONVS = 0
        for name in ("ATSS", "FCOS", "REPPOINTS", "RETINANET"):
            towers, others = found.MODEL[name], baseline.MODEL[name]
            if towers.NUM_CONVS != others.NUM_CONVS:
                assert (towers.NUM_CONVS, others.NUM_CONVS) == (2, 4)
                towers.NUM_CONVS = 4
        assert found == baseline
    assert len({load(row.variant).MODEL.META_ARCHITECTURE for row in rows}) == 5


def test_the_attentions_are_all_subsets() -> None:
    names = ("SCALE_AWARE", "SPATIAL_AWARE", "TASK_AWARE")
    found = set()
    for row in attentions_table().rows:
        dyhead = load(row.variant).MODEL.DYHEAD
        chosen = tuple(bool(label) for label in row.labels)
        if row.variant == PLAIN_ATSS:
            assert dyhead.NUM_CONVS == 0 and not any(chosen)
        else:
            assert chosen == tuple(dyhead[name] for name in names)
        found.add(chosen)
    assert found == set(product((False, True), repeat=3))


def test_the_depths_are_those_of_the_paper() -> None:
    depths = [load(row.variant).MODEL.DYHEAD.NUM_CONVS for row in depth_table().rows]
    assert depths == [0, 1, 2, 4, 6, 8, 10]


def test_the_official_form_is_that_of_the_official_config_but_for_its_size() -> None:
    (row,) = [row for row in forms_table().rows if row.labels == ("as the official code",)]
    found, official = load(row.variant), load_config("dyhead_r50_atss_fpn_1x")[0]
    blocks, others = found.MODEL.DYHEAD, official.MODEL.DYHEAD
    assert {key for key in blocks if blocks[key] != others[key]} == {"NUM_CONVS", "CHANNELS"}
    assert found.MODEL.ATSS.NUM_CONVS == official.MODEL.ATSS.NUM_CONVS
    for key in ("DYHEAD_LR_FACTOR", "OFFSET_LR_FACTOR"):
        assert found.SOLVER[key] == official.SOLVER[key]


def test_each_part_of_the_recipe_changes_it() -> None:
    rows = recipe_table().rows
    keys = {fingerprint(config_file(row.variant), row.variant.options) for row in rows}
    assert len(keys) == len(rows) == 2 + len(PARTS)
