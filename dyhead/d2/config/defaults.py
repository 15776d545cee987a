"""Every key of Detectron2's configuration with its default value, and what it means.

The comment above a key, or behind it, is its description in `dyhead configs explain` and
docs/config_keys.md; every key has one. Keys of parts that the embedded host does not have are kept
as well, so that every YAML file written for Detectron2 merges; `supported.check_supported` answers
what cannot be served.
"""

from .config import LATEST_VERSION
from .config import CfgNode as CN

DEFAULTS = CN()
DEFAULTS.VERSION = LATEST_VERSION  # version of the keys' names: files of another are refused

# --- The run --------------------------------------------------------------------------------------

DEFAULTS.OUTPUT_DIR = "./output"  # folder of everything that a run writes
# Seed of random numbers; negative: another one each time. Fixed, it repeats the order of the data.
DEFAULTS.SEED = -1
# Let cuDNN try its algorithms out, once for every size of input: for images of few sizes.
DEFAULTS.CUDNN_BENCHMARK = False
# Precision of float32 matrix products: "highest", "high" or "medium"; "": PyTorch's own setting.
DEFAULTS.FLOAT32_PRECISION = ""
# Draw training inputs every so many iterations; 0 never does. Genuine Detectron2 only.
DEFAULTS.VIS_PERIOD = 0
DEFAULTS.GLOBAL = CN()
DEFAULTS.GLOBAL.HACK = 1.0  # free for experiments: nothing reads it

# --- Model ----------------------------------------------------------------------------------------

MODEL = DEFAULTS.MODEL = CN()
MODEL.META_ARCHITECTURE = "GeneralizedRCNN"  # registered name of the detector's class
MODEL.DEVICE = "cuda"  # where the model computes: "cuda", "cpu" or another device of PyTorch
# Path or address of a checkpoint to start from, or to evaluate; "" starts from random weights.
MODEL.WEIGHTS = ""
# Subtracted from every pixel, per channel in the order of INPUT.FORMAT, in units of 0 to 255.
MODEL.PIXEL_MEAN = [103.53, 116.28, 123.675]
# What pixels are divided by afterwards; 1 for weights whose first layer has it built in, as MSRA's.
MODEL.PIXEL_STD = [1.0, 1.0, 1.0]
MODEL.MASK_ON = False  # predict instance masks too; genuine Detectron2 only
MODEL.KEYPOINT_ON = False  # predict keypoints too; genuine Detectron2 only
MODEL.LOAD_PROPOSALS = False  # take proposals from DATASETS.PROPOSAL_FILES_*; not served

MODEL.BACKBONE = CN()
MODEL.BACKBONE.NAME = "build_resnet_backbone"  # registered name of a function that builds it
# Stages that are not trained, counted from the stem of a ResNet: 2 freezes the stem and res2, 0
# (or less) nothing. Swin and timm count differently: MODEL.SWINT, MODEL.TIMM.
MODEL.BACKBONE.FREEZE_AT = 2

RESNETS = MODEL.RESNETS = CN()
RESNETS.DEPTH = 50  # layers: 18, 34, 50, 101 or 152
RESNETS.OUT_FEATURES = ["res4"]  # features that are given out: "stem", "res2" to "res5"
# Norm behind every convolution: "FrozenBN" (statistics of the weights, never changed), "BN", "GN".
RESNETS.NORM = "FrozenBN"
RESNETS.NUM_GROUPS = 1  # groups of the 3x3 convolutions; more than one makes a ResNeXt
RESNETS.WIDTH_PER_GROUP = 64  # channels of a group in res2; each next stage has twice as many
RESNETS.STEM_OUT_CHANNELS = 64  # channels behind the first convolution
# Channels that res2 gives out. Depths 18 and 34 need 64 here; 256 is for the deeper ones.
RESNETS.RES2_OUT_CHANNELS = 256
# Stride in a block's first convolution, as in the original ResNet and MSRA's weights; False: in the
# 3x3 convolution, as in torchvision's.
RESNETS.STRIDE_IN_1X1 = True
RESNETS.RES5_DILATION = 1  # 2 dilates res5's convolutions in the place of its stride
# Deformable 3x3 convolutions in res2, res3, res4, res5.
RESNETS.DEFORM_ON_PER_STAGE = [False, False, False, False]
RESNETS.DEFORM_MODULATED = False  # their samples are weighed by masks (version 2 of the operator)
RESNETS.DEFORM_NUM_GROUPS = 1  # sets of offsets that share a deformable one's channels

