"""The files that the documents speak of: a small data set, pictures, a video and trained runs."""

import json
import os
import shutil
import subprocess
from pathlib import Path

import numpy as np
from document_programs import write_programs
from documents import PROJECT
from PIL import Image

from dyhead.d2.data.datasets.builtin_meta import _get_builtin_metadata
from dyhead.data.shape_scenes import ShapesSpec
from dyhead.data.shapes import make_shapes

NAMES = ("platelet", "cell")
SIZE = (96, 72)  # width, height
_NUM_TRAIN, _NUM_VAL = 6, 2
_OF_A_CLONE = ("docs", "train_net.py", "tools")
_DATA_YAML = f"train: images/train\nval: images/val\nnames: [{', '.join(NAMES)}]"


def make_files(folder: Path) -> Path:
    """Make them all below a folder, which is made, and return it; runs take a training each."""
    folder.mkdir()
    write_programs(folder / "bin")
    for name in _OF_A_CLONE:
        (folder / name).symlink_to(PROJECT / name)
    shutil.copytree(PROJECT / "configs", folder / "configs")
    _make_data(folder / "cells")
    for other in ("my", "datasets/own"):
        shutil.copytree(folder / "cells", folder / other)
    for name in ("photos", "more", "my/unlabelled"):
        shutil.copytree(folder / "cells" / "images" / "val", folder / name)
    _make_coco(folder / "datasets" / "coco", folder / "cells")
    (folder / "cells.yaml").write_text(f"{_DATA_YAML}\npath: cells")
    for name in ("photo.jpg", "cell.jpg", "a.jpg", "b.jpg", "photos/photo.jpg"):
        _draw(folder / name, seed=99)
    _make_video(folder / "clip.mp4")
    make_shapes(folder / "datasets", ShapesSpec(num_train=1, num_val=30))  # as the quickstart does
    _make_runs(folder)
    return folder


def copy_files(source: Path, target: Path) -> None:
    """Copy a folder of `make_files`, but for weights: they are large, so links to the same files.

    Programs replace a file of weights as a whole, which leaves the other links as they are.
    """
    shutil.copytree(source, target, symlinks=True, copy_function=_copy_or_link)


def _copy_or_link(source: str, target: str) -> None:
    if source.endswith(".pth"):
        os.link(source, target)
    else:
        shutil.copy2(source, target)


def run_shell(source: str, folder: Path) -> None:
    """Run a shell's text in a folder of `make_files`; one command's failure ends it."""
    run_program(["bash", "-euo", "pipefail", "-c", source], folder)


def run_program(words: list[str], folder: Path) -> str:
    """Run a program in a folder of `make_files`, as on a machine without Detectron2 and GPUs.

    Returns:
        what it said.

    Raises:
        AssertionError: it failed, with all that it said.
    """
    path = f"{folder / 'bin'}{os.pathsep}{os.environ['PATH']}"
    python_path = os.pathsep.join([str(PROJECT), os.environ.get("PYTHONPATH", "")])
    variables = {"OMP_NUM_THREADS": "1", "DYHEAD_HOST": "embedded"}
    variables |= {"DETECTRON2_DATASETS": "datasets", "CUDA_VISIBLE_DEVICES": ""}
    done = subprocess.run(
        words,
        cwd=folder,
        env={**os.environ, **variables, "PATH": path, "PYTHONPATH": python_path},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, (
        f"{words[-1]}\nended with {done.returncode}:\n{done.stdout[-4000:]}"
    )
    return done.stdout


def _make_data(folder: Path) -> None:
    """Write a data set as COCO's json, a file each part, and as YOLO's text files."""
    number = 0
    for part, count in (("train", _NUM_TRAIN), ("val", _NUM_VAL)):
        images, annotations = [], []
        for _ in range(count):
            number += 1
            name = f"{part}/{number}.jpg"
            box = _draw(folder / "images" / name, number)
            label = folder / "labels" / part / f"{number}.txt"
            _write_label(label, number % 2, box)
            images.append(dict(id=number, file_name=name, width=SIZE[0], height=SIZE[1]))
            entry = dict(id=number, image_id=number, category_id=number % 2 + 1, iscrowd=0)
            annotations.append({**entry, "bbox": box, "area": box[2] * box[3]})
        categories = [dict(id=i, name=name) for i, name in enumerate(NAMES, start=1)]
        content = dict(images=images, annotations=annotations, categories=categories)
        (folder / f"{part}.json").write_text(json.dumps(content))
    (folder / "data.yaml").write_text(_DATA_YAML)


def _make_coco(folder: Path, cells: Path) -> None:
    """Write the sets of COCO 2017, with another data set's pictures and boxes."""
    known = _get_builtin_metadata("coco")
    ids = known["thing_dataset_id_to_contiguous_id"]
    categories = [dict(id=id_, name=known["thing_classes"][index]) for id_, index in ids.items()]
    (folder / "annotations").mkdir(parents=True)
    for part in ("train", "val"):
        shutil.copytree(cells / "images" / part, folder / f"{part}2017")
        content = json.loads((cells / f"{part}.json").read_text())
        for image in content["images"]:
            image["file_name"] = Path(image["file_name"]).name
        content["categories"] = categories
        (folder / "annotations" / f"instances_{part}2017.json").write_text(json.dumps(content))


def _draw(path: Path, seed: int) -> list[int]:
    """Draw a bright rectangle on smooth noise, and return its box, XYWH in pixels."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 150, (SIZE[1] // 8, SIZE[0] // 8, 3), dtype=np.uint8)
    pixels = np.kron(coarse, np.ones((8, 8, 1), dtype=np.uint8))
    x, y = (int(value) for value in rng.integers(0, 24, 2))
    width, height = (int(value) for value in rng.integers(24, 48, 2))
    pixels[y : y + height, x : x + width] = 200 + 40 * (seed % 2)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path, quality=95)
    return [x, y, width, height]


def _write_label(path: Path, class_index: int, box: list[int]) -> None:
    x, y, width, height = box
    shares = ((x + width / 2) / SIZE[0], (y + height / 2) / SIZE[1], width / SIZE[0])
    path.parent.mkdir(parents=True, exist_ok=True)
    numbers = " ".join(f"{share:.6f}" for share in (*shares, height / SIZE[1]))
    path.write_text(f"{class_index} {numbers}\n")


def _make_video(path: Path) -> None:
    import av

    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=10)
        stream.width, stream.height, stream.pix_fmt = *SIZE, "yuv420p"
        for shade in (60, 120, 180):
            pixels = np.full((SIZE[1], SIZE[0], 3), shade, dtype=np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        container.mux(stream.encode())


def _make_runs(folder: Path) -> None:
    run_shell("dyhead train --config own_dataset_from_random OUTPUT_DIR output/cells", folder)
    for name in ("quickstart", "run", "cells_2", "cells_3"):
        copy_files(folder / "output" / "cells", folder / "output" / name)
    os.link(folder / "output" / "cells" / "model_final.pth", folder / "model_best.pth")
