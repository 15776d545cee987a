"""The embedded host keeps Detectron2's names, signatures and defaults.

Compares each public name of each module that both have, genuine Detectron2 with the embedded host.
A difference has to be listed with its reason; an entry that is no difference any more fails too.
"""

import importlib
import importlib.util
import inspect
from pathlib import Path

import pytest

import dyhead.d2

if importlib.util.find_spec("detectron2") is None:
    pytest.skip("genuine Detectron2 cannot be imported here", allow_module_level=True)

HOST = Path(dyhead.d2.__file__).parent
# What the project gives in the host's place, on either host: the module that has it.
OF_THE_PROJECT = {("engine", "DefaultPredictor"): "dyhead.default_predictor"}

# class.member, or name(parameter), that the embedded host lacks or changes: why.
NOT_DRAWN = (
    "draw_and_connect_keypoints",
    "draw_binary_mask",
    "draw_circle",
    "draw_line",
    "draw_panoptic_seg",
    "draw_panoptic_seg_predictions",
    "draw_polygon",
    "draw_rotated_box_with_label",
    "draw_sem_seg",
    "draw_soft_mask",
    "overlay_instances(keypoints)",
    "overlay_instances(masks)",
    "overlay_rotated_instances",
)
FEDERATED_LOSS = (
    "(fed_loss_num_classes)",
    "(get_fed_loss_cls_weights)",
    "(use_fed_loss)",
    ".get_fed_loss_classes",
)
KNOWN_DIFFERENCES: dict[str, str] = {
    **{
        f"{name}.visualize_training": "nothing draws training inputs"
        for name in ("DenseDetector", "GeneralizedRCNN", "RetinaNet")
    },
    **{f"FastRCNNOutputLayers{part}": "no federated loss is served" for part in FEDERATED_LOSS},
    "ResizeTransform.apply_rotated_box": "rotated boxes are not served",
    "FrozenBatchNorm2d.convert_frozenbatchnorm2d_to_batchnorm2d": "nothing thaws a norm",
    "EventStorage.clear_histograms": "nothing draws histograms",
    "EventStorage.put_histogram": "nothing draws histograms",
    **{f"Visualizer.{name}": "only boxes with labels are drawn" for name in NOT_DRAWN},
}


def common_modules():
    """Modules below `dyhead/d2` that genuine Detectron2 has too."""
    for path in sorted(HOST.rglob("*.py")):
        parts = path.relative_to(HOST).with_suffix("").parts
        module = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
        if module and importlib.util.find_spec(f"detectron2.{module}") is not None:
            yield module


def is_public(name, value):
    if name.startswith("_") or inspect.ismodule(value) or not is_ours(value):
        return False
    # What only stands in for a part of Detectron2 has nothing to compare.
    return getattr(value, "__module__", "") != "embedded_host.utils.not_served"


def common_names():
    for module in common_modules():
        genuine = importlib.import_module(f"detectron2.{module}")
        embedded = importlib.import_module(f"embedded_host.{module}")
        for name, value in sorted(vars(embedded).items()):
            if is_public(name, value) and hasattr(genuine, name):
                yield (id(getattr(genuine, name)), id(value)), (module, name)


def of_both_hosts(module, name):
    genuine = importlib.import_module(f"detectron2.{module}")
    ours = OF_THE_PROJECT.get((module, name), f"embedded_host.{module}")
    embedded = importlib.import_module(ours)
    assert hasattr(genuine, name), f"genuine Detectron2 has no {module}.{name}"
    assert hasattr(embedded, name), f"the embedded host has no {module}.{name}"
    return getattr(genuine, name), getattr(embedded, name)


def is_ours(function):
    """Return whether a member is the host's own, and not inherited from torch, fvcore or Python."""
    function = inspect.unwrap(getattr(function, "fget", None) or function)
    module = getattr(function, "__module__", None) or ""
    return module.startswith(("detectron2.", "embedded_host.", *OF_THE_PROJECT.values()))


def public_members(cls):
    members = {}
    for name in dir(cls):
        member = inspect.getattr_static(cls, name)
        member = getattr(member, "__func__", member)  # of static and class methods
        is_member = inspect.isfunction(member) or isinstance(member, property)
        if is_member and not name.startswith("_") and is_ours(member):
            members[name] = member
    return members


def plain_default(value):
    """Return something that compares equal for the same default value of either host."""
    if inspect.isclass(value) or inspect.isroutine(value):
        return value.__name__
    if isinstance(value, int) and not isinstance(value, bool):
        return repr(int(value))  # a member of an IntEnum is as good as its number
    return repr(value)


