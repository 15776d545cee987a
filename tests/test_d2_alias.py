"""Packages with a second name, and Detectron2's name for the embedded host."""

import importlib
import os
import pickle
import subprocess
import sys
from pathlib import Path

import pytest

from dyhead.d2_alias import PackageAlias

ROOT = Path(__file__).parents[1]
FILES = {
    "__init__.py": "",
    "layers/__init__.py": "from .nms import nms\nfrom . import boxes\n",
    "layers/nms.py": "def nms():\n    return 'function'\n",
    "layers/boxes.py": "from ..shapes import Shape\nclass Boxes(Shape):\n    pass\n",
    "layers/broken.py": "import nothing_of_this_name\n",
    "layers/later.py": "from .nms import nms\n",
    "shapes.py": "class Shape:\n    pass\n",
}


@pytest.fixture
def second_name(tmp_path, monkeypatch):
    """A package `real_package`, and `second_package` as its other name."""
    for name, text in FILES.items():
        path = tmp_path / "real_package" / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(sys, "meta_path", list(sys.meta_path))
    PackageAlias("second_package", "real_package").install()
    yield "second_package"
    for name in [n for n in sys.modules if n.split(".")[0] in ("real_package", "second_package")]:
        del sys.modules[name]


@pytest.mark.parametrize("first", ["real_package", "second_package"])
def test_both_names_are_one_module(second_name, first):
    importlib.import_module(f"{first}.layers.boxes")
    for name in ("", ".layers", ".layers.boxes", ".shapes"):
        real = importlib.import_module(f"real_package{name}")
        assert importlib.import_module(f"{second_name}{name}") is real
        assert real.__name__ == real.__spec__.name == f"real_package{name}"


def test_a_function_named_as_its_module_stays_the_parents(second_name):
    importlib.import_module(f"{second_name}.layers.nms")
    layers = importlib.import_module(f"{second_name}.layers")
    assert layers.nms() == "function"


def test_modules_imported_after_their_parent_are_its_attributes(second_name):
    layers = importlib.import_module(f"{second_name}.layers")
    assert not hasattr(layers, "later")
    later = importlib.import_module(f"{second_name}.layers.later")
    assert layers.later is later is sys.modules["real_package.layers.later"]


def test_objects_pickle_by_the_real_name(second_name):
    boxes = importlib.import_module(f"{second_name}.layers.boxes").Boxes()
    assert type(pickle.loads(pickle.dumps(boxes))) is type(boxes)
    assert b"real_package" in pickle.dumps(boxes)


def test_a_missing_submodule_is_named_as_it_was_asked_for(second_name):
    with pytest.raises(ModuleNotFoundError, match=r"second_package\.layers\.absent") as error:
        importlib.import_module(f"{second_name}.layers.absent")
    assert error.value.name == "second_package.layers.absent"
    assert importlib.util.find_spec(f"{second_name}.absent") is None


def test_an_error_inside_a_submodule_is_its_own(second_name):
    with pytest.raises(ModuleNotFoundError, match="nothing_of_this_name"):
        importlib.import_module(f"{second_name}.layers.broken")


def test_a_second_installation_changes_nothing(second_name):
    before = list(sys.meta_path)
    PackageAlias(second_name, "real_package").install()
    assert sys.meta_path == before


def run_embedded(code, *paths):
    environment = {**os.environ, "DYHEAD_HOST": "embedded"}
    environment["PYTHONPATH"] = os.pathsep.join(map(str, [*paths, ROOT]))
    return subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False
    )


def test_importing_the_host_leaves_detectron2s_name_alone(tmp_path):
    code = "import sys, dyhead.d2.config; print('detectron2' in sys.modules, end='')"
    assert run_embedded(code).stdout == "False"


def test_third_parties_find_the_embedded_host_under_detectron2s_name():
    code = """
from dyhead import d2_alias
d2_alias.install()
import detectron2
import detectron2.data.transforms as T
from detectron2.modeling.backbone.build import BACKBONE_REGISTRY
from detectron2.utils import comm
import dyhead.d2
from dyhead.d2.modeling import BACKBONE_REGISTRY as ours
print(detectron2 is dyhead.d2, BACKBONE_REGISTRY is ours, T.RandomFlip.__module__, comm.__name__)
"""
    done = run_embedded(code)
    expected = "True True dyhead.d2.data.transforms.augmentation_impl dyhead.d2.utils.comm\n"
    assert done.stdout == expected, done.stderr


def test_the_name_is_refused_where_detectron2_has_taken_it(tmp_path):
    (tmp_path / "detectron2").mkdir()
    (tmp_path / "detectron2" / "__init__.py").write_text("")
    code = "import detectron2; from dyhead import d2_alias; d2_alias.install()"
    done = run_embedded(code, tmp_path)
    assert "RuntimeError: Detectron2 has been imported" in done.stderr
