"""INPUT.ONE_SIZE_PER_BATCH: the images of a step are resized alike, those of others differently."""

import itertools
import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from dyhead.d2 import HOST
from dyhead.d2.config import CfgNode
from dyhead.engine.trainer import Trainer
from dyhead.errors import UserError

MakeConfig = Callable[..., CfgNode]
SIZES = {"INPUT.MIN_SIZE_TRAIN": (24, 32, 48), "SOLVER.IMS_PER_BATCH": 4}
OF_SEED_3 = (32, 48, 24, 24, 48, 48, 48, 24)


ON = {**SIZES, "INPUT.ONE_SIZE_PER_BATCH": True}


@pytest.fixture
def wide_and_tall(rectangles: list[str]) -> None:
    """Turns every second image of the data set."""
    json_file = Path(rectangles[1])
    content = json.loads(json_file.read_text())
    for image, annotation in zip(content["images"], content["annotations"], strict=True):
        if image["id"] % 2:
            path = Path(rectangles[2]) / image["file_name"]
            Image.open(path).transpose(Image.Transpose.TRANSPOSE).save(path)
            image["width"], image["height"] = image["height"], image["width"]
            x, y, width, height = annotation["bbox"]
            annotation["bbox"] = [y, x, height, width]
    json_file.write_text(json.dumps(content))


def sizes_of(batches: Iterable[Any], steps: int) -> list[set[int]]:
    """Return the sizes, by the shorter side, of the images of the next batches."""
    return [
        {min(image["image"].shape[-2:]) for image in batch}
        for batch in itertools.islice(batches, steps)
    ]


@pytest.mark.parametrize("num_workers", [0, 2])
def test_images_of_a_batch_have_one_size(make_config: MakeConfig, num_workers: int) -> None:
    cfg = make_config(**ON, **{"DATALOADER.NUM_WORKERS": num_workers})
    sizes = sizes_of(Trainer.build_train_loader(cfg), 20)
    assert all(len(size) == 1 for size in sizes)
    assert set.union(*sizes) == {24, 32, 48}


@pytest.mark.usefixtures("wide_and_tall")
@pytest.mark.parametrize("is_grouped", [False, True])
def test_so_have_those_of_wide_and_tall_ones(make_config: MakeConfig, is_grouped: bool) -> None:
    cfg = make_config(**ON, **{"DATALOADER.ASPECT_RATIO_GROUPING": is_grouped})
    sizes = sizes_of(Trainer.build_train_loader(cfg), 20)
    assert all(len(size) == 1 for size in sizes)
    assert set.union(*sizes) == {24, 32, 48}


@pytest.mark.usefixtures("wide_and_tall")
def test_so_have_those_of_a_run_that_goes_on_with_larger_batches(make_config: MakeConfig) -> None:
    first = Trainer.build_train_loader(make_config(**ON))
    sizes_of(first, 3)
    again = Trainer.build_train_loader(make_config(**{**ON, "SOLVER.IMS_PER_BATCH": 5}))
    again.load_state_dict(first.state_dict([first.unseen]))
    assert all(len(size) == 1 for size in sizes_of(again, 12))


def test_images_of_one_orientation_have_the_sizes_of_the_seed_and_the_number_of_the_step(
    make_config: MakeConfig,
) -> None:
    drawn = sizes_of(Trainer.build_train_loader(make_config(**ON)), 8)
    assert drawn == [{size} for size in OF_SEED_3]  # so that earlier runs can be repeated


def test_without_it_they_have_several(make_config: MakeConfig) -> None:
    batches = itertools.islice(Trainer.build_train_loader(make_config(**SIZES)), 5)
    assert any(len({min(i["image"].shape[-2:]) for i in batch}) > 1 for batch in batches)


@pytest.mark.skipif(HOST != "detectron2", reason="the embedded host has no such sampler")
def test_a_sampler_of_the_hosts_own_is_refused(make_config: MakeConfig) -> None:
    cfg = make_config(
        **{
            "INPUT.ONE_SIZE_PER_BATCH": True,
            "DATALOADER.SAMPLER_TRAIN": "RandomSubsetTrainingSampler",
        }
    )
    with pytest.raises(UserError, match="ONE_SIZE_PER_BATCH"):
        Trainer.build_train_loader(cfg)
