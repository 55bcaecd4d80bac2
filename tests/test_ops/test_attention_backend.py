"""Choosing and forcing a backend."""

import pytest
import torch

from vtonlab.ops.attention import attention_moments
from vtonlab.ops.attention_backend import attention_backend, choose_backend, forced_backend
from vtonlab.ops.attention_chunked import head_mean_moments


def pair(queries=5, dtype=torch.float32):
    return torch.randn(2, 3, queries, 8, dtype=dtype), torch.randn(2, 3, 7, 8, dtype=dtype)


def test_fused_where_it_can_be():
    assert choose_backend(*pair()) == "fused"
    assert choose_backend(*pair(dtype=torch.float64)) == "fused"
    assert choose_backend(*pair(queries=0)) == "chunked"


def test_chunked_on_a_device():
    """What no card has proved is taken nowhere by itself."""
    query, key = (each.to("meta") for each in pair())
    assert choose_backend(query, key) == "chunked"


def test_forced_by_argument_and_by_context():
    assert choose_backend(*pair(), "chunked") == "chunked"
    with attention_backend("chunked"):
        assert choose_backend(*pair()) == forced_backend() == "chunked"
        assert choose_backend(*pair(), "fused") == "fused"
    assert forced_backend() == "auto"


def test_a_backend_that_cannot_be_is_an_error():
    with pytest.raises(ValueError, match=r"'fused' was forced, but .* empty"):
        choose_backend(*pair(queries=0), "fused")
    with pytest.raises(ValueError, match="Unknown attention backend 'flash'"):
        choose_backend(*pair(), "flash")
    with pytest.raises(ValueError, match="'flash'"), attention_backend("flash"):
        pass


def test_all_backends_give_the_same():
    query, key = pair(dtype=torch.float64)
    values, rows = torch.rand(7, 2), (torch.tensor([1, 0]), torch.tensor([4, 2]))
    answers = []
    for name in ("auto", "fused", "chunked", "materialised"):
        with attention_backend(name):
            moments = attention_moments(query, key, 0.4, values, entropy=True)
            average = head_mean_moments(query, key, 0.4, values, entropy=True)
            some = head_mean_moments(query, key, 0.4, values, entropy=True, rows=rows)
        answers.append([*moments, *average, *some])
    for other in answers[1:]:
        for one, two in zip(answers[0], other, strict=True):
            assert torch.allclose(one, two, rtol=1e-10)