MODEL.FPN = CN()
MODEL.FPN.IN_FEATURES = []  # features of the backbone that the pyramid stands on, finest first
MODEL.FPN.OUT_CHANNELS = 256  # channels of every level
MODEL.FPN.NORM = ""  # norm behind the pyramid's convolutions: "", "GN", "BN"
MODEL.FPN.FUSE_TYPE = "sum"  # joins the top-down with the lateral feature: "sum" or "avg"

ANCHORS = MODEL.ANCHOR_GENERATOR = CN()
ANCHORS.NAME = "DefaultAnchorGenerator"  # registered name of the generator's class
# Square roots of the anchors' areas in pixels: one list per level, or one for all levels.
ANCHORS.SIZES = [[32, 64, 128, 256, 512]]
# Height over width of the anchors: one list per level, or one for all levels.
ANCHORS.ASPECT_RATIOS = [[0.5, 1.0, 2.0]]
ANCHORS.ANGLES = [[-90, 0, 90]]  # angles of rotated anchors, in degrees; genuine Detectron2 only
# From a cell's corner to its anchors' centres, as a share of the stride: 0 to below 1.
ANCHORS.OFFSET = 0.0

# --- Dense detector -------------------------------------------------------------------------------

RETINANET = MODEL.RETINANET = CN()
# Classes without the background. Filled in from the training data set unless set.
RETINANET.NUM_CLASSES = 80
RETINANET.IN_FEATURES = ["p3", "p4", "p5", "p6", "p7"]  # levels, finest first
RETINANET.NUM_CONVS = 4  # convolutions of each tower; 0 for DyHeadRetinaNet only
RETINANET.NORM = ""  # norm behind the towers' convolutions: "", "GN", "BN"
RETINANET.PRIOR_PROB = 0.01  # foreground probability that the class bias starts from
# Anchors below the first IoU with any object are background, from the second on they detect it.
RETINANET.IOU_THRESHOLDS = [0.4, 0.5]
# What the ranges between the thresholds mean: 0 background, -1 ignored, 1 object.
RETINANET.IOU_LABELS = [0, -1, 1]
RETINANET.FOCAL_LOSS_ALPHA = 0.25  # weight of positives; negatives have 1 - alpha
RETINANET.FOCAL_LOSS_GAMMA = 2.0  # exponent that takes weight from easy examples
RETINANET.BBOX_REG_LOSS_TYPE = "smooth_l1"  # loss on boxes; or "giou", "diou", "ciou"
RETINANET.BBOX_REG_WEIGHTS = (1.0, 1.0, 1.0, 1.0)  # factors of the box deltas dx, dy, dw, dh
RETINANET.SMOOTH_L1_LOSS_BETA = 0.1  # where the loss on boxes turns linear; 0: L1 loss
RETINANET.SCORE_THRESH_TEST = 0.05  # lowest score of a detection
RETINANET.TOPK_CANDIDATES_TEST = 1000  # detections per level kept before NMS
RETINANET.NMS_THRESH_TEST = 0.5  # IoU above which NMS removes the lower score

# --- Two stages: proposals ------------------------------------------------------------------------

MODEL.PROPOSAL_GENERATOR = CN()
MODEL.PROPOSAL_GENERATOR.NAME = "RPN"  # registered name of the generator's class
MODEL.PROPOSAL_GENERATOR.MIN_SIZE = 0  # proposals with a shorter side, in pixels, are dropped

