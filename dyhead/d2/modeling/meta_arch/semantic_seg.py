"""Holds a placeholder for semantic segmentation, which can be imported and raises on use."""

from ...utils.not_served import not_served

SemanticSegmentor = not_served("SemanticSegmentor", "semantic segmentation")
