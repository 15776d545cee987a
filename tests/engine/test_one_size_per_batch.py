"""INPUT.ONE_SIZE_PER_BATCH: the images of a step are resized alike, those of others differently."""

import itertools
from collections.abc import Callable

import pytest

from dyhead.d2 import HOST
from dyhead.d2.config import CfgNode
from dyhead.engine.trainer import Trainer
from dyhead.errors import UserError

MakeConfig = Callable[..., CfgNode]
SIZES = {"INPUT.MIN_SIZE_TRAIN": (24, 32, 48), "SOLVER.IMS_PER_BATCH": 4}


@pytest.mark.parametrize("num_workers", [0, 2])
def test_images_of_a_batch_have_one_size(make_config: MakeConfig, num_workers: int) -> None:
    cfg = make_config(
        **SIZES, **{"INPUT.ONE_SIZE_PER_BATCH": True, "DATALOADER.NUM_WORKERS": num_workers}
    )
    batches = itertools.islice(Trainer.build_train_loader(cfg), 20)
    sizes = [{min(image["image"].shape[-2:]) for image in batch} for batch in batches]
    assert all(len(size) == 1 for size in sizes)
    assert set.union(*sizes) == {24, 32, 48}


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
