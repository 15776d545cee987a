"""The measured memory equals what autograd saves in a real forward pass."""

import torch
from torch import nn
from torch.autograd.graph import saved_tensors_hooks

from dyhead.analysis.saved_memory import measure_saved_memory
from dyhead.layers import DyHeadStack


class Levels(nn.Module):
    """A stack of blocks on a pyramid made from one image."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 32, 1)
        self.blocks = DyHeadStack(32, 32, 2)

    def forward(self, image):
        finest = self.stem(image)
        return self.blocks([finest, finest[:, :, ::2, ::2], finest[:, :, ::4, ::4]])


def really_saved(module, image):
    """Bytes of the storages that one forward pass keeps alive, parameters left out."""
    storages = {}

    def note(tensor):
        storages[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    with saved_tensors_hooks(note, lambda tensor: tensor):
        outputs = module(image)
    assert all(output.requires_grad for output in outputs)  # keeps the graph until here
    for parameter in module.parameters():
        storages.pop(parameter.untyped_storage().data_ptr(), None)
    return sum(storages.values())


def test_same_as_a_real_pass(monkeypatch):
    monkeypatch.setenv("DYHEAD_DEFORM_CONV", "torchvision")
    module, image = Levels(), torch.rand(1, 3, 24, 16)
    assert measure_saved_memory(module, (image,))[""] == really_saved(module, image)


def test_other_back_end_keeps_little_more(monkeypatch):
    monkeypatch.setenv("DYHEAD_DEFORM_CONV", "pytorch")
    module, image = Levels(), torch.rand(1, 3, 24, 16)
    measured = measure_saved_memory(module, (image,))[""]
    assert measured <= really_saved(module, image) <= 1.1 * measured


def test_shared_storage_counts_once_where_it_is_saved_first():
    module = nn.Sequential(nn.Conv2d(3, 4, 1), nn.ReLU(inplace=True), nn.Sigmoid(), nn.Dropout())
    saved = measure_saved_memory(module, (torch.rand(1, 3, 2, 2),))
    assert saved["0"] == 4 * 12  # its input
    assert saved["1"] == 4 * 16  # its output, which is the convolution's too
    assert saved["2"] == 4 * 16
    assert saved[""] == saved["0"] + saved["1"] + saved["2"] + saved["3"]


def test_frozen_parts_save_nothing_and_the_module_stays_as_it_was():
    module = nn.Sequential(nn.Conv2d(3, 4, 1), nn.Conv2d(4, 4, 1)).eval()
    module[0].requires_grad_(False)
    before = dict(module.named_parameters())
    saved = measure_saved_memory(module, (torch.rand(1, 3, 2, 2),))
    assert saved == {"": 64, "0": 0, "1": 64}
    assert not module.training
    assert all(p is before[name] for name, p in module.named_parameters())
    assert not module._forward_hooks and not module[0]._forward_pre_hooks
