"""The host's `utils.comm`."""

from dyhead.d2._host import HOST

if HOST == "detectron2":
    from detectron2.utils.comm import (
        all_gather,
        create_local_process_group,
        gather,
        get_local_rank,
        get_rank,
        get_world_size,
        is_main_process,
        reduce_dict,
        shared_random_seed,
        synchronize,
    )
else:
    from dyhead.d2._embedded.utils.comm import (
        all_gather,
        create_local_process_group,
        gather,
        get_local_rank,
        get_rank,
        get_world_size,
        is_main_process,
        reduce_dict,
        shared_random_seed,
        synchronize,
    )

__all__ = [
    "all_gather",
    "create_local_process_group",
    "gather",
    "get_local_rank",
    "get_rank",
    "get_world_size",
    "is_main_process",
    "reduce_dict",
    "shared_random_seed",
    "synchronize",
]
