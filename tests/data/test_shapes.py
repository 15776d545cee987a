"""The generated data set: the same bytes each time, true boxes, never half made."""

import hashlib
import json
import multiprocessing
import os
import shutil
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dyhead.d2.data import DatasetCatalog, MetadataCatalog
from dyhead.data import register_datasets
from dyhead.data.coco_json import category_ids, class_names
from dyhead.data.shape_masks import CLASS_NAMES, Placement, draw_mask
from dyhead.data.shape_scenes import ShapesSpec, annotate, make_scene
from dyhead.data.shapes import make_shapes, register_shapes

SMALL = ShapesSpec(num_train=6, num_val=3)


def digest(folder: Path) -> str:
    total = hashlib.sha256()
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        total.update(str(path.relative_to(folder)).encode())
        total.update(path.read_bytes())
    return total.hexdigest()


@pytest.fixture(scope="module")
def scenes():
    return [make_scene(ShapesSpec(), split=0, index=index) for index in range(150)]


def naive_visible(scene, index):
    """Each object's share of each pixel, rendered anew: its own mask times what lies on top."""
    height, width = scene.image.shape[:2]
    layers = []
    for item in scene.objects:
        mask = draw_mask(item.placement)
        layer = np.zeros((height, width))
        for row, column in np.ndindex(mask.coverage.shape):
            y, x = row + mask.top, column + mask.left
            if 0 <= y < height and 0 <= x < width:
                layer[y, x] = mask.coverage[row, column]
        layers.append(layer)
    visible = layers[index].copy()
    for above in layers[index + 1 :]:
        visible *= 1 - above
    return layers[index], visible


def test_boxes_are_tight_round_what_is_seen_and_hidden_objects_have_none(scenes):
    spec = ShapesSpec()
    hidden = 0
    chosen = [scene for scene in scenes if any(o.visible_share < 0.4 for o in scene.objects)][:4]
    for scene in chosen:
        expected = []
        for index, item in enumerate(scene.objects):
            inside, visible = naive_visible(scene, index)
            seen = visible >= 0.5
            share = seen.sum() / (inside >= 0.5).sum()
            if share < spec.min_visible_share:
                hidden += 1
                assert share < 0.05, "an object is neither well seen nor hidden"
                continue
            rows, columns = np.nonzero(seen.any(axis=1))[0], np.nonzero(seen.any(axis=0))[0]
            box = [columns[0], rows[0], np.ptp(columns) + 1, np.ptp(rows) + 1]
            expected.append((item.placement.class_name, [int(v) for v in box], int(seen.sum())))
        actual = [
            (CLASS_NAMES[a["category_id"] - 1], a["bbox"], a["area"]) for a in annotate(scene, spec)
        ]
        assert actual == expected
    assert hidden >= 4


def test_sizes_span_eight_fold_evenly_over_the_octaves(scenes):
    sizes = np.array([item.placement.size for scene in scenes for item in scene.objects])
    smallest, largest = ShapesSpec().min_size, ShapesSpec().max_size
    assert largest == 8 * smallest
    assert smallest <= sizes.min() < 1.06 * smallest and 0.9 * largest < sizes.max() <= largest
    octaves = np.histogram(np.log2(sizes / smallest), bins=[0, 1, 2, 3])[0] / len(sizes)
    assert octaves.min() > 0.2


def test_every_class_is_about_as_frequent_and_objects_are_enough(scenes):
    annotations = [a for scene in scenes for a in annotate(scene, ShapesSpec())]
    counts = Counter(a["category_id"] for a in annotations)
    assert sorted(counts) == [1, 2, 3, 4, 5, 6]
    assert min(counts.values()) > 0.6 * max(counts.values())
    assert 3 < len(annotations) / len(scenes) < 6


def test_overlap_is_moderate(scenes):
    shares = [item.visible_share for scene in scenes for item in scene.objects]
    assert 0.5 < np.mean(np.array(shares) == 1.0) < 0.95


@pytest.mark.parametrize("class_name", CLASS_NAMES)
@pytest.mark.parametrize("angle", [0.0, 0.7])
def test_a_mask_is_as_long_as_asked_and_soft_edged(class_name, angle):
    placement = Placement(class_name, 50.0, 40.0, 30.0, angle, aspect=1.1)
    coverage = draw_mask(placement).coverage
    rows, columns = np.nonzero(coverage.any(axis=1))[0], np.nonzero(coverage.any(axis=0))[0]
    assert max(np.ptp(rows), np.ptp(columns)) + 1 == pytest.approx(30, abs=2)
    assert coverage.max() == 1
    if angle:
        assert ((coverage > 0.1) & (coverage < 0.9)).any()


def test_a_ring_has_a_hole():
    mask = draw_mask(Placement("ring", 50.0, 40.0, 31.0, 0.0, aspect=1.0))
    assert mask.coverage[40 - mask.top, 50 - mask.left] == 0


