"""Heads on pooled proposals; importing this package registers them with the host."""

from dyhead.modeling.roi_heads.task_aware_box_head import TaskAwareBoxHead

__all__ = ["TaskAwareBoxHead"]
