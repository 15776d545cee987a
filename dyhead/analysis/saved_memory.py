"""Measures the memory that a forward pass keeps for its backward pass."""

from collections import Counter
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.autograd.graph import saved_tensors_hooks
from torch.func import functional_call
from torch.nn.modules.module import (
    register_module_forward_hook,
    register_module_forward_pre_hook,
)


def measure_saved_memory(module: nn.Module, inputs: tuple[Tensor, ...]) -> dict[str, int]:
    """Count the bytes that autograd keeps after a forward pass of `module` in training mode.

    Every storage counts once, for the submodule that saves it first; parameters and buffers do not
    count, they exist anyway. The pass runs on tensors without data: it takes no such memory itself.

    Returns:
        bytes by submodule name, those of its submodules included; "" is the whole module.
    """
    fake = FakeTensorMode(allow_non_fake_inputs=True)
    state: dict[str, Tensor] = {
        name: fake.from_tensor(tensor)
        for name, tensor in [*module.named_parameters(), *module.named_buffers()]
    }
    recorder = _Recorder([*state.values()])
    handles = recorder.watch(module)
    was_training = module.training
    save = saved_tensors_hooks(recorder.pack, recorder.unpack)
    try:
        with torch.enable_grad(), save:
            inputs = tuple(fake.from_tensor(tensor) for tensor in inputs)
            functional_call(module.train(), state, inputs)
    finally:
        module.train(was_training)
        for handle in handles:
            handle.remove()
    return recorder.bytes_by_module(name for name, _ in module.named_modules())


class _Recorder:
    """Notes the storage of every tensor that autograd saves, and the module that was running."""

    def __init__(self, not_counted: list[Tensor]) -> None:
        # Storages are kept alive here: a freed one's address could come back for another.
        self._storages = {_address(tensor): tensor.untyped_storage() for tensor in not_counted}
        self._bytes: Counter[str] = Counter()
        self._running = [""]
        self._names: dict[nn.Module, str] = {}

    def watch(self, module: nn.Module) -> list[Any]:
        # Hooks on the modules themselves would change what is measured: a DyHead block does not
        # fuse attentions that have some.
        self._names = {submodule: name for name, submodule in module.named_modules()}
        return [
            register_module_forward_pre_hook(self._enter),
            register_module_forward_hook(self._leave),
        ]

    def _enter(self, module: nn.Module, inputs: Any) -> None:
        self._running.append(self._names[module])

    def _leave(self, module: nn.Module, inputs: Any, outputs: Any) -> None:
        self._running.pop()

    def pack(self, tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if _address(tensor) not in self._storages:
            self._storages[_address(tensor)] = storage
            self._bytes[self._running[-1]] += storage.nbytes()
        return tensor

    def unpack(self, tensor: Tensor) -> Tensor:
        return tensor

    def bytes_by_module(self, names: Iterable[str]) -> dict[str, int]:
        return {name: sum(self._inside(name)) for name in names}

    def _inside(self, name: str) -> list[int]:
        prefix = f"{name}." if name else ""
        return [
            number
            for owner, number in self._bytes.items()
            if owner == name or owner.startswith(prefix)
        ]


def _address(tensor: Tensor) -> int:
    return tensor.untyped_storage()._cdata
