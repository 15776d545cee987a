"""Packages that answer to a second name, and Detectron2's name for the embedded host."""

import importlib
import importlib.util
import sys
from collections.abc import Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType


class PackageAlias(MetaPathFinder, Loader):
    """A finder that answers every `alias.x.y` with the module `target.x.y` itself.

    There is one module with two names in `sys.modules`; its `__name__`, `__spec__` and relative
    imports stay the target's, so that classes, pickles and registries are the same under both.
    """

    def __init__(self, alias: str, target: str) -> None:
        self.alias, self.target = alias, target

    def install(self) -> None:
        """Put the finder before all others; a second time it does nothing."""
        if not any(vars(finder) == vars(self) for finder in _installed()):
            sys.meta_path.insert(0, self)

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Return the spec of a name below the alias; None where the target has no such module."""
        if not is_within(fullname, self.alias):
            return None
        if importlib.util.find_spec(self._real(fullname)) is None:
            return None
        return ModuleSpec(fullname, self)

    def exec_module(self, module: ModuleType) -> None:
        """Replace the empty `module` by the target's.

        Everything that importing the target brought along gets its second name at once: imported
        later, by that name, a submodule would be bound to its parent once more, over a function of
        the same name that the parent has put there (`layers.nms`).
        """
        name = module.__name__
        real = importlib.import_module(self._real(name))
        for other, loaded in list(sys.modules.items()):
            if is_within(other, self._real(name)):
                sys.modules[self.alias + other[len(self.target) :]] = loaded
        sys.modules[name] = real

    def _real(self, name: str) -> str:
        return self.target + name[len(self.alias) :]


def is_within(name: str, package: str) -> bool:
    """Return whether a dotted name is `package` or something below it."""
    return f"{name}.".startswith(f"{package}.")


def _installed() -> list[PackageAlias]:
    return [finder for finder in sys.meta_path if isinstance(finder, PackageAlias)]


def install() -> None:
    """Make `detectron2` a second name of the embedded host, for code written against Detectron2.

    To be called before such code is imported. Where genuine Detectron2 is the host, its name is its
    own already, and nothing is done.

    Raises:
        RuntimeError: Detectron2 has been imported beside the embedded host.
    """
    from dyhead import d2

    if d2.HOST == "detectron2":
        return
    if sys.modules.get("detectron2", d2) is not d2:
        raise RuntimeError(
            "Detectron2 has been imported, but the embedded host serves here: unset DYHEAD_HOST, or"
            " call dyhead.d2_alias.install() before anything imports detectron2."
        )
    PackageAlias("detectron2", d2.__name__).install()
