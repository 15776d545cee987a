"""Two global tables by the name of a dataset: functions that load it, and facts about it."""

import types
from collections import UserDict
from collections.abc import Callable
from typing import Any


class _NamedTable(UserDict):
    def list(self) -> list[str]:
        """All registered names, in the order of registration."""
        return list(self.data)

    def remove(self, name: str) -> None:
        """Forget `name`; KeyError if it is not registered."""
        del self.data[name]

    def __repr__(self) -> str:
        return f"{type(self).__name__.lstrip('_')}({', '.join(self.data)})"

    __str__ = __repr__


class _DatasetCatalog(_NamedTable):
    """Dataset name -> a function without arguments that returns the list of dataset dicts.

    The function must return the same dicts in the same order every time it is called.
    """

    def register(self, name: str, func: Callable[[], Any]) -> None:
        """Make `name` known; a name can be registered once only."""
        assert callable(func), f"Dataset '{name}' must be registered with a function, got {func!r}."
        assert name not in self, f"Dataset '{name}' is already registered."
        self.data[name] = func

    def get(self, name: str) -> Any:  # type: ignore[override]
        """Load the dataset `name`: its function is called anew each time.

        Raises:
            KeyError: no dataset has that name.
        """
        if name not in self.data:
            raise KeyError(
                f"Dataset '{name}' is not registered; registered are: {', '.join(self.data)}."
            )
        return self.data[name]()


class Metadata(types.SimpleNamespace):
    """Facts about one dataset: class names, files, evaluator type.

    An attribute can be set once; setting it again to an equal value does nothing, to another
    value is an error, so that every part of a program sees the same metadata.
    """

    name: str = "N/A"

    def __getattr__(self, key: str) -> Any:
        known = ", ".join(self.__dict__) or "nothing"
        raise AttributeError(
            f"Attribute '{key}' does not exist in the metadata of dataset '{self.name}', which"
            f" holds: {known}."
        )

    def __setattr__(self, key: str, value: Any) -> None:
        if key in self.__dict__:
            old = self.__dict__[key]
            assert old == value, (
                f"Attribute '{key}' in the metadata of dataset '{self.name}' is already"
                f" {old!r} and cannot become {value!r}."
            )
            return
        super().__setattr__(key, value)

    def as_dict(self) -> dict[str, Any]:
        """A shallow copy of all attributes."""
        return dict(self.__dict__)

    def set(self, **attributes: Any) -> "Metadata":
        """Set several attributes at once."""
        for key, value in attributes.items():
            setattr(self, key, value)
        return self

    def get(self, key: str, default: Any = None) -> Any:
        """The attribute's value, or `default` where there is none."""
        return getattr(self, key, default)


class _MetadataCatalog(_NamedTable):
    """Dataset name -> its one Metadata object."""

    def get(self, name: str) -> Metadata:  # type: ignore[override]
        """The metadata of `name`, made empty on first use."""
        assert name, "A dataset's name must not be empty."
        if name not in self.data:
            self.data[name] = Metadata(name=name)
        return self.data[name]


DatasetCatalog = _DatasetCatalog()
MetadataCatalog = _MetadataCatalog()
