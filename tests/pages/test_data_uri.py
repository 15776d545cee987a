"""Pictures stand in pages as JPEGs."""

import base64
import io

import pytest
from PIL import Image

from dyhead.pages import as_data_uri


@pytest.mark.parametrize("mode", ["RGB", "L", "RGBA"])
def test_a_picture_of_any_mode_is_read_back(mode):
    head, _, data = as_data_uri(Image.new(mode, (30, 20), "white")).partition(",")
    assert head == "data:image/jpeg;base64"
    read = Image.open(io.BytesIO(base64.b64decode(data)))
    assert read.format == "JPEG" and read.size == (30, 20)
    assert read.convert("RGB").getpixel((15, 10)) == (255, 255, 255)
