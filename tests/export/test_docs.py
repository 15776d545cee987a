"""The example of docs/export.md runs."""

import json

import numpy as np
import pytest
from documents import PROJECT, block_with
from PIL import ExifTags, Image

from dyhead.checkpoint.model_card import ModelCard

DOCS = PROJECT / "docs" / "export.md"


class Session:
    """In the place of onnxruntime.InferenceSession: finds one box, the middle of the picture."""

    def __init__(self, path, providers):
        self.path = path

    def get_modelmeta(self):
        card = ModelCard("", class_names=("cell",), min_size=50, max_size=1000)
        return type("Meta", (), {"custom_metadata_map": {"dyhead": json.dumps(card.as_plain())}})

    def run(self, names, feeds):
        (images,) = feeds.values()
        assert images.dtype == np.uint8 and images.shape == (1, 3, 50, 80)
        assert images[0, :, 0, 0].tolist() == [0, 0, 200]  # red, in the order BGR
        box = np.array([[[20, 12.5, 60, 37.5]]], dtype=np.float32)
        return box, np.array([[0.75]]), np.array([[0]]), np.array([1])


def test_the_example_with_numpy_alone_gives_boxes_of_the_picture(tmp_path, monkeypatch, capsys):
    onnxruntime = pytest.importorskip("onnxruntime")
    monkeypatch.setattr(onnxruntime, "InferenceSession", Session)
    monkeypatch.chdir(tmp_path)
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6  # a quarter of a turn
    Image.new("RGB", (100, 160), (200, 0, 0)).save("cell.png", exif=exif)
    example = block_with(DOCS, "python", "import json\n")
    exec(example.replace("cell.jpg", "cell.png"), {})
    assert capsys.readouterr().out == "cell 0.75 [40.0, 25.0, 120.0, 75.0]\n"