RPN = MODEL.RPN = CN()
RPN.HEAD_NAME = "StandardRPNHead"  # registered name of the class of the predictors
RPN.IN_FEATURES = ["res4"]  # features that it proposes from, finest first
RPN.CONV_DIMS = [-1]  # channels of the convolutions before the predictors; -1: as many as come in
# Anchors that reach farther than this out of the image are not trained; -1: all are.
RPN.BOUNDARY_THRESH = -1
# Anchors below the first IoU with any object are background, from the second on they are objects.
RPN.IOU_THRESHOLDS = [0.3, 0.7]
# What the ranges between the thresholds mean: 0 background, -1 ignored, 1 object.
RPN.IOU_LABELS = [0, -1, 1]
RPN.BATCH_SIZE_PER_IMAGE = 256  # anchors of an image that the losses are taken on
RPN.POSITIVE_FRACTION = 0.5  # share of objects among these anchors, at most
RPN.BBOX_REG_LOSS_TYPE = "smooth_l1"  # loss on boxes; or "giou", "diou", "ciou"
RPN.BBOX_REG_LOSS_WEIGHT = 1.0  # weight of the loss on boxes against that on objectness
RPN.BBOX_REG_WEIGHTS = (1.0, 1.0, 1.0, 1.0)  # factors of the box deltas dx, dy, dw, dh
RPN.SMOOTH_L1_BETA = 0.0  # where the loss on boxes turns linear; 0: L1 loss
RPN.LOSS_WEIGHT = 1.0  # weight of both losses
RPN.PRE_NMS_TOPK_TRAIN = 12000  # proposals of a level kept before NMS, in training
RPN.PRE_NMS_TOPK_TEST = 6000  # proposals of a level kept before NMS, in evaluation
RPN.POST_NMS_TOPK_TRAIN = 2000  # proposals of an image kept after NMS, in training
RPN.POST_NMS_TOPK_TEST = 1000  # proposals of an image kept after NMS, in evaluation
RPN.NMS_THRESH = 0.7  # IoU above which NMS removes the lower score

# --- Two stages: regions --------------------------------------------------------------------------

ROI_HEADS = MODEL.ROI_HEADS = CN()
# Registered name of the class; the embedded host has "StandardROIHeads" alone.
ROI_HEADS.NAME = "Res5ROIHeads"
# Classes without the background. Filled in from the training data set unless set.
ROI_HEADS.NUM_CLASSES = 80
ROI_HEADS.IN_FEATURES = ["res4"]  # features that regions are pooled from, finest first
ROI_HEADS.IOU_THRESHOLDS = [0.5]  # proposals from this IoU with an object on are objects
ROI_HEADS.IOU_LABELS = [0, 1]  # what the ranges between the thresholds mean: 0 background, 1 object
ROI_HEADS.BATCH_SIZE_PER_IMAGE = 512  # proposals of an image that the losses are taken on
ROI_HEADS.POSITIVE_FRACTION = 0.25  # share of objects among these proposals, at most
ROI_HEADS.PROPOSAL_APPEND_GT = True  # the ground truth is added to the proposals in training
ROI_HEADS.SCORE_THRESH_TEST = 0.05  # lowest score of a detection
ROI_HEADS.NMS_THRESH_TEST = 0.5  # IoU above which NMS removes the lower score

BOX_HEAD = MODEL.ROI_BOX_HEAD = CN()
BOX_HEAD.NAME = ""  # registered name of the class: "FastRCNNConvFCHead", "TaskAwareBoxHead"
BOX_HEAD.POOLER_TYPE = "ROIAlignV2"  # pooling; "ROIAlign" is the same, off by half a pixel
BOX_HEAD.POOLER_RESOLUTION = 14  # side of a pooled region, in cells
BOX_HEAD.POOLER_SAMPLING_RATIO = 0  # samples along a cell's side; 0: as many as it has pixels
BOX_HEAD.NUM_CONV = 0  # number of convolutions
BOX_HEAD.CONV_DIM = 256  # channels of the convolutions
BOX_HEAD.NUM_FC = 0  # number of fully connected layers behind the convolutions
BOX_HEAD.FC_DIM = 1024  # channels of the fully connected layers
BOX_HEAD.NORM = ""  # norm behind the convolutions: "", "GN", "BN"
BOX_HEAD.CLS_AGNOSTIC_BBOX_REG = False  # one box per region for all classes, not one for each
BOX_HEAD.TRAIN_ON_PRED_BOXES = False  # mask and keypoint heads train on predicted boxes
BOX_HEAD.BBOX_REG_LOSS_TYPE = "smooth_l1"  # loss on boxes; or "giou", "diou", "ciou"
BOX_HEAD.BBOX_REG_LOSS_WEIGHT = 1.0  # weight of the loss on boxes against that on classes
BOX_HEAD.BBOX_REG_WEIGHTS = (10.0, 10.0, 5.0, 5.0)  # factors of the box deltas dx, dy, dw, dh
BOX_HEAD.SMOOTH_L1_BETA = 0.0  # where the loss on boxes turns linear; 0: L1 loss
BOX_HEAD.USE_SIGMOID_CE = False  # a sigmoid for each class in the place of a softmax over all
BOX_HEAD.USE_FED_LOSS = False  # train a sample of the classes in each step; Detectron2 only
BOX_HEAD.FED_LOSS_NUM_CLASSES = 50  # number of classes in such a sample
BOX_HEAD.FED_LOSS_FREQ_WEIGHT_POWER = 0.5  # exponent of a class's frequency in sampling it

