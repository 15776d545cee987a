"""A check writes what was asked for, and never changes what it reads."""

import hashlib
import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
from label_files import draw, write_voc, write_yolo
from planted_faults import PLANTERS, LabelledFolder
from pycocotools.coco import COCO

from dyhead.data.checks import kinds
from dyhead.data_report import CheckSettings, check_data
from dyhead.data_report.collect import DataReport, worst_pictures
from dyhead.data_report.run import progress_of
from dyhead.errors import UserError

Check = Callable[..., DataReport]


def plant(folder: LabelledFolder, *some: object) -> None:
    for kind in some:
        PLANTERS[kind.name].plant(folder)  # type: ignore[attr-defined]


def test_the_mended_copy_is_sound_and_has_the_ids_of_the_source(
    folder: LabelledFolder, tmp_path: Path
) -> None:
    some = (kinds.CLIPPED_BOX, kinds.MISSING_IMAGE, kinds.UNKNOWN_CATEGORY)
    plant(folder, *some, kinds.UNDECODABLE_PICTURE)
    path, target = folder.train.write(), tmp_path / "fixed.json"
    check_data(CheckSettings([path], [folder.train.images], write=target))
    again = check_data(CheckSettings([target], [folder.train.images]))
    assert not again.count(is_fault=True)
    source, mended = COCO(str(path)), COCO(str(target))
    damaged = folder.train.content["images"][-1]["id"]
    assert set(mended.imgs) == set(source.imgs) - {2, damaged}
    known = {a: source.anns[a]["category_id"] for a in mended.anns}
    assert known == {a: mended.anns[a]["category_id"] for a in mended.anns}
    assert mended.anns[1]["bbox"][0] == 86 and sum(mended.anns[1]["bbox"][::2]) == 96


def test_no_file_of_the_data_changes(folder: LabelledFolder, check: Check, tmp_path: Path) -> None:
    plant(folder, kinds.CLIPPED_BOX, kinds.UNREADABLE_IMAGE)
    folder.write()

    def hashes() -> dict[Path, str]:
        files = [path for path in folder.train.path.parent.rglob("*") if path.is_file()]
        return {path: hashlib.sha256(path.read_bytes()).hexdigest() for path in files}

    before = hashes()
    check(html=tmp_path / "a.html", json=tmp_path / "a.json")
    assert hashes() == before


@pytest.mark.parametrize("option", ["html", "json", "write"])
def test_a_source_is_never_overwritten(folder: LabelledFolder, option: str, tmp_path: Path) -> None:
    path = folder.train.write()
    link = tmp_path / "link.json"
    link.symlink_to(path)
    for target in (path, link):
        with pytest.raises(UserError, match="stays as it is"):
            check_data(CheckSettings([path], [folder.train.images], **{option: target}))


@pytest.mark.parametrize(
    ("option", "name", "problem"),
    [
        ("html", "a.json", "ends in .html"),
        ("json", "a.png", "ends in .json"),
        ("write", "a.txt", "ends in .json"),
        ("html", "gone/a.html", "folder .*gone does not exist"),
    ],
)
def test_no_picture_is_overwritten_and_no_check_is_done_in_vain(
    folder: LabelledFolder, option: str, name: str, problem: str, tmp_path: Path
) -> None:
    path, target = folder.train.write(), tmp_path / name
    if target.parent.is_dir():
        target.write_bytes(b"a picture")
    with pytest.raises(UserError, match=problem):
        check_data(CheckSettings([path], [folder.train.images], **{option: target}))  # type: ignore[arg-type]
    assert not target.exists() or target.read_bytes() == b"a picture"


def test_the_worst_pictures_come_first(folder: LabelledFolder, check: Check) -> None:
    image = folder.train.take_image()
    for annotation in folder.train.boxes_of(image):
        annotation["bbox"][0] = 90
    plant(folder, kinds.CLIPPED_BOX)
    assert worst_pictures(check().sources[0]) == [(image["file_name"], 3), ("002.png", 1)]


def test_one_image_folder_may_serve_all_sources(folder: LabelledFolder) -> None:
    path = folder.train.write()
    report = check_data(CheckSettings([path, path], [folder.train.images]))
    assert [each.role for each in report.sources] == ["train", "val"]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (CheckSettings([]), "Nothing to check"),
        (CheckSettings([Path("a"), Path("b"), Path("c")], [Path("x"), Path("y")]), "--images"),
        (CheckSettings([Path("missing.json")]), "missing.json"),
        (CheckSettings([], [Path("x")], "own_dataset"), "--images is given without a source"),
    ],
)
def test_what_cannot_be_done_is_refused(settings: CheckSettings, message: str) -> None:
    with pytest.raises(UserError, match=message):
        check_data(settings)


