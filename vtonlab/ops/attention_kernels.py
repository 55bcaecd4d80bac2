"""Triton kernels for statistics of attention maps: every answer of a map in one pass over it.

A fused attention multiplies probabilities with values as wide as the head, and so does its backward
pass three times. Statistics have few values (coordinates) or none, so these kernels leave that
out: 10 in place of 14 multiplications of N x N x D, forward and backward, and the entropy, whose
terms are at hand, costs no multiplication at all. Scores are products of half-precision operands
summed in float32, without loss; `scale` comes after the sum. FEW values are multiplied in float32
beside the matrix units; more (COLUMNS) by these, probabilities and values each split into bfloat16
parts, so that a mean stays as exact as float32.

The gradient of the score of query i and key j is `p (row + gradient . value_j - slope t)` with
t = log2 p: `row`, one number a query, holds what all its keys share.

Shape letters: B batch, H heads, Nq and Nk queries and keys, D head size, W columns of values.
Importing this module needs Triton (part of torch's Linux builds for GPUs).
"""

import triton
import triton.language as tl

# What a key beyond the last gets for a score: far below a hidden key's (`attention_mask.HIDDEN`).
BEYOND = tl.constexpr(-1e38)
# ... and what its log2 p becomes in the backward pass, where a slope multiplies it.
NEVER = tl.constexpr(-1e30)
LOG2_E = tl.constexpr(1.4426950408889634)
LN_2 = tl.constexpr(0.6931471805599453)


@triton.jit
def forward(
    query, key, value, bias, mean, logsumexp, entropy,
    q_batch, q_head, q_row, k_batch, k_head, k_row, v_batch,
    heads, queries, keys, scale,
    SIZE: tl.constexpr, WIDE: tl.constexpr, COLUMNS: tl.constexpr, FEW: tl.constexpr,
    HAS_BIAS: tl.constexpr,
    ENTROPY: tl.constexpr, EVEN: tl.constexpr, PRECISION: tl.constexpr,
    BLOCK_Q: tl.constexpr, BLOCK_K: tl.constexpr,
):  # fmt: skip
    """Mean (B, H, Nq, W), logsumexp (B, H, Nq) and entropy (B, H, Nq) of a block of queries."""
    place = tl.program_id(1).to(tl.int64)
    batch, head = place // heads, place % heads
    rows = tl.program_id(0) * BLOCK_Q + tl.arange(0, BLOCK_Q)
    dims = tl.arange(0, WIDE)
    q = tl.load(
        query + batch * q_batch + head * q_head + rows[:, None] * q_row + dims[None, :],
        mask=(rows[:, None] < queries) & (dims[None, :] < SIZE), other=0.0,
    )  # fmt: skip
    key += batch * k_batch + head * k_head
    top = tl.full([BLOCK_Q], BEYOND, tl.float32)
    total = tl.zeros([BLOCK_Q], tl.float32)
    spread = tl.zeros([BLOCK_Q], tl.float32)
    if COLUMNS > 0:
        columns = tl.arange(0, COLUMNS)
        sums = tl.zeros([BLOCK_Q, COLUMNS], tl.float32)
    sum_0, sum_1, sum_2 = total, total, total
    for first in range(0, keys, BLOCK_K):
        places = first + tl.arange(0, BLOCK_K)
        score = _score(
            q, key, k_row, bias + batch * keys, places, dims, keys, scale,
            SIZE, WIDE, HAS_BIAS, EVEN, PRECISION,
        )  # fmt: skip
        if not EVEN:
            score = tl.where(places[None, :] < keys, score, BEYOND)
        new = tl.maximum(top, tl.max(score, 1))
        score -= new[:, None]
        p = tl.math.exp2(score)
        shrink = tl.math.exp2(top - new)
        if ENTROPY:
            spread = shrink * (spread + (top - new) * total) + tl.sum(p * score, 1)
        total = total * shrink + tl.sum(p, 1)
        if COLUMNS > 0:
            v = tl.load(
                value + batch * v_batch + places[:, None] * COLUMNS + columns[None, :],
                mask=places[:, None] < keys, other=0.0,
            )  # fmt: skip
            high = p.to(tl.bfloat16)
            low = (p - high.to(tl.float32)).to(tl.bfloat16)
            sums = tl.dot(low, v, tl.dot(high, v, sums * shrink[:, None]))
        if FEW > 0:
            sum_0 = sum_0 * shrink + tl.sum(
                p * _channel(value, v_batch, batch, places, keys, 0, FEW)[None, :], 1
            )
        if FEW > 1:
            sum_1 = sum_1 * shrink + tl.sum(
                p * _channel(value, v_batch, batch, places, keys, 1, FEW)[None, :], 1
            )
        if FEW > 2:
            sum_2 = sum_2 * shrink + tl.sum(
                p * _channel(value, v_batch, batch, places, keys, 2, FEW)[None, :], 1
            )
        top = new
    here = place * queries + rows
    inside = rows < queries
    tl.store(logsumexp + here, (top + tl.math.log2(total)) * LN_2, mask=inside)
    if ENTROPY:
        found = (tl.math.log2(total) - spread / total) * LN_2
        tl.store(entropy + here, tl.maximum(found, 0.0), mask=inside)
    if COLUMNS > 0:
        tl.store(
            mean + here[:, None] * COLUMNS + columns[None, :], sums / total[:, None],
            mask=inside[:, None],
        )  # fmt: skip
    if FEW > 0:
        tl.store(mean + here * FEW, sum_0 / total, mask=inside)
    if FEW > 1:
        tl.store(mean + here * FEW + 1, sum_1 / total, mask=inside)
    if FEW > 2:
        tl.store(mean + here * FEW + 2, sum_2 / total, mask=inside)


