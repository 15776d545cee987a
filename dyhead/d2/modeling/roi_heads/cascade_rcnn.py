"""The second stage of Cascade R-CNN: a name to import, and no more."""

from ...utils.not_served import not_served

CascadeROIHeads = not_served("CascadeROIHeads", "cascades")
