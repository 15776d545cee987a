"""The host's `data.samplers`."""

from dyhead.d2._host import HOST

if HOST == "detectron2":
    from detectron2.data.samplers import (
        InferenceSampler,
        RandomSubsetTrainingSampler,
        RepeatFactorTrainingSampler,
        TrainingSampler,
    )
else:
    from dyhead.d2._embedded.data.samplers import (
        InferenceSampler,
        RandomSubsetTrainingSampler,
        RepeatFactorTrainingSampler,
        TrainingSampler,
    )

__all__ = [
    "InferenceSampler",
    "RandomSubsetTrainingSampler",
    "RepeatFactorTrainingSampler",
    "TrainingSampler",
]
