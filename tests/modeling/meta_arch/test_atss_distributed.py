"""Two processes give the losses and gradients of one process that holds the whole batch."""

import pytest
import torch
from distributed_processes import results_of_two_and_one


@pytest.mark.skipif(not torch.distributed.is_available(), reason="torch without distributed")
def test_two_processes_equal_one(tmp_path):
    two, one = results_of_two_and_one(tmp_path)
    assert len(two) == len(one) == 2
    for result, expected in zip(two, one, strict=True):
        torch.testing.assert_close(result["losses"], expected["losses"], rtol=1e-5, atol=1e-6)
        assert result["gradients"].keys() == expected["gradients"].keys()
        for name, gradient in expected["gradients"].items():
            torch.testing.assert_close(result["gradients"][name], gradient, rtol=1e-4, atol=1e-6)
