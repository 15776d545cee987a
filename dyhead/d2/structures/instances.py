"""The instances of one image: their boxes, classes, scores and other fields."""

import itertools
from collections.abc import Sequence
from typing import Any

import torch


class Instances:
    """Named fields of equal length, one entry per instance, and the size of their image.

    `instances.scores = tensor` sets the field "scores", `instances.scores` gets it, and
    `instances[mask]` selects instances in every field. Names with a leading underscore are not
    fields but plain attributes.
    """

    _image_size: tuple[int, int]
    _fields: dict[str, Any]

    def __init__(self, image_size: tuple[int, int], **kwargs: Any) -> None:
        """Start with the image's (height, width) in pixels and any fields."""
        self._image_size = image_size
        self._fields = {}
        for name, value in kwargs.items():
            self.set(name, value)

    @property
    def image_size(self) -> tuple[int, int]:
        """Height and width of the image in pixels."""
        return self._image_size

    def __setattr__(self, name: str, value: Any) -> None:
        """Set a field."""
        if name.startswith("_"):
            super().__setattr__(name, value)
        else:
            self.set(name, value)

    def __getattr__(self, name: str) -> Any:
        """Get a field."""
        fields = self.__dict__.get("_fields", {})
        if name not in fields:
            known = ", ".join(fields) or "none"
            raise AttributeError(f"Instances have no field '{name}'; their fields: {known}.")
        return fields[name]

    def set(self, name: str, value: Any) -> None:
        """Add or replace a field.

        Raises:
            AssertionError: `value` is not as long as the fields there are.
        """
        if self._fields and len(value) != len(self):
            raise AssertionError(
                f"Field '{name}' has {len(value)} entries for {len(self)} instances."
            )
        self._fields[name] = value

    def has(self, name: str) -> bool:
        """Return whether there is a field of this name."""
        return name in self._fields

    def get(self, name: str) -> Any:
        """Value of a field; KeyError if there is none."""
        return self._fields[name]

    def remove(self, name: str) -> None:
        """Drop a field; KeyError if there is none."""
        del self._fields[name]

    def get_fields(self) -> dict[str, Any]:
        """Return the fields themselves, not a copy, by name."""
        return self._fields

    def to(self, *args: Any, **kwargs: Any) -> "Instances":
        """Instances whose fields went through their own `to`, where they have one."""
        moved = Instances(self._image_size)
        for name, value in self._fields.items():
            moved.set(name, value.to(*args, **kwargs) if hasattr(value, "to") else value)
        return moved

    def __getitem__(self, item: Any) -> "Instances":
        """Instances at an index (which gives one instance), slice, mask or tensor of indices."""
        if type(item) is int:
            position = item + len(self) if item < 0 else item
            if not 0 <= position < len(self):
                raise IndexError(f"Index {item} is out of range for {len(self)} instances.")
            item = slice(position, position + 1)
        return Instances(self._image_size, **{k: value[item] for k, value in self._fields.items()})

    def __len__(self) -> int:
        """Return the number of instances; without any field nobody knows it."""
        for value in self._fields.values():
            return len(value)
        raise NotImplementedError("Instances without fields have no length.")

    def __iter__(self) -> Any:
        """Refuse: iterate over a field instead."""
        raise NotImplementedError("Instances are not iterable; iterate over one of their fields.")

    @staticmethod
    def cat(instance_lists: Sequence["Instances"]) -> "Instances":
        """Join instances of the same image size that have the same fields.

        Raises:
            AssertionError: nothing to join, or image sizes differ.
            ValueError: a field is neither tensor nor list, and its type has no `cat`.
        """
        if len({tuple(instances.image_size) for instances in instance_lists}) != 1:
            raise AssertionError("Instances.cat needs instances of one image size, at least one.")
        first = instance_lists[0]
        if len(instance_lists) == 1:
            return first
        joined = Instances(first.image_size)
        for name in first.get_fields():
            joined.set(name, join_values(name, [each.get(name) for each in instance_lists]))
        return joined

    def __repr__(self) -> str:
        """Show the sizes and every field."""
        count = len(self) if self._fields else 0
        height, width = self._image_size
        fields = ", ".join(f"{name}: {value}" for name, value in self._fields.items())
        return (
            f"Instances(num_instances={count}, image_height={height}, image_width={width},"
            f" fields=[{fields}])"
        )


def join_values(name: str, values: list[Any]) -> Any:
    """Concatenate the values of one field by the way of their type."""
    if isinstance(values[0], torch.Tensor):
        return torch.cat(values)
    if isinstance(values[0], list):
        return list(itertools.chain.from_iterable(values))
    if hasattr(type(values[0]), "cat"):
        return type(values[0]).cat(values)
    raise ValueError(f"Field '{name}' of type {type(values[0]).__name__} cannot be concatenated.")
