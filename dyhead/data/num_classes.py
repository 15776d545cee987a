"""The number of classes follows from the data, unless the config sets it."""

import logging
from collections.abc import Collection, Sequence

from dyhead.d2.config import CfgNode
from dyhead.d2.modeling.meta_arch import META_ARCH_REGISTRY
from dyhead.data.checks.objects import plain_name
from dyhead.data.coco_json import class_names
from dyhead.errors import UserError, first_few

# Of the host's detectors; ours declare it, or have a section of their own name.
_HOST_SECTIONS = {"GeneralizedRCNN": "ROI_HEADS", "RetinaNet": "RETINANET"}

logger = logging.getLogger(__name__)


def fill_num_classes(cfg: CfgNode, explicit_keys: Collection[str], eval_only: bool = False) -> None:
    """Set MODEL.<section>.NUM_CLASSES, in place, to what the data sets of the config have.

    Args:
        cfg: not frozen; its data sets are registered (`register_datasets`).
        explicit_keys: the dotted keys that the user's config or command line set.
        eval_only: look at DATASETS.TEST alone, if it names any.

    Raises:
        UserError: the number was set and doesn't fit, or the data sets' classes differ.
    """
    train = [] if eval_only and cfg.DATASETS.TEST else cfg.DATASETS.TRAIN
    names = list(dict.fromkeys([*train, *cfg.DATASETS.TEST]))
    if not names:
        return
    classes = common_classes(names)
    current = get_num_classes(cfg)
    if current is None:
        logger.info(
            "%s has no key %s: its number of classes isn't checked",
            cfg.MODEL.META_ARCHITECTURE,
            num_classes_key(cfg),
        )
        return
    key = num_classes_key(cfg)
    if key in explicit_keys and current != len(classes):
        raise UserError(
            f"{key} is {current}, but the data set {names[0]!r} has {len(classes)} classes"
            f" ({first_few(classes)}): set it to {len(classes)}, or leave it out to have it filled."
        )
    set_num_classes(cfg, len(classes))


def num_classes_key(cfg: CfgNode) -> str:
    """Name the config key of the architecture's number of classes, if it has one."""
    return f"MODEL.{_section(cfg)}.NUM_CLASSES"


def get_num_classes(cfg: CfgNode) -> int | None:
    """Return the number of classes of the config's model; None without such a key."""
    return cfg.MODEL.get(_section(cfg), {}).get("NUM_CLASSES")


def set_num_classes(cfg: CfgNode, number: int) -> None:
    """Set the number of classes of the config's model, where its architecture has a key for it."""
    if get_num_classes(cfg) is not None:
        cfg.MODEL[_section(cfg)].NUM_CLASSES = number


def _section(cfg: CfgNode) -> str:
    import dyhead.modeling  # noqa: F401  registers the detectors

    name: str = cfg.MODEL.META_ARCHITECTURE
    detector = META_ARCH_REGISTRY.get(name) if name in META_ARCH_REGISTRY else None
    for base in getattr(detector, "__mro__", ()):  # what derives from a detector has its keys
        section: str = vars(base).get("config_section") or _HOST_SECTIONS.get(base.__name__, "")
        if section:
            return section
    return name.upper()


def common_classes(names: Sequence[str]) -> list[str]:
    """Return the class names that registered data sets have in common.

    Raises:
        UserError: they differ.
    """
    first = class_names(names[0])
    for name in names[1:]:
        other = class_names(name)
        if other != first:
            raise UserError(
                f"The data sets {names[0]!r} and {name!r} differ in their classes"
                f" ({difference(first, other)}): give all of DATASETS.TRAIN and DATASETS.TEST the"
                " same categories in the same order of ids."
            )
    return first


def difference(
    first: Sequence[str],
    second: Sequence[str],
    where: tuple[str, str] = ("in the first", "in the second"),
) -> str:
    """Describe the names that only one of two lists has, or that their order differs."""
    only_first = [name for name in first if name not in second]
    only_second = [name for name in second if name not in first]
    if not only_first and not only_second:
        return f"another order: {first_few(first)} against {first_few(second)}"
    parts = zip(where, (only_first, only_second), strict=True)
    said = "; ".join(f"only {place}: {first_few(some)}" for place, some in parts if some)
    return f"{said}{_spelling_hint(only_first, only_second)}"


def _spelling_hint(first: Sequence[str], second: Sequence[str]) -> str:
    """Name the pairs that differ in case, spaces, _ or - only; "" where there are none."""
    spelled = {plain_name(name): name for name in second}
    pairs = [(name, spelled[plain_name(name)]) for name in first if plain_name(name) in spelled]
    told = first_few([f"{one!r} and {other!r}" for one, other in pairs], 3)
    return f"; {told} differ in case or spaces only" if pairs else ""
