"""The stages of `gpu_check.py`, with the packages and the time that each needs.

Like that script it uses the standard library alone: it has to run where packages are missing.
"""

from gpu_commands import (
    SMALL_DETECTOR,
    benchmark,
    environment_command,
    environment_file,
    quickstart_command,
    read_environment,
    read_quickstart,
    read_study,
    study_command,
    study_file,
    tests,
    why_no_study,
    why_no_weights,
)
from gpu_stage import PROJECT, Stage

# Modules that stages import, and the packages that bring them, where their names differ.
PACKAGES = {
    "PIL": "Pillow",
    "jinja2": "Jinja2",
    "yaml": "PyYAML",
    "faster_coco_eval": "faster-coco-eval",
}
KERNELS = ("torch", "torchvision", "numpy", "triton", "pytest")
BENCHMARK = ("torch", "torchvision", "numpy", "tabulate")
DETECTORS = (
    *("torch", "torchvision", "numpy", "fvcore", "iopath", "pycocotools", "timm", "safetensors"),
    *("PIL", "matplotlib", "tensorboard", "tabulate", "termcolor", "tqdm", "yaml", "yacs"),
    "jinja2",
    "portalocker",  # which iopath imports
)

# In order of value. Those that measure no time run beside each other where there are cores.
STAGES = (
    Stage(
        "environment",
        "card, driver, versions, back end",
        environment_command,
        read_environment,
        ("torch", "torchvision"),
        limit=120,
        least=5,
        alone=True,
        needs_device=False,
        leaves=environment_file,
    ),
    tests("deform-conv", "the operator's kernels", ("ops/test_deform_conv.py",), KERNELS, 180),
    tests("branch-mix", "the fused passes' kernels", ("ops/test_branch_mix.py",), KERNELS, 180),
    tests("block", "fused blocks against plain ones", ("layers/test_block.py",), KERNELS, 180),
    tests(
        "execution",
        "streams, memory, graphs, compile",
        ("layers/test_execution.py",),
        KERNELS,
        180,
    ),
    tests(
        "detectors",
        "detectors against the CPU, AMP",
        ("modeling",),
        (*DETECTORS, "pytest"),
        240,
    ),
    tests(
        "training", "the trainer's steps", ("engine/test_training.py",), (*DETECTORS, "pytest"), 120
    ),
    benchmark(
        "bench-block",
        "a block against the baseline",
        "bm_block",
        small=(
            *("--size", "64", "64", "--levels", "3", "4", "--channels", "32"),
            *("--rounds", "1", "--training-rounds", "1"),
        ),
        limit=150,
        needs=BENCHMARK,
    ),
    benchmark(
        "bench-model",
        "ATSS-R50 against the baseline",
        "bm_model",
        small=(
            *("--config", str(PROJECT / "configs" / "Base-ATSS-DyHead-R18-small.yaml")),
            *("--size", "64", "64", "--batch", "1", "--rounds", "1", *SMALL_DETECTOR),
        ),
        limit=150,
        needs=DETECTORS,
    ),
    Stage(
        "quickstart",
        "make quickstart's training",
        quickstart_command,
        read_quickstart,
        DETECTORS,
        limit=180,
        least=60,
        alone=True,
        why_not=why_no_weights,
    ),
    benchmark(
        "bench-deform-conv",
        "the operator against torchvision's",
        "bm_deform_conv",
        small=("--channels", "16", "--height", "6", "--width", "7", "--rounds", "1"),
        limit=90,
        needs=BENCHMARK,
    ),
    tests(
        "distributed",
        "two processes as one",
        ("engine/test_distributed.py",),
        (*DETECTORS, "pytest"),
        120,
    ),
    tests(
        "small-deform-conv",
        "the operator in many small cases",
        ("ops/test_small_triton_deform_conv.py",),
        KERNELS,
        300,
        least=45,
    ),
    tests(
        "small-branch-mix",
        "the fused passes in many small cases",
        ("ops/test_small_triton_branch_mix.py",),
        KERNELS,
        300,
        least=45,
    ),
    Stage(
        "study",
        "five detectors on small data",
        study_command,
        read_study,
        DETECTORS,
        limit=3600,
        least=60,
        alone=True,
        why_not=why_no_study,
        leaves=study_file,
    ),
)
