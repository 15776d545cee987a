"""Every key of Detectron2's configuration with its default value.

Keys of parts that the embedded host does not have are kept as well, so that every YAML file written
for Detectron2 merges; `supported.check_supported` answers what cannot be served.
"""

from .config import LATEST_VERSION
from .config import CfgNode as CN

DEFAULTS = CN()
DEFAULTS.VERSION = LATEST_VERSION

# --- The run --------------------------------------------------------------------------------------
DEFAULTS.OUTPUT_DIR = "./output"
# A negative seed means a random one; a fixed seed makes the order of the data repeatable.
DEFAULTS.SEED = -1
DEFAULTS.CUDNN_BENCHMARK = False
# "", "highest", "high" or "medium": precision of float32 matrix products on GPUs with TF32.
DEFAULTS.FLOAT32_PRECISION = ""
# Draw training inputs every so many iterations; 0 never does.
DEFAULTS.VIS_PERIOD = 0
# Free for experiments.
DEFAULTS.GLOBAL = CN({"HACK": 1.0})

# --- Model ----------------------------------------------------------------------------------------
MODEL = DEFAULTS.MODEL = CN()
MODEL.META_ARCHITECTURE = "GeneralizedRCNN"
MODEL.DEVICE = "cuda"
# Path or address of a checkpoint to start from; "" starts from random weights.
MODEL.WEIGHTS = ""
# Per channel, in the order of INPUT.FORMAT, in units of pixel values 0..255.
MODEL.PIXEL_MEAN = [103.53, 116.28, 123.675]
MODEL.PIXEL_STD = [1.0, 1.0, 1.0]
MODEL.MASK_ON = False
MODEL.KEYPOINT_ON = False
MODEL.LOAD_PROPOSALS = False

# FREEZE_AT counts stages from the stem: 2 freezes the stem and res2, 0 nothing.
MODEL.BACKBONE = CN({"NAME": "build_resnet_backbone", "FREEZE_AT": 2})

RESNETS = MODEL.RESNETS = CN()
RESNETS.DEPTH = 50
RESNETS.OUT_FEATURES = ["res4"]
RESNETS.NORM = "FrozenBN"
# More than one group makes a ResNeXt: 32 groups of width 4 or 8.
RESNETS.NUM_GROUPS = 1
RESNETS.WIDTH_PER_GROUP = 64
RESNETS.STEM_OUT_CHANNELS = 64
# Depths 18 and 34 need 64 here; 256 is for the deeper ones.
RESNETS.RES2_OUT_CHANNELS = 256
# True is the original ResNet (and the MSRA weights); torchvision's has the stride in the 3x3.
RESNETS.STRIDE_IN_1X1 = True
RESNETS.RES5_DILATION = 1
RESNETS.DEFORM_ON_PER_STAGE = [False, False, False, False]
RESNETS.DEFORM_MODULATED = False
RESNETS.DEFORM_NUM_GROUPS = 1

# FUSE_TYPE "sum" or "avg" joins the top-down with the lateral feature.
MODEL.FPN = CN({"IN_FEATURES": [], "OUT_CHANNELS": 256, "NORM": "", "FUSE_TYPE": "sum"})

ANCHORS = MODEL.ANCHOR_GENERATOR = CN()
ANCHORS.NAME = "DefaultAnchorGenerator"
# Square roots of areas in pixels, and height / width: one list per level, or one for all levels.
ANCHORS.SIZES = [[32, 64, 128, 256, 512]]
ANCHORS.ASPECT_RATIOS = [[0.5, 1.0, 2.0]]
ANCHORS.ANGLES = [[-90, 0, 90]]
# Of the anchors' centres, as a share of the stride.
ANCHORS.OFFSET = 0.0

