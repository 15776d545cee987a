"""Every key that the project adds to Detectron2's configuration, with its default and its meaning.

The comment above a key, or behind it, is its description in `dyhead configs explain` and
docs/config_keys.md; every key has one. They stand in the order of a run: data,
model, training, evaluation, speed. Names and defaults are the official code's where it has them.
"""

import copy

from dyhead.d2.config import CfgNode

DEFAULTS = CfgNode()
MODEL = DEFAULTS.MODEL = CfgNode()
SOLVER = DEFAULTS.SOLVER = CfgNode()
TEST = DEFAULTS.TEST = CfgNode()

# --- Data -----------------------------------------------------------------------------------------

DATASETS = DEFAULTS.DATASETS = CfgNode()
# Labelled data sets to register: a list of [name, path] or [name, path, image folder]. The path is
# of a COCO json, a VOC or labelme folder, a YOLO data.yaml or folder, an XML of CVAT for images or
# a JSON of Label Studio; "#train" or "#val" behind it chooses a part.
DATASETS.SOURCES = []
# COCO-format data sets to register: a list of [name, json file, image folder].
DATASETS.COCO_JSON = []
# Share of the images that "#val" means in a source without parts of its own; "#train" is the rest.
DATASETS.VAL_RATIO = 0.2
# Seed of that choice; it follows from the images' names otherwise, and not from SEED.
DATASETS.SPLIT_SEED = 0
# One positive number per data set of DATASETS.TRAIN: its share of the images that are drawn. With
# (1, 2) two of the second come per one of the first. Empty: all images are drawn alike.
DATASETS.TRAIN_RATIOS = []

# Read images whose file names lead out of the image folder of their data set ("../a.png", or an
# absolute path); else they are left out and counted.
DATASETS.ALLOW_OUTSIDE = False

INPUT = DEFAULTS.INPUT = CfgNode()
# Pixels, width times height, of the largest picture that is read: larger ones are refused, for a
# small file may fill the memory. 0: Pillow's own limit, about 179 million.
INPUT.MAX_PIXELS = 0
# Draw one size of MIN_SIZE_TRAIN for all images of a step, in all processes. Sizes vary less within
# a batch, which is faster where images of different sizes are computed apart
# (MODEL.PADDING_IN_STATISTICS False).
INPUT.ONE_SIZE_PER_BATCH = False

# Augmentation of training images besides Detectron2's sizes, CROP and RANDOM_FLIP. Each part is off
# until its PROB, a probability for every image, or its SIZE is set: docs/augmentation.md.
AUG = INPUT.AUG = CfgNode()
# Share of the last steps whose images are not mixed: MOSAIC, COPY_PASTE and MIXUP are off in them.
AUG.OFF_FOR_LAST = 0.1
# Share of a box's area that IOU_CROP, FIXED_SIZE and what mixes images have to leave visible; boxes
# of which less is left are dropped.
AUG.MIN_VISIBLE = 0.2
AUG.IOU_CROP = CfgNode()
AUG.IOU_CROP.PROB = 0.0  # crop a random part that keeps an object, as SSD does
AUG.IOU_CROP.MIN_SCALE = 0.3  # least share of each side that such a crop has
AUG.FIXED_SIZE = CfgNode()
# Height and width of all training images in pixels, in the place of MIN_SIZE_TRAIN; (): not fixed.
AUG.FIXED_SIZE.SIZE = ()
# An image is resized to fit SIZE, times a random factor between these. (1, 1) is a letterbox,
# (0.1, 2) large-scale jitter. What is larger than SIZE is cropped at random.
AUG.FIXED_SIZE.SCALES = (1.0, 1.0)
# Fill what is smaller than SIZE up to it, by MODEL.PIXEL_MEAN; else it stays smaller.
AUG.FIXED_SIZE.PAD = True
AUG.MOSAIC = CfgNode()
AUG.MOSAIC.PROB = 0.0  # put the image and three others round a random point
AUG.MOSAIC.SCALES = (0.5, 1.0)  # each of the four is resized by a random factor between these
AUG.COPY_PASTE = CfgNode()
AUG.COPY_PASTE.PROB = 0.0  # paste boxes of another image at random places
AUG.COPY_PASTE.MAX_OBJECTS = 5  # at most so many boxes are pasted
AUG.MIXUP = CfgNode()
AUG.MIXUP.PROB = 0.0  # blend the image with another one
# The other's share is drawn from the beta distribution with both parameters this: larger values are
# nearer to a half.
AUG.MIXUP.ALPHA = 32.0
AUG.COLOR = CfgNode()
AUG.COLOR.PROB = 0.0  # change the colours
AUG.COLOR.BRIGHTNESS = 0.125  # its factor is between 1 - BRIGHTNESS and 1 + BRIGHTNESS
AUG.COLOR.CONTRAST = 0.5  # its factor is between 1 - CONTRAST and 1 + CONTRAST
AUG.COLOR.SATURATION = 0.5  # its factor is between 1 - SATURATION and 1 + SATURATION
AUG.COLOR.HUE = 0.05  # it turns by at most this share of the circle of colours

