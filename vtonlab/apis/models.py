"""Models by name, by config and checkpoint, or from a folder that holds both."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from vtonlab.backbones.pretrained import DTYPES
from vtonlab.engine.checkpoints.exported import export_options, is_export, verify
from vtonlab.engine.checkpoints.models import load_model
from vtonlab.engine.config.load import finalize, load_config
from vtonlab.engine.config.registered import closed_as_before
from vtonlab.engine.config.released import released_options
from vtonlab.engine.testing.run import drop_training
from vtonlab.zoo import Card, card, cards, weights_path

CONFIG, WEIGHTS = "config.py", "model.safetensors"  # of a folder that builds its own model


def list_models(*, photographs: bool = False) -> list[Card]:
    """Models that ship and dress people as they are; each card holds name, config, scores.

    Args:
        photographs: only those for which two photographs are enough.
    """
    return [card for card in cards("model") if card.photographs or not photographs]


def init_model(
    model: str | Path,
    checkpoint: str | Path | None = None,
    *,
    device: str | torch.device | None = None,
    dtype: str | None = None,
    options: Mapping[str, Any] | None = None,
    safe: bool = True,
):
    """A model with its weights, in evaluation mode; its config is its ``cfg``.

    Weights that `tools/convert/` made from published ones sample as their authors' program does
    (the config's table `released`).

    Args:
        model: a name of `list_models`, a folder that tools/export.py wrote or one with
            ``config.py`` and ``model.safetensors`` (what training leaves), or a config: a path or a
            shipped config's name.
        checkpoint: ``iter_*.pth``, ``.safetensors`` or an exported folder; needed with a config.
        device: ``"cpu"``, ``"cuda"``; None: a GPU where there is one.
        dtype: ``"bfloat16"`` or ``"float16"`` of backbone and codec; None: as built.
        options: dotted path -> value, as ``--cfg-options``, of the config.
        safe: refuse a folder whose config does more than describe values; registries are closed
            (`vtonlab.engine.config.registered`) while it is read and built.

    Raises:
        ValueError: nothing of that name, a config without a checkpoint, or weights that don't fit.
        FileNotFoundError: a file is missing.
    """
    if dtype is not None and dtype not in DTYPES:
        raise ValueError(f"dtype={dtype!r}: choose one of {', '.join(DTYPES)}")
    with closed_as_before():
        config, checkpoint = _found(model, checkpoint, options or {}, safe)
        finalize(config)
        drop_training(config)
        built = load_model(config, checkpoint)
    built.cfg = config
    if dtype is not None:
        built.backbone.to(DTYPES[dtype])
        built.codec.to(DTYPES[dtype])
    return built if device is None else built.to(device)


def files_of(model: str | Path) -> tuple[str, str, dict[str, Any]]:
    """Config, weights and the ``--cfg-options`` that belong to them: of a shipped model, an
    exported folder or a work directory.

    Raises:
        ValueError: nothing ships under that name.
        FileNotFoundError: a folder that is neither.
    """
    folder = Path(model)
    if is_export(folder):
        verify(folder)
        return str(folder / CONFIG), str(folder), export_options(folder)
    if not folder.is_dir():
        return card(str(model)).config, str(weights_path(str(model))), {}
    for name in (CONFIG, WEIGHTS):
        if not (folder / name).is_file():
            raise FileNotFoundError(
                f"{folder} has no {name}: a model's folder is one that tools/export.py wrote, or "
                f"holds {CONFIG} and {WEIGHTS}, as a finished training's work directory does"
            )
    return str(folder / CONFIG), str(folder / WEIGHTS), {}


def _found(model: str | Path, checkpoint: str | Path | None, options: Mapping, safe: bool):
    """Config and weights file."""
    if Path(model).is_dir():
        path, own, needed = files_of(model)
        weights = checkpoint or own
        return _config_for(weights, path, needed | dict(options), safe=safe), weights
    if str(model) in {known.name for known in list_models()}:
        weights = checkpoint or weights_path(str(model))
        return load_config(card(str(model)).config, dict(options)), weights
    try:
        config = _config_for(checkpoint, model, options)
    except FileNotFoundError as error:
        names = ", ".join(known.name for known in list_models()) or "none yet"
        raise FileNotFoundError(f"{error}; shipped models: {names}") from None
    if checkpoint is None:
        raise ValueError(
            f"{model} is a config without weights: give a checkpoint too (iter_*.pth or "
            "model.safetensors of its training)"
        )
    return config, checkpoint


def _config_for(
    checkpoint: str | Path | None,
    path: str | Path,
    options: Mapping[str, Any] | None = None,
    safe: bool = False,
):
    """The config at ``path``, as released where the weights were converted from published ones.

    Building a model writes nothing: paths of where it was trained may stand in the config.
    """
    config = load_config(path, dict(options or {}), safe=safe, inside=False)
    more = {} if checkpoint is None else released_options({}, checkpoint=checkpoint)
    if not more:
        return config
    return load_config(path, more | dict(options or {}), safe=safe, inside=False)