# --- Dense detector -------------------------------------------------------------------------------
RETINANET = MODEL.RETINANET = CN()
RETINANET.NUM_CLASSES = 80
RETINANET.IN_FEATURES = ["p3", "p4", "p5", "p6", "p7"]
RETINANET.NUM_CONVS = 4
RETINANET.NORM = ""
RETINANET.PRIOR_PROB = 0.01
RETINANET.IOU_THRESHOLDS = [0.4, 0.5]
RETINANET.IOU_LABELS = [0, -1, 1]
RETINANET.FOCAL_LOSS_ALPHA = 0.25
RETINANET.FOCAL_LOSS_GAMMA = 2.0
RETINANET.BBOX_REG_LOSS_TYPE = "smooth_l1"
RETINANET.BBOX_REG_WEIGHTS = (1.0, 1.0, 1.0, 1.0)
RETINANET.SMOOTH_L1_LOSS_BETA = 0.1
RETINANET.SCORE_THRESH_TEST = 0.05
RETINANET.TOPK_CANDIDATES_TEST = 1000
RETINANET.NMS_THRESH_TEST = 0.5

# --- Two stages: proposals ------------------------------------------------------------------------
MODEL.PROPOSAL_GENERATOR = CN({"NAME": "RPN", "MIN_SIZE": 0})

RPN = MODEL.RPN = CN()
RPN.HEAD_NAME = "StandardRPNHead"
RPN.IN_FEATURES = ["res4"]
RPN.CONV_DIMS = [-1]
RPN.BOUNDARY_THRESH = -1
RPN.IOU_THRESHOLDS = [0.3, 0.7]
RPN.IOU_LABELS = [0, -1, 1]
RPN.BATCH_SIZE_PER_IMAGE = 256
RPN.POSITIVE_FRACTION = 0.5
RPN.BBOX_REG_LOSS_TYPE = "smooth_l1"
RPN.BBOX_REG_LOSS_WEIGHT = 1.0
RPN.BBOX_REG_WEIGHTS = (1.0, 1.0, 1.0, 1.0)
RPN.SMOOTH_L1_BETA = 0.0
RPN.LOSS_WEIGHT = 1.0
RPN.PRE_NMS_TOPK_TRAIN = 12000
RPN.PRE_NMS_TOPK_TEST = 6000
RPN.POST_NMS_TOPK_TRAIN = 2000
RPN.POST_NMS_TOPK_TEST = 1000
RPN.NMS_THRESH = 0.7

# --- Two stages: regions --------------------------------------------------------------------------
ROI_HEADS = MODEL.ROI_HEADS = CN()
ROI_HEADS.NAME = "Res5ROIHeads"
ROI_HEADS.NUM_CLASSES = 80
ROI_HEADS.IN_FEATURES = ["res4"]
ROI_HEADS.IOU_THRESHOLDS = [0.5]
ROI_HEADS.IOU_LABELS = [0, 1]
ROI_HEADS.BATCH_SIZE_PER_IMAGE = 512
ROI_HEADS.POSITIVE_FRACTION = 0.25
ROI_HEADS.PROPOSAL_APPEND_GT = True
ROI_HEADS.SCORE_THRESH_TEST = 0.05
ROI_HEADS.NMS_THRESH_TEST = 0.5

BOX_HEAD = MODEL.ROI_BOX_HEAD = CN()
BOX_HEAD.NAME = ""
BOX_HEAD.POOLER_TYPE = "ROIAlignV2"
BOX_HEAD.POOLER_RESOLUTION = 14
BOX_HEAD.POOLER_SAMPLING_RATIO = 0
BOX_HEAD.NUM_CONV = 0
BOX_HEAD.CONV_DIM = 256
BOX_HEAD.NUM_FC = 0
BOX_HEAD.FC_DIM = 1024
BOX_HEAD.NORM = ""
BOX_HEAD.CLS_AGNOSTIC_BBOX_REG = False
BOX_HEAD.TRAIN_ON_PRED_BOXES = False
BOX_HEAD.BBOX_REG_LOSS_TYPE = "smooth_l1"
BOX_HEAD.BBOX_REG_LOSS_WEIGHT = 1.0
BOX_HEAD.BBOX_REG_WEIGHTS = (10.0, 10.0, 5.0, 5.0)
BOX_HEAD.SMOOTH_L1_BETA = 0.0
BOX_HEAD.USE_SIGMOID_CE = False
BOX_HEAD.USE_FED_LOSS = False
BOX_HEAD.FED_LOSS_NUM_CLASSES = 50
BOX_HEAD.FED_LOSS_FREQ_WEIGHT_POWER = 0.5

