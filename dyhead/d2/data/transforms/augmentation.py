"""Augmentations: policies that look at an input and decide on a transform."""

import inspect
import pprint
from collections.abc import Sequence
from typing import Any

import numpy as np
from fvcore.transforms.transform import Transform, TransformList


class Augmentation:
    """Base of all augmentations: `get_transform` decides, `__call__` applies.

    `get_transform` of a subclass names what it needs to see as its parameters, e.g. `image` or
    `image, sem_seg`; they are read from the AugInput's attributes of these names. A single
    parameter always receives the image. `input_args` may name the attributes instead.
    """

    input_args: tuple[str, ...] | None = None

    def _init(self, params: dict[str, Any] | None = None) -> None:
        """Keep the constructor's arguments as attributes: call with `locals()`."""
        for name, value in (params or {}).items():
            if name != "self" and not name.startswith("_"):
                setattr(self, name, value)

    def get_transform(self, *args: Any) -> Transform:
        """Decide on the transform for this input; every subclass has its own."""
        raise NotImplementedError

    def __call__(self, aug_input: Any) -> Transform:
        """Transform `aug_input` in place and return the transform that was used."""
        transform = self.get_transform(*self._arguments_from(aug_input))
        assert isinstance(transform, Transform), (
            f"{type(self).__name__}.get_transform must return a Transform, got {transform!r}."
        )
        aug_input.transform(transform)
        return transform

    def _arguments_from(self, aug_input: Any) -> list[Any]:
        if self.input_args is None:
            self.input_args = _parameter_names(self)
        for name in self.input_args:
            if not hasattr(aug_input, name):
                raise AttributeError(
                    f"{type(self).__name__}.get_transform needs '{name}', which"
                    f" {type(aug_input).__name__} does not have."
                )
        return [getattr(aug_input, name) for name in self.input_args]

    def _rand_range(
        self, low: float = 1.0, high: float | None = None, size: Sequence[int] | None = None
    ) -> Any:
        """A uniform random float in [low, high), or in [0, low) without `high`."""
        if high is None:
            low, high = 0.0, low
        return np.random.uniform(low, high, [] if size is None else size)

    def __repr__(self) -> str:
        parameters = inspect.signature(type(self).__init__).parameters
        shown = []
        for name, parameter in list(parameters.items())[1:]:
            if parameter.kind in _VARIABLE_KINDS or not hasattr(self, name):
                return super().__repr__()
            value = getattr(self, name)
            if value is not parameter.default:
                text = pprint.pformat(value)
                shown.append(f"{name}={text if len(text.splitlines()) == 1 else '...'}")
        return f"{type(self).__name__}({', '.join(shown)})"

    __str__ = __repr__


_VARIABLE_KINDS = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)


def _parameter_names(augmentation: Augmentation) -> tuple[str, ...]:
    parameters = inspect.signature(augmentation.get_transform).parameters
    if len(parameters) == 1:
        return ("image",)
    if any(parameter.kind in _VARIABLE_KINDS for parameter in parameters.values()):
        raise TypeError(
            f"{type(augmentation).__name__}.get_transform must name its parameters: *args and"
            " **kwargs do not say what it needs to see."
        )
    return tuple(parameters)


class _FixedTransform(Augmentation):
    def __init__(self, transform: Transform) -> None:
        self.transform = transform

    def get_transform(self, *args: Any) -> Transform:
        return self.transform

    def _arguments_from(self, aug_input: Any) -> list[Any]:
        return []

    def __repr__(self) -> str:
        return repr(self.transform)

    __str__ = __repr__


def as_augmentation(item: Augmentation | Transform) -> Augmentation:
    """Return an augmentation as it is, a transform as one that always decides on it."""
    assert isinstance(item, Augmentation | Transform), (
        f"Expected an Augmentation or a Transform, got {item!r}."
    )
    return _FixedTransform(item) if isinstance(item, Transform) else item


class AugmentationList(Augmentation):
    """Augmentations and transforms, applied one after the other: each sees the result before."""

    def __init__(self, augs: Sequence[Augmentation | Transform]) -> None:
        self.augs = [as_augmentation(item) for item in augs]

    def __call__(self, aug_input: Any) -> TransformList:
        """Transform `aug_input` in place and return all transforms that were used."""
        return TransformList([augmentation(aug_input) for augmentation in self.augs])

    def __repr__(self) -> str:
        return f"AugmentationList[{', '.join(str(item) for item in self.augs)}]"

    __str__ = __repr__


def _check_image(image: Any) -> None:
    assert isinstance(image, np.ndarray), f"An image must be an array, got {type(image).__name__}."
    assert image.dtype == np.uint8 or not np.issubdtype(image.dtype, np.integer), (
        f"An image must be uint8 or floating point, got {image.dtype}."
    )
    assert image.ndim in (2, 3), f"An image must be (H, W) or (H, W, C), got {image.shape}."


class AugInput:
    """An image and what belongs to it, for augmentations to look at and to transform in place.

    Args:
        image: (H, W) or (H, W, C), uint8 in [0, 255] or floating point.
        boxes: (N, 4) floating point, XYXY in pixels.
        sem_seg: (H, W) uint8 labels.
    """

    def __init__(
        self,
        image: np.ndarray,
        *,
        boxes: np.ndarray | None = None,
        sem_seg: np.ndarray | None = None,
    ) -> None:
        _check_image(image)
        self.image = image
        self.boxes = boxes
        self.sem_seg = sem_seg

    def transform(self, tfm: Transform) -> None:
        """Replace every attribute by its transformed self."""
        self.image = tfm.apply_image(self.image)
        if self.boxes is not None:
            self.boxes = tfm.apply_box(self.boxes)
        if self.sem_seg is not None:
            self.sem_seg = tfm.apply_segmentation(self.sem_seg)

    def apply_augmentations(
        self, augmentations: Sequence[Augmentation | Transform]
    ) -> TransformList:
        """Transform in place by each in turn and return all transforms that were used."""
        return AugmentationList(augmentations)(self)


def apply_augmentations(
    augmentations: Sequence[Augmentation | Transform], inputs: np.ndarray | AugInput
) -> tuple[np.ndarray | AugInput, TransformList]:
    """Apply augmentations to an image or an AugInput; return the result and the transforms."""
    if isinstance(inputs, np.ndarray):
        aug_input = AugInput(inputs)
        transforms = aug_input.apply_augmentations(augmentations)
        return aug_input.image, transforms
    return inputs, inputs.apply_augmentations(augmentations)


# Older names.
TransformGen = Augmentation
StandardAugInput = AugInput
apply_transform_gens = apply_augmentations