def parameters(function):
    """Return (kind, default) of each named parameter, and whether it takes any others."""
    signature = inspect.signature(function).parameters.values()
    named = [p for p in signature if p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)]
    described = {p.name: (p.kind.description, plain_default(p.default)) for p in named}
    return described, len(named) < len(signature)


def signature_differences(where, genuine, embedded):
    theirs, they_take_any = parameters(genuine)
    ours, we_take_any = parameters(embedded)
    lacking = [] if we_take_any else theirs.keys() - ours.keys()
    added = [] if they_take_any else ours.keys() - theirs.keys()
    for name in {*lacking, *added}:
        yield f"{where}({name})"
    common = [name for name in theirs if name in ours]
    if common != [name for name in ours if name in theirs]:
        yield f"{where}: order {list(theirs)} became {list(ours)}"
    for name in common:
        if theirs[name] != ours[name]:
            yield f"{where}({name}): {theirs[name]} became {ours[name]}"


def forward_differences(where, genuine, embedded):
    """A module is called through its __call__, positionally: only the number has to agree."""
    theirs, they_take_any = parameters(genuine)
    ours, we_take_any = parameters(embedded)
    if len(theirs) != len(ours) and not they_take_any and not we_take_any:
        yield f"{where}: {list(theirs)} became {list(ours)}"


def class_differences(where, genuine, embedded):
    if is_ours(genuine.__init__) and is_ours(embedded.__init__):
        yield from signature_differences(where, genuine.__init__, embedded.__init__)
    theirs, ours = public_members(genuine), public_members(embedded)
    for name in theirs.keys() - set(dir(embedded)):
        yield f"{where}.{name}"
    for name in theirs.keys() & ours.keys():
        properties = [isinstance(members[name], property) for members in (theirs, ours)]
        if not any(properties):
            compare = forward_differences if name == "forward" else signature_differences
            yield from compare(f"{where}.{name}", theirs[name], ours[name])
        elif not all(properties):
            yield f"{where}.{name}: a property on one host, a method on the other"


def differences(module, name):
    genuine, embedded = of_both_hosts(module, name)
    if genuine is embedded:
        return
    if inspect.isclass(genuine) and inspect.isclass(embedded):
        yield from class_differences(name, genuine, embedded)
    elif inspect.isroutine(genuine) and inspect.isroutine(embedded):
        yield from signature_differences(name, genuine, embedded)
    elif type(genuine).__name__ != type(embedded).__name__:
        yield f"{name}: {type(genuine).__name__} became {type(embedded).__name__}"


NAMES = list(dict(common_names()).values())  # each thing once, however many modules give it


@pytest.mark.parametrize(("module", "name"), NAMES, ids=map("-".join, NAMES))
def test_name_is_the_same_on_both_hosts(module, name):
    assert sorted(set(differences(module, name)) - KNOWN_DIFFERENCES.keys()) == []


def test_known_differences_are_differences():
    found = {difference for module, name in NAMES for difference in differences(module, name)}
    assert KNOWN_DIFFERENCES.keys() - found == set()


def flat(node, prefix=""):
    for key, value in node.items():
        if isinstance(value, dict):
            yield from flat(value, f"{prefix}{key}.")
        else:
            # repr also tells 1 from 1.0, and a tuple from a list
            yield prefix + key, repr(value)


def test_default_configuration_is_the_same():
    genuine, embedded = of_both_hosts("config", "get_cfg")
    assert dict(flat(embedded())) == dict(flat(genuine()))


def yaml_files_of_genuine():
    root = Path(importlib.util.find_spec("detectron2").origin).parents[1] / "configs"
    return sorted(root.glob("COCO-Detection/*.yaml"))


@pytest.mark.parametrize("path", yaml_files_of_genuine(), ids=lambda path: path.stem)
def test_merged_files_are_the_same(path):
    genuine, embedded = (get_cfg() for get_cfg in of_both_hosts("config", "get_cfg"))
    genuine.merge_from_file(str(path))
    embedded.merge_from_file(str(path))
    assert dict(flat(embedded)) == dict(flat(genuine))


def test_small_table_is_the_same():
    genuine, embedded = of_both_hosts("utils.logger", "create_small_table")
    row = {"AP": 41.2345, "AP50": 60.0, "name": "x"}
    assert embedded(row) == genuine(row)