CASCADE = MODEL.ROI_BOX_CASCADE_HEAD = CN()
# IoU from which on a proposal is an object, in each stage. The cascade is genuine Detectron2's.
CASCADE.IOUS = (0.5, 0.6, 0.7)
# Factors of the box deltas dx, dy, dw, dh in each stage.
CASCADE.BBOX_REG_WEIGHTS = (
    (10.0, 10.0, 5.0, 5.0),
    (20.0, 20.0, 10.0, 10.0),
    (30.0, 30.0, 15.0, 15.0),
)

# --- Masks, keypoints, segmentation: genuine Detectron2's; kept so that files merge ---------------

MASK_HEAD = MODEL.ROI_MASK_HEAD = CN()
MASK_HEAD.NAME = "MaskRCNNConvUpsampleHead"  # registered name of the class
MASK_HEAD.POOLER_TYPE = "ROIAlignV2"  # as in MODEL.ROI_BOX_HEAD
MASK_HEAD.POOLER_RESOLUTION = 14  # side of a pooled region, in cells
MASK_HEAD.POOLER_SAMPLING_RATIO = 0  # as in MODEL.ROI_BOX_HEAD
MASK_HEAD.NUM_CONV = 0  # number of convolutions before the upsampling
MASK_HEAD.CONV_DIM = 256  # channels of the convolutions
MASK_HEAD.NORM = ""  # norm behind the convolutions
MASK_HEAD.CLS_AGNOSTIC_MASK = False  # one mask per region for all classes, not one for each

KEYPOINT_HEAD = MODEL.ROI_KEYPOINT_HEAD = CN()
KEYPOINT_HEAD.NAME = "KRCNNConvDeconvUpsampleHead"  # registered name of the class
KEYPOINT_HEAD.POOLER_TYPE = "ROIAlignV2"  # as in MODEL.ROI_BOX_HEAD
KEYPOINT_HEAD.POOLER_RESOLUTION = 14  # side of a pooled region, in cells
KEYPOINT_HEAD.POOLER_SAMPLING_RATIO = 0  # as in MODEL.ROI_BOX_HEAD
KEYPOINT_HEAD.CONV_DIMS = (512,) * 8  # channels of each convolution
KEYPOINT_HEAD.NUM_KEYPOINTS = 17  # keypoints of an object; 17 in COCO
KEYPOINT_HEAD.MIN_KEYPOINTS_PER_IMAGE = 1  # images with fewer visible ones are not trained on
# Average the loss over visible keypoints, not over regions.
KEYPOINT_HEAD.NORMALIZE_LOSS_BY_VISIBLE_KEYPOINTS = True
KEYPOINT_HEAD.LOSS_WEIGHT = 1.0  # weight of the loss on keypoints

