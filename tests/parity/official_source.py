"""Models of the official code, from a checkout, beside ours.

They need genuine Detectron2, which the official code is written for. It registers names that we
register too, so it gets registries of its own.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

from fvcore.common.registry import Registry
from official_code import OfficialPackages, official_packages
from torch import nn


@contextmanager
def official_code(checkout: str) -> Iterator[OfficialPackages]:
    """Inside, the official packages, and registries that hold what they register."""
    from detectron2.modeling.backbone import build as backbone_build
    from detectron2.modeling.meta_arch import build as meta_arch_build

    with (
        mock.patch.object(backbone_build, "BACKBONE_REGISTRY", Registry("BACKBONE")),
        mock.patch.object(meta_arch_build, "META_ARCH_REGISTRY", Registry("META_ARCH")),
    ):
        with official_packages(checkout) as packages:
            pass
        yield packages


def build_official(checkout: str, config: str, changes: list[str]) -> nn.Module:
    """Build the model of an official YAML file with KEY VALUE overrides."""
    from detectron2.config import CfgNode, get_cfg
    from detectron2.modeling import build_model

    from dyhead.safe_io.yaml import load_yaml_with_base

    values: dict[str, Any] = load_yaml_with_base(str(Path(checkout, "configs", config)))
    with official_code(checkout) as packages:
        cfg = get_cfg()
        packages.dyhead.add_dyhead_config(cfg)
        packages.extra.add_extra_config(cfg)
        cfg.merge_from_other_cfg(CfgNode(values))
        cfg.merge_from_list(changes)
        return build_model(cfg)
