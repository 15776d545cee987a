"""A resume that contradicts its checkpoint is refused in one sentence, with both shapes."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from shown_faults import ShownFault

from dyhead.d2.config import CfgNode
from dyhead.engine.trainer import Trainer

MakeConfig = Callable[..., CfgNode]

pytestmark = pytest.mark.usefixtures("without_pictures", "own_catalogs")

ATSS = {
    "MODEL.META_ARCHITECTURE": "ATSS",
    "MODEL.BACKBONE.NAME": "build_retinanet_resnet_fpn_dyhead_backbone",
    "MODEL.RESNETS.DEPTH": 18,
    "MODEL.RESNETS.RES2_OUT_CHANNELS": 64,
    "MODEL.RESNETS.OUT_FEATURES": ["res3", "res4", "res5"],
    "MODEL.FPN.IN_FEATURES": ["res3", "res4", "res5"],
    "MODEL.FPN.OUT_CHANNELS": 32,
    "MODEL.DYHEAD.CHANNELS": 32,
    "MODEL.DYHEAD.NUM_CONVS": 1,
    "SOLVER.OPTIMIZER": "ADAMW",
    "SOLVER.MAX_ITER": 1,
    "DATASETS.TEST": (),
}


def param(name: str, *values: Any) -> Any:
    """Values of a test for the fault of this name."""
    return pytest.param(*values, marks=pytest.mark.fault(name), id=name)


INCOMPLETE = "--resume from an incomplete state"


def prepare(cfg: CfgNode, resume: bool) -> Trainer:
    trainer = Trainer(cfg)
    trainer.resume_or_load(resume=resume)
    return trainer


@pytest.fixture
def atss(make_config: MakeConfig) -> Callable[..., CfgNode]:

    def make(**changes: Any) -> CfgNode:
        cfg = make_config(**{**ATSS, **changes}).clone()
        cfg.defrost()  # the data sets have filled the number of classes in
        cfg.MODEL.ATSS.NUM_CLASSES = changes.get("MODEL.ATSS.NUM_CLASSES", 2)
        return cfg

    return make


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        param(
            "--resume with a model of another width",
            {"MODEL.FPN.OUT_CHANNELS": 64, "MODEL.DYHEAD.CHANNELS": 64},
            r"has the shape \(.*model's has \(",
        ),
        param(
            "--resume with more blocks",
            {"MODEL.DYHEAD.NUM_CONVS": 2},
            r"it lacks \d+ weights \(backbone.blocks",
        ),
        param(
            "--resume with fewer blocks",
            {"MODEL.DYHEAD.NUM_CONVS": 0},
            r"it has \d+ further weights",
        ),
        param(
            "--resume with another number of classes",
            {"MODEL.ATSS.NUM_CLASSES": 3},
            r"cls_logits.weight has the shape \(30, .*has \(45, ",
        ),
        param(
            "--resume with another optimizer",
            {"SOLVER.OPTIMIZER": "SGD"},
            "of the optimizer AdamW, and the run has SGD",
        ),
        param(
            "--resume with other groups of parameters",
            {"SOLVER.BIAS_LR_FACTOR": 2.0},
            "parameters in groups of",
        ),
    ],
)
def test_another_model_or_optimizer_is_refused_and_nothing_is_taken(
    atss: Callable[..., CfgNode], changes: dict[str, Any], message: str, fault: ShownFault
) -> None:
    cfg = atss()
    prepare(cfg, resume=False).train()
    other = Trainer(atss(**changes))
    before = {name: weight.clone() for name, weight in other.model.state_dict().items()}
    message = f"model_final.pth cannot be resumed from: .*{message}"
    with fault.clear(), pytest.raises(ValueError, match=message):
        other.resume_or_load(resume=True)
    with fault.survived():
        assert all(torch.equal(before[name], w) for name, w in other.model.state_dict().items())
        assert not other.optimizer.state
    with fault.nothing_lost():
        assert prepare(cfg, resume=True).start_iter == 1


def spoil(folder: str, change: Callable[[dict[str, Any]], Any]) -> str:
    path = Path(folder, "model_final.pth")
    content = torch.load(path, weights_only=True)
    change(content)
    torch.save(content, path)
    return str(path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        param(
            "--resume from a file of weights only",
            lambda c: [c.pop(k) for k in set(c) - {"model"}],
            "weights only",
        ),
        param(INCOMPLETE, lambda c: c.update(trainer={}), "training state is incomplete"),
        param(INCOMPLETE, lambda c: c.update(trainer=[1]), "training state is incomplete"),
        param(INCOMPLETE, lambda c: c["trainer"].pop("iteration"), "training state is incomplete"),
        param(INCOMPLETE, lambda c: c["trainer"].update(iteration="x"), "number of steps"),
        param(
            "--resume from NaN weights",
            lambda c: c["model"]["box"].fill_(torch.nan),
            r"NaN or infinite values in 1 weights \(box",
        ),
        param(
            "--resume with other names of classes",
            lambda c: c["dyhead"].update(class_names=["plain", "cat"]),
            "checkpoint: cat; only in",
        ),
        param(
            "--resume with classes in another order",
            lambda c: c["dyhead"].update(class_names=["other", "plain"]),
            "another order",
        ),
    ],
)
def test_a_file_without_a_whole_training_is_refused(
    make_config: MakeConfig,
    change: Callable[[dict[str, Any]], Any],
    message: str,
    fault: ShownFault,
) -> None:
    cfg = make_config()
    prepare(cfg, resume=False).train()
    path = spoil(cfg.OUTPUT_DIR, change)
    content = Path(path).read_bytes()
    trainer = Trainer(cfg)
    message = f"{path} cannot be resumed from: .*{message}"
    with fault.clear(), pytest.raises(ValueError, match=message):
        trainer.resume_or_load(resume=True)
    with fault.survived():
        assert trainer.start_iter == 0 and not trainer.optimizer.state
        assert torch.equal(trainer.model.state_dict()["box"], torch.zeros(4))
    with fault.nothing_lost():
        assert Path(path).read_bytes() == content
        assert Path(cfg.OUTPUT_DIR, "last_checkpoint").read_text() == "model_final.pth"


@pytest.mark.fault("--resume from a checkpoint of an older version")
def test_a_checkpoint_of_an_older_version_goes_on_and_says_what_is_missing(
    make_config: MakeConfig, caplog: pytest.LogCaptureFixture, fault: ShownFault
) -> None:
    cfg = make_config()
    prepare(cfg, resume=False).train()
    spoil(
        cfg.OUTPUT_DIR, lambda content: [content["trainer"].pop(k) for k in ("run", "parameters")]
    )
    with caplog.at_level("INFO", "dyhead"):
        resumed = prepare(make_config(**{"SOLVER.MAX_ITER": 6}), resume=True)
    with fault.clear():
        assert "of an older version" in caplog.text and "going on at image 8" in caplog.text
    with fault.nothing_lost():
        assert resumed.start_iter == 4
    with fault.survived():
        resumed.train()


@pytest.mark.fault("--resume with another batch size")
def test_another_batch_size_goes_on_at_the_same_image_and_says_so(
    make_config: MakeConfig, caplog: pytest.LogCaptureFixture, fault: ShownFault
) -> None:
    prepare(make_config(), resume=False).train()
    with caplog.at_level("INFO", "dyhead"):
        cfg = make_config(**{"SOLVER.IMS_PER_BATCH": 3, "SOLVER.MAX_ITER": 6})
        resumed = prepare(cfg, resume=True)
    with fault.clear():
        assert "Going on at image 8 with batches of 3 in 1 processes, after 2 in 1." in caplog.text
    with fault.nothing_lost():
        assert resumed.data_loader.unseen.next == 8  # type: ignore[attr-defined]
    with fault.survived():
        resumed.train()
