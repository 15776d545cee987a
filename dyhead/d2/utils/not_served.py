"""Stand-ins for parts of Detectron2 that the embedded host lacks.

Code that supports more than boxes imports such parts, inherits from them and asks for their type
also where it does not use them; that works. Using one is refused.
"""

from typing import Any


def not_served(name: str, feature: str) -> Any:
    """Return a class called `name` whose construction raises NotImplementedError.

    Args:
        name: as Detectron2 calls it.
        feature: what it is for, as the message has it.
    """

    def refuse(self: object, *args: Any, **kwargs: Any) -> None:
        raise NotImplementedError(
            f"{type(self).__name__} is for {feature}, which the embedded host does not have: run"
            " with genuine Detectron2."
        )

    description = f"Detectron2's class for {feature}; it cannot be built here."
    members = {"__init__": refuse, "__doc__": description, "__module__": __name__}
    return type(name, (), members)
