"""A run never goes on from a damaged checkpoint as if it were whole."""

import random
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from shown_faults import ShownFault

from dyhead.d2.config import CfgNode
from dyhead.engine.trainer import Trainer
from dyhead.errors import UserError, user_errors

MakeConfig = Callable[..., CfgNode]
Damage = Callable[[bytearray, random.Random], bytes]

pytestmark = pytest.mark.usefixtures("without_pictures", "own_catalogs")


def flip_bits(content: bytearray, chance: random.Random) -> bytes:
    for place in chance.sample(range(len(content)), chance.choice([1, 3, 20])):
        content[place] ^= 1 << chance.randrange(8)
    return bytes(content)


def cut(content: bytearray, chance: random.Random) -> bytes:
    return bytes(content[: chance.randrange(len(content))])


def overwrite(content: bytearray, chance: random.Random) -> bytes:
    size = chance.choice([16, 512, 4096])
    start = chance.randrange(len(content) - size)
    content[start : start + size] = chance.choice([bytes(size), chance.randbytes(size)])
    return bytes(content)


def remove(content: bytearray, chance: random.Random) -> bytes:
    start = chance.randrange(len(content))
    del content[start : start + chance.choice([1, 100, 4096])]
    return bytes(content)


def repeat(content: bytearray, chance: random.Random) -> bytes:
    start = chance.randrange(len(content))
    piece = content[start : start + 512]
    content[start:start] = piece
    return bytes(content)


def replace(content: bytearray, chance: random.Random) -> bytes:
    return chance.choice([b"", b"\n", b"PK\x03\x04", b"<html>", chance.randbytes(len(content))])


DAMAGES = (flip_bits, cut, overwrite, remove, repeat, replace)


@pytest.mark.fault("a damaged checkpoint at --resume")
@pytest.mark.parametrize("number", [30, pytest.param(200, marks=pytest.mark.slow)])
def test_a_damaged_checkpoint_is_refused_or_its_weights_are_the_saved_ones(
    make_config: MakeConfig, number: int, fault: ShownFault
) -> None:
    cfg = make_config()
    Trainer(cfg).train()
    path, trainer = Path(cfg.OUTPUT_DIR, "model_final.pth"), Trainer(cfg)
    whole, chance = path.read_bytes(), random.Random(number)
    saved = torch.load(path, weights_only=True)["model"]
    fresh = {name: weight.clone() for name, weight in trainer.model.state_dict().items()}
    fault.tried(number)
    sentences = []
    with fault.survived():
        for index in range(number):
            path.write_bytes(DAMAGES[index % len(DAMAGES)](bytearray(whole), chance))
            trainer.model.load_state_dict(fresh)
            expected = saved  # only bytes that hold nothing were changed
            try:
                with user_errors():
                    trainer.resume_or_load(resume=True)
            except UserError as error:
                sentences.append(str(error))
                expected = fresh
            found = trainer.model.state_dict()
            assert all(torch.equal(found[name], weight) for name, weight in expected.items())
    with fault.clear():
        assert all(str(path) in sentence and "\n" not in sentence for sentence in sentences)
        assert len(sentences) > 0.8 * number
    path.write_bytes(whole)
    with fault.nothing_lost():
        trainer.resume_or_load(resume=True)
        assert trainer.start_iter == 4
