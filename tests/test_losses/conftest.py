"""Random attention records, and the map itself: what every loss is compared with."""

from dataclasses import dataclass

import pytest
import torch
from hypothesis import settings
from hypothesis import strategies as st

from vtonlab.structures.attention_record import AttentionRecord
from vtonlab.structures.correspondences import Correspondences

settings.register_profile("losses", deadline=None, max_examples=25, derandomize=True)


@dataclass(frozen=True)
class Case:
    """Sizes of a random attention call; tensors follow from ``seed``."""

    batch: int
    heads: int
    size: int
    query_grid: tuple
    key_grid: tuple
    context: int
    logit_scale: float
    seed: int

    def tensors(self, dtype=torch.float64) -> dict[str, torch.Tensor]:
        """Leaves: query, key and (where there is context) context_key."""
        g = torch.Generator().manual_seed(self.seed)
        nq, nk = (h * w for h, w in (self.query_grid, self.key_grid))
        shapes = {"query": nq, "key": nk, "context_key": self.context}
        return {
            name: torch.randn(
                self.batch, self.heads, n, self.size, generator=g, dtype=dtype
            ).requires_grad_()
            for name, n in shapes.items()
            if n
        }

    def record(self, tensors: dict, name: str = "blocks.0.attn") -> AttentionRecord:
        return AttentionRecord(
            name=name,
            query_grid=self.query_grid,
            key_grid=self.key_grid,
            scale=self.logit_scale / self.size**0.5,
            **tensors,
        )

    def matches(self, empty: tuple = ()) -> list[Correspondences]:
        """Random matches for each sample; samples in ``empty`` have none.

        Coordinates and scores are short binary fractions: exact in the float32 of the container,
        so that losses can be compared to 1e-9.
        """
        g = torch.Generator().manual_seed(self.seed + 1)
        out = []
        for sample in range(self.batch):
            n = 0 if sample in empty else int(torch.randint(0, 14, (), generator=g))
            points = torch.randint(0, 257, (2, n, 2), generator=g) / 256
            scores = 0.5 ** torch.randint(0, 4, (n,), generator=g)
            out.append(Correspondences(*points, scores))
        return out

    def pictures(self, dtype=torch.float64, size=(12, 9)) -> dict[str, torch.Tensor]:
        """person, garment (another size), target, mask, worn_mask, garment_mask."""
        g = torch.Generator().manual_seed(self.seed + 2)

        def uniform(*shape):
            return torch.rand(self.batch, *shape, generator=g, dtype=dtype)

        garment = (size[0] + 3, size[1] + 2)
        batch = {"person": uniform(3, *size) * 2 - 1, "garment": uniform(3, *garment) * 2 - 1}
        for name, shape in (("mask", size), ("worn_mask", size), ("garment_mask", garment)):
            batch[name] = (uniform(1, *shape) < 0.7).to(dtype)
        return batch


GRIDS = st.tuples(st.integers(1, 5), st.integers(1, 4))
CASES = st.builds(
    Case,
    batch=st.integers(1, 3),
    heads=st.integers(1, 4),
    size=st.integers(1, 8),
    query_grid=GRIDS,
    key_grid=GRIDS,
    context=st.integers(0, 5),
    logit_scale=st.sampled_from([0.3, 1.0, 4.0, 30.0, 100.0]),
    seed=st.integers(0, 10_000),
)


class Naive:
    """The materialised map, in float64."""

    Case, CASES = Case, CASES

    @staticmethod
    def log_map(tensors, case, temperature=1.0, sink=None, head_reduction="none"):
        """log softmax over garment keys (and sinks, last): (B, H, Nq, Nk + S)."""
        key = tensors["key"]
        if sink is not None:
            key = torch.cat([key, sink.expand(len(key), *sink.shape)], 2)
        scale = case.logit_scale / case.size**0.5
        logits = torch.einsum("bhqd,bhkd->bhqk", tensors["query"], key) * scale / temperature
        if head_reduction == "mean_logit":
            logits = logits.mean(1, keepdim=True)
        return logits.log_softmax(-1)

    @classmethod
    def map(cls, tensors, case, head_reduction="none", **kwargs):
        """softmax over garment keys, reduced over heads: (B, H or 1, Nq, Nk)."""
        found = cls.log_map(tensors, case, head_reduction=head_reduction, **kwargs).exp()
        return found.mean(1, keepdim=True) if head_reduction == "mean" else found

    @staticmethod
    def agree(loss_of, naive_of, case, tolerance=1e-9):
        """Values and gradients of ``loss_of(tensors)`` and ``naive_of(tensors)`` in float64."""
        found, wanted = case.tensors(), case.tensors()
        a, b = loss_of(found), naive_of(wanted)
        assert torch.isfinite(a)
        assert abs(a - b) <= tolerance * max(1.0, abs(b.item()))
        _compare_gradients(a, found, b, wanted, tolerance)

    @staticmethod
    def agree_float32(loss_of, naive_of, case):
        """Issue 3's tolerances: 2e-5 x max(1, |logsumexp|, log Nk), gradients 5e-5 of the norm."""
        found = case.tensors(torch.float32)
        wanted = {k: v.detach().double().requires_grad_() for k, v in found.items()}
        a, b = loss_of(found), naive_of(wanted)
        assert a.dtype == torch.float32
        size = max(1.0, case.record(wanted).logsumexp().abs().max().item())
        size = max(size, torch.tensor(float(wanted["key"].shape[2])).log().item())
        assert abs(a.double() - b) <= 2e-5 * size
        _compare_gradients(a, found, b, wanted, 5e-5, relative=True)


def _compare_gradients(a, found, b, wanted, tolerance, relative=False):
    names = ("query", "key")
    for name, x, y in zip(
        names,
        _gradients(a, [found[n] for n in names]),
        _gradients(b, [wanted[n] for n in names]),
        strict=True,
    ):
        assert torch.isfinite(x).all(), name
        error = (x.double() - y).norm().item()
        if relative:
            # a squared distance close to zero has a gradient of the size of float32's rounding
            floor = 2 * torch.finfo(torch.float32).eps
            assert error <= tolerance * y.norm().item() + floor, (name, error, y.norm().item())
        else:
            assert error <= tolerance * max(1.0, y.norm().item()), (name, error)


def _gradients(value, leaves):
    if not value.requires_grad:
        return [torch.zeros_like(leaf) for leaf in leaves]
    found = torch.autograd.grad(value, leaves, allow_unused=True)
    return [torch.zeros_like(x) if g is None else g for g, x in zip(found, leaves, strict=True)]


@pytest.fixture(scope="session")
def naive() -> type[Naive]:
    return Naive
