"""The host's `modeling.roi_heads`."""

from dyhead.d2._host import HOST

if HOST == "detectron2":
    from detectron2.modeling.roi_heads import (
        ROI_BOX_HEAD_REGISTRY,
        ROI_HEADS_REGISTRY,
        FastRCNNConvFCHead,
        FastRCNNOutputLayers,
        ROIHeads,
        StandardROIHeads,
        build_box_head,
        build_roi_heads,
        select_foreground_proposals,
    )
else:
    from dyhead.d2._embedded.modeling.roi_heads import (
        ROI_BOX_HEAD_REGISTRY,
        ROI_HEADS_REGISTRY,
        FastRCNNConvFCHead,
        FastRCNNOutputLayers,
        ROIHeads,
        StandardROIHeads,
        build_box_head,
        build_roi_heads,
        select_foreground_proposals,
    )

__all__ = [
    "FastRCNNConvFCHead",
    "FastRCNNOutputLayers",
    "ROIHeads",
    "ROI_BOX_HEAD_REGISTRY",
    "ROI_HEADS_REGISTRY",
    "StandardROIHeads",
    "build_box_head",
    "build_roi_heads",
    "select_foreground_proposals",
]