LOADER = DEFAULTS.DATALOADER = CfgNode()
# Seconds that a batch of the loader's processes is waited for before the run ends, as when a disk
# does not answer; 0: without end.
LOADER.TIMEOUT = 600

# --- Padding --------------------------------------------------------------------------------------

# Images are padded to the largest of their batch and to a multiple of a number of pixels, and
# GroupNorm and pooled attentions average over that, as in Detectron2 and for released weights. Off:
# images of one size are computed at a time, padded by less than the finest level's stride where the
# backbone allows; losses are those of the whole batch. For GroupNorm or FrozenBN: a trained batch
# norm would average over few images.
MODEL.PADDING_IN_STATISTICS = True

# --- Backbones ------------------------------------------------------------------------------------

# Let INPUT.FORMAT, MODEL.PIXEL_MEAN and MODEL.PIXEL_STD be those that MODEL.WEIGHTS was trained
# with, where its file or its address tells them; the run writes them into its config, and there
# this key is False. Random weights leave them as they are. Values of your own for these keys, on
# the command line or in a file that stands on one with this key, are refused: set it to False.
MODEL.PIXELS_FROM_WEIGHTS = False

# The Swin Transformer (Liu et al., ICCV 2021), by default Swin-T. EMBED_DIM, DEPTHS and NUM_HEADS
# of the others: Swin-S 96, [2, 2, 18, 2], [3, 6, 12, 24]; Swin-B 128, [2, 2, 18, 2], [4, 8, 16,
# 32]; Swin-L 192, [2, 2, 18, 2], [6, 12, 24, 48]. MODEL.BACKBONE.FREEZE_AT counts as in the
# official code, not as for a ResNet: 0 freezes the patch embedding, 2 the first stage too, 3 the
# first two, and so on; -1 freezes nothing.
SWINT = MODEL.SWINT = CfgNode()
SWINT.EMBED_DIM = 96  # channels of the first stage; each next one has twice as many
# Features that are given out: "stage2" (stride 4) to "stage5" (stride 32); stages that none of them
# needs are left out.
SWINT.OUT_FEATURES = ["stage2", "stage3", "stage4", "stage5"]
SWINT.DEPTHS = [2, 2, 6, 2]  # blocks of each stage
SWINT.NUM_HEADS = [3, 6, 12, 24]  # attention heads in each stage
SWINT.WINDOW_SIZE = 7  # side of the attention windows; released weights: 7 or 12
SWINT.MLP_RATIO = 4  # hidden channels of a block's MLP over its channels
SWINT.DROP_PATH_RATE = 0.2  # chance that the last block is left out in training
SWINT.APE = False  # add a learned embedding of the absolute position
SWINT.VERSION = 1  # version of the Swin Transformer; there is no other
SWINT.OUT_NORM = True  # LayerNorm on every output feature; always so
# Recompute each block's inside in the backward pass: less memory, more time, same gradients.
SWINT.USE_CHECKPOINT = False

