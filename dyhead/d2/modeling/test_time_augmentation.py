"""Testing at several scales: names to import; the project's own is `dyhead.modeling.tta`."""

from ..utils.not_served import not_served

DatasetMapperTTA = not_served("DatasetMapperTTA", "Detectron2's test-time augmentation")
GeneralizedRCNNWithTTA = not_served("GeneralizedRCNNWithTTA", "Detectron2's test-time augmentation")
