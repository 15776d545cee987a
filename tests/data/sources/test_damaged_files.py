"""Whatever stands in a label file, the reader gives a data set or one sentence."""

import copy
import json
import os
import random
import shutil
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from label_files import WRITERS

from dyhead.data.checks import check_coco
from dyhead.data.sources import Source, part_names, read_categories, read_source
from dyhead.errors import UserError

# Of each format, the files that have labels or say where they are.
FILES = {
    "COCO json": ["instances.json"],
    "PASCAL VOC": ["Annotations/a.xml", "ImageSets/Main/train.txt"],
    "YOLO": ["labels/train/a.txt", "data.yaml"],
    "CVAT for images": ["annotations.xml"],
    "Label Studio json": ["project-1.json"],
    "labelme": ["a.json"],
}
TOKENS = [
    *(
        b"nan",
        b"-1",
        b"1e999",
        b"9" * 400,
        b"0.5 0.5",
        b"true",
        b"null",
        b'""',
        b"''",
        b"[]",
        b"{}",
    ),
    *(
        b"\x00",
        b"\xff\xfe",
        b"\xef\xbb\xbf",
        b"\r",
        b"\n",
        b"\\",
        b"../",
        b"/",
        b"#",
        b"&amp;",
        b"%00",
    ),
    *(
        b"<object/>",
        b"<box/>",
        b"<image/>",
        b"</",
        b">",
        b"<",
        b"<!--",
        b"[",
        b"{",
        b'"',
        b": ",
        b", ",
    ),
    *(b"*a", b"&a ", b"!!python/name:os", b"- ", b"\xc3\x28"),
]
PROFILE = settings(
    max_examples=40,
    database=None,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


@cache
def write_once(kind: str, folder: Path) -> Path:
    return write(kind, folder)


def write(kind: str, folder: Path) -> Path:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    path = WRITERS[kind](folder)
    if kind == "PASCAL VOC":
        lists = folder / "ImageSets" / "Main"
        lists.mkdir(parents=True)
        (lists / "train.txt").write_text("a\nb\nc\nd\n")
    return path


@contextmanager
def restored(path: Path) -> Iterator[bytes]:
    content = path.read_bytes()
    try:
        yield content
    finally:
        path.write_bytes(content)


def assert_readable_or_refused(path: Path) -> None:
    """Read and check; anything but a result and a `UserError` fails."""
    for use in (part_names, read_categories, read_and_check):
        try:
            use(path)
        except UserError as error:
            assert len(str(error)) > 20


def read_and_check(path: Path) -> Source:
    source = read_source(path)
    check_coco(source.content, source.path, source.image_root, report=source.report)
    return source


@pytest.mark.parametrize("kind", FILES)
@PROFILE
@given(data=st.data())
def test_bytes_that_were_changed(tmp_path, kind, data):
    path = write_once(kind, tmp_path / "given")
    damaged = tmp_path / "given" / data.draw(st.sampled_from(FILES[kind]))
    with restored(damaged) as content:
        for _ in range(data.draw(st.integers(1, 3))):
            place = data.draw(st.integers(0, len(content)))
            length = data.draw(st.integers(0, 30))
            inserted = data.draw(st.one_of(st.sampled_from(TOKENS), st.binary(max_size=6)))
            content = content[:place] + inserted + content[place + length :]
        damaged.write_bytes(content)
        assert_readable_or_refused(path)


VALUES = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(-5, 5),
        st.sampled_from(
            [10**400, 2**63, -1.5, float("nan"), float("inf"), "", "a.png", "bee", "1"]
        ),
        st.text(max_size=4),
    ),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(st.sampled_from(["x", "id"]), inner, max_size=2),
    ),
    max_leaves=5,
)


@pytest.mark.parametrize("kind", [kind for kind in FILES if FILES[kind][0].endswith(".json")])
@PROFILE
@given(value=VALUES, seed=st.integers(0, 2**32))
def test_values_of_json_that_were_replaced(tmp_path, kind, value, seed):
    path = write_once(kind, tmp_path / "given")
    damaged = tmp_path / "given" / FILES[kind][0]
    with restored(damaged) as text:
        content = json.loads(text)
        chooser = random.Random(seed)
        for _ in range(chooser.randint(1, 3)):
            content = replaced(content, value, chooser)
        damaged.write_text(json.dumps(content))
        assert_readable_or_refused(path)


def replaced(content, value, chooser):
    """Put the value into a random place, at any depth."""
    if not isinstance(content, (dict, list)) or not content or chooser.random() < 0.15:
        return copy.deepcopy(value)
    key = chooser.choice(list(content) if isinstance(content, dict) else range(len(content)))
    content[key] = replaced(content[key], value, chooser)
    return content


XML_VALUES = st.one_of(st.text(max_size=6), st.sampled_from(["nan", "1e999", "-7", "9" * 400]))


@pytest.mark.parametrize("kind", [kind for kind in FILES if FILES[kind][0].endswith(".xml")])
@PROFILE
@given(
    value=st.one_of(st.text(max_size=6), st.sampled_from(["nan", "1e999", "-7", "9" * 400])),
    seed=st.integers(0, 2**32),
)
def test_values_of_xml_that_were_replaced(tmp_path, kind, value, seed):
    path = write_once(kind, tmp_path / "given")
    damaged = tmp_path / "given" / FILES[kind][0]
    chooser = random.Random(seed)
    with restored(damaged) as content:
        root = ET.fromstring(content)
        for element in chooser.sample(list(root.iter()), 3):
            change(element, "".join(letter for letter in value if letter.isprintable()), chooser)
        damaged.write_text(ET.tostring(root, encoding="unicode"), encoding="utf-8")
        assert_readable_or_refused(path)


def change(element, text, chooser):
    """Put a text into an element, or give the element another name."""
    if element.attrib and chooser.random() < 0.7:
        element.set(chooser.choice(list(element.attrib)), text)
    elif chooser.random() < 0.5:
        element.text = text
    else:
        element.tag = chooser.choice(["object", "bndbox", "box", "track", "size", "part"])


@pytest.mark.parametrize("kind", FILES)
def test_a_folder_or_a_pipe_in_the_place_of_a_file(tmp_path, kind):
    for make in (os.mkdir, getattr(os, "mkfifo", os.mkdir)):
        for name in FILES[kind]:
            path = write(kind, tmp_path / "given")
            (tmp_path / "given" / name).unlink()
            make(tmp_path / "given" / name)
            assert_readable_or_refused(path)
