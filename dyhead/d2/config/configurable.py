"""Let a constructor or a function take its arguments from a configuration."""

import functools
import inspect
from collections.abc import Callable
from typing import Any

# Either host's node inherits from fvcore's: a backbone written for one works on the other.
from fvcore.common.config import CfgNode


def configurable(
    init_func: Callable[..., Any] | None = None,
    *,
    from_config: Callable[..., dict[str, Any]] | None = None,
) -> Callable[..., Any]:
    """Decorate an `__init__` or a function so that it can also be called with a cfg.

    On an `__init__`, the class needs a classmethod `from_config(cls, cfg, ...)` that returns the
    keyword arguments; on a function, `from_config` is given to the decorator. A call is taken
    as one with a cfg when its first argument, or its argument `cfg`, is a CfgNode. Keyword
    arguments which `from_config` does not take go on to the decorated callable and win over those
    that `from_config` returns.

    Raises:
        AttributeError: the class has no `from_config` (when it is constructed).
        TypeError: `from_config` is not a classmethod (or no function), or its first parameter is
            not called `cfg`.
    """
    if init_func is not None:
        if init_func.__name__ != "__init__" or from_config is not None:
            raise TypeError("@configurable without arguments decorates an __init__ only.")
        return _configurable_init(init_func)
    if not inspect.isfunction(from_config):
        raise TypeError("@configurable(from_config=...) needs a function as from_config.")
    return functools.partial(_configurable_function, from_config)


def _configurable_init(init_func: Callable[..., None]) -> Callable[..., None]:
    @functools.wraps(init_func)
    def wrapped(self: Any, *args: Any, **kwargs: Any) -> None:
        from_config = _from_config_of(type(self))
        if _is_called_with_cfg(args, kwargs):
            init_func(self, **_arguments(from_config, args, kwargs))
        else:
            init_func(self, *args, **kwargs)

    return wrapped


def _configurable_function(
    from_config: Callable[..., dict[str, Any]], function: Callable[..., Any]
) -> Callable[..., Any]:
    @functools.wraps(function)
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        if _is_called_with_cfg(args, kwargs):
            return function(**_arguments(from_config, args, kwargs))
        return function(*args, **kwargs)

    wrapped.from_config = from_config  # type: ignore[attr-defined]
    return wrapped


def _from_config_of(cls: type) -> Callable[..., dict[str, Any]]:
    from_config = getattr(cls, "from_config", None)
    if from_config is None:
        raise AttributeError(
            f"{cls.__name__} has a @configurable __init__ and needs a classmethod from_config."
        )
    if not inspect.ismethod(from_config):
        raise TypeError(f"{cls.__name__}.from_config has to be a classmethod.")
    return from_config


def _is_called_with_cfg(args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:
    first = args[0] if args else kwargs.get("cfg")
    return isinstance(first, CfgNode)


def _arguments(
    from_config: Callable[..., dict[str, Any]], args: tuple[Any, ...], kwargs: dict[str, Any]
) -> dict[str, Any]:
    parameters = inspect.signature(from_config).parameters
    if next(iter(parameters), None) != "cfg":
        raise TypeError(f"{from_config.__qualname__} has to take `cfg` as its first parameter.")
    if any(p.kind in (p.VAR_POSITIONAL, p.VAR_KEYWORD) for p in parameters.values()):
        return from_config(*args, **kwargs)
    own = {name: value for name, value in kwargs.items() if name in parameters}
    passed_on = {name: value for name, value in kwargs.items() if name not in parameters}
    return from_config(*args, **own) | passed_on
