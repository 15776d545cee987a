"""Addresses of the weights that timm and torchvision download, by the names of their models."""

import difflib
import re
from collections.abc import Iterable
from typing import Any

TIMM_PREFIX = "timm://"
TIMM_HUB = "timm/"  # the owner of its repositories on Hugging Face's hub
TORCHVISION_PREFIX = "torchvision://"
_BARE_NAME = re.compile(r"[a-z]\w*(\.\w+)?", re.IGNORECASE)
_ENDINGS = (".pth", ".pyth", ".pt", ".pkl", ".safetensors", ".bin", ".onnx", ".yaml")


def timm_address(address: str) -> str:
    """Return where timm fetches timm://<model> or timm://<model>.<tag>.

    Raises:
        ValueError: timm has no such weights; the message has the nearest names.
    """
    config = timm_facts(address)
    if config.hf_hub_id:
        return f"hf://{config.hf_hub_id}/{config.hf_hub_filename or 'model.safetensors'}"
    return str(config.url)


def timm_facts(address: str) -> Any:
    """Return what timm knows of timm://<model>.<tag>: its `PretrainedCfg`, with `mean` and `std`.

    Raises:
        ValueError: timm has no such weights; the message has the nearest names.
    """
    import timm  # takes long

    name = address.removeprefix(TIMM_PREFIX)
    try:
        config = timm.get_pretrained_cfg(name)
    except RuntimeError:  # a model that it knows, and another tag
        config = None
    if config is None or not (config.hf_hub_id or config.url):
        architecture = name.partition(".")[0]
        tagged = timm.list_models(f"{architecture}.*", pretrained=True)
        raise ValueError(_unknown(address, TIMM_PREFIX, name, tagged or _timm_names()))
    return config


def _timm_names() -> list[str]:
    import timm

    return list(timm.list_models(pretrained=True))


def torchvision_address(address: str) -> str:
    """Return where torchvision fetches torchvision://<model> or torchvision://<model>.<WEIGHTS>.

    Without the name of its weights, such as IMAGENET1K_V1, torchvision's best ones are meant.

    Raises:
        ValueError: torchvision has no such weights; the message has the nearest names.
    """
    from torchvision import models  # takes long

    name = address.removeprefix(TORCHVISION_PREFIX)
    model, _, weights = name.partition(".")
    if model not in models.list_models():
        raise ValueError(_unknown(address, TORCHVISION_PREFIX, name, models.list_models()))
    known = models.get_model_weights(model)
    if (weights or "DEFAULT") not in known.__members__:
        names = [f"{model}.{each.name}" for each in known]
        raise ValueError(_unknown(address, TORCHVISION_PREFIX, name, names))
    return str(known[weights or "DEFAULT"].url)


def _unknown(address: str, prefix: str, name: str, names: Iterable[str]) -> str:
    near = difflib.get_close_matches(name, names, n=3, cutoff=0.0)
    return f"{address} names no weights that can be fetched, did you mean" + (
        f" {' or '.join(prefix + each for each in near)}?"
    )


def library_address(name: str) -> str:
    """Return the address of a bare name of a model: timm's, or where it has none torchvision's.

    Args:
        name: such as "resnet50", "resnet50.a1_in1k" or "swin_t", or of timm's repository on the
            hub, "timm/resnet50.a1_in1k"; what is none comes back as it is.
    """
    on_hub = name.removeprefix(TIMM_HUB)
    if on_hub != name and _is_bare(on_hub):
        return TIMM_PREFIX + on_hub
    if not _is_bare(name):
        return name
    import timm
    from torchvision import models

    architecture = name.partition(".")[0]
    if timm.is_model(architecture):
        return TIMM_PREFIX + name
    return TORCHVISION_PREFIX + name if architecture in models.list_models() else name


def _is_bare(name: str) -> bool:
    return bool(_BARE_NAME.fullmatch(name)) and not name.lower().endswith(_ENDINGS)