@triton.jit
def backward_query(
    query, key, value, bias, logsumexp, row, slope, gradient, average, grad_query,
    q_batch, q_head, q_row, k_batch, k_head, k_row, v_batch,
    heads, queries, keys, first_row, last_row, scale, natural,
    SIZE: tl.constexpr, WIDE: tl.constexpr, COLUMNS: tl.constexpr, FEW: tl.constexpr,
    HAS_BIAS: tl.constexpr,
    AVERAGE: tl.constexpr, EVEN: tl.constexpr, PRECISION: tl.constexpr,
    BLOCK_Q: tl.constexpr, BLOCK_K: tl.constexpr,
):  # fmt: skip
    """Gradient (B, H, Nq, D) of a block of the queries from `first_row` to `last_row`.

    With AVERAGE `slope` multiplies `average`, (B, last_row - first_row, Nk), instead of log2 p;
    its mean under p joins the gradient here, and `row` for the keys' kernel. The heads of a block
    then run side by side, for they share that map.
    """
    place, block = _place(AVERAGE)
    batch, head = place // heads, place % heads
    rows = first_row + block * BLOCK_Q + tl.arange(0, BLOCK_Q)
    inside = rows < last_row
    here = place * queries + rows
    dims = tl.arange(0, WIDE)
    q = tl.load(
        query + batch * q_batch + head * q_head + rows[:, None] * q_row + dims[None, :],
        mask=inside[:, None] & (dims[None, :] < SIZE), other=0.0,
    )  # fmt: skip
    key += batch * k_batch + head * k_head
    denominator = tl.load(logsumexp + here, mask=inside, other=0.0) * LOG2_E
    shared = tl.load(row + here, mask=inside, other=0.0)
    steep = tl.load(slope + here, mask=inside, other=0.0)
    if COLUMNS > 0:
        columns = tl.arange(0, COLUMNS)
        g = tl.load(
            gradient + here[:, None] * COLUMNS + columns[None, :], mask=inside[:, None], other=0.0
        )
        g_high = g.to(tl.bfloat16)
        g_low = (g - g_high.to(tl.float32)).to(tl.bfloat16)
    if FEW > 0:
        g_0 = tl.load(gradient + here * FEW, mask=inside, other=0.0)
    if FEW > 1:
        g_1 = tl.load(gradient + here * FEW + 1, mask=inside, other=0.0)
    if FEW > 2:
        g_2 = tl.load(gradient + here * FEW + 2, mask=inside, other=0.0)
    found = tl.zeros([BLOCK_Q, WIDE], tl.float32)
    if AVERAGE:
        middle = tl.zeros([BLOCK_Q, WIDE], tl.float32)
        lean = tl.zeros([BLOCK_Q], tl.float32)
    for first in range(0, keys, BLOCK_K):
        places = first + tl.arange(0, BLOCK_K)
        k = _keys(key, k_row, places, dims, keys, SIZE, WIDE, EVEN)  # (WIDE, BLOCK_K)
        t = tl.dot(q, k, input_precision=PRECISION) * scale
        if HAS_BIAS:
            t += _bias(bias + batch * keys, places, keys)[None, :]
        t -= denominator[:, None]
        if not EVEN:
            t = tl.where(places[None, :] < keys, t, NEVER)
        p = tl.math.exp2(t)
        if AVERAGE:
            t = tl.load(
                average + (batch * (last_row - first_row) + rows - first_row)[:, None] * keys
                + places[None, :],
                mask=inside[:, None] & (places[None, :] < keys), other=0.0,
            ).to(tl.float32)  # fmt: skip
            lean += tl.sum(p * t, 1)
            middle = _product(p, tl.trans(k), middle, PRECISION)
        slant = shared[:, None] - steep[:, None] * t
        if COLUMNS > 0:
            v = tl.load(
                value + batch * v_batch + places[None, :] * COLUMNS + columns[:, None],
                mask=places[None, :] < keys, other=0.0,
            )  # fmt: skip
            slant = tl.dot(g_low, v, tl.dot(g_high, v, slant))
        if FEW > 0:
            v_0 = _channel(value, v_batch, batch, places, keys, 0, FEW)
            slant += g_0[:, None] * v_0[None, :]
        if FEW > 1:
            v_1 = _channel(value, v_batch, batch, places, keys, 1, FEW)
            slant += g_1[:, None] * v_1[None, :]
        if FEW > 2:
            v_2 = _channel(value, v_batch, batch, places, keys, 2, FEW)
            slant += g_2[:, None] * v_2[None, :]
        found = _product(p * slant, tl.trans(k), found, PRECISION)
    if AVERAGE:
        lean *= steep
        found += lean[:, None] * middle
        tl.store(row + here, shared + lean, mask=inside)
    tl.store(
        grad_query + here[:, None] * SIZE + dims[None, :],
        (found * natural).to(grad_query.dtype.element_ty),
        mask=inside[:, None] & (dims[None, :] < SIZE),
    )


