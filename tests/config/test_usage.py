"""Lines that read keys are found in sources."""

from pathlib import Path

import pytest

from dyhead.config.usage import Read, find_reads, find_reads_in

PROJECT = Path(__file__).parents[2]
SOURCES = {
    "a.py": """
def build(cfg, name):
    solver = cfg.SOLVER
    rate = solver.BASE_LR
    cfg.SOLVER.BASE_LR = 2
    self.cfg.SOLVER.BASE_LR
    other.SOLVER.BASE_LR
    step(rate, cfg.MODEL.ATSS)
    return cfg.MODEL[name].TOPK + cfg["SOLVER"]["BASE_LR"]
""",
    "b.py": """
class Head:
    def build(self, section):
        return self.inner(section)

    def inner(self, part):
        return part.TOPK

def step(rate, section):
    return section.TOPK, Head().build(section)
""",
    "c.py": """
def build(cfg):
    test, (data, loader) = cfg.TEST, (cfg.DATASETS, cfg.DATALOADER)
    return test.AUG, loader.NUM_WORKERS
""",
}


@pytest.mark.parametrize(
    ("key", "lines"),
    [
        ("SOLVER.BASE_LR", [("a.py", 4), ("a.py", 6), ("a.py", 9)]),
        ("MODEL.ATSS.TOPK", [("a.py", 9), ("b.py", 7), ("b.py", 10)]),
        ("MODEL.FCOS.TOPK", [("a.py", 9)]),
        ("MODEL.TOPK", []),
        ("TEST.AUG", [("c.py", 4)]),
        ("DATALOADER.NUM_WORKERS", [("c.py", 4)]),
        ("SOLVER", [("a.py", 3), ("a.py", 4), ("a.py", 6), ("a.py", 9)]),
    ],
)
def test_reads_are_found_through_names_parameters_and_subscripts(
    key: str, lines: list[tuple[str, int]]
) -> None:
    found = find_reads_in(SOURCES, key)
    if key == "SOLVER":  # its keys are read through it
        assert Read("a.py", 3) in found
    else:
        assert found == [Read(*line) for line in lines]


@pytest.mark.parametrize(
    ("key", "file"),
    [
        ("MODEL.ATSS.TOPK", "dyhead/modeling/meta_arch/atss.py"),
        ("MODEL.ATSS.NMS_TH", "dyhead/modeling/meta_arch/dense_arguments.py"),
        ("SOLVER.OPTIMIZER", "dyhead/engine/optimizer.py"),
        ("MODEL.RPN.IN_FEATURES", "dyhead/d2/modeling/proposal_generator/rpn.py"),
        ("INPUT.MIN_SIZE_TRAIN", "dyhead/data/augmentation.py"),
        ("TEST.FAST_COCO_EVAL", "dyhead/evaluation/evaluators.py"),
    ],
)
def test_the_lines_hold_the_last_part_of_the_key(key: str, file: str) -> None:
    reads = find_reads(key)
    assert file in {read.file for read in reads}
    for read in reads:
        line = (PROJECT / read.file).read_text().splitlines()[read.line - 1]
        assert key.rpartition(".")[2] in line


def test_the_projects_own_keys_are_all_read() -> None:
    from dyhead.config.reference import all_keys

    assert not [key.name for key in all_keys() if key.is_own and not find_reads(key.name)]
