"""Detectors, backbones and heads; importing this package registers them with the host."""

from dyhead.modeling import backbone, meta_arch, roi_heads

__all__ = ["backbone", "meta_arch", "roi_heads"]
