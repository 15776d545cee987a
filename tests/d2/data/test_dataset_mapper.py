import copy
import pickle

import numpy as np
import pytest
import torch
from PIL import Image

from dyhead.d2 import HOST
from dyhead.d2.config import get_cfg
from dyhead.d2.data import DatasetCatalog, DatasetMapper
from dyhead.d2.data import transforms as T
from dyhead.d2.data.detection_utils import SizeMismatchError

embedded_only = pytest.mark.skipif(HOST != "embedded", reason="of the embedded host only")


@pytest.fixture
def records(coco):
    return DatasetCatalog.get("tiny")


def mapper(is_train=True, augmentations=(), image_format="RGB"):
    return DatasetMapper(is_train, augmentations=list(augmentations), image_format=image_format)


def test_the_image_is_a_tensor_of_bytes_in_the_config_s_order(records):
    pixels = np.asarray(Image.open(records[0]["file_name"]))
    image = mapper(image_format="BGR")(records[0])["image"]
    assert image.dtype == torch.uint8
    assert image.is_contiguous()
    np.testing.assert_array_equal(image.numpy(), pixels.transpose(2, 0, 1)[::-1])


@pytest.mark.filterwarnings("ignore:The given NumPy array is not writable")
def test_grey_images_have_one_channel(records):
    mapped = mapper(image_format="L", augmentations=[T.Resize((8, 6))])(records[0])
    grey = Image.open(records[0]["file_name"]).convert("L").resize((6, 8), Image.BILINEAR)
    np.testing.assert_array_equal(mapped["image"].numpy(), np.asarray(grey)[None])


def test_training_gives_instances_without_crowds(records):
    mapped = mapper()(records[2])
    assert mapped["instances"].gt_classes.tolist() == [1]
    assert mapped["instances"].gt_boxes.tensor.tolist() == [[10.5, 5, 30.5, 35]]
    assert mapped["instances"].image_size == (40, 60)
    assert "annotations" not in mapped
    assert (mapped["image_id"], mapped["height"], mapped["width"]) == (30, 40, 60)


def test_boxes_without_extent_are_left_out(records):
    assert mapper()(records[4])["instances"].gt_classes.tolist() == [2]


@pytest.mark.parametrize("index", [1, 3])
def test_images_without_usable_annotations_give_empty_instances(records, index):
    instances = mapper()(records[index])["instances"]
    assert len(instances) == 0
    assert instances.gt_boxes.tensor.shape == (0, 4)


def test_inference_drops_annotations(records):
    mapped = mapper(is_train=False)(records[2])
    assert "annotations" not in mapped
    assert "instances" not in mapped


def test_a_record_without_annotations_gives_no_instances(records):
    del records[0]["annotations"]
    assert "instances" not in mapper()(records[0])


def test_augmentations_apply_to_image_and_boxes(records):
    transforms = [T.ResizeTransform(40, 60, 20, 30), T.HFlipTransform(30)]
    mapped = mapper(augmentations=transforms)(records[2])
    assert mapped["image"].shape == (3, 20, 30)
    assert mapped["instances"].image_size == (20, 30)
    np.testing.assert_allclose(
        mapped["instances"].gt_boxes.tensor.numpy(), [[30 - 15.25, 2.5, 30 - 5.25, 17.5]]
    )
    assert (mapped["height"], mapped["width"]) == (40, 60)  # of the original


def test_the_record_stays_as_it_is(records):
    before = copy.deepcopy(records[2])
    mapped = mapper(augmentations=[T.HFlipTransform(60)])(records[2])
    mapped["more"] = 1
    assert records[2] == before


def test_masks_in_a_json_do_not_disturb(records):
    records[2]["annotations"][0]["segmentation"] = [[0, 0, 5, 0, 5, 5]]
    records[2]["annotations"][0]["keypoints"] = [1, 1, 2]
    instances = mapper()(records[2])["instances"]
    assert set(instances.get_fields()) == {"gt_boxes", "gt_classes"}


def test_a_wrong_size_names_the_file(records):
    records[0]["width"] = 41
    with pytest.raises(SizeMismatchError, match=r"10\.png"):
        mapper()(records[0])


def test_the_config_decides(records):
    cfg = get_cfg()
    cfg.INPUT.MIN_SIZE_TRAIN, cfg.INPUT.RANDOM_FLIP = (20,), "none"
    cfg.INPUT.MIN_SIZE_TEST = 60
    train, test = DatasetMapper(cfg, True), DatasetMapper(cfg, False)
    assert train(records[0])["image"].shape == (3, 30, 20)
    assert test(records[0])["image"].shape == (3, 90, 60)
    cfg.INPUT.CROP.ENABLED, cfg.INPUT.CROP.TYPE = True, "relative"
    cfg.INPUT.CROP.SIZE = [0.5, 1.0]
    train, test = DatasetMapper(cfg, True), DatasetMapper(cfg, False)
    assert train(records[0])["image"].shape == (3, 20, 27)
    assert test(records[0])["image"].shape == (3, 90, 60)


def test_a_subclass_may_take_annotations_otherwise(records):
    class Counting(DatasetMapper):
        def _transform_annotations(self, dataset_dict, transforms, image_shape):
            dataset_dict["count"] = len(dataset_dict.pop("annotations"))

    mapped = Counting(True, augmentations=[], image_format="RGB")(records[2])
    assert mapped["count"] == 2


def test_a_subclass_may_change_annotations_and_read_detectron2s_attributes(records):
    class InPlace(DatasetMapper):
        def _transform_annotations(self, dataset_dict, transforms, image_shape):
            for annotation in dataset_dict["annotations"]:
                if not self.use_instance_mask:
                    annotation.pop("segmentation", None)
                annotation["bbox"] = None
            assert not self.use_keypoint
            assert self.keypoint_hflip_indices is self.proposal_topk is None

    before = copy.deepcopy(records[2])
    InPlace(True, augmentations=[], image_format="RGB")(records[2])
    assert records[2] == before


def test_a_mapper_can_be_sent_to_other_processes(records):
    sent = pickle.loads(pickle.dumps(mapper(augmentations=[T.Resize((8, 6))])))
    assert sent(records[0])["image"].shape == (3, 8, 6)


@embedded_only
@pytest.mark.parametrize("key", ["MASK_ON", "KEYPOINT_ON", "LOAD_PROPOSALS"])
def test_masks_key_points_and_proposals_are_refused(key):
    cfg = get_cfg()
    cfg.MODEL[key] = True
    with pytest.raises(ValueError, match=rf"MODEL\.{key}.*boxes only"):
        DatasetMapper(cfg, True)