# Any model of timm that gives features, for "build_timm_fpn_dyhead_backbone".
# MODEL.BACKBONE.FREEZE_AT counts its features, finest first: n freezes all that the first n are
# computed from (ResNet: 1 the stem, 2 the first stage too; ConvNeXt: 1 stem and first stage); -1
# and 0 freeze nothing. Weights of timm are trained on RGB images: set PIXELS_FROM_WEIGHTS, or
# INPUT.FORMAT, MODEL.PIXEL_MEAN and MODEL.PIXEL_STD to suit them (a warning names the values).
TIMM = MODEL.TIMM = CfgNode()
TIMM.NAME = "convnext_tiny"  # a model of timm.list_models(), with or without tag
# Features that are given out, by their stride; of several at one stride, the deepest. Whatever lies
# behind the last of them is left out. MODEL.FPN.IN_FEATURES may stay empty: the pyramid takes all.
TIMM.OUT_FEATURES = ["stride8", "stride16", "stride32"]
# Levels above these features: "p6p7" two by convolution, "maxpool" one by subsampling, "" none.
TIMM.TOP_LEVELS = "p6p7"
TIMM.PRETRAINED = False  # start from timm's weights; timm downloads and keeps them
TIMM.DROP_PATH = 0.0  # chance that the last block is left out in training
# Recompute each block's inside in the backward pass: less memory, more time, same gradients.
TIMM.GRAD_CHECKPOINTING = False
TIMM.NORM = ""  # "" keeps the model's norms, "FrozenBN" freezes batch norms

# --- Pyramid and dynamic head ---------------------------------------------------------------------

MODEL.FPN = CfgNode()
MODEL.FPN.RELU_BEFORE_P7 = True  # compute P7 from P6 after a ReLU

# The dynamic head: a stack of attention blocks on top of an FPN.
DYHEAD = MODEL.DYHEAD = CfgNode()
DYHEAD.NUM_CONVS = 6  # number of blocks
DYHEAD.CHANNELS = 256  # channels of every block's output

# The ablations of the paper's Table 1. With all three off no block is left, and the detector is its
# plain baseline with towers.

# Weigh a level and its neighbours by what is in them; off: their plain mean.
DYHEAD.SCALE_AWARE = True
# Sample where learnt offsets point, as much as learnt masks say; off: a plain convolution.
DYHEAD.SPATIAL_AWARE = True
DYHEAD.TASK_AWARE = True  # switch channels by a dynamic ReLU; off: a plain ReLU
# Scale-aware attention by its name in dyhead.layers.SCALE_ATTENTIONS.
DYHEAD.SCALE_ATTENTION = "ScaleAttention"
# Spatial-aware attention by its name in dyhead.layers.SPATIAL_ATTENTIONS.
DYHEAD.SPATIAL_ATTENTION = "SpatialAttention"
# Task-aware attention by its name in dyhead.layers.TASK_ATTENTIONS.
DYHEAD.TASK_ATTENTION = "DyReLU"

# What paper, official code and ports do differently: docs/semantics.md.

# Order of the attentions: "spatial_scale_task" or "scale_spatial_task".
DYHEAD.ORDER = "spatial_scale_task"
# How offsets serve the coarser level: "flat_read", "crop", "resize" or "upsample_features".
DYHEAD.COARSER_OFFSETS = "flat_read"
# Hard sigmoid of the scale attention and of DyReLU: "official", relu6(x + 3) / 6, or "paper",
# max(0, min(1, (x + 1) / 2)).
DYHEAD.HARD_SIGMOID = "official"
DYHEAD.BIAS = True  # the deformable convolutions have a bias
# Initial weights of the convolution that gives offsets and masks: "default" or "zero".
DYHEAD.OFFSET_INIT = "default"
# Add each level to what its attentions give; a block that changes the channels does not.
DYHEAD.RESIDUAL = False

# Images are padded to a multiple of this; 0 stands for the coarsest level's stride, or without
# MODEL.PADDING_IN_STATISTICS for as little as the backbone takes.
DYHEAD.SIZE_DIVISIBILITY = 0
# What follows a block's convolutions takes two passes over memory: the same values, faster.
DYHEAD.FUSED = True
# Recompute each block's inside in the backward pass: less memory, more time, same gradients.
DYHEAD.CHECKPOINT = False