@triton.jit
def backward_key(
    query, key, value, bias, logsumexp, row, slope, gradient, average, grad_key,
    q_batch, q_head, q_row, k_batch, k_head, k_row, v_batch,
    heads, queries, keys, first_row, last_row, scale, natural,
    SIZE: tl.constexpr, WIDE: tl.constexpr, COLUMNS: tl.constexpr, FEW: tl.constexpr,
    HAS_BIAS: tl.constexpr,
    AVERAGE: tl.constexpr, ADD: tl.constexpr, EVEN: tl.constexpr, PRECISION: tl.constexpr,
    BLOCK_Q: tl.constexpr, BLOCK_K: tl.constexpr,
):  # fmt: skip
    """Gradient (B, H, Nk, D) of a block of keys; ADD adds it to what is there."""
    place, block = _place(AVERAGE)
    batch, head = place // heads, place % heads
    places = block * BLOCK_K + tl.arange(0, BLOCK_K)
    there = places < keys
    dims = tl.arange(0, WIDE)
    k = tl.load(
        key + batch * k_batch + head * k_head + places[:, None] * k_row + dims[None, :],
        mask=there[:, None] & (dims[None, :] < SIZE), other=0.0,
    )  # fmt: skip
    query += batch * q_batch + head * q_head
    if HAS_BIAS:
        added = _bias(bias + batch * keys, places, keys)
    if COLUMNS > 0:
        columns = tl.arange(0, COLUMNS)
        v = tl.load(
            value + batch * v_batch + places[:, None] * COLUMNS + columns[None, :],
            mask=there[:, None], other=0.0,
        )  # fmt: skip
    if FEW > 0:
        v_0 = _channel(value, v_batch, batch, places, keys, 0, FEW)
    if FEW > 1:
        v_1 = _channel(value, v_batch, batch, places, keys, 1, FEW)
    if FEW > 2:
        v_2 = _channel(value, v_batch, batch, places, keys, 2, FEW)
    found = tl.zeros([BLOCK_K, WIDE], tl.float32)
    for first in range(first_row, last_row, BLOCK_Q):
        rows = first + tl.arange(0, BLOCK_Q)
        inside = rows < last_row
        here = place * queries + rows
        q = tl.load(
            query + rows[None, :] * q_row + dims[:, None],
            mask=inside[None, :] & (dims[:, None] < SIZE), other=0.0,
        )  # (WIDE, BLOCK_Q)  # fmt: skip
        denominator = tl.load(logsumexp + here, mask=inside, other=0.0) * LOG2_E
        shared = tl.load(row + here, mask=inside, other=0.0)
        steep = tl.load(slope + here, mask=inside, other=0.0)
        t = tl.dot(k, q, input_precision=PRECISION) * scale
        if HAS_BIAS:
            t += added[:, None]
        t -= denominator[None, :]
        if not EVEN:
            t = tl.where(inside[None, :], t, NEVER)
        p = tl.math.exp2(t)
        if AVERAGE:
            t = tl.load(
                average + (batch * (last_row - first_row) + rows - first_row)[None, :] * keys
                + places[:, None],
                mask=inside[None, :] & there[:, None], other=0.0,
            ).to(tl.float32)  # fmt: skip
        slant = shared[None, :] - steep[None, :] * t
        if COLUMNS > 0:
            g = tl.load(
                gradient + here[None, :] * COLUMNS + columns[:, None],
                mask=inside[None, :], other=0.0,
            )  # fmt: skip
            g_high = g.to(tl.bfloat16)
            g_low = (g - g_high.to(tl.float32)).to(tl.bfloat16)
            slant = tl.dot(v, g_low, tl.dot(v, g_high, slant))
        if FEW > 0:
            g_0 = tl.load(gradient + here * FEW, mask=inside, other=0.0)
            slant += g_0[None, :] * v_0[:, None]
        if FEW > 1:
            slant += (
                tl.load(gradient + here * FEW + 1, mask=inside, other=0.0)[None, :] * v_1[:, None]
            )
        if FEW > 2:
            slant += (
                tl.load(gradient + here * FEW + 2, mask=inside, other=0.0)[None, :] * v_2[:, None]
            )
        found = _product(p * slant, tl.trans(q), found, PRECISION)
    out = grad_key + (place * keys + places)[:, None] * SIZE + dims[None, :]
    mask = there[:, None] & (dims[None, :] < SIZE)
    found = found * natural
    if ADD:
        found += tl.load(out, mask=mask, other=0.0)
    tl.store(out, found.to(grad_key.dtype.element_ty), mask=mask)


