"""Measures of a detector over ground truth and results in COCO's form: pure functions."""
