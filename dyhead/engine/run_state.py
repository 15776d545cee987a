"""The state of a run besides weights and optimizer, to go on as if it had never stopped."""

import logging
from collections.abc import Iterable, Mapping
from typing import Any

from torch import nn

from dyhead.d2.engine import HookBase
from dyhead.d2.utils import comm
from dyhead.data.seeding import seed_generators
from dyhead.data.stream import TrainingBatches
from dyhead.data.stream_places import Unseen

_AVERAGE = "loss_normalizer"  # RetinaNet's number, which is neither weight nor buffer

logger = logging.getLogger(__name__)


class RunState:
    """The place in the stream of images, the seed of all that is random, and moving averages.

    The random numbers of a step follow from the seed, the step and the rank, so no state of a
    generator has to be kept: not even an evaluation in between changes them.

    Attributes:
        seed: of the run.
    """

    def __init__(self, model: nn.Module, data_loader: Iterable[Any], seed: int) -> None:
        """Watch a model and its loader.

        Args:
            model: not wrapped for several processes.
            data_loader: a `TrainingBatches`, or one of the user's own, whose place is not known.
            seed: of the run, where `data_loader` has none; not negative.
        """
        self._model = model
        self._batches = data_loader if isinstance(data_loader, TrainingBatches) else None
        self.seed = self._batches.seed if self._batches else seed
        self._gathered: tuple[int, list[dict[str, Any]]] = (-1, [])

    def begin_step(self, iteration: int) -> None:
        """Seed the generators of this process for a step."""
        seed_generators(self.seed, iteration, comm.get_rank())

    def gather(self, iteration: int) -> None:
        """Collect what each process knows; all of them call this after the same step."""
        self._gathered = iteration, comm.all_gather(self._own_part())

    def state_dict(self, iteration: int) -> dict[str, Any]:
        """Return the state of all processes after a step, for which `gather` has been called."""
        parts = self._parts(iteration)
        state = {"seed": self.seed, "averages": [part["averages"] for part in parts]}
        if self._batches is not None:
            state["stream"] = self._batches.state_dict([Unseen(*part["unseen"]) for part in parts])
        return state

    def load_state_dict(self, state: Mapping[str, Any] | None, iteration: int) -> None:
        """Go on after a step; `state` is None for a checkpoint of an older version.

        A line of the log says what could not be taken over as it was.
        """
        if state is None:
            self._go_on_from_older(iteration)
            return
        self.seed = int(state["seed"])
        averages = state["averages"]
        self._set_averages(averages[comm.get_rank() % len(averages)])
        if self._batches is not None and "stream" in state:
            self._describe_changes(state["stream"], len(averages))
            self._batches.load_state_dict(state["stream"])
        else:
            logger.warning("The place in the data is not known: its images begin anew.")

    def _go_on_from_older(self, iteration: int) -> None:
        position = 0
        if self._batches is not None:
            position = (iteration + 1) * self._batches.total_batch_size
            self._batches.enter(Unseen(position))
        logger.info(
            "The checkpoint is of an older version, without its place in the data and its seed:"
            " going on at image %d of the order that SEED gives now.",
            position,
        )

    def _describe_changes(self, stream: Mapping[str, Any], num_processes: int) -> None:
        assert self._batches is not None
        size, batch = self._batches.num_images, self._batches.total_batch_size
        if stream["size"] != size:
            logger.warning(
                "The data has %d images now and had %d: their order is another one from here on.",
                size,
                stream["size"],
            )
        if (stream["batch"], num_processes) != (batch, comm.get_world_size()):
            logger.info(
                "Going on at image %d with batches of %d in %d processes, after %d in %d.",
                stream["next"],
                batch,
                comm.get_world_size(),
                stream["batch"],
                num_processes,
            )

    def _own_part(self) -> dict[str, Any]:
        unseen = self._batches.unseen if self._batches else Unseen()
        return {"unseen": tuple(unseen), "averages": self._averages()}

    def _parts(self, iteration: int) -> list[dict[str, Any]]:
        own, size = self._own_part(), comm.get_world_size()
        if size == 1:
            return [own]
        if self._gathered[0] == iteration:
            return self._gathered[1]
        if self._batches is not None and self._batches.is_grouped:
            logger.warning("A few images that other processes hold back may not come again.")
        first = own["unseen"][0] - comm.get_rank()
        rest = [{**own, "unseen": (first + rank, ())} for rank in range(size)]
        return [own if rank == comm.get_rank() else part for rank, part in enumerate(rest)]

    def _averages(self) -> dict[str, float]:
        modules = self._model.named_modules()
        return {name: float(vars(m)[_AVERAGE]) for name, m in modules if _AVERAGE in vars(m)}

    def _set_averages(self, averages: Mapping[str, float]) -> None:
        modules = dict(self._model.named_modules())
        for name, value in averages.items():
            if name in modules:
                setattr(modules[name], _AVERAGE, value)


class GatherHook(HookBase):
    """Lets all processes tell the main one their state before it may save a checkpoint.

    Register it before the hooks that save and evaluate, in every process.
    """

    def __init__(self, run_state: RunState, *periods: int) -> None:
        """Gather every so many steps for each of `periods`, 0 for never, and after the last."""
        self._run_state, self._periods = run_state, periods

    def after_step(self) -> None:
        """Gather if a checkpoint is due."""
        is_due = any(self.trainer.progress.has_passed(period) for period in self._periods)
        if is_due or self.trainer.iter + 1 == self.trainer.max_iter:
            self._run_state.gather(self.trainer.iter)
