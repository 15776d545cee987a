"""Evaluation of detectors: COCO scores, what they cost, and the reports that are left."""