def test_a_mended_copy_is_of_one_source(folder: LabelledFolder, tmp_path: Path) -> None:
    settings = CheckSettings(folder.write(), [folder.train.images], write=tmp_path / "c.json")
    with pytest.raises(UserError, match="one source"):
        check_data(settings)


def test_all_parts_of_a_source_are_checked(tmp_path: Path) -> None:
    path = write_yolo(tmp_path)
    text = path.read_text()
    draw(tmp_path / "images" / "val")
    shutil.copytree(tmp_path / "labels" / "train", tmp_path / "labels" / "val")
    path.write_text(text + "val: images/val\n")
    report = check_data(CheckSettings([path]))
    assert [(each.role, each.source.kind) for each in report.sources] == [
        ("train", "YOLO"),
        ("val", "YOLO"),
    ]
    assert report.between.count(kinds.LEAKED_PICTURE) == 4


def test_without_sources_the_data_sets_of_the_config_are_checked(
    folder: LabelledFolder, tmp_path: Path
) -> None:
    train, val = folder.write()
    entries = [
        ["own_train", str(train), str(folder.train.images)],
        ["own_val", str(val), str(folder.val.images)],
    ]
    overrides = ["DATASETS.COCO_JSON", str(entries), "OUTPUT_DIR", str(tmp_path / "out")]
    report = check_data(CheckSettings([], config="own_dataset", overrides=overrides))
    assert [each.role for each in report.sources] == ["own_train", "own_val"]
    assert [each.statistics.images for each in report.sources] == [8, 6]
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("filtered", [True, False])
def test_sets_without_objects_are_faults_where_the_config_trains_on_them_and_refuses_them(
    folder: LabelledFolder, filtered: bool
) -> None:
    for each in (folder.train, folder.val):
        each.content["annotations"] = []
    bare, bare_test = folder.write()
    labelled = LabelledFolder(bare.parent / "labelled", num_images=4).train
    entries = [
        ["labelled", str(labelled.write()), str(labelled.images)],
        ["bare", str(bare), str(folder.train.images)],
        ["bare_test", str(bare_test), str(folder.val.images)],
    ]
    overrides = [
        *("DATASETS.COCO_JSON", str(entries), "DATASETS.TEST", "('bare_test',)"),
        *("DATASETS.TRAIN", "('labelled', 'bare')"),
        *("DATALOADER.FILTER_EMPTY_ANNOTATIONS", str(filtered)),
    ]
    report = check_data(CheckSettings([], config="own_dataset", overrides=overrides))
    sound, train, test = (set(each.report.findings) for each in report.sources)
    assert train == {kinds.NOTHING_TO_LEARN if filtered else kinds.NO_GROUND_TRUTH}
    assert test == {kinds.NO_GROUND_TRUTH} and not sound


def test_a_part_for_validation_may_be_without_objects_when_it_is_checked_alone(
    folder: LabelledFolder,
) -> None:
    folder.train.content["annotations"] = []
    for part, kind in (("val", kinds.NO_GROUND_TRUTH), ("train", kinds.NOTHING_TO_LEARN)):
        path = Path(f"{folder.train.write()}#{part}")
        (source,) = check_data(CheckSettings([path], [folder.train.images])).sources
        assert set(source.report.findings) == {kind}


