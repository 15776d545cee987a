"""A name that nobody has registered is answered with its key and the names that there are."""

import pytest

from dyhead.config import load_config
from dyhead.engine import Trainer
from dyhead.errors import UserError
from dyhead.modeling.registered_names import answer_unknown_names


@pytest.mark.parametrize(
    ("key", "known"),
    [
        ("MODEL.META_ARCHITECTURE", "FCOS"),
        ("MODEL.BACKBONE.NAME", "build_retinanet_resnet_fpn_dyhead_backbone"),
        ("MODEL.ANCHOR_GENERATOR.NAME", "DefaultAnchorGenerator"),
    ],
)
def test_key_name_and_the_registered_names_are_told(key: str, known: str) -> None:
    cfg, _ = load_config("quickstart", ["MODEL.DEVICE", "cpu", key, "Nonsense"])
    with pytest.raises(UserError, match=f"^{key} 'Nonsense' is unknown: use one of .*{known}"):
        Trainer.build_model(cfg)


def test_other_errors_pass_through() -> None:
    cfg, _ = load_config("")
    with pytest.raises(KeyError, match="another"), answer_unknown_names(cfg):
        raise KeyError("another")
