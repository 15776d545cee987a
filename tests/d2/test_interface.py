"""Names that projects built on Detectron2 import, at the addresses where they import them."""

import importlib

import pytest
from embedded_host import modeling
from embedded_host.config import get_cfg
from embedded_host.modeling import build_model

NAMES = {
    "checkpoint": "DetectionCheckpointer PeriodicCheckpointer",
    "config": "CfgNode configurable get_cfg",
    "config.config": "CfgNode configurable get_cfg",
    "config.defaults": "",
    "data": "DatasetCatalog DatasetMapper MetadataCatalog build_detection_train_loader",
    "data.build": "build_batch_data_loader check_metadata_consistency get_detection_dataset_dicts"
    " filter_images_with_few_keypoints worker_init_reset_seed",
    "data.catalog": "DatasetCatalog MetadataCatalog",
    "data.common": "DatasetFromList MapDataset",
    "data.dataset_mapper": "DatasetMapper",
    "data.datasets.builtin_meta": "_get_builtin_metadata",
    "data.datasets.coco": "load_coco_json register_coco_instances",
    "data.datasets.register_coco": "register_coco_instances",
    "data.detection_utils": "build_transform_gen convert_image_to_rgb read_image",
    "data.samplers": "GroupedBatchSampler TrainingSampler",
    "data.transforms": "ColorTransform PILColorTransform RandomApply RandomContrast TransformGen",
    "data.transforms.augmentation": "Augmentation",
    "engine": "DefaultPredictor DefaultTrainer SimpleTrainer default_setup hooks launch",
    "engine.defaults": "DefaultPredictor DefaultTrainer create_ddp_model default_setup",
    "engine.train_loop": "AMPTrainer HookBase SimpleTrainer TrainerBase",
    "evaluation": "COCOEvaluator COCOPanopticEvaluator LVISEvaluator SemSegEvaluator"
    " CityscapesInstanceEvaluator CityscapesSemSegEvaluator PascalVOCDetectionEvaluator",
    "evaluation.testing": "flatten_results_dict",
    "layers": "Conv2d DeformConv FrozenBatchNorm2d Linear ModulatedDeformConv batched_nms"
    " ciou_loss diou_loss get_norm nms nonzero_tuple",
    "layers.batch_norm": "get_norm",
    "layers.deform_conv": "DeformConv ModulatedDeformConv",
    "modeling": "GeneralizedRCNN GeneralizedRCNNWithTTA PanopticFPN RetinaNet SemanticSegmentor",
    "modeling.anchor_generator": "build_anchor_generator",
    "modeling.backbone": "Backbone FPN build_backbone build_resnet_backbone",
    "modeling.backbone.backbone": "Backbone",
    "modeling.backbone.build": "BACKBONE_REGISTRY",
    "modeling.backbone.fpn": "FPN LastLevelMaxPool LastLevelP6P7",
    "modeling.backbone.resnet": "BasicStem BottleneckBlock DeformBottleneckBlock",
    "modeling.box_regression": "Box2BoxTransform Box2BoxTransformLinear",
    "modeling.matcher": "Matcher",
    "modeling.meta_arch.build": "META_ARCH_REGISTRY",
    "modeling.meta_arch.panoptic_fpn": "PanopticFPN",
    "modeling.meta_arch.retinanet": "RetinaNet permute_to_N_HWA_K",
    "modeling.meta_arch.semantic_seg": "SemanticSegmentor",
    "modeling.postprocessing": "detector_postprocess",
    "modeling.proposal_generator.build": "PROPOSAL_GENERATOR_REGISTRY",
    "modeling.proposal_generator.rpn": "RPN RPN_HEAD_REGISTRY StandardRPNHead",
    "modeling.roi_heads.box_head": "ROI_BOX_HEAD_REGISTRY build_box_head",
    "modeling.roi_heads.cascade_rcnn": "CascadeROIHeads",
    "modeling.roi_heads.fast_rcnn": "FastRCNNOutputLayers fast_rcnn_inference",
    "modeling.roi_heads.roi_heads": "ROI_HEADS_REGISTRY ROIHeads StandardROIHeads build_roi_heads",
    "modeling.test_time_augmentation": "DatasetMapperTTA GeneralizedRCNNWithTTA",
    "solver": "build_lr_scheduler build_optimizer",
    "solver.build": "maybe_add_gradient_clipping",
    "structures": "BitMasks BoxMode Boxes ImageList Instances Keypoints PolygonMasks pairwise_ioa",
    "structures.boxes": "BoxMode Boxes matched_pairwise_iou",
    "utils.comm": "get_world_size",
    "utils.env": "TORCH_VERSION",
    "utils.events": "EventStorage get_event_storage",
    "utils.logger": "setup_logger",
    "utils.registry": "Registry locate",
    "utils.visualizer": "ColorMode Visualizer",
}


@pytest.mark.parametrize("module", NAMES)
def test_names_are_where_third_parties_import_them(module):
    imported = importlib.import_module(f"dyhead.d2.{module}")
    assert [name for name in NAMES[module].split() if not hasattr(imported, name)] == []


@pytest.mark.parametrize("name", ["PanopticFPN", "SemanticSegmentor"])
def test_detectors_that_are_not_served_are_refused_in_one_sentence(name):
    cfg = get_cfg()
    cfg.MODEL.META_ARCHITECTURE = name
    with pytest.raises(ValueError, match=f"META_ARCHITECTURE='{name}'.*genuine Detectron2"):
        build_model(cfg)


def test_parts_that_are_not_served_can_be_inherited_from_but_not_built():
    cascade = importlib.import_module("embedded_host.modeling.roi_heads.cascade_rcnn")

    class CustomROIHeads(cascade.CascadeROIHeads):
        pass

    with pytest.raises(NotImplementedError, match="CustomROIHeads is for cascades.*Detectron2"):
        CustomROIHeads(get_cfg(), {})
    assert not isinstance(object(), modeling.PanopticFPN)
