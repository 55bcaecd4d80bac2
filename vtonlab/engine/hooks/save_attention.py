"""Attention maps of the first pairs of a test, small enough for a report."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper

from vtonlab.evaluation.results import pair_name
from vtonlab.registry import HOOKS

LARGEST = (32, 24)  # grids above it are averaged down


@HOOKS.register_module()
class SaveAttentionHook(Hook):
    """Writes ``attention/<person>__<garment>.npz`` of the first ``count`` pairs.

    ``maps`` (L, Nq, Nk) float16: head mean of the attention given the garment while denoising the
    true picture at the probe's noise level; rows sum to 1. ``mass`` (L, Nq): share of the garment.
    ``layers``, ``query_grid``, ``key_grid``, ``sigma``; ``truth`` (Nq, 2) and ``visible`` (Nq,)
    where the flow is known. Models without a probe are passed over.

    Args:
        count: how many pairs.
    """

    def __init__(self, *, count: int) -> None:
        self.count = count

    def after_test_iter(
        self,
        runner,
        batch_idx: int,
        data_batch: dict | None = None,
        outputs: Sequence[dict] | None = None,
    ) -> None:
        model = runner.model.module if is_model_wrapper(runner.model) else runner.model
        probe = getattr(model, "probe", None)  # of models that read attention
        if batch_idx >= self.count or probe is None or "garment_id" not in data_batch:
            return
        sigma = probe.get("sigma", 0.5)
        with torch.no_grad():
            batch = model.data_preprocessor(data_batch, False)
            records = model.attention_records(batch, sigma, probe["layers"])
            arrays = attention_arrays(records, data_batch.get("flow", [None])[0])
        name = pair_name(data_batch["id"][0], data_batch["garment_id"][0])
        path = Path(runner.work_dir) / "attention" / f"{name}.npz"
        path.parent.mkdir(parents=True, exist_ok=True)
        np.savez_compressed(path, sigma=np.float32(sigma), **arrays)


def attention_arrays(records: Sequence, flow=None) -> dict[str, np.ndarray]:
    """The file's arrays, from attention records of one pair that share their grids.

    Layers of other grids than the first one's are left out.
    """
    grids = (records[0].query_grid, records[0].key_grid)
    records = [r for r in records if (r.query_grid, r.key_grid) == grids]
    queries, keys = (_shrunk(grid) for grid in grids)
    maps = [_small_map(r.mean_map()[0].float(), grids, queries, keys) for r in records]
    masses = [r.garment_mass().mean(1)[0].float()[:, None] for r in records]  # (Nq, 1)
    arrays = {
        "layers": np.array([record.name for record in records]),
        "query_grid": np.array(queries),
        "key_grid": np.array(keys),
        "maps": np.stack(maps),
        "mass": np.stack([_pool(m, grids[0], queries)[:, 0] for m in masses]).astype(np.float16),
    }
    if flow is not None:
        truth, visible = flow.to_grid(queries)
        arrays |= {"truth": truth.float().cpu().numpy(), "visible": visible.cpu().numpy()}
    return arrays


def _shrunk(grid: tuple[int, int]) -> tuple[int, int]:
    factor = max(1, -(-grid[0] // LARGEST[0]), -(-grid[1] // LARGEST[1]))
    while grid[0] % factor or grid[1] % factor:
        factor += 1
    return grid[0] // factor, grid[1] // factor


def _small_map(full: torch.Tensor, grids, queries, keys) -> np.ndarray:
    """(Nq, Nk) with queries averaged and keys summed."""
    rows = torch.from_numpy(_pool(full, grids[0], queries))  # (nq, Nk)
    share = (grids[1][0] // keys[0]) * (grids[1][1] // keys[1])
    return (_pool(rows.T, grids[1], keys).T * share).astype(np.float16)


def _pool(values: torch.Tensor, grid, small) -> np.ndarray:
    """(N, C) on a grid, averaged down to a smaller one; (n, C)."""
    maps = values.T.reshape(1, -1, *grid).cpu()
    pooled = torch.nn.functional.adaptive_avg_pool2d(maps, small)
    return pooled.reshape(values.shape[1], -1).T.numpy()
