"""The notebook holds no outputs, and its code runs from the first cell to a drawn detection."""

import json
import sys
from pathlib import Path

import pytest
from document_files import run_program
from documents import PROJECT
from PIL import Image

NOTEBOOK = PROJECT / "docs" / "notebooks" / "first_detector.ipynb"


def code_cells() -> list[dict]:
    cells = json.loads(NOTEBOOK.read_text(encoding="utf-8"))["cells"]
    return [cell for cell in cells if cell["cell_type"] == "code"]


def test_the_notebook_holds_no_outputs():
    assert code_cells()
    for cell in code_cells():
        assert cell["outputs"] == [] and cell["execution_count"] is None


def test_what_it_names_is_there():
    text = NOTEBOOK.read_text(encoding="utf-8")
    pages = [name for name in text.replace(")", "(").split("(") if name.startswith("../")]
    assert pages
    assert all((NOTEBOOK.parent / page).is_file() for page in pages)


@pytest.mark.slow
def test_its_cells_end_with_a_drawn_detection(tmp_path: Path):
    sources = ["".join(cell["source"]) for cell in code_cells()]
    assert sum("MINUTES = 2" in source for source in sources) == 1
    program = "\n".join(sources).replace("MINUTES = 2", "MINUTES = 0.3")
    run_program([sys.executable, "-c", program], tmp_path)
    assert Image.open(tmp_path / "drawn.png").size[0] >= 128