CASCADE = MODEL.ROI_BOX_CASCADE_HEAD = CN()
CASCADE.IOUS = (0.5, 0.6, 0.7)
CASCADE.BBOX_REG_WEIGHTS = (
    (10.0, 10.0, 5.0, 5.0),
    (20.0, 20.0, 10.0, 10.0),
    (30.0, 30.0, 15.0, 15.0),
)

# --- Masks, keypoints, segmentation: kept so that files merge -------------------------------------
MASK_HEAD = MODEL.ROI_MASK_HEAD = CN()
MASK_HEAD.NAME = "MaskRCNNConvUpsampleHead"
MASK_HEAD.POOLER_TYPE = "ROIAlignV2"
MASK_HEAD.POOLER_RESOLUTION = 14
MASK_HEAD.POOLER_SAMPLING_RATIO = 0
MASK_HEAD.NUM_CONV = 0
MASK_HEAD.CONV_DIM = 256
MASK_HEAD.NORM = ""
MASK_HEAD.CLS_AGNOSTIC_MASK = False

KEYPOINT_HEAD = MODEL.ROI_KEYPOINT_HEAD = CN()
KEYPOINT_HEAD.NAME = "KRCNNConvDeconvUpsampleHead"
KEYPOINT_HEAD.POOLER_TYPE = "ROIAlignV2"
KEYPOINT_HEAD.POOLER_RESOLUTION = 14
KEYPOINT_HEAD.POOLER_SAMPLING_RATIO = 0
KEYPOINT_HEAD.CONV_DIMS = (512,) * 8
KEYPOINT_HEAD.NUM_KEYPOINTS = 17
KEYPOINT_HEAD.MIN_KEYPOINTS_PER_IMAGE = 1
KEYPOINT_HEAD.NORMALIZE_LOSS_BY_VISIBLE_KEYPOINTS = True
KEYPOINT_HEAD.LOSS_WEIGHT = 1.0

SEM_SEG = MODEL.SEM_SEG_HEAD = CN()
SEM_SEG.NAME = "SemSegFPNHead"
SEM_SEG.IN_FEATURES = ["p2", "p3", "p4", "p5"]
SEM_SEG.NUM_CLASSES = 54
SEM_SEG.IGNORE_VALUE = 255
SEM_SEG.CONVS_DIM = 128
SEM_SEG.COMMON_STRIDE = 4
SEM_SEG.NORM = "GN"
SEM_SEG.LOSS_WEIGHT = 1.0

PANOPTIC = MODEL.PANOPTIC_FPN = CN()
PANOPTIC.INSTANCE_LOSS_WEIGHT = 1.0
PANOPTIC.COMBINE = CN()
PANOPTIC.COMBINE.ENABLED = True
PANOPTIC.COMBINE.OVERLAP_THRESH = 0.5
PANOPTIC.COMBINE.STUFF_AREA_LIMIT = 4096
PANOPTIC.COMBINE.INSTANCES_CONFIDENCE_THRESH = 0.5

# --- Images ---------------------------------------------------------------------------------------
INPUT = DEFAULTS.INPUT = CN()
# Short side in pixels: one of these ("choice"), or any between the two given ("range").
INPUT.MIN_SIZE_TRAIN = (800,)
INPUT.MIN_SIZE_TRAIN_SAMPLING = "choice"
INPUT.MAX_SIZE_TRAIN = 1333
# 0 leaves test images as they are.
INPUT.MIN_SIZE_TEST = 800
INPUT.MAX_SIZE_TEST = 1333
# "horizontal", "vertical" or "none".
INPUT.RANDOM_FLIP = "horizontal"
# SIZE is height, width: shares of the image for the "relative" types, pixels for the "absolute".
INPUT.CROP = CN({"ENABLED": False, "TYPE": "relative_range", "SIZE": [0.9, 0.9]})
INPUT.FORMAT = "BGR"
INPUT.MASK_FORMAT = "polygon"

