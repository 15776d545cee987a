"""The host's `utils.logger`."""

from dyhead.d2._host import HOST

if HOST == "detectron2":
    from detectron2.utils.logger import (
        create_small_table,
        log_every_n_seconds,
        log_first_n,
        setup_logger,
    )
else:
    from dyhead.d2._embedded.utils.logger import (
        create_small_table,
        log_every_n_seconds,
        log_first_n,
        setup_logger,
    )

__all__ = [
    "create_small_table",
    "log_every_n_seconds",
    "log_first_n",
    "setup_logger",
]
