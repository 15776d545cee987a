"""Json files of any system are read; for all else one sentence says why not."""

import gzip
import json
import os

import pytest

from dyhead.data.sources.json_file import is_plain_utf8, read_json

CONTENT = {"images": [], "name": "Ä"}


@pytest.mark.parametrize(
    ("encoding", "is_plain"),
    [
        ("utf-8", True),
        ("utf-8-sig", False),
        ("utf-16", False),
        ("utf-16-le", False),
        ("utf-16-be", False),
        ("utf-32", False),
    ],
)
def test_every_unicode_encoding_is_read(tmp_path, encoding, is_plain):
    path = tmp_path / "some.json"
    path.write_text(json.dumps(CONTENT, ensure_ascii=False), encoding=encoding)
    assert read_json(path) == CONTENT
    assert is_plain_utf8(path) == is_plain


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b'{"name": "\xc4"}', "not in UTF-8 .byte 10.: save it as UTF-8"),
        (b"[" * 200_000, "nested too deeply"),
        (b"[" + b"9" * 5000 + b"]", "no valid json file .*limit"),
        (gzip.compress(b"{}"), "compressed: unpack it"),
        (b"", "no valid json"),
        (b'{"images": [', "no valid json"),
    ],
    ids=["latin", "deep", "digits", "gzip", "empty", "cut"],
)
def test_what_cannot_be_read_is_refused_in_a_sentence(tmp_path, data, message):
    path = tmp_path / "some.json"
    path.write_bytes(data)
    with pytest.raises(ValueError, match=f"some.json .*{message}"):
        read_json(path)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no pipes")
def test_a_pipe_is_refused_and_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe.json")
    for name in ("pipe.json", "."):
        with pytest.raises(ValueError, match="it is no file"):
            read_json(tmp_path / name)
