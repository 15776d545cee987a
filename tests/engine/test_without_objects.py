"""Sets without an object to learn or score are predicted on, and not trained on."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from dyhead.d2.config import CfgNode
from dyhead.engine.trainer import Trainer
from dyhead.errors import UserError

MakeConfig = Callable[..., CfgNode]
pytestmark = pytest.mark.usefixtures("without_pictures")
MISSING = ("no list", "an empty list", "crowds alone")


@pytest.fixture
def without_objects(rectangles: list[str], tmp_path: Path) -> Callable[[str], list[str]]:
    """Call it with one of `MISSING` for an entry of DATASETS.COCO_JSON."""

    def write(missing: str) -> list[str]:
        content = json.loads(Path(rectangles[1]).read_text())
        if missing == "crowds alone":
            for annotation in content["annotations"]:
                annotation["iscrowd"] = 1
        else:
            content["annotations"] = []
        if missing == "no list":
            del content["annotations"]
        (tmp_path / "bare.json").write_text(json.dumps(content))
        return ["bare", str(tmp_path / "bare.json"), rectangles[2]]

    return write


def evaluated(cfg: CfgNode) -> dict[str, Any]:
    return Trainer.test(cfg, Trainer.build_model(cfg))


@pytest.mark.parametrize("missing", MISSING)
def test_evaluation_writes_the_detections_and_no_score(
    make_config: MakeConfig,
    rectangles: list[str],
    without_objects: Callable[[str], list[str]],
    missing: str,
) -> None:
    entries = [rectangles, without_objects(missing)]
    cfg = make_config(**{"DATASETS.COCO_JSON": entries, "DATASETS.TEST": ("bare",)})
    assert evaluated(cfg) == {"bbox": {"images": 6, "of": 6}}
    folder = Path(cfg.OUTPUT_DIR, "inference")
    found = json.loads((folder / "coco_instances_results.json").read_text())
    assert {result["image_id"] for result in found} == set(range(6))
    assert json.loads((folder / "scores.json").read_text()) == {"images": 6, "of": 6}
    assert "Nothing to score" in (folder / "ap.md").read_text()


def test_a_training_with_such_a_test_set_reaches_its_end(
    make_config: MakeConfig, rectangles: list[str], without_objects: Callable[[str], list[str]]
) -> None:
    entries = [rectangles, without_objects("no list")]
    cfg = make_config(**{"DATASETS.COCO_JSON": entries, "DATASETS.TEST": ("bare",)})
    trainer = Trainer(cfg)
    trainer.train()
    assert Path(cfg.OUTPUT_DIR, "model_final.pth").is_file()


@pytest.mark.parametrize("missing", MISSING)
@pytest.mark.parametrize("filtered", [True, False])
def test_training_on_such_a_set_is_refused_by_name(
    make_config: MakeConfig,
    without_objects: Callable[[str], list[str]],
    missing: str,
    filtered: bool,
) -> None:
    names = {"DATASETS.TRAIN": ("bare",), "DATASETS.TEST": ()}
    cfg = make_config(
        **names,
        **{
            "DATASETS.COCO_JSON": [without_objects(missing)],
            "DATALOADER.FILTER_EMPTY_ANNOTATIONS": filtered,
        },
    )
    reason = "crowds alone" if missing == "crowds alone" else "no annotations"
    with pytest.raises(UserError, match=f"'bare' has {reason}.*label objects") as refusal:
        Trainer.build_train_loader(cfg)
    assert "is sound" not in str(refusal.value)


def test_pictures_without_objects_are_background_where_that_is_asked_for(
    make_config: MakeConfig, rectangles: list[str], without_objects: Callable[[str], list[str]]
) -> None:
    changes = {
        "DATASETS.COCO_JSON": [rectangles, without_objects("an empty list")],
        "DATASETS.TRAIN": ("rectangles", "bare"),
    }
    with pytest.raises(UserError, match="'bare' has no annotations"):
        Trainer.build_train_loader(make_config(**changes))
    kept = make_config(**changes, **{"DATALOADER.FILTER_EMPTY_ANNOTATIONS": False})
    assert next(iter(Trainer.build_train_loader(kept)))


def test_ap_over_fewer_pictures_than_the_file_names_says_so(
    make_config: MakeConfig, rectangles: list[str]
) -> None:
    (Path(rectangles[2]) / "4.png").write_bytes(b"no picture")
    cfg = make_config()
    scores = evaluated(cfg)["bbox"]
    assert (scores["images"], scores["of"]) == (5, 6) and "AP" in scores
    folder = Path(cfg.OUTPUT_DIR, "inference")
    written = json.loads((folder / "scores.json").read_text())
    assert (written["images"], written["of"]) == (5, 6)
    assert "Over 5 of 6 images" in (folder / "ap.md").read_text()
