"""The generated COCO-format data set "shapes": made on first use, then read like any other."""

import json
import logging
import os
import shutil
import tempfile
from dataclasses import asdict
from functools import partial
from pathlib import Path

from iopath.common.file_io import file_lock
from PIL import Image
from tqdm import tqdm

from dyhead.data.coco_json import SourceFiles, dataset_root, load_checked_coco, register_loader
from dyhead.data.shape_masks import CLASS_NAMES
from dyhead.data.shape_scenes import GENERATOR_VERSION, ShapesSpec, annotate, make_scene
from dyhead.errors import UserError
from dyhead.safe_io.json_text import write_json

SPLITS = ("train", "val")
NAMES = tuple(f"shapes_{split}" for split in SPLITS)
_FOLDER = "shapes"
_MARK = "generator.json"
_JPEG_QUALITY = 92
CATEGORIES = tuple(enumerate(CLASS_NAMES, start=1))  # ids and names

logger = logging.getLogger(__name__)


def register_shapes(repaired_folder: Path, spec: ShapesSpec | None = None) -> None:
    """Register `shapes_train` and `shapes_val`; their files are made when first loaded."""
    spec = spec or ShapesSpec()
    root = dataset_root()
    for name, split in zip(NAMES, SPLITS, strict=True):
        folder = root / _FOLDER
        files = SourceFiles(_annotation_file(folder, split), folder / split, repaired_folder)
        loader = partial(_load, name, files, root, spec)
        register_loader(name, files, loader, classes=dict(CATEGORIES))


def make_shapes(root: Path, spec: ShapesSpec) -> Path:
    """Make `root/shapes` unless it is there already, and return it.

    The files are written to a folder beside it that takes its name when whole, so that neither a
    kill nor several processes at once leave a half-made data set; the same specification gives the
    same bytes. A data set of another specification or generator version is replaced.

    Raises:
        UserError: `root/shapes` is there and was not made by this generator, or `root` can't be
            written.
    """
    folder = root / _FOLDER
    if _is_whole(folder, spec):
        return folder
    try:
        root.mkdir(parents=True, exist_ok=True)
        with file_lock(str(folder)):
            if not _is_whole(folder, spec):
                _make_and_swap(root, folder, spec)
    except OSError as error:
        raise UserError(
            f"The data set 'shapes' can't be written under {root} ({error.strerror or error}): set"
            " DETECTRON2_DATASETS to a folder with room that can be written."
        ) from error
    return folder


def _load(name: str, files: SourceFiles, root: Path, spec: ShapesSpec) -> list[dict]:
    make_shapes(root, spec)
    return load_checked_coco(name, files)


def _annotation_file(folder: Path, split: str) -> Path:
    return folder / "annotations" / f"instances_{split}.json"


def _mark(spec: ShapesSpec) -> dict:
    return {"generator": "dyhead shapes", "version": GENERATOR_VERSION, **asdict(spec)}


def _read_mark(folder: Path) -> dict:
    """Read the specification that the generator left in a folder; {} where there is none."""
    try:
        mark = json.loads((folder / _MARK).read_text())
    except (OSError, ValueError):
        return {}
    return mark if isinstance(mark, dict) else {}


def _is_whole(folder: Path, spec: ShapesSpec) -> bool:
    return _read_mark(folder) == _mark(spec)


def _make_and_swap(root: Path, folder: Path, spec: ShapesSpec) -> None:
    if folder.exists() and _read_mark(folder).get("generator") != _mark(spec)["generator"]:
        raise UserError(
            f"{folder} was not made by the generator of the data set 'shapes': move it away, or set"
            " DETECTRON2_DATASETS to another folder."
        )
    scratch = Path(tempfile.mkdtemp(prefix=f".{_FOLDER}-", dir=root))
    try:
        made = scratch / "new"
        _write(made, spec)
        if folder.exists():
            logger.info("%s was made by another version of the generator: replacing it", folder)
            folder.rename(scratch / "old")
        _take_name(made, folder, spec)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _take_name(made: Path, folder: Path, spec: ShapesSpec) -> None:
    try:
        made.rename(folder)
    except OSError:
        # On file systems without locks another process may have been first.
        if not _is_whole(folder, spec):
            raise


def _write(folder: Path, spec: ShapesSpec) -> None:
    logger.info("Making the data set 'shapes' in %s (once)", folder.parent.parent / _FOLDER)
    (folder / "annotations").mkdir(parents=True)
    for split_index, (split, count) in enumerate(
        zip(SPLITS, (spec.num_train, spec.num_val), strict=True)
    ):
        (folder / split).mkdir()
        _write_split(folder, spec, split_index, count)
    # mkdtemp keeps other users out; a shared data folder should not.
    write_json(_mark(spec), folder / _MARK, indent=1)
    for path in (folder, *folder.rglob("*")):
        os.chmod(path, 0o755 if path.is_dir() else 0o644)


def _write_split(folder: Path, spec: ShapesSpec, split_index: int, count: int) -> None:
    split = SPLITS[split_index]
    coco: dict = {
        "info": {"description": f"generated shapes, {split}"},
        "images": [],
        "annotations": [],
        "categories": [{"id": number, "name": name} for number, name in CATEGORIES],
    }
    for index in tqdm(range(count), desc=f"shapes_{split}", unit="image", disable=None):
        scene = make_scene(spec, split_index, index)
        image_id, file_name = index + 1, f"{index + 1:06d}.jpg"
        Image.fromarray(scene.image).save(folder / split / file_name, quality=_JPEG_QUALITY)
        coco["images"].append(
            {"id": image_id, "file_name": file_name, "height": spec.height, "width": spec.width}
        )
        for annotation in annotate(scene, spec):
            number = len(coco["annotations"]) + 1
            coco["annotations"].append({"id": number, "image_id": image_id, **annotation})
    write_json(coco, _annotation_file(folder, split))
