"""At which precision statistics are computed."""

from types import SimpleNamespace

import pytest
import torch

from vtonlab.ops.attention_precision import at_full_precision


def test_a_gpu_multiplies_in_float32_whatever_a_program_allowed():
    matmul = torch.backends.cuda.matmul
    before = matmul.fp32_precision
    tensor = SimpleNamespace(device=torch.device("cuda"))
    matmul.fp32_precision = "tf32"
    try:
        with pytest.raises(ZeroDivisionError), at_full_precision(tensor):
            assert matmul.fp32_precision == "ieee"
            raise ZeroDivisionError
        assert matmul.fp32_precision == "tf32"
    finally:
        matmul.fp32_precision = before
