"""Explains detections: what the attentions of DyHead did for each of them."""
