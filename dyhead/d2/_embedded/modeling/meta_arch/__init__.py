"""The registry of whole detectors; the detectors themselves belong to the project."""

from .build import META_ARCH_REGISTRY, build_model

__all__ = ["META_ARCH_REGISTRY", "build_model"]
