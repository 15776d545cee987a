"""Whatever a json holds: a checked set that COCO's tools read, or one sentence."""

import contextlib
import io
import json

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from dyhead.data.checks import check_coco
from dyhead.data.sources.coco import read_coco
from dyhead.errors import UserError

SETTINGS = settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
ODD = st.sampled_from(
    [None, True, False, "", "1", "1.0", "x", [], {}, [1], 0, -1, 1.0, 1.5, 2**53, 2**63, 10**400]
)
NUMBERS = st.one_of(
    st.floats(allow_nan=True, allow_infinity=True), st.integers(), st.integers(0, 60), ODD
)
IDS = st.one_of(st.integers(1, 3), st.sampled_from(["1", 2.0, "a", 2**60, "2.0"]), ODD)
SEGMENTATIONS = st.one_of(
    ODD,
    st.lists(st.lists(NUMBERS, max_size=8), max_size=3),
    st.fixed_dictionaries(
        {
            "size": st.one_of(st.just([40, 60]), st.lists(NUMBERS, max_size=3)),
            "counts": st.one_of(st.text(max_size=20), st.lists(NUMBERS, max_size=5)),
        }
    ),
)


def entries(required, optional):
    return st.one_of(st.fixed_dictionaries(required, optional=optional), ODD)


ANNOTATIONS = entries(
    {"image_id": IDS, "category_id": IDS},
    {
        "id": IDS,
        "bbox": st.one_of(st.lists(NUMBERS, min_size=4, max_size=4), ODD),
        "area": NUMBERS,
        "iscrowd": ODD,
        "ignore": ODD,
        "segmentation": SEGMENTATIONS,
    },
)
IMAGES = entries(
    {"id": IDS, "file_name": st.sampled_from(["1.png", "2.png", "3.png"])},
    {"width": NUMBERS, "height": NUMBERS},
)
CATEGORIES = entries({"id": IDS, "name": st.text(max_size=3)}, {})


def assert_checked(coco, path):
    """Check the file at `path`; what is left is evaluated by pycocotools, detecting all."""
    try:
        checked, report = check_coco(read_coco(path), path, coco.images)
    except UserError as error:
        assert "Traceback" not in str(error)
        return
    assert str(report)
    objects = [each for each in checked["annotations"] if not each["iscrowd"]]
    if not objects:  # nothing was listed but crowds
        return
    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO()
        truth.dataset = json.loads(json.dumps(checked))
        truth.createIndex()
        keys = ("image_id", "category_id", "bbox")
        found = [{**{key: each[key] for key in keys}, "score": 0.5} for each in objects]
        evaluation = COCOeval(truth, truth.loadRes(found), "bbox")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    assert 0 <= evaluation.stats[0] <= 1


@SETTINGS
@given(data=st.data())
def test_odd_values_in_a_sound_set_give_a_checked_set_or_a_sentence(coco, data):
    content = json.loads(json.dumps(coco.content))
    content["annotations"] += data.draw(st.lists(ANNOTATIONS, max_size=4))
    content["images"] += data.draw(st.lists(IMAGES, max_size=2))
    content["categories"] += data.draw(st.lists(CATEGORIES, max_size=1))
    path = coco.folder / "odd.json"
    path.write_text(json.dumps(content))
    assert_checked(coco, path)


JSON = st.recursive(
    ODD | st.text(max_size=5), lambda each: st.lists(each) | st.dictionaries(st.text(), each)
)


@SETTINGS
@given(
    lists=st.fixed_dictionaries(
        {},
        optional={
            "images": st.one_of(st.lists(IMAGES, max_size=3), JSON),
            "annotations": st.one_of(st.lists(ANNOTATIONS, max_size=3), JSON),
            "categories": st.one_of(st.lists(CATEGORIES, max_size=3), JSON),
        },
    )
)
def test_any_lists_give_a_checked_set_or_a_sentence(coco, lists):
    path = coco.folder / "any.json"
    path.write_text(json.dumps(lists))
    assert_checked(coco, path)


@SETTINGS
@given(data=st.binary(max_size=40))
@example(b"\xff\xfe")
@example(b"\xef\xbb\xbf")
@example(b'{"images": 1e999}')
@pytest.mark.filterwarnings("ignore")
def test_any_bytes_give_a_sentence(coco, data):
    path = coco.folder / "bytes.json"
    path.write_bytes(data)
    with pytest.raises(UserError, match="bytes.json"):
        read_coco(path)
