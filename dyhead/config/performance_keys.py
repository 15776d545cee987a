"""The config keys of speed and memory: docs/performance.md says when to change them."""

from dyhead.d2.config import CfgNode


def add_performance_config(cfg: CfgNode) -> None:
    """Add back end, memory layout, compilation and precision.

    Detectron2's own CUDNN_BENCHMARK and FLOAT32_PRECISION belong to them; the latter acts on CPUs
    too: "highest", "high" or "medium" products of float32, "" for PyTorch's own settings.
    """
    # Back end of the deformable convolution: "bags", "torchvision", "cpp", "triton" or "" for the
    # fastest that works. The environment variable DYHEAD_DEFORM_CONV wins over it.
    cfg.MODEL.DEFORM_CONV_BACKEND = ""
    # Convolutions keep the channels of a pixel side by side in memory; on a CPU in evaluation only.
    cfg.MODEL.CHANNELS_LAST = True
    cfg.MODEL.COMPILE = CfgNode()
    # Compile the backbone, and the head of a dense detector, by torch.compile.
    cfg.MODEL.COMPILE.ENABLED = False
    # Mode of torch.compile: "default", "reduce-overhead" (CUDA graphs, for images of one size),
    # "max-autotune" or "max-autotune-no-cudagraphs".
    cfg.MODEL.COMPILE.MODE = "default"
    # Type of SOLVER.AMP.ENABLED: "bfloat16", "float16" (CUDA only, with a scaled loss), or "" for
    # float16 on CUDA, as in Detectron2, and bfloat16 elsewhere.
    cfg.SOLVER.AMP.DTYPE = ""
    # Type that evaluations compute in: "float32", or by autocast "bfloat16" or (on CUDA) "float16".
    cfg.TEST.PRECISION = "float32"
