"""Parts of a model that another run trained: ``load_parts=dict(warping="FILE")`` in a config."""

from pathlib import Path
from typing import Any

from torch import nn

from vtonlab.engine.checkpoints.files import plain, read_checkpoint


def facts_of(model: nn.Module) -> dict[str, Any]:
    """What a checkpoint must share with a model, as plain values."""
    facts = getattr(model, "checkpoint_meta", dict)()
    return {"model": type(model).__name__, **plain(facts)}


def check_facts(
    mine: dict[str, Any], saved: dict[str, Any] | None, filename: str, *, other_size: bool
) -> None:
    """Whether a checkpoint is of this model.

    Args:
        mine: of the model.
        saved: of the checkpoint; None or empty for one that has none.
        other_size: it may have been trained at another picture size.

    Raises:
        ValueError: facts that differ.
    """
    differing = [key for key in saved or {} if key in mine and saved[key] != mine[key]]
    if other_size and "size" in differing:
        differing.remove("size")  # a later stage of training starts from a smaller picture
    if differing:
        theirs = ", ".join(f"{k}={saved[k]!r}" for k in differing)
        wanted = ", ".join(f"{k}={mine[k]!r}" for k in differing)
        raise ValueError(
            f"checkpoint {filename} is of another method or size: it has {theirs}, this config "
            f"makes {wanted}; use the config it was trained with"
        )


def load_part(model: nn.Module, name: str, filename: str, *, other_size: bool) -> None:
    """Fill the frozen part ``name`` of ``model`` from the checkpoint of a run of its own.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: no such part, one that trains here, or a checkpoint that does not fit.
    """
    part = dict(model.named_children()).get(name)
    if part is None:
        raise ValueError(
            f"load_parts.{name}: {type(model).__name__} has no such part; it has "
            f"{', '.join(n for n, _ in model.named_children())}"
        )
    if any(parameter.requires_grad for parameter in part.parameters()):
        raise ValueError(f"load_parts.{name}: this part trains here; load_parts is for frozen ones")
    if not Path(filename).is_file():
        raise FileNotFoundError(
            f"load_parts.{name}: no checkpoint at {filename}: train it first with tools/train.py, "
            f"or say where it lies with --cfg-options load_parts.{name}=FILE"
        )
    checkpoint = read_checkpoint(filename)
    saved = checkpoint.get("meta", {}).get("facts")
    check_facts(facts_of(part), saved, filename, other_size=other_size)
    trained_with = tuple(getattr(part, "train_only_prefixes", ()))
    state = {k: v for k, v in checkpoint["state_dict"].items() if not k.startswith(trained_with)}
    own = part.state_dict()
    wrong = [k for k in sorted(state.keys() | own.keys()) if _shape(state, k) != _shape(own, k)]
    if wrong:
        raise ValueError(
            f"load_parts.{name}: checkpoint {filename} does not fit: {len(wrong)} tensors differ, "
            f"the first is {wrong[0]} with {_shape(state, wrong[0])} in the file and "
            f"{_shape(own, wrong[0])} in the model; build it as it was trained"
        )
    part.load_state_dict(state)


def _shape(state: dict, key: str) -> tuple[int, ...] | str:
    return tuple(state[key].shape) if key in state else "none"
