"""Networks that segment whole images: names to import, and no more."""

from ...utils.not_served import not_served

SemanticSegmentor = not_served("SemanticSegmentor", "semantic segmentation")
