"""What DyHead registers with Detectron2: importing this module registers all of it."""

from dyhead.modeling import backbone, meta_arch, roi_heads

__all__ = ["backbone", "meta_arch", "roi_heads"]