# --- Data -----------------------------------------------------------------------------------------
DATASETS = DEFAULTS.DATASETS = CN()
DATASETS.TRAIN = ()
DATASETS.TEST = ()
DATASETS.PROPOSAL_FILES_TRAIN = ()
DATASETS.PROPOSAL_FILES_TEST = ()
DATASETS.PRECOMPUTED_PROPOSAL_TOPK_TRAIN = 2000
DATASETS.PRECOMPUTED_PROPOSAL_TOPK_TEST = 1000

LOADER = DEFAULTS.DATALOADER = CN()
# Per process.
LOADER.NUM_WORKERS = 4
# Batches of wide, and of tall, images: less padding.
LOADER.ASPECT_RATIO_GROUPING = True
LOADER.FILTER_EMPTY_ANNOTATIONS = True
LOADER.SAMPLER_TRAIN = "TrainingSampler"
# For "RepeatFactorTrainingSampler": categories in a smaller share of images are repeated.
LOADER.REPEAT_THRESHOLD = 0.0
LOADER.REPEAT_SQRT = True

# --- Optimization ---------------------------------------------------------------------------------
SOLVER = DEFAULTS.SOLVER = CN()
SOLVER.MAX_ITER = 40000
# Images per iteration, over all processes.
SOLVER.IMS_PER_BATCH = 16
SOLVER.BASE_LR = 0.001
SOLVER.BIAS_LR_FACTOR = 1.0
SOLVER.MOMENTUM = 0.9
SOLVER.NESTEROV = False
SOLVER.WEIGHT_DECAY = 0.0001
SOLVER.WEIGHT_DECAY_NORM = 0.0
# None decays biases like weights.
SOLVER.WEIGHT_DECAY_BIAS = None
SOLVER.LR_SCHEDULER_NAME = "WarmupMultiStepLR"
SOLVER.STEPS = (30000,)
SOLVER.GAMMA = 0.1
# For "WarmupCosineLR" and "WarmupStepWithFixedGammaLR".
SOLVER.BASE_LR_END = 0.0
SOLVER.NUM_DECAYS = 3
SOLVER.WARMUP_METHOD = "linear"
SOLVER.WARMUP_ITERS = 1000
SOLVER.WARMUP_FACTOR = 0.001
SOLVER.RESCALE_INTERVAL = False
SOLVER.CHECKPOINT_PERIOD = 5000
# Number of processes that the values above are meant for; another number scales them. 0 is off.
SOLVER.REFERENCE_WORLD_SIZE = 0
# CLIP_TYPE "value", "norm" (of each parameter) or "full_model" where the trainer adds it.
SOLVER.CLIP_GRADIENTS = CN(
    {"ENABLED": False, "CLIP_TYPE": "value", "CLIP_VALUE": 1.0, "NORM_TYPE": 2.0}
)
SOLVER.AMP = CN({"ENABLED": False})

# --- Evaluation -----------------------------------------------------------------------------------
TEST = DEFAULTS.TEST = CN()
# In iterations; 0 evaluates only after the last one.
TEST.EVAL_PERIOD = 0
TEST.DETECTIONS_PER_IMAGE = 100
# Entries [task, metric, value, tolerance]: the run fails when a result lies outside.
TEST.EXPECTED_RESULTS = []
TEST.KEYPOINT_OKS_SIGMAS = []
TEST.AUG = CN({"ENABLED": False, "FLIP": True, "MAX_SIZE": 4000})
TEST.AUG.MIN_SIZES = (400, 500, 600, 700, 800, 900, 1000, 1100, 1200)
TEST.PRECISE_BN = CN({"ENABLED": False, "NUM_ITER": 200})