@triton.jit
def head_average(
    query, key, bias, logsumexp, centre, average, entropy,
    q_batch, q_head, q_row, k_batch, k_head, k_row,
    heads, queries, keys, first_row, last_row, splits, scale,
    SIZE: tl.constexpr, WIDE: tl.constexpr, HAS_BIAS: tl.constexpr,
    WRITE: tl.constexpr, PRECISION: tl.constexpr,
    BLOCK_Q: tl.constexpr, BLOCK_K: tl.constexpr,
):  # fmt: skip
    """The map m, averaged over heads, of a block of queries and every `splits`-th block of keys.

    Writes log m + centre to `average`, (B, last_row - first_row, Nk), where WRITE; else the
    block's share of the entropy, (B, splits, Nq).
    """
    batch = tl.program_id(2).to(tl.int64)
    rows = first_row + tl.program_id(0) * BLOCK_Q + tl.arange(0, BLOCK_Q)
    inside = rows < last_row
    dims = tl.arange(0, WIDE)
    query += batch * q_batch + rows[:, None] * q_row + dims[None, :]
    key += batch * k_batch
    q_mask = inside[:, None] & (dims[None, :] < SIZE)
    uncertain = tl.zeros([BLOCK_Q], tl.float32)
    for first in range(tl.program_id(1) * BLOCK_K, keys, splits * BLOCK_K):
        places = first + tl.arange(0, BLOCK_K)
        there = places < keys
        if HAS_BIAS:
            added = _bias(bias + batch * keys, places, keys)
        m = tl.zeros([BLOCK_Q, BLOCK_K], tl.float32)
        for head in range(heads):
            q = tl.load(query + head * q_head, mask=q_mask, other=0.0)
            k = _keys(key + head * k_head, k_row, places, dims, keys, SIZE, WIDE, False)
            here = (batch * heads + head) * queries + rows
            denominator = tl.load(logsumexp + here, mask=inside, other=0.0) * LOG2_E
            t = tl.dot(q, k, input_precision=PRECISION) * scale - denominator[:, None]
            if HAS_BIAS:
                t += added[None, :]
            m += tl.math.exp2(t)
        m = tl.where(inside[:, None] & there[None, :], m / heads, 0.0)
        logs = tl.math.log2(tl.maximum(m, 1.1754944e-38)) * LN_2
        if WRITE:
            middle = tl.load(centre + batch * queries + rows, mask=inside, other=0.0)
            at = (batch * (last_row - first_row) + rows - first_row)[:, None] * keys
            tl.store(
                average + at + places[None, :],
                (logs + middle[:, None]).to(average.dtype.element_ty),
                mask=inside[:, None] & there[None, :],
            )
        else:
            uncertain -= tl.sum(m * logs, 1)
    if not WRITE:
        at = (batch * splits + tl.program_id(1)) * queries + rows
        tl.store(entropy + at, uncertain, mask=inside)


