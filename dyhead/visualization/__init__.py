"""Pictures: boxes with labels, predictions beside ground truth, the curves of a run.

Nothing is imported here: what draws boxes knows neither Detectron2 nor the rest of the project, and
the embedded host draws with it.
"""