# --- Dense detectors ------------------------------------------------------------------------------

# ATSS (Zhang et al., CVPR 2020).
ATSS = MODEL.ATSS = CfgNode()
# Classes without the background. Filled in from the training data set unless set.
ATSS.NUM_CLASSES = 80
ATSS.IN_FEATURES = ["p3", "p4", "p5", "p6", "p7"]  # levels, finest first
# Convolutions between the features and the predictors, per branch. 0 with DyHead blocks; where a
# DyHead backbone has none of them, 0 means 4.
ATSS.NUM_CONVS = 4
ATSS.CHANNELS = 256  # channels of the NUM_CONVS convolutions
ATSS.USE_GN = True  # GroupNorm after each of these convolutions
ATSS.PREDICTOR_KERNEL_SIZE = 1  # side of the predictors' convolutions: 1 or 3
ATSS.TOPK = 9  # candidate anchors per ground-truth box and level
ATSS.PRIOR_PROB = 0.01  # foreground probability that the class bias starts from
# Standard deviation of the predictors' initial weights. Larger (0.1) lets a detector that starts
# from random weights tell its classes apart hundreds of steps sooner.
ATSS.PREDICTOR_INIT_STD = 0.01
ATSS.BBOX_REG_WEIGHTS = (10.0, 10.0, 5.0, 5.0)  # factors of box deltas dx, dy, dw, dh
ATSS.FOCAL_LOSS_GAMMA = 2.0  # exponent that takes weight from easy examples
ATSS.FOCAL_LOSS_ALPHA = 0.25  # weight of positives; negatives have 1 - alpha
ATSS.BBOX_REG_LOSS_TYPE = "giou"  # loss on boxes: "giou", "diou", "ciou" or "iou"
ATSS.REG_LOSS_WEIGHT = 2.0  # weight of the loss on boxes
ATSS.INFERENCE_TH = 0.05  # lowest class score kept
ATSS.PRE_NMS_TOP_N = 1000  # detections per level kept before NMS
# Rank these detections by class score times centre-ness, or by class score alone.
ATSS.RANK_BY_CENTERNESS = True
ATSS.CLIP_BEFORE_NMS = False  # clip boxes to the image before NMS, not after it
ATSS.NMS_TH = 0.6  # IoU above which NMS removes the lower score

# FCOS (Tian et al., ICCV 2019) with its authors' later improvements: centre sampling, GIoU,
# distances in strides, centre-ness beside the boxes. The original is CENTER_SAMPLING_RADIUS 0,
# BBOX_REG_LOSS_TYPE "iou", NORMALIZE_DISTANCES False, CENTERNESS_ON_BOX_TOWER False.
FCOS = MODEL.FCOS = CfgNode()
# Classes without the background. Filled in from the training data set unless set.
FCOS.NUM_CLASSES = 80
FCOS.IN_FEATURES = ["p3", "p4", "p5", "p6", "p7"]  # levels, finest first
# Convolutions of each tower. 0 with DyHead blocks; where a DyHead backbone has none of them, 0
# means 4.
FCOS.NUM_CONVS = 4
FCOS.CHANNELS = 256  # channels of the towers
FCOS.USE_GN = True  # GroupNorm in the towers
FCOS.PREDICTOR_KERNEL_SIZE = 3  # side of the predictors' convolutions: 1 or 3
FCOS.PRIOR_PROB = 0.01  # foreground probability that the class bias starts from
FCOS.PREDICTOR_INIT_STD = 0.01  # standard deviation of the predictors' weights
# Locations within so many strides of an object's centre answer for it; 0: all inside its box.
FCOS.CENTER_SAMPLING_RADIUS = 1.5
# Pixels from a location to an object's farthest side, between one level and the next.
FCOS.LEVEL_LIMITS = [64, 128, 256, 512]
# Distances are predicted in strides and rectified; else exponentials, in pixels.
FCOS.NORMALIZE_DISTANCES = True
# Predict centre-ness from the box tower, else from the class tower.
FCOS.CENTERNESS_ON_BOX_TOWER = True
FCOS.FOCAL_LOSS_GAMMA = 2.0  # exponent that takes weight from easy examples
FCOS.FOCAL_LOSS_ALPHA = 0.25  # weight of positives; negatives have 1 - alpha
FCOS.BBOX_REG_LOSS_TYPE = "giou"  # loss on boxes: "giou", "diou", "ciou" or "iou"
FCOS.REG_LOSS_WEIGHT = 1.0  # weight of the loss on boxes
FCOS.INFERENCE_TH = 0.05  # lowest class score kept
FCOS.PRE_NMS_TOP_N = 1000  # detections per level kept before NMS
# Rank these detections by class score times centre-ness, or by class score alone.
FCOS.RANK_BY_CENTERNESS = True
FCOS.CLIP_BEFORE_NMS = False  # clip boxes to the image before NMS, not after it
FCOS.NMS_TH = 0.6  # IoU above which NMS removes the lower score