def test_the_same_specification_gives_the_same_bytes(tmp_path):
    first = make_shapes(tmp_path / "a", SMALL)
    second = make_shapes(tmp_path / "b", SMALL)
    other = make_shapes(tmp_path / "c", replace(SMALL, seed=1))
    assert digest(first / "train") == digest(second / "train")
    assert digest(first) == digest(second)
    assert digest(first / "train") != digest(other / "train")


def test_splits_differ():
    train, val = make_scene(SMALL, 0, 0), make_scene(SMALL, 1, 0)
    assert not np.array_equal(train.image, val.image)


def test_made_once_then_left_alone_until_the_specification_changes(tmp_path):
    folder = make_shapes(tmp_path, SMALL)
    stamp = os.stat(folder / "generator.json").st_mtime_ns
    make_shapes(tmp_path, SMALL)
    assert os.stat(folder / "generator.json").st_mtime_ns == stamp
    make_shapes(tmp_path, replace(SMALL, num_val=4))
    assert len(list((folder / "val").iterdir())) == 4
    assert sorted(path.name for path in tmp_path.iterdir()) == ["shapes", "shapes.lock"]


def test_a_half_made_folder_is_made_anew(tmp_path):
    folder = make_shapes(tmp_path, SMALL)
    whole = digest(folder)
    mark = (folder / "generator.json").read_text()
    shutil.rmtree(folder / "train")
    (folder / "generator.json").write_text(mark.replace('"version": ', '"version": 10'))
    assert digest(make_shapes(tmp_path, SMALL)) == whole


def test_a_kill_while_writing_leaves_nothing_that_passes_for_whole(tmp_path, monkeypatch):
    def interrupt(*_args, **_kwargs):
        raise KeyboardInterrupt

    monkeypatch.setattr(Image.Image, "save", interrupt)
    with pytest.raises(KeyboardInterrupt):
        make_shapes(tmp_path, SMALL)
    assert not (tmp_path / "shapes").exists()


def test_a_folder_of_someone_else_is_not_touched(tmp_path):
    (tmp_path / "shapes").mkdir()
    (tmp_path / "shapes" / "mine.txt").write_text("mine")
    with pytest.raises(ValueError, match="was not made by the generator"):
        make_shapes(tmp_path, SMALL)
    assert (tmp_path / "shapes" / "mine.txt").read_text() == "mine"


def test_a_root_that_cannot_be_written_is_named_with_the_fix(tmp_path):
    (tmp_path / "file").write_text("no folder")
    with pytest.raises(ValueError, match="file.*set DETECTRON2_DATASETS"):
        make_shapes(tmp_path / "file" / "root", SMALL)


def test_several_processes_at_once_make_one_whole_data_set(tmp_path):
    context = multiprocessing.get_context("spawn")
    processes = [context.Process(target=make_shapes, args=(tmp_path, SMALL)) for _ in range(3)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0, 0, 0]
    assert digest(tmp_path / "shapes") == digest(make_shapes(tmp_path / "alone", SMALL))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["alone", "shapes", "shapes.lock"]


def test_several_processes_without_working_locks(tmp_path, monkeypatch):
    """As on a file system whose locks do nothing: the first whole folder counts."""
    folder = make_shapes(tmp_path / "first", SMALL)

    rename = Path.rename

    def overtaken(made: Path, target: Path) -> Path:
        shutil.copytree(folder, target)
        return rename(made, target)

    monkeypatch.setattr(Path, "rename", overtaken)
    assert digest(make_shapes(tmp_path, SMALL)) == digest(folder)
    assert [path.name for path in tmp_path.glob(".shapes-*")] == []


def test_registered_and_made_on_first_use(tmp_path, monkeypatch, cfg):
    monkeypatch.setenv("DETECTRON2_DATASETS", str(tmp_path / "data"))
    register_datasets(cfg)
    assert {"shapes_train", "shapes_val"} <= set(DatasetCatalog.list())
    assert not (tmp_path / "data").exists()
    register_shapes(tmp_path, SMALL)
    monkeypatch.setenv("DETECTRON2_DATASETS", str(tmp_path / "other"))
    register_shapes(tmp_path, SMALL)
    records = DatasetCatalog.get("shapes_val")
    assert len(records) == 3
    metadata = MetadataCatalog.get("shapes_val")
    assert metadata.json_file == str(tmp_path / "other/shapes/annotations/instances_val.json")
    assert metadata.thing_classes == list(CLASS_NAMES)
    content = json.loads(Path(metadata.json_file).read_text())
    assert len(content["images"]) == 3


def test_the_classes_are_known_before_the_files_are_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DETECTRON2_DATASETS", str(tmp_path))
    register_shapes(tmp_path / "repaired")
    assert (len(class_names("shapes_val")), category_ids("shapes_val")) == (6, [1, 2, 3, 4, 5, 6])
    assert not any(tmp_path.iterdir())
