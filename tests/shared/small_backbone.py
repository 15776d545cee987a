"""Keys of a backbone that trains within a test: ResNet-18, FPN and DyHead of 32 channels."""

from typing import Any

SMALL_BACKBONE: dict[str, Any] = {
    "MODEL.BACKBONE.NAME": "build_retinanet_resnet_fpn_dyhead_backbone",
    "MODEL.RESNETS.DEPTH": 18,
    "MODEL.RESNETS.RES2_OUT_CHANNELS": 64,
    "MODEL.RESNETS.OUT_FEATURES": ["res3", "res4", "res5"],
    "MODEL.FPN.IN_FEATURES": ["res3", "res4", "res5"],
    "MODEL.FPN.OUT_CHANNELS": 32,
    "MODEL.ANCHOR_GENERATOR.SIZES": [[64], [128], [256], [512], [1024]],
    "MODEL.ANCHOR_GENERATOR.ASPECT_RATIOS": [[1.0]],
    "MODEL.DYHEAD.CHANNELS": 32,
}