# RepPoints (Yang et al., ICCV 2019) with the settings of the paper's moment-based detector.
REPPOINTS = MODEL.REPPOINTS = CfgNode()
# Classes without the background. Filled in from the training data set unless set.
REPPOINTS.NUM_CLASSES = 80
REPPOINTS.IN_FEATURES = ["p3", "p4", "p5", "p6", "p7"]  # levels, finest first
# Convolutions between the features and the point convolutions, per branch. 0 with DyHead blocks;
# where a DyHead backbone has none of them, 0 means 4.
REPPOINTS.NUM_CONVS = 3
REPPOINTS.CHANNELS = 256  # channels of the NUM_CONVS convolutions
REPPOINTS.USE_GN = True  # GroupNorm after each of these convolutions
REPPOINTS.POINT_CHANNELS = 256  # channels that the deformable convolutions give
REPPOINTS.NUM_POINTS = 9  # points of a set: 9, 25, 49, ...
# How points become a box: "moment" (mean and standard deviation), "minmax" or "partial_minmax" (of
# the first four points).
REPPOINTS.TRANSFORM = "moment"
REPPOINTS.MOMENT_MUL = 0.01  # share of the gradient that "moment"'s factors get
# Share of the gradient that the initial points get from what is computed at them.
REPPOINTS.GRADIENT_MUL = 0.1
REPPOINTS.PRIOR_PROB = 0.01  # foreground probability that the class bias starts from
# Standard deviation of the initial weights of the last convolutions, both the classes' and the
# points'.
REPPOINTS.PREDICTOR_INIT_STD = 0.01
# The size of a typical object, in strides: chooses the level on which an object trains the initial
# points, and the unit of the losses on boxes.
REPPOINTS.POINT_BASE_SCALE = 4.0
REPPOINTS.TOPK = 1  # locations whose initial points an object trains
# For classes and refined points: initial boxes of an IoU below the first are background, and from
# the second on they have to detect the object.
REPPOINTS.IOU_THRESHOLDS = [0.4, 0.5]
REPPOINTS.FOCAL_LOSS_GAMMA = 2.0  # exponent that takes weight from easy examples
REPPOINTS.FOCAL_LOSS_ALPHA = 0.25  # weight of positives; negatives have 1 - alpha
# Loss on boxes: "smooth_l1" on their sides, or "giou", "diou", "ciou" or "iou".
REPPOINTS.BBOX_REG_LOSS_TYPE = "smooth_l1"
REPPOINTS.SMOOTH_L1_BETA = 0.11  # where the smooth L1 loss turns linear
REPPOINTS.INIT_LOSS_WEIGHT = 0.5  # weight of the loss on the initial boxes
REPPOINTS.REFINE_LOSS_WEIGHT = 1.0  # weight of the loss on the refined boxes
REPPOINTS.INFERENCE_TH = 0.05  # lowest class score kept
REPPOINTS.PRE_NMS_TOP_N = 1000  # detections per level kept before NMS
REPPOINTS.CLIP_BEFORE_NMS = True  # clip boxes to the image before NMS, not after it
REPPOINTS.NMS_TH = 0.5  # IoU above which NMS removes the lower score