SEM_SEG = MODEL.SEM_SEG_HEAD = CN()
SEM_SEG.NAME = "SemSegFPNHead"  # registered name of the class
SEM_SEG.IN_FEATURES = ["p2", "p3", "p4", "p5"]  # levels that it stands on, finest first
SEM_SEG.NUM_CLASSES = 54  # number of classes of "stuff"
SEM_SEG.IGNORE_VALUE = 255  # value of the ground truth's pixels that are not trained on
SEM_SEG.CONVS_DIM = 128  # channels of the convolutions
SEM_SEG.COMMON_STRIDE = 4  # stride that all levels are brought to
SEM_SEG.NORM = "GN"  # norm behind the convolutions
SEM_SEG.LOSS_WEIGHT = 1.0  # weight of the loss on segmentation

PANOPTIC = MODEL.PANOPTIC_FPN = CN()
PANOPTIC.INSTANCE_LOSS_WEIGHT = 1.0  # weight of the losses on instances against segmentation
PANOPTIC.COMBINE = CN()
PANOPTIC.COMBINE.ENABLED = True  # join instances and segmentation into one panoptic result
PANOPTIC.COMBINE.OVERLAP_THRESH = 0.5  # share of an instance that others may cover before it goes
PANOPTIC.COMBINE.STUFF_AREA_LIMIT = 4096  # smallest piece of "stuff" that stays, in pixels
PANOPTIC.COMBINE.INSTANCES_CONFIDENCE_THRESH = 0.5  # lowest score of an instance that is joined

# --- Images ---------------------------------------------------------------------------------------

INPUT = DEFAULTS.INPUT = CN()
# Short side of training images in pixels; several are chosen from by MIN_SIZE_TRAIN_SAMPLING.
INPUT.MIN_SIZE_TRAIN = (800,)
INPUT.MIN_SIZE_TRAIN_SAMPLING = "choice"  # takes one of MIN_SIZE_TRAIN; "range": between its two
INPUT.MAX_SIZE_TRAIN = 1333  # longest side of training images in pixels
INPUT.MIN_SIZE_TEST = 800  # short side of test images in pixels; 0 leaves them as they are
INPUT.MAX_SIZE_TEST = 1333  # longest side of test images in pixels
INPUT.RANDOM_FLIP = "horizontal"  # flip half of the training images; or "vertical", "none"
INPUT.CROP = CN()
INPUT.CROP.ENABLED = False  # train on random crops
# How SIZE is meant: "relative" and "relative_range" (at least) as shares of the image, "absolute"
# and "absolute_range" (from, to) in pixels.
INPUT.CROP.TYPE = "relative_range"
INPUT.CROP.SIZE = [0.9, 0.9]  # height and width of crops
INPUT.FORMAT = "BGR"  # order of an image's channels, or "RGB": as MODEL.WEIGHTS wants it
INPUT.MASK_FORMAT = "polygon"  # form of instance masks, or "bitmask"; genuine Detectron2 only

# --- Data -----------------------------------------------------------------------------------------

DATASETS = DEFAULTS.DATASETS = CN()
DATASETS.TRAIN = ()  # names of the data sets to train on
DATASETS.TEST = ()  # names of the data sets to evaluate on
DATASETS.PROPOSAL_FILES_TRAIN = ()  # for MODEL.LOAD_PROPOSALS, one per training set; not served
DATASETS.PROPOSAL_FILES_TEST = ()  # for MODEL.LOAD_PROPOSALS, one per test set; not served
DATASETS.PRECOMPUTED_PROPOSAL_TOPK_TRAIN = 2000  # proposals per training image; not served
DATASETS.PRECOMPUTED_PROPOSAL_TOPK_TEST = 1000  # proposals per test image; not served

LOADER = DEFAULTS.DATALOADER = CN()
LOADER.NUM_WORKERS = 4  # processes that read images, for each process that trains; 0: none
LOADER.ASPECT_RATIO_GROUPING = True  # make batches of wide, and of tall, images: less padding
LOADER.FILTER_EMPTY_ANNOTATIONS = True  # leave images without objects out of training
# How training images are drawn: "TrainingSampler" (all alike) or "RepeatFactorTrainingSampler"
# (those with rare categories more often).
LOADER.SAMPLER_TRAIN = "TrainingSampler"
# For "RepeatFactorTrainingSampler": categories in a smaller share of images are repeated.
LOADER.REPEAT_THRESHOLD = 0.0
LOADER.REPEAT_SQRT = True  # repeat by the square root of what a category lacks, not by all of it

