"""One place where person queries met garment keys."""

import torch
from torch import Tensor

from vtonlab.ops.attention import (
    AttentionMoments,
    AttentionPass,
    attention_log_prob,
    attention_logsumexp,
    attention_share,
    entropy_is_cheap,
)
from vtonlab.ops.attention_backend import forced_backend
from vtonlab.ops.attention_chunked import (
    HeadMeanMoments,
    Rows,
    attention_map,
    head_mean_argmax,
    head_mean_map,
    head_mean_moments,
)
from vtonlab.ops.attention_mask import is_graded, key_bias, seen_keys
from vtonlab.ops.attention_precision import statistics_dtype
from vtonlab.ops.head_mean_entropy import weighted_map_entropy


class AttentionRecord:
    """Queries and keys of one attention call; answers questions about the map it never holds.

    All answers are about the softmax *given the garment*, over garment keys alone, and are exact,
    differentiable in query, key and values, and linear in memory (all but `probs` and `mean_map`).
    They are float32, or float64 where query or key are. All take `temperature`, which divides
    `scale`. Index of a token = row * width + column.

    Questions share work: what one kernel call told is kept for the next question, so `mean_of` of a
    few channels followed by `entropy` is one call.

    Args:
        name: of the attention module.
        query: (B, H, Nq, D) person queries as the block used them, after qk-norm and RoPE.
        key: (B, H, Nk, D) garment keys, likewise.
        query_grid: (h, w) with h * w = Nq.
        key_grid: (h, w) with h * w = Nk.
        scale: factor of the dot products in the block.
        context_key: (B, H, Nc, D), all other keys that the same softmax saw; `None` for none.

        key_mask: (B, Nk), of the garment keys, the same for every query and head: bool (True =
            seen) or additive. A hidden key has no attention; `None` hides none.
        context_mask: (B, Nc), likewise of the context keys.
        reference: role of the picture whose tokens the keys are, where there may be several.

    Raises:
        ValueError: if shapes or grids disagree.
    """

    def __init__(
        self,
        *,
        name: str,
        query: Tensor,
        key: Tensor,
        query_grid: tuple[int, int],
        key_grid: tuple[int, int],
        scale: float,
        context_key: Tensor | None = None,
        key_mask: Tensor | None = None,
        context_mask: Tensor | None = None,
        reference: str = "garment",
    ) -> None:
        self.name = name
        self.query = query
        self.key = key
        self.query_grid = (int(query_grid[0]), int(query_grid[1]))
        self.key_grid = (int(key_grid[0]), int(key_grid[1]))
        self.scale = float(scale)
        self.context_key = context_key
        self.key_mask, self.context_mask = key_mask, context_mask
        self.reference = reference
        self._check()
        self._passes: list[tuple[tuple, Tensor | None, AttentionPass]] = []

    def __getstate__(self) -> dict:
        return {**self.__dict__, "_passes": []}  # answers stay behind: they hold the graph

    def __repr__(self) -> str:
        batch, heads, _, size = self.query.shape
        context = 0 if self.context_key is None else self.context_key.shape[2]
        return (
            f"AttentionRecord({self.name!r}, batch={batch}, heads={heads}, head_size={size}, "
            f"query_grid={self.query_grid}, key_grid={self.key_grid}, context={context})"
        )

    @property
    def has_garment(self) -> Tensor | None:
        """(B,) bool: samples that see any garment key; None where no key is hidden."""
        return None if self.key_mask is None else seen_keys(self.key_mask).any(1)

    def sees(self, batch_index: Tensor, key_index: Tensor) -> Tensor:
        """(M,) bool: whether places, int64 (M,) each, are of keys that are not hidden."""
        if self.key_mask is None:
            return torch.ones_like(key_index, dtype=torch.bool)
        return seen_keys(self.key_mask)[batch_index, key_index]

    def moments(
        self, values: Tensor | None = None, entropy: bool = False, temperature: float = 1.0
    ) -> AttentionMoments:
        """Mean of values, logsumexp and entropy by one kernel call."""
        found = self._pass(values, entropy, temperature)
        return AttentionMoments(found.mean, found.logsumexp, found.entropy if entropy else None)

    def mean_of(self, values: Tensor, temperature: float = 1.0) -> Tensor:
        """(B, H, Nq, C): mean under attention of per-key `values`, (Nk, C) or (B, Nk, C)."""
        cheap = entropy_is_cheap(self.query, values.shape[-1])
        return self._pass(values, cheap, temperature).mean

    def logsumexp(self, temperature: float = 1.0) -> Tensor:
        """(B, H, Nq): log of the sum of exponentiated scores over garment keys."""
        return self._pass(None, False, temperature).logsumexp

    def entropy(self, temperature: float = 1.0) -> Tensor:
        """(B, H, Nq): entropy of each head's attention, in nats, in [0, log Nk]."""
        return self._pass(None, True, temperature).entropy

    def mean_map_entropy(self, temperature: float = 1.0, rows: Rows | None = None) -> Tensor:
        """(B, Nq): entropy of the head-averaged map, in nats (CORAL's H_i).

        Args:
            rows: `(batch_index, query_index)`, int64 (R,) each, for these queries only: (R,).
        """
        return self.mean_map_moments(entropy=True, temperature=temperature, rows=rows).entropy

    def weighted_map_entropy(self, weight: Tensor, temperature: float = 1.0) -> Tensor:
        """(B,): sum over queries of ``weight`` (B, Nq) times `mean_map_entropy`, at half its cost
        where a gradient is asked for.
        """
        scale, bias = self._scale(temperature), self.key_bias(temperature)
        return weighted_map_entropy(self.query, self.key, scale, weight, bias)

    def mean_map_moments(
        self,
        values: Tensor | None = None,
        entropy: bool = False,
        temperature: float = 1.0,
        rows: Rows | None = None,
    ) -> HeadMeanMoments:
        """Mean of values under, and entropy of, the head-averaged map, in one chunked pass.

        Shapes (B, Nq, C) and (B, Nq), or (R, C) and (R,) for `rows` (see `mean_map_entropy`).
        """
        return head_mean_moments(
            *(self.query, self.key, self._scale(temperature), values, entropy, rows),
            bias=self.key_bias(temperature),
        )

    def log_prob(
        self,
        batch_index: Tensor,
        query_index: Tensor,
        key_index: Tensor,
        temperature: float = 1.0,
    ) -> Tensor:
        """(M, H): log attention at M places, int64 (M,) each, given the garment."""
        return attention_log_prob(
            self.query, self.key, self._scale(temperature), self.logsumexp(temperature),
            batch_index, query_index, key_index, self.key_bias(temperature),
        )  # fmt: skip

    def garment_mass(self, sink_key: Tensor | None = None, temperature: float = 1.0) -> Tensor:
        """(B, H, Nq): share of the full softmax (garment, context, sinks) on garment keys, [0, 1].

        Args:
            sink_key: (H, S, D) or (B, H, S, D), learnable sinks that belong to a loss.
        """
        others = [] if self.context_key is None else [(self.context_key, self.context_mask)]
        if sink_key is not None:
            others.append((sink_key.expand(self.query.shape[0], *sink_key.shape[-3:]), None))
        others = [other for other in others if other[0].shape[2] > 0]
        if not others:
            dtype = statistics_dtype(self.query, self.key)
            return torch.ones(self.query.shape[:3], dtype=dtype, device=self.query.device)
        logsumexp = self.logsumexp(temperature)
        key, bias = self._joined(others, temperature)
        scale = self._scale(temperature)
        return attention_share(logsumexp, attention_logsumexp(self.query, key, scale, bias=bias))

    def key_bias(self, temperature: float = 1.0) -> Tensor | None:
        """(B, Nk): what the mask adds to the scores of garment keys; None for no mask."""
        return key_bias(self.key_mask, statistics_dtype(self.query, self.key), temperature)

    def probs(self, temperature: float = 1.0) -> Tensor:
        """(B, H, Nq, Nk): the map given the garment. NOT linear: for pictures and tests only."""
        scale, bias = self._scale(temperature), self.key_bias(temperature)
        return attention_map(self.query, self.key, scale, bias)

    def argmax(self, temperature: float = 1.0) -> Tensor:
        """(B, Nq) int64: most attended garment key in the head-averaged map; no gradient."""
        scale, bias = self._scale(temperature), self.key_bias(temperature)
        return head_mean_argmax(self.query, self.key, scale, bias)

    def mean_map(self, query_index: Tensor | None = None, temperature: float = 1.0) -> Tensor:
        """(B, R, Nk): head-averaged map of R queries (int64 (R,)), or all; no gradient."""
        scale, bias = self._scale(temperature), self.key_bias(temperature)
        return head_mean_map(self.query, self.key, scale, query_index, bias)

    def _pass(self, values: Tensor | None, entropy: bool, temperature: float) -> AttentionPass:
        """A kernel call that knows the answer: an earlier one, else a new one."""
        scale = self._scale(temperature)
        versions = [_version(t) for t in (self.query, self.key, values)]
        modes = torch.is_grad_enabled(), torch.is_inference_mode_enabled()
        state = (temperature, forced_backend(), *modes, *versions)
        for known, known_values, found in self._passes:
            fits = known[:-1] == state[:-1] and (found.has_entropy or not entropy)
            same = known_values is values and known[-1] == state[-1]
            if fits and (values is None or same):
                return found
        found = AttentionPass(
            *(self.query, self.key, scale, values, entropy),
            bias=self.key_bias(temperature),
            graded=is_graded(self.key_mask),
        )
        self._passes.append((state, values, found))
        return found

    def _joined(self, groups: list, temperature: float) -> tuple[Tensor, Tensor | None]:
        """Keys of all groups (key, mask) side by side, and what masks add to their scores."""
        keys = [key for key, _ in groups]
        key = keys[0]
        if len(keys) > 1:
            key = torch.cat([each.to(keys[0].dtype) for each in keys], dim=2)
        if all(mask is None for _, mask in groups):
            return key, None
        dtype, batch = statistics_dtype(self.query, key), len(self.query)
        biases = [
            torch.zeros(batch, each.shape[2], dtype=dtype, device=key.device)
            if mask is None
            else key_bias(mask, dtype, temperature)
            for each, mask in groups
        ]
        return key, torch.cat(biases, dim=1)

    def _scale(self, temperature: float) -> float:
        if not temperature > 0:
            raise ValueError(f"Attention temperature must be above 0, not {temperature}.")
        return self.scale / float(temperature)

    def _check(self) -> None:
        query, key = self.query, self.key
        if query.dim() != 4 or key.dim() != 4:
            raise ValueError(
                f"AttentionRecord {self.name!r} needs query and key of shape (B, H, N, D), not "
                f"{tuple(query.shape)} and {tuple(key.shape)}."
            )
        for label, other in (("key", key), ("context_key", self.context_key)):
            if other is not None and (
                other.shape[:2] != query.shape[:2] or other.shape[3] != query.shape[3]
            ):
                raise ValueError(
                    f"AttentionRecord {self.name!r}: query {tuple(query.shape)} and {label} "
                    f"{tuple(other.shape)} must agree in batch, heads and head size."
                )
        for label, mask, keys in (
            ("key_mask", self.key_mask, key),
            ("context_mask", self.context_mask, self.context_key),
        ):
            wanted = None if keys is None else (keys.shape[0], keys.shape[2])
            if mask is not None and tuple(mask.shape) != wanted:
                raise ValueError(
                    f"AttentionRecord {self.name!r}: {label} {tuple(mask.shape)} must be (B, keys) "
                    f"= {wanted}, the same for every query and head."
                )
        for label, grid, tokens in (
            ("query_grid", self.query_grid, query.shape[2]),
            ("key_grid", self.key_grid, key.shape[2]),
        ):
            if grid[0] * grid[1] != tokens or tokens == 0:
                raise ValueError(
                    f"AttentionRecord {self.name!r}: {label} {grid} does not hold {tokens} tokens."
                )


def _version(tensor: Tensor | None) -> int | None:
    """Counts changes in place, which make known answers stale; inference tensors keep no count."""
    return None if tensor is None or tensor.is_inference() else tensor._version
