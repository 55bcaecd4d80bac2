"""What torch's own kernels would take for a mean of coordinates, with its gradient and accuracy."""

from functools import partial

import torch

from tools.card.measures import DEVICE, distance, milliseconds, row
from tools.card.statistics_cost import GRIDS, operands
from vtonlab.structures.correspondences import cell_centres

SECTION = "b. torch's own kernels"
PARALLEL = False


def cells(toy: bool) -> list[dict]:
    """One cell a head's size; none on the CPU."""
    if toy:
        return []
    return [
        {"size": size, "heads": heads, "tokens": 12288, "dtype": "bfloat16"}
        for size, heads in ((128, 24), (64, 10))
    ]


def run(cell: dict) -> list[dict]:
    """Mean of coordinates with a gradient through the logsumexp, by flash and cuDNN attention.

    Coordinates are three bfloat16 columns whose sum is exact; the row constant of the backward
    pass enters as three more columns of the output, where the values are zero.
    """
    query, key = (t.detach() for t in operands(cell, cell["tokens"]))
    scale = cell["size"] ** -0.5
    points = cell_centres(GRIDS[cell["tokens"]]).to(DEVICE)
    rows = []
    torch.manual_seed(1)
    grad_mean = torch.randn(*query.shape[:3], 2, device=DEVICE)
    grad_lse = torch.randn(*query.shape[:3], device=DEVICE)
    few = slice(0, 512)
    wanted = truth(query[:, :1, few], key[:, :1], points, scale,
                   grad_mean[:, :1, few], grad_lse[:, :1, few])  # fmt: skip
    for name, attend in (("flash", Flash), ("cudnn", Cudnn)):
        step = partial(mean_and_gradient, attend, query, key, points, scale, grad_mean, grad_lse)
        try:
            found = [answer[:, :1, few] for answer in step()[:3]]
            errors = [distance(f, w) for f, w in zip(found, wanted, strict=True)]
            measured = dict(
                zip(("mean", "logsumexp", "gradient"), errors, strict=True), ms=milliseconds(step)
            )
        except RuntimeError as error:
            measured = {"error": str(error)[:200]}
        rows.append(row(SECTION, f"mean by {name}, D {cell['size']}", None, "", **measured))
    return rows


def mean_and_gradient(attend, query, key, points, scale, grad_mean, grad_lse):
    """Mean, logsumexp and gradients of query and key."""
    value = torch.zeros_like(key[:, :1])
    rest = points
    for part in range(3):
        value[..., 2 * part : 2 * part + 2] = rest.to(value.dtype)
        rest = rest - rest.to(value.dtype).float()
    value = value.expand_as(key).contiguous()
    call = attend(query, key, value, scale)
    mean = call.output[..., :6].float().unflatten(-1, (3, 2)).sum(-2)
    constant = (grad_mean * mean).sum(-1) - grad_lse
    grad, output = torch.zeros_like(query), torch.zeros_like(query)
    grad[..., :6] = grad_mean.repeat(1, 1, 1, 3).to(grad.dtype)
    for part in range(3):
        output[..., 6 + part] = constant.to(output.dtype)
        constant = constant - output[..., 6 + part].float()
    grad[..., 6:9] = 1.0
    grads = call.backward(grad, output)
    return mean, call.logsumexp, *grads[:2]


class Flash:
    def __init__(self, query, key, value, scale) -> None:
        self.tensors, self.scale = (query, key, value), scale
        operator = torch.ops.aten._scaled_dot_product_flash_attention
        self.kept = operator(query, key, value, 0.0, False, False, scale=scale)
        self.output, self.logsumexp = self.kept[:2]

    def backward(self, grad, output):
        _, lse, q_starts, k_starts, q_most, k_most, seed, offset, *_ = self.kept
        operator = torch.ops.aten._scaled_dot_product_flash_attention_backward
        return operator(
            grad, *self.tensors, output, lse, q_starts, k_starts, q_most, k_most, 0.0, False, seed,
            offset, scale=self.scale,
        )  # fmt: skip


class Cudnn:
    def __init__(self, query, key, value, scale) -> None:
        self.tensors, self.scale = (query, key, value), scale
        operator = torch.ops.aten._scaled_dot_product_cudnn_attention
        self.kept = operator(query, key, value, None, True, 0.0, False, False, scale=scale)
        self.output, self.logsumexp = self.kept[0], self.kept[1][..., 0]

    def backward(self, grad, output):
        _, lse, q_starts, k_starts, q_most, k_most, seed, offset, *_ = self.kept
        operator = torch.ops.aten._scaled_dot_product_cudnn_attention_backward
        return operator(
            grad, *self.tensors, output, lse, seed, offset, None, q_starts, k_starts, q_most,
            k_most, 0.0, False, scale=self.scale,
        )  # fmt: skip


def truth(query, key, points, scale, grad_mean, grad_lse):
    """The same for some queries of one head in float64: mean, logsumexp, gradient of the query."""
    query = query.double().requires_grad_()
    score = (query @ key.double().mT) * scale
    mean, lse = score.softmax(-1) @ points.double(), score.logsumexp(-1)
    (grad,) = torch.autograd.grad((mean, lse), query, (grad_mean.double(), grad_lse.double()))
    return mean.detach(), lse.detach(), grad