def test_batches_are_drawn_as_the_loader_gives_them(folder: LabelledFolder) -> None:
    path = folder.train.write()
    overrides = [
        "INPUT.RANDOM_FLIP",
        "none",
        "INPUT.MIN_SIZE_TRAIN",
        "(144,)",
        "SOLVER.IMS_PER_BATCH",
        "4",
    ]
    report = check_data(
        CheckSettings([path], [folder.train.images], overrides=overrides, batches=2)
    )
    assert [len(batch.pictures) for batch in report.batches] == [4, 4]
    for caption, picture in report.batches[0].pictures:
        assert picture.size == (192, 144)
        assert caption.endswith(": 192 x 144, 3 boxes")
        x, y, width, _ = (2 * v for v in _first_box(path, caption.partition(":")[0]))
        assert picture.getpixel((x + width // 2, y)) == (230, 159, 0)  # the frame's upper edge


def test_batches_need_something_to_train_on(folder: LabelledFolder) -> None:
    entries = str([["own_val", str(folder.val.write()), str(folder.val.images)]])
    overrides = ["DATASETS.COCO_JSON", entries, "DATASETS.TRAIN", "()", "DATASETS.TEST"]
    settings = CheckSettings([], config="own_dataset", overrides=[*overrides, "('own_val',)"])
    with pytest.raises(UserError, match="--batches .* DATASETS.TRAIN is empty"):
        check_data(replace(settings, batches=1))


def test_progress_counts_every_picture(monkeypatch: pytest.MonkeyPatch) -> None:
    counted: list[int] = []
    fake = SimpleNamespace(advance=counted.append, close=lambda: None)
    monkeypatch.setattr("dyhead.data_report.run.Progress", lambda *_: fake)
    with progress_of("files") as show:
        show(256, 300)
        show(300, 300)
    assert sum(counted) == 300


def test_batches_show_what_augmentation_makes_of_pictures(folder: LabelledFolder) -> None:
    path = folder.train.write()
    overrides = [
        *("INPUT.AUG.MOSAIC.PROB", "1.0", "INPUT.AUG.MOSAIC.SCALES", "(0.5, 0.5)"),
        *("INPUT.AUG.FIXED_SIZE.SIZE", "(160, 200)", "SOLVER.IMS_PER_BATCH", "2"),
    ]
    report = check_data(
        CheckSettings([path], [folder.train.images], overrides=overrides, batches=2)
    )
    captions = [caption for batch in report.batches for caption, _ in batch.pictures]
    assert all(": 200 x 160, " in caption for caption in captions)
    assert max(int(caption.rpartition(", ")[2].split()[0]) for caption in captions) > 3


def test_batches_have_the_fill_that_follows_from_the_weights(folder: LabelledFolder) -> None:
    for weights, fill in [("timm://tf_efficientnet_lite0", (128, 128, 128)), ("", (124, 116, 104))]:
        assert _fill(folder, weights) == fill


def test_batches_are_drawn_without_the_weights(
    folder: LabelledFolder, caplog: pytest.LogCaptureFixture
) -> None:
    assert _fill(folder, "gone.pth") == (124, 116, 104)  # of MODEL.PIXEL_MEAN
    assert "gone.pth does not exist" in caplog.text


def _fill(folder: LabelledFolder, weights: str) -> object:
    """Return the colour behind letterboxed pictures of a batch for a detector of these weights."""
    overrides = [
        *("INPUT.AUG.FIXED_SIZE.SIZE", "(160, 200)", "INPUT.AUG.FIXED_SIZE.SCALES", "(0.5, 0.5)"),
        *("SOLVER.IMS_PER_BATCH", "1", "MODEL.WEIGHTS", weights),
    ]
    (batch,) = check_data(
        CheckSettings([folder.train.write()], [folder.train.images], overrides=overrides, batches=1)
    ).batches
    ((_, picture),) = batch.pictures
    assert picture.size == (200, 160)
    return picture.getpixel((199, 159))


def _first_box(path: Path, name: str) -> list[int]:
    content = json.loads(path.read_text())
    image = next(each["id"] for each in content["images"] if each["file_name"] == name)
    return next(a["bbox"] for a in content["annotations"] if a["image_id"] == image)


def test_vocs_list_of_both_parts_is_no_third_part_that_leaks(tmp_path: Path) -> None:
    write_voc(tmp_path)
    lists = tmp_path / "ImageSets" / "Main"
    lists.mkdir(parents=True)
    for part, names in (("train", "ab"), ("val", "cd"), ("trainval", "abcd")):
        (lists / f"{part}.txt").write_text("\n".join(names))
    report = check_data(CheckSettings([tmp_path]))
    assert [source.role for source in report.sources] == ["train", "val"]
    assert not report.count(is_fault=True)


def test_labels_without_any_picture_are_named_where_nothing_is_left(tmp_path: Path) -> None:
    write_voc(tmp_path)
    for picture in (tmp_path / "JPEGImages").iterdir():
        picture.unlink()
    (report, _) = check_data(CheckSettings([tmp_path])).reports
    assert report.counts == {kinds.LABEL_WITHOUT_IMAGE: 4, kinds.NOTHING_USABLE: 1}
    assert "no usable images" in str(report)