# For DyHeadRetinaNet, besides MODEL.RETINANET, of which NUM_CONVS may be 0 and NORM "" or "GN".
MODEL.DYHEAD_RETINANET = CfgNode()
# Side of the predictors' convolutions: 1 or 3.
MODEL.DYHEAD_RETINANET.PREDICTOR_KERNEL_SIZE = 3
# Standard deviation of the predictors' initial weights: see MODEL.ATSS.PREDICTOR_INIT_STD.
MODEL.DYHEAD_RETINANET.PREDICTOR_INIT_STD = 0.01

# --- Two-stage detectors --------------------------------------------------------------------------

# For MODEL.ROI_BOX_HEAD.NAME "TaskAwareBoxHead", the box head of the paper's Figure 2c.
MODEL.TASK_AWARE_BOX_HEAD = CfgNode()
# How many times a 3x3 convolution with stride 2, GroupNorm and task-aware attention follow.
MODEL.TASK_AWARE_BOX_HEAD.NUM_BLOCKS = 2

# --- Training -------------------------------------------------------------------------------------

SOLVER.OPTIMIZER = "SGD"  # the optimizer: "SGD" or "ADAMW"
# Save weights and model card alone in model_final.pth: half of the size with SGD, a third with
# AdamW. A training cannot be resumed from it, only from the checkpoints before it.
SOLVER.CHECKPOINT_FINAL_STRIPPED = False
# Passes over the training data: sets MAX_ITER, and STEPS in the same proportion; WARMUP_ITERS are
# at most a fifth of them. 0: MAX_ITER holds.
SOLVER.EPOCHS = 0
# Minutes that the training may take on this machine, evaluations and checkpoints included; 0: its
# steps decide. MAX_ITER is stretched to them, and all that counts steps in the same proportion:
# STEPS, WARMUP_ITERS, CHECKPOINT_PERIOD and TEST.EVAL_PERIOD.
SOLVER.MINUTES = 0.0
# Factor of the learning rate of the backbone's own weights, without pyramid and DyHead blocks.
SOLVER.BACKBONE_LR_FACTOR = 1.0
# Further factor of the backbone's stages, once for each stage behind it: 0.5 gives the deepest one
# 1, the one before it 0.5, then 0.25. A stage is what one of its features adds to the finer ones.
SOLVER.BACKBONE_LR_DECAY = 1.0
# Factor of the learning rate of the DyHead blocks.
SOLVER.DYHEAD_LR_FACTOR = 1.0
# Further factor of the blocks' convolutions that compute offsets and masks. Adam moves a weight by
# the rate whatever its gradient, and a sampling point by the sum over all weights that meet in it.
SOLVER.OFFSET_LR_FACTOR = 1.0
# The IMS_PER_BATCH that BASE_LR and BASE_LR_END are meant for: with another one they grow or shrink
# in proportion; 0: they hold as they are.
SOLVER.REFERENCE_BATCH_SIZE = 0
# In how many parts the images of a step are computed: less memory, the same gradient,
# more time. IMS_PER_BATCH stays the number of images of a step.
SOLVER.ACCUMULATION_STEPS = 1
# how many periodic checkpoints are kept; 0: all. model_final and model_best always are.
SOLVER.CHECKPOINTS_KEPT = 0
SOLVER.EMA = CfgNode()
# Evaluate and save an exponential moving average of the weights, not the weights of the last step.
SOLVER.EMA.ENABLED = False
# Share of the average that stays at each step, between 0 and 1; at the beginning it is less.
SOLVER.EMA.DECAY = 0.999
SOLVER.BEST = CfgNode()
# Metric of the evaluations, such as "bbox/AP", whose best weights are kept as model_best; "": none.
SOLVER.BEST.METRIC = ""
SOLVER.BEST.MODE = "max"  # which values of this metric are better: "max" or "min"
# Stop after so many evaluations in a row without a better SOLVER.BEST.METRIC, at least 1; 0: never.
SOLVER.BEST.PATIENCE = 0
# By how much, in the metric's unit, an evaluation has to be better for PATIENCE; not negative.
SOLVER.BEST.MIN_DELTA = 0.0