# --- Optimization ---------------------------------------------------------------------------------

SOLVER = DEFAULTS.SOLVER = CN()
SOLVER.MAX_ITER = 40000  # iterations of the whole training
SOLVER.IMS_PER_BATCH = 16  # images per iteration, over all processes
SOLVER.BASE_LR = 0.001  # learning rate after the warm-up
SOLVER.BIAS_LR_FACTOR = 1.0  # factor of the learning rate of biases
SOLVER.MOMENTUM = 0.9  # momentum of SGD
SOLVER.NESTEROV = False  # use Nesterov's momentum in SGD
SOLVER.WEIGHT_DECAY = 0.0001  # weight decay of weights
SOLVER.WEIGHT_DECAY_NORM = 0.0  # weight decay of the parameters of norms; None: as of weights
SOLVER.WEIGHT_DECAY_BIAS = None  # weight decay of biases; None: as of weights
# The schedule of the learning rate: "WarmupMultiStepLR", "WarmupCosineLR" or
# "WarmupStepWithFixedGammaLR".
SOLVER.LR_SCHEDULER_NAME = "WarmupMultiStepLR"
SOLVER.STEPS = (30000,)  # iterations at which "WarmupMultiStepLR" multiplies the rate by GAMMA
SOLVER.GAMMA = 0.1  # factor of the learning rate at each step
SOLVER.BASE_LR_END = 0.0  # learning rate that "WarmupCosineLR" ends with
SOLVER.NUM_DECAYS = 3  # steps of "WarmupStepWithFixedGammaLR", evenly spread
SOLVER.WARMUP_METHOD = "linear"  # how the learning rate grows in the warm-up; or "constant"
SOLVER.WARMUP_ITERS = 1000  # iterations of the warm-up
SOLVER.WARMUP_FACTOR = 0.001  # share of the learning rate that the warm-up starts from
# Squeeze the schedule into the iterations after the warm-up; False: the warm-up replaces its
# beginning.
SOLVER.RESCALE_INTERVAL = False
SOLVER.CHECKPOINT_PERIOD = 5000  # iterations from one checkpoint to the next
# Number of processes that the values above are meant for; another number scales them. 0 is off.
SOLVER.REFERENCE_WORLD_SIZE = 0
SOLVER.CLIP_GRADIENTS = CN()
SOLVER.CLIP_GRADIENTS.ENABLED = False  # limit gradients before a step
# What is limited: "value" (each number), "norm" (of each parameter) or "full_model" (the norm of
# all gradients together).
SOLVER.CLIP_GRADIENTS.CLIP_TYPE = "value"
SOLVER.CLIP_GRADIENTS.CLIP_VALUE = 1.0  # limit of a value or a norm
SOLVER.CLIP_GRADIENTS.NORM_TYPE = 2.0  # exponent of that norm
SOLVER.AMP = CN()
SOLVER.AMP.ENABLED = False  # train in mixed precision

# --- Evaluation -----------------------------------------------------------------------------------

TEST = DEFAULTS.TEST = CN()
TEST.EVAL_PERIOD = 0  # iterations from one evaluation to the next; 0: only after the last one
TEST.DETECTIONS_PER_IMAGE = 100  # detections of an image kept, by score
# Entries [task, metric, value, tolerance]: the run fails when a result lies outside.
TEST.EXPECTED_RESULTS = []
TEST.KEYPOINT_OKS_SIGMAS = []  # spread of keypoints that are not COCO's; genuine Detectron2 only
TEST.AUG = CN()
TEST.AUG.ENABLED = False  # test every image at several scales and merge what is found
TEST.AUG.FLIP = True  # test each scale mirrored too
TEST.AUG.MAX_SIZE = 4000  # longest side of a scaled image in pixels
# Short sides of the scales in pixels.
TEST.AUG.MIN_SIZES = (400, 500, 600, 700, 800, 900, 1000, 1100, 1200)
TEST.PRECISE_BN = CN()
TEST.PRECISE_BN.ENABLED = False  # measure batch norms anew before evaluation; Detectron2 only
TEST.PRECISE_BN.NUM_ITER = 200  # number of batches that they are measured on
