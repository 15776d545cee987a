"""XML is read with line numbers, and what it could load or grow into is not."""

import xml.etree.ElementTree as ET

import pytest

from dyhead.data.sources.xml_files import read_xml, root_tag
from dyhead.errors import UserError

LAUGHS = "<!DOCTYPE a [" + "".join(
    f'<!ENTITY l{n + 1} "{f"&l{n};" * 10}">' if n else '<!ENTITY l1 "lol">' for n in range(12)
)


def test_it_equals_the_standard_parser(tmp_path):
    text = '<a x="1">one<b>two</b>\n<b y="&amp;2"/>three<c><b>in c</b></c></a>'
    path = tmp_path / "a.xml"
    path.write_text(text)
    root = read_xml(path)
    assert ET.tostring(root) == ET.tostring(ET.fromstring(text))
    assert [child.line for child in root.children("b")] == [1, 2]
    assert root.text_of("b") == "two" and root.text_of("none") == ""


@pytest.mark.parametrize(
    "text",
    [
        f"{LAUGHS}]><a>&l12;</a>",
        '<!DOCTYPE a [<!ENTITY f SYSTEM "file:///etc/hostname">]><a>&f;</a>',
        '<!DOCTYPE a SYSTEM "http://example.org/a.dtd"><a/>',
    ],
)
def test_document_types_are_refused(tmp_path, text):
    path = tmp_path / "a.xml"
    path.write_text(text)
    with pytest.raises(UserError, match="a.xml has a document type"):
        read_xml(path)


def test_the_root_is_told_without_reading_the_rest(tmp_path):
    path = tmp_path / "a.xml"
    path.write_text('<?xml version="1.0"?><!-- x --><annotation><broken')
    assert root_tag(path) == "annotation"
    path.write_bytes(b"\x00\x01 no xml")
    assert root_tag(path) == ""