SOLVER.TRACKING = CfgNode()
# Services that get the numbers of a training besides its own files: any of "wandb", "mlflow" and
# "trackio". Each needs its package: pip install "dyhead[wandb]" and so on.
SOLVER.TRACKING.SERVICES = ()
SOLVER.TRACKING.PROJECT = "dyhead"  # the project, or MLflow's experiment, that runs belong to
SOLVER.TRACKING.NAME = ""  # name of the run; "": that of the folder OUTPUT_DIR

# --- Evaluation -----------------------------------------------------------------------------------

# Compute AP with faster-coco-eval where it is installed, not with pycocotools; same scores.
TEST.FAST_COCO_EVAL = True
# How a checkpoint's classes and those of a data set find each other: by "name", in whatever order,
# or by "index", for a data set whose classes were only renamed.
TEST.MATCH_CLASSES = "name"
# Write a report on the run into OUTPUT_DIR/report at the end of a training: one page on scores,
# errors, curves and data, as `dyhead report` makes it; docs/report.md. It takes some seconds.
TEST.REPORT = True
TEST.AUG = CfgNode()
# How the boxes of all views become one set: "nms" or "wbf" (weighted box fusion).
TEST.AUG.MERGE = "nms"
# IoU above which two boxes of a class are the same object; 0.0: the detector's own threshold.
TEST.AUG.IOU_THRESHOLD = 0.0
# One [low, high] per entry of MIN_SIZES, or [] for no limits: at that scale only boxes whose
# sqrt(area), in pixels of the original image, lies in it are kept. high -1: no upper limit.
TEST.AUG.VALID_SIZES = []

# --- Speed and memory: docs/performance.md says when to change them -------------------------------

# Detectron2's CUDNN_BENCHMARK and FLOAT32_PRECISION belong here too; the latter acts on CPUs as
# well: "highest", "high" or "medium" products of float32, "" for PyTorch's own settings.

# Back end of the deformable convolution: "pytorch", "torchvision", "cpp", "triton" or "" for the
# fastest that works. The environment variable DYHEAD_DEFORM_CONV wins over it.
MODEL.DEFORM_CONV_BACKEND = ""
# Convolutions keep the channels of a pixel side by side in memory; on a CPU in evaluation only.
MODEL.CHANNELS_LAST = True
MODEL.COMPILE = CfgNode()
# Compile the backbone, and the head of a dense detector, by torch.compile.
MODEL.COMPILE.ENABLED = False
# Mode of torch.compile: "default", "reduce-overhead" (CUDA graphs, for images of one size),
# "max-autotune" or "max-autotune-no-cudagraphs".
MODEL.COMPILE.MODE = "default"
SOLVER.AMP = CfgNode()
# Type of SOLVER.AMP.ENABLED: "bfloat16", "float16" (CUDA only, with a scaled loss), or "" for
# float16 on CUDA, as in Detectron2, and bfloat16 elsewhere.
SOLVER.AMP.DTYPE = ""
# Type that evaluations compute in: "float32", or by autocast "bfloat16" or (on CUDA) "float16".
TEST.PRECISION = "float32"


def add_dyhead_config(cfg: CfgNode) -> None:
    """Add the project's keys to `cfg`; those that it has already keep their values.

    Changed besides, as in the official code: `MODEL.BACKBONE.FREEZE_AT` is -1 (every backbone stage
    is trained), and `SOLVER.WEIGHT_DECAY_NORM` None (norms decay as all weights do).
    """
    cfg.MODEL.BACKBONE.FREEZE_AT = -1
    cfg.SOLVER.WEIGHT_DECAY_NORM = None
    add_missing_keys(cfg, DEFAULTS)


def add_missing_keys(cfg: CfgNode, defaults: CfgNode) -> None:
    """Add the keys of `defaults` that `cfg` lacks to it, with copies of their values."""
    for name, value in defaults.items():
        if name not in cfg:
            setattr(cfg, name, copy.deepcopy(value))
        elif isinstance(value, CfgNode) and isinstance(cfg[name], CfgNode):
            add_missing_keys(cfg[name], value)
