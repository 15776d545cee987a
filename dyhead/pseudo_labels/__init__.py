"""Labels a folder of images with a trained detector, to train on them: docs/self_training.md."""

from dyhead.pseudo_labels.label import LabelSettings, label_folder

__all__ = ["LabelSettings", "label_folder"]
