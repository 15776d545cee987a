"""The plan holds every training once, in an order whose beginning is whole comparisons."""

from comparisons import TABLES, Row, Table, Variant
from data_sets import DataSet
from study_plan import Length, fingerprint, make_plan, unique_runs

from dyhead.config import load_config

DATA = [DataSet(name, f"{name}/train", f"{name}/val") for name in ("cells", "boards")]
MINUTES = Length("minutes", 3.5, 0, lambda variant, num_classes: 1.0)


def full_plan(seeds=(1, 2), length=MINUTES, options=()):
    return make_plan(list(TABLES.values()), DATA, seeds, length, options)


def test_every_row_is_trained_on_every_data_set_with_every_seed() -> None:
    plan = full_plan()
    num_rows = sum(len(table.rows) for table in TABLES.values())
    assert len(plan) == num_rows * len(DATA) * 2
    assert len({(entry.run, entry.table.name) for entry in plan}) == len(plan)


def test_runs_of_other_annotations_are_other_runs() -> None:
    tables = list(TABLES.values())
    corrected = [each._replace(annotations="0123456789") for each in DATA]
    names = [
        {run.name for run in unique_runs(make_plan(tables, data, (1,), MINUTES))}
        for data in (DATA, corrected)
    ]
    assert len(names[0]) == len(names[1]) and not names[0] & names[1]


def test_rows_that_train_the_same_share_their_runs() -> None:
    """ATSS without DyHead stands in all tables, with it in all of them under other names."""
    plan = [entry for entry in full_plan((1,)) if entry.run.data == "cells"]
    runs = unique_runs(plan)
    config = load_config(plan[0].run.config)[0]
    assert config.MODEL.DYHEAD.NUM_CONVS == 2, "or no depth would be that of the other tables"
    assert len(runs) == len(set(runs)) == 11 + (12 - 2) + (17 - 1) + (8 - 2) + (7 - 2)


def test_the_first_seed_of_all_comes_before_the_second_of_any() -> None:
    seeds = [run.seed for run in unique_runs(full_plan((1, 2, 3)))]
    assert seeds == sorted(seeds)


def test_a_baseline_comes_directly_before_what_is_compared_with_it() -> None:
    runs = unique_runs([entry for entry in full_plan((1,)) if entry.baseline])
    for entry in full_plan((1,))[:20]:
        if entry.baseline and entry.run.config.stem != "rcnn_figure2c":
            assert runs.index(entry.run) == runs.index(entry.baseline) + 1


def test_the_length_is_the_same_minutes_for_all() -> None:
    for run in unique_runs(full_plan((1,))):
        assert run.options[:2] == ("SOLVER.MINUTES", "3.5")


def test_equal_multiply_adds_make_a_cheaper_detector_train_longer() -> None:
    plain = Variant("plain", "atss", ("MODEL.DYHEAD.NUM_CONVS", "0"))
    cheap, dear = Variant("cheap", "fcos"), Variant("dear", "reppoints")
    costs = {"atss": 200.0, "fcos": 100.0, "reppoints": 800.0}
    rows = (Row(("plain",), plain), Row(("cheap",), cheap, plain), Row(("dear",), dear, plain))
    length = Length("multiply-adds", 0, 600, lambda variant, _: costs[variant.config])
    plan = make_plan([Table("t", "", ("",), rows)], DATA[:1], (1,), length)
    steps = [dict(zip(e.run.options[::2], e.run.options[1::2], strict=True)) for e in plan]
    assert [each["SOLVER.MAX_ITER"] for each in steps] == ["600", "1200", "150"]


def test_overrides_of_all_runs_win() -> None:
    for run in unique_runs(full_plan((1,), options=("MODEL.DYHEAD.NUM_CONVS", "3")))[:4]:
        assert load_config(run.config, run.options)[0].MODEL.DYHEAD.NUM_CONVS == 3


def test_a_fingerprint_tells_trainings_apart_and_not_their_folders() -> None:
    config = full_plan((1,))[0].run.config
    plain = fingerprint(config, ())
    assert fingerprint(config, ("OUTPUT_DIR", "elsewhere")) == plain
    assert fingerprint(config, DATA[0].options) == plain, "which another machine has elsewhere"
    assert fingerprint(config, ("MODEL.DEVICE", "cpu")) == plain, "as where there is no GPU"
    assert fingerprint(config, ("MODEL.DYHEAD.CHANNELS", "64")) == plain, "as the config has it"
    assert fingerprint(config, ("MODEL.DYHEAD.CHANNELS", "32")) != plain
    assert fingerprint(config, ("SOLVER.MINUTES", "3")) != plain


def test_a_detector_without_blocks_stays_what_it_is_under_other_options_of_blocks() -> None:
    config = full_plan((1,))[0].run.config
    other = ("MODEL.DYHEAD.RESIDUAL", "False", "SOLVER.OFFSET_LR_FACTOR", "1.0")
    without = ("MODEL.DYHEAD.NUM_CONVS", "0")
    assert fingerprint(config, (*without, *other)) == fingerprint(config, without)
    assert fingerprint(config, other) != fingerprint(config, ())
    assert fingerprint(config, (*without, "SOLVER.BASE_LR", "0.5")) != fingerprint(config, without)


def test_multi_scale_testing_that_is_off_does_not_change_what_was_trained() -> None:
    config = full_plan((1,))[0].run.config
    sizes = ("TEST.AUG.MIN_SIZES", "(100, 200)", "TEST.AUG.FLIP", "False")
    on = ("TEST.AUG.ENABLED", "True")
    assert fingerprint(config, sizes) == fingerprint(config, ())
    assert fingerprint(config, (*on, *sizes)) != fingerprint(config, on) != fingerprint(config, ())
