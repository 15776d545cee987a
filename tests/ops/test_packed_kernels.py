import threading

import pytest
import torch

from dyhead.ops import sharing_packed_kernels
from dyhead.ops.packed_kernels import pack_once


@pytest.fixture
def packed_of():
    """Pack (by doubling) and say how often that was done."""
    calls = []

    def run(kernel, form="doubled"):
        def pack(weight):
            calls.append(form)
            return 2 * weight

        assert torch.equal(pack_once(kernel, form, pack), 2 * kernel)
        return len(calls)

    return run


def test_a_kernel_is_packed_once_per_context_and_form(packed_of):
    kernel, other = torch.ones(2), torch.zeros(2)
    with sharing_packed_kernels({}):
        assert [packed_of(kernel), packed_of(kernel)] == [1, 1]
        assert packed_of(kernel, "another form") == 2
        assert packed_of(other) == 3
    with sharing_packed_kernels({}):
        assert packed_of(kernel) == 4


def test_contexts_may_share_what_they_packed(packed_of):
    kernel, packed = torch.ones(2), {}
    for _ in range(2):
        with sharing_packed_kernels(packed):
            assert packed_of(kernel) == 1


def test_nothing_is_shared_outside_nor_with_other_threads(packed_of):
    kernel = torch.ones(2)
    assert [packed_of(kernel), packed_of(kernel)] == [1, 2]
    with sharing_packed_kernels({}):
        packed_of(kernel)
        thread = threading.Thread(target=packed_of, args=(kernel,))
        thread.start()
        thread.join()
        assert packed_of(kernel) == 4


def test_a_new_kernel_never_gets_what_an_old_one_left(packed_of):
    with sharing_packed_kernels({}):
        for number in range(10):  # freed tensors' identities come back
            packed_of(torch.full((2,), float(number)))
