"""Reading checkpoints runs nothing that is in them and says clearly what is wrong."""

import os
import pickle
import pickletools
import tracemalloc
from collections import OrderedDict

import numpy as np
import pytest
import torch

from dyhead.safe_io.load import load_checkpoint_file


class RunsWhenLoaded:
    """Makes a folder as soon as a careless reader unpickles it."""

    def __init__(self, folder: str) -> None:
        self.folder = folder

    def __reduce__(self):
        return os.mkdir, (self.folder,)


class HiddenInState:
    """Carries the code in its attributes instead."""

    def __init__(self, payload) -> None:
        self.payload = payload


def write_pickle(path, data, protocol=2):
    with open(path, "wb") as file:
        pickle.dump(data, file, protocol=protocol)
    return str(path)


@pytest.mark.parametrize("wrap", [lambda x: x, lambda x: {"model": [x]}, HiddenInState])
@pytest.mark.parametrize("ending", ["pkl", "pth", "pyth"])
def test_code_in_a_file_never_runs(tmp_path, ending, wrap):
    folder = str(tmp_path / "made_by_hostile_file")
    data = {"model": {"weight": np.ones(2)}, "extra": wrap(RunsWhenLoaded(folder))}
    path = str(tmp_path / f"hostile.{ending}")
    if ending == "pkl":
        write_pickle(path, data)
    else:
        torch.save(data, path)
    with pytest.raises(ValueError, match=f"hostile.{ending} is damaged or holds more than"):
        load_checkpoint_file(path)
    assert not os.path.exists(folder)


@pytest.mark.parametrize(
    "code",
    [
        b"cos\nsystem\n(S'true'\ntR.",  # the classic
        b"cbuiltins\neval\n(S'1+1'\ntR.",
        b"cnumpy\nload\n(S'file'\ntR.",
        b"cbuiltins\ngetattr\n.",
        b"cnumpy.core.multiarray\n_reconstruct\n.",  # a bare callable is no data either
        b"cnumpy\ndtype\n(S'O'\ntR.",  # arrays of objects would hold pointers
        b"ccollections\nOrderedDict\n)R(N}S'__class__'\nS'x'\nstb.",
        b"c_codecs\nencode\n(S'x'\nS'zip'\ntR.",
        b"Pexternal\n.",  # a persistent id
    ],
)
def test_only_stand_ins_can_be_named(tmp_path, code):
    path = tmp_path / "crafted.pkl"
    path.write_bytes(code)
    with pytest.raises(ValueError, match="crafted.pkl"):
        load_checkpoint_file(path)


def test_every_name_that_numpy_writes_is_allowed(tmp_path):
    """A new NumPy that names something else would be noticed here."""
    data = {
        "a": np.ones((2, 3), np.float32),
        "b": np.float64(1.0),
        "c": np.asfortranarray(np.eye(2)),
    }
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        path = write_pickle(tmp_path / f"{protocol}.pkl", data, protocol)
        assert any(
            op.name in ("GLOBAL", "STACK_GLOBAL")
            for op, *_ in pickletools.genops((tmp_path / f"{protocol}.pkl").read_bytes())
        )
        load_checkpoint_file(path)


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize("dtype", ["f4", "f8", "f2", "i8", "u1", "?", ">f4", "c8"])
def test_arrays_come_back_as_they_were(tmp_path, protocol, dtype):
    array = np.arange(12).reshape(3, 4).astype(dtype)
    shared = array[::2]
    data = OrderedDict(
        model={"w": array, "fortran": np.asfortranarray(array), "again": shared, "same": shared},
        scalar=np.float64(0.5),
        nested=[("text", 1, 2.5, None, True, b"bytes")],
        empty=np.zeros((0, 4), dtype),
        nothing=b"",
    )
    loaded = load_checkpoint_file(write_pickle(tmp_path / "zoo.pkl", data, protocol))
    for name, expected in data["model"].items():
        np.testing.assert_array_equal(loaded["model"][name], expected)
        assert loaded["model"][name].dtype == expected.dtype.newbyteorder("=")
        assert loaded["model"][name].flags.writeable
    assert loaded["empty"].shape == (0, 4)
    assert loaded["scalar"] == 0.5 and type(loaded["scalar"]) is float
    assert loaded["nested"] == data["nested"] and loaded["nothing"] == b""


