"""What every try-on model shares: result dicts, pictures for logs, checks, facts of checkpoints."""

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import torch
from torch import Tensor, nn

from vtonlab.evaluation.attention_measures import drawn_errors, true_shares
from vtonlab.losses.supervised_batch import SupervisedBatch
from vtonlab.ops.repaint import BLUR, repaint
from vtonlab.ops.resize import Size
from vtonlab.structures.attention_record import AttentionRecord
from vtonlab.structures.sample import key_of, truths


def to_uint8(pictures: Tensor, rounding: str = "round") -> np.ndarray:
    """Pictures (B, 3, H, W) in [-1, 1] to uint8 (B, H, W, 3).

    Args:
        rounding: ``"round"``, or ``"truncate"`` as StableVITON's program does, which darkens by
            half a level and also moves a few values of a photograph that passes through.
    """
    if rounding == "truncate":
        levels = ((pictures.float() + 1.0) / 2.0).clamp(0, 1) * 255.0
    else:
        levels = ((pictures.float() + 1.0) * 127.5).round().clamp(0, 255)
    return levels.to(torch.uint8).permute(0, 2, 3, 1).cpu().numpy()


def pair_results(
    batch: dict,
    images: np.ndarray,
    *,
    blur: int = BLUR,
    picture_rounding: str = "round",
    blend_rounding: str = "round",
) -> list[dict]:
    """One result dict for each pair of a preprocessed batch and its picture (B, H, W, 3) uint8.

    ``id``, ``garment_id``, ``category``, ``index``; ``image`` as generated, ``repainted`` (outside
    the mask the photograph), ``garment``, ``target``, ``mask`` (H, W); ``flow`` where the truth is
    known, and those of further references.

    Args:
        blur, blend_rounding: of :func:`vtonlab.ops.repaint.repaint`.
        picture_rounding: with which ``images`` were made; the photograph that is pasted back is
            made alike.
    """
    targets = to_uint8(batch.get("target", batch["person"]))
    garments = to_uint8(batch["garment"])
    photographs = to_uint8(batch["person"], picture_rounding)
    masks = batch["mask"][:, 0].cpu().numpy().astype(np.uint8)
    results = []
    for place, image in enumerate(images):
        result = {key: batch[key][place] for key in ("id", "garment_id", "category", "index")}
        result |= dict(image=image, target=targets[place], mask=masks[place])
        result["garment"] = garments[place]
        result["repainted"] = repaint(
            image, photographs[place], masks[place], blur=blur, rounding=blend_rounding
        )
        result |= {key: batch[key][place] for key, _ in truths(batch) if key.startswith("flow")}
        results.append(result)
    return results


def bare_results(batch: dict) -> list[dict]:
    """``id``, and ``flow`` and ``correspondences`` of each pair and reference: what attention is
    scored with, without pictures.
    """
    kept = ["id", *(key for key, _ in truths(batch))]
    return [{key: batch[key][n] for key in kept} for n in range(len(batch["id"]))]


def add_attention(results: list[dict], records: Iterable[AttentionRecord], batch: dict) -> None:
    """Write ``attention`` into the results: layer -> ``argmax`` (Nq,) int64 garment key of the head
    mean, ``mass`` and ``entropy`` (Nq,), and ``grids``.

    Where the batch knows the true ``flow``, also ``true_share`` (H, Nq) and, unless a grid does not
    divide the pictures, ``drawn`` (2,): sum of the error and number of pixels of
    :func:`vtonlab.evaluation.attention_measures.drawn_errors`.

    Records of further references go to ``attention_2``, ``attention_worn`` and so on.
    """
    whole = SupervisedBatch.of(batch, len(results))
    for record in records:
        batch, key = whole.of_reference(record.reference), key_of("attention", record.reference)
        best, mass = record.argmax(), record.garment_mass().mean(1)
        found = dict(argmax=best, mass=mass.float(), entropy=record.mean_map_entropy().float())
        if "flow" in batch:
            found["true_share"] = true_shares(record, batch["flow"])
            target = batch.get("target", batch["person"])
            drawn = drawn_errors(record, batch["garment"], target, batch["flow"])
            found |= {} if drawn is None else {"drawn": drawn}
        for place, result in enumerate(results):
            own = {key: value[place].cpu() for key, value in found.items()}
            own["grids"] = (record.query_grid, record.key_grid)
            result.setdefault(key, {})[record.name] = own


def preview_picture(batch: dict, images: Iterable[np.ndarray]) -> np.ndarray:
    """Rows of person, agnostic (where there is one), garment and result, uint8 (B * H, 4 * W, 3),
    for logs.
    """
    shown = [batch[key] for key in ("person", "agnostic", "garment") if key in batch]
    columns = [np.concatenate(list(to_uint8(pictures)), axis=0) for pictures in shown]
    columns.append(np.concatenate(list(images), axis=0))
    return np.concatenate(columns, axis=1)


def check_needs(given: Mapping, needs: Sequence[str], who: str, where: str = "") -> None:
    """Whether a batch or sample holds the maps that ``who`` reads.

    Args:
        where: it comes from, for the message.

    Raises:
        ValueError: it lacks one; names the sample, the map and the way out.
    """
    missing = [name for name in needs if name not in given]
    if missing:
        name = given.get("id", "?")
        name = name if isinstance(name, str) else name[0]
        raise ValueError(
            f"{where}sample {name!r} lacks {', '.join(map(repr, missing))}, which {who} needs: ask "
            f"the data set for it (`maps`), or configure {who} without it"
        )


def check_size(batch: dict, size: Size) -> None:
    """``ValueError`` unless the batch's pictures are of ``size`` (height, width)."""
    height, width = batch["person"].shape[-2:]
    if (height, width) != tuple(size):
        raise ValueError(
            f"this model is for pictures of {size[0]}x{size[1]}, the batch has "
            f"{height}x{width}: set the data set's `size` or the model's"
        )


def check_loss_names(kind: str, names: Iterable[str]) -> None:
    """``ValueError`` for a name with 'loss' in it: mmengine would add the monitors named after it
    to the total.
    """
    for name in names:
        if "loss" in name:
            raise ValueError(f"{kind}: call {name!r} something without 'loss' in it")


def check_probe(probe: Mapping | None) -> None:
    """``ValueError`` unless it is None or ``dict(layers=[...], sigma=0.5)``."""
    if probe is None:
        return
    layers, sigma = probe.get("layers"), probe.get("sigma", 0.5)
    if not isinstance(layers, (list, tuple)) or not layers:
        raise ValueError(f"probe.layers={layers!r}: a list of names or patterns is needed")
    if not isinstance(sigma, (int, float)) or not 0 <= sigma <= 1:
        raise ValueError(f"probe.sigma={sigma!r}: a noise level within [0, 1] is needed")
    unknown = [key for key in probe if key not in ("layers", "sigma")]
    if unknown:
        raise ValueError(f"unknown key 'probe.{unknown[0]}': it has layers and sigma")


def checkpoint_facts(model: nn.Module, **more: str) -> dict:
    """What a checkpoint must share with the model that loads it: the model's class, ``size`` and
    ``categories``, how masks are meant, and ``more``.
    """
    return dict(
        model=type(model).__name__,
        size=list(model.size),
        categories=list(model.categories),
        mask_polarity="1 = generate",
        **more,
    )
