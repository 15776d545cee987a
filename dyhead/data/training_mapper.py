"""Maps training images, mixed with others of the same data sets."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from torch import Tensor

from dyhead.d2.config import CfgNode
from dyhead.d2.structures import Instances
from dyhead.data.augmentation import Mix, build_finish, build_mixes
from dyhead.data.augmentations.sample import Sample
from dyhead.data.mapper import CheckedMapper
from dyhead.data.stream import Mapper
from dyhead.errors import UserError


class TrainingMapper:
    """Maps an image, mixes others into it by chance, and finishes its pixels.

    The others are drawn from all training images, in proportion to how often each is trained on,
    and are augmented as it is. One that cannot be read is counted, as by the mapper, and another
    one takes its place. All that is random follows from NumPy's and PyTorch's generators.
    """

    def __init__(
        self,
        mapper: Mapper,
        finish: Sequence[Callable[[Tensor], Tensor]] = (),
        mixes: Sequence[tuple[Mix, float]] = (),
        others: "Others | None" = None,
    ) -> None:
        """Put the parts together.

        Args:
            mapper: of a dataset dict to a model's input, or to None for a broken image.
            finish: functions of the pixels, (C, H, W) uint8, applied one after the other.
            mixes: with their probabilities, in their order.
            others: dataset dicts to draw from; None where nothing is mixed.
        """
        self._mapper, self._finish, self._mixes, self._others = mapper, finish, mixes, others

    def __call__(self, record: dict) -> dict[str, Any] | None:
        """Map a dataset dict; None for a broken image.

        Raises:
            UserError: the images have labels for their pixels, or too many in a row are broken.
        """
        mapped = self._mapper(record)
        if mapped is None:
            return None
        if "sem_seg" in mapped:
            raise UserError(
                "INPUT.AUG changes boxes, and no semantic labels of pixels: turn its mixtures,"
                " colours and padding off for panoptic data sets."
            )
        return self._finished(self._mixed(mapped))

    def _mixed(self, mapped: dict[str, Any]) -> dict[str, Any]:
        chosen = [mix for mix, probability in self._mixes if np.random.rand() < probability]
        if not chosen:
            return mapped
        sample = Sample.of(mapped)
        for mix in chosen:
            sample = mix(sample, self._draw)
        return sample.replace_in(mapped)

    def _draw(self) -> Sample:
        """Map another image; the mapper ends this where too many in a row are broken."""
        assert self._others is not None
        while True:
            mapped = self._mapper(self._others.draw())
            if mapped is not None:
                return Sample.of(mapped)

    def _finished(self, mapped: dict[str, Any]) -> dict[str, Any]:
        image: Tensor = mapped["image"]
        for function in self._finish:
            image = function(image)
        if image.shape == mapped["image"].shape:
            return {**mapped, "image": image}
        size = image.shape[-2], image.shape[-1]
        instances = Instances(size, **mapped["instances"].get_fields())
        return {**mapped, "image": image, "instances": instances}


class Others:
    """The training images that others are mixed with."""

    def __init__(self, records: Any, weights: np.ndarray | None = None) -> None:
        """Take dataset dicts.

        Args:
            records: all training images, a list or a map-style data set.
            weights: (N,), how often each is drawn, in proportion; None: all alike.
        """
        self._records = records
        self._sums = None if weights is None else np.cumsum(weights)

    def draw(self) -> dict:
        """Return a random one."""
        if self._sums is None:
            return self._records[int(np.random.randint(len(self._records)))]
        drawn = np.random.rand() * self._sums[-1]
        return self._records[int(np.searchsorted(self._sums, drawn, side="right"))]


def build_training_mappers(
    cfg: CfgNode, records: Any, weights: np.ndarray | None = None
) -> tuple[Mapper, Mapper]:
    """Build the mapper of a training's images, and that of its last steps, which mixes none.

    Args:
        cfg: INPUT is read.
        records: the dataset dicts of all training images; see `Others`.
        weights: see `Others`.
    """
    mapper = CheckedMapper(cfg, is_train=True)
    finish, mixes = build_finish(cfg), build_mixes(cfg)
    plain = TrainingMapper(mapper, finish) if finish else mapper
    if not mixes:
        return plain, plain
    return TrainingMapper(mapper, finish, mixes, Others(records, weights)), plain