def test_files_of_python_2_load(tmp_path):
    """Python 2 wrote an array's bytes as a string: here float32 [1.0, -2.0]."""
    path = tmp_path / "caffe2.pkl"
    path.write_bytes(
        b"\x80\x02}U\x07conv1_wcnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85"
        b"U\x01b\x87R(K\x01K\x02\x85cnumpy\ndtype\nU\x02f4K\x00K\x01\x87R(K\x03U\x01<NNNJ\xff\xff"
        b"\xff\xffJ\xff\xff\xff\xffK\x00tb\x89U\x08\x00\x00\x80?\x00\x00\x00\xc0tbs."
    )
    np.testing.assert_array_equal(load_checkpoint_file(path)["conv1_w"], np.float32([1, -2]))


def test_a_training_state_comes_back(tmp_path):
    model = torch.nn.Linear(2, 2)
    optimizer = torch.optim.AdamW(model.parameters(), 0.1)
    model(torch.ones(1, 2)).sum().backward()
    optimizer.step()
    scheduler = torch.optim.lr_scheduler.StepLR(optimizer, 3)
    state = {
        "model": model.state_dict(),
        "trainer": {
            "iteration": 3,
            "hooks": {"LRScheduler": scheduler.state_dict()},
            "_trainer": {"optimizer": optimizer.state_dict(), "grad_scaler": {"scale": 2.0}},
        },
    }
    path = tmp_path / "model.pth"
    torch.save(state, path)
    loaded = load_checkpoint_file(path)
    assert torch.equal(loaded["model"]["weight"], model.weight)
    assert loaded["trainer"]["hooks"] == state["trainer"]["hooks"]
    torch.optim.AdamW(model.parameters(), 0.1).load_state_dict(
        loaded["trainer"]["_trainer"]["optimizer"]
    )


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="nowhere.pth does not exist"):
        load_checkpoint_file(tmp_path / "nowhere.pth")


@pytest.mark.parametrize("ending", ["pkl", "pth"])
@pytest.mark.parametrize("content", [b"", b"no checkpoint at all", b"\x80\x02}"])
def test_a_damaged_file_is_named(tmp_path, ending, content):
    path = tmp_path / f"damaged.{ending}"
    path.write_bytes(content)
    with pytest.raises(ValueError, match="damaged"):
        load_checkpoint_file(path)


def test_half_a_file_is_named(tmp_path):
    path = tmp_path / "half.pth"
    torch.save({"model": {"w": torch.zeros(1000)}}, path)
    path.write_bytes(path.read_bytes()[:2000])
    with pytest.raises(ValueError, match="half.pth is damaged"):
        load_checkpoint_file(path)


def test_a_cyclic_file_is_refused(tmp_path):
    cyclic: dict = {}
    cyclic["self"] = cyclic
    with pytest.raises(ValueError, match="cyclic.pkl"):
        load_checkpoint_file(write_pickle(tmp_path / "cyclic.pkl", cyclic))


def test_repetitions_of_repetitions_take_no_more_memory_than_their_file(tmp_path):
    doubled: list = [np.ones(1)]
    for _ in range(60):
        doubled = [doubled, doubled]
    loaded = load_checkpoint_file(write_pickle(tmp_path / "small.pkl", {"a": doubled}))["a"]
    assert loaded[0] is loaded[1]


def test_a_short_file_cannot_claim_gigabytes(tmp_path):
    path = tmp_path / "short.pkl"
    path.write_bytes(b"\x80\x02}r\xff\xff\xff\x3f.")  # keeps the dict as object 2**30 - 1
    tracemalloc.start()
    try:
        assert load_checkpoint_file(path) == {}
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 2**20


def test_a_file_without_a_dict_is_refused(tmp_path):
    torch.save(torch.ones(1), tmp_path / "tensor.pth")
    with pytest.raises(ValueError, match="holds a Tensor: it must hold a dict"):
        load_checkpoint_file(tmp_path / "tensor.pth")
