"""Holds placeholders for testing at several scales, which can be imported and raise on use.

The project's own is `dyhead.modeling.tta`.
"""

from ..utils.not_served import not_served

DatasetMapperTTA = not_served("DatasetMapperTTA", "Detectron2's test-time augmentation")
GeneralizedRCNNWithTTA = not_served("GeneralizedRCNNWithTTA", "Detectron2's test-time augmentation")