@triton.jit
def _place(HEADS_FIRST: tl.constexpr):
    """Index of batch and head, and of the block; heads run side by side, or a head's blocks."""
    if HEADS_FIRST:
        place, block = tl.program_id(0), tl.program_id(1)
    else:
        place, block = tl.program_id(1), tl.program_id(0)
    return place.to(tl.int64), block


@triton.jit
def _score(
    q, key, k_row, bias, places, dims, keys, scale,
    SIZE: tl.constexpr, WIDE: tl.constexpr, HAS_BIAS: tl.constexpr, EVEN: tl.constexpr,
    PRECISION: tl.constexpr,
):  # fmt: skip
    """Scores (BLOCK_Q, BLOCK_K) in powers of two."""
    k = _keys(key, k_row, places, dims, keys, SIZE, WIDE, EVEN)
    score = tl.dot(q, k, input_precision=PRECISION) * scale
    if HAS_BIAS:
        score += _bias(bias, places, keys)[None, :]
    return score


@triton.jit
def _keys(
    key, k_row, places, dims, keys, SIZE: tl.constexpr, WIDE: tl.constexpr, EVEN: tl.constexpr
):  # fmt: skip
    """Keys (WIDE, BLOCK_K) at `places`."""
    at = key + places[None, :].to(tl.int64) * k_row + dims[:, None]
    if EVEN and SIZE == WIDE:
        found = tl.load(at)
    else:
        found = tl.load(at, mask=(places[None, :] < keys) & (dims[:, None] < SIZE), other=0.0)
    return found


@triton.jit
def _channel(value, v_batch, batch, places, keys, channel: tl.constexpr, FEW: tl.constexpr):
    """One channel (BLOCK_K,) of few float32 values."""
    return tl.load(value + batch * v_batch + places * FEW + channel, mask=places < keys, other=0.0)


@triton.jit
def _bias(bias, places, keys):
    """What is added to scores, in powers of two."""
    return tl.load(bias + places, mask=places < keys, other=0.0) * LOG2_E


@triton.jit
def _product(left, right, found, PRECISION: tl.constexpr):
    """`found + left @ right` for float32 `left`, at the precision of `right`.

    bfloat16 has the range of a gradient; float16 has not, so it multiplies in tf32, which has all
    of its digits.
    """
    if right.dtype == tl.bfloat16:
        found = tl.dot(left.to(tl.bfloat16), right, found)
    elif right.dtype == tl.float16:
        found = tl.dot(left, right.to(tl.float32), found, input_precision="tf32")
    else:
        found = tl.dot(left, right, found, input_precision=PRECISION)
    return found
