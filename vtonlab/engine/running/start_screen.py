"""One screen at the start of a run: what trains, on what, where, and what each loss supervises.

What mmengine says while it builds (environment, config, hooks: 300 lines) goes to the log file
alone; warnings are seen on the console too.
"""

import logging
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from mmengine.device import get_device
from mmengine.dist import get_world_size, is_main_process
from mmengine.optim import OptimWrapperDict
from torch import nn

from vtonlab.engine.config.load import run_name
from vtonlab.engine.hooks.supervised_shares import SupervisedShareHook
from vtonlab.version import __version__

WIDTH = 100
_LABEL = 9  # columns of the first word


class _WhileBuilding(logging.Filter):
    """Passes what a user must see; the log file has its own handler."""

    def filter(self, record: logging.LogRecord) -> bool:
        return record.levelno >= logging.WARNING


def _consoles(logger: logging.Logger) -> Iterator[logging.Handler]:
    for handler in logger.handlers:
        if isinstance(handler, logging.StreamHandler) and not hasattr(handler, "baseFilename"):
            yield handler


def quieten(logger: logging.Logger) -> None:
    """Keep what is only informative off the console, until `speak_up`."""
    for handler in _consoles(logger):
        handler.addFilter(_WhileBuilding())


def speak_up(logger: logging.Logger) -> bool:
    """Undo `quieten`; whether it was quiet."""
    was_quiet = False
    for handler in _consoles(logger):
        for each in [f for f in handler.filters if isinstance(f, _WhileBuilding)]:
            handler.removeFilter(each)
            was_quiet = True
    return was_quiet


def tell_start(runner: Any, training: bool) -> None:
    """Print the screen once, and write it into the log file."""
    heard = any(handler.level <= logging.INFO for handler in _consoles(runner.logger))
    text = start_screen(runner, training) if is_main_process() else ""
    if text and heard:
        runner.logger.info("\n" + text)  # into the file: the console is still quiet
    if speak_up(runner.logger) and text and heard:
        print(text, flush=True)


def start_screen(runner: Any, training: bool) -> str:
    """The rows, as text."""
    model = runner.bare_model
    rows = [("", _title(runner, model))]
    if training:
        rows += [("trains", text) for text in _trained(model)]
        rows += [("on", text) for text in runner.data_notes.values()]
        rows += [("losses", text) for text in _losses(model, runner)]
        rows += [("for", _steps(runner)), ("from", _origin(runner))]
    else:
        rows += [("on", text) for text in runner.data_notes.values()]
        rows += [("weights", _origin(runner))]
    rows += [("with", _machine()), ("into", _folders(runner, training))]
    lines, last = [], None
    for label, text in rows:
        first = f"{'' if label == last else label:<{_LABEL}}"
        lines += textwrap.wrap(text, WIDTH, initial_indent=first, subsequent_indent=" " * _LABEL)
        last = label
    return "\n".join(lines)


def _title(runner: Any, model: nn.Module) -> str:
    size = getattr(model, "size", None)
    pair = isinstance(size, (tuple, list)) and len(size) == 2
    at = f" at {size[0]}x{size[1]}" if pair else ""
    name = run_name(runner.cfg.filename) if runner.cfg.filename else runner.experiment_name
    return f"vtonlab {__version__}: {name}, {type(model).__name__}{at}"


def _trained(model: nn.Module) -> Iterator[str]:
    """Each part with parameters: how many of them train."""
    for name, part in model.named_children():
        total = sum(p.numel() for p in part.parameters())
        trained = sum(p.numel() for p in part.parameters() if p.requires_grad)
        if total:
            kind = "" if isinstance(part, nn.ModuleDict) else f" {type(part).__name__}"
            share = "all" if trained == total else f"{_count(trained)} of" if trained else "none of"
            yield f"{name}{kind}: {share} {_count(total)} parameters"


def _count(number: int) -> str:
    for size, letter in ((10**9, "G"), (10**6, "M"), (10**3, "k")):
        if number >= size:
            return f"{number / size:.3g} {letter}"
    return str(number)


def _losses(model: nn.Module, runner: Any) -> Iterator[str]:
    """What each loss acts on: layers, noise levels, from which iteration on, with which weight."""
    shares = next((h.shares for h in runner.hooks if isinstance(h, SupervisedShareHook)), {})
    if hasattr(model, "noise_schedule"):
        yield f"diffusion: {type(model.noise_schedule).__name__}, all samples"
    for group in ("attention_losses", "image_losses", "losses"):
        parts = getattr(model, group, None)
        for name, loss in parts.items() if isinstance(parts, nn.ModuleDict) else ():
            words = [f"{name}: {type(loss).__name__}"]
            if hasattr(loss, "weight") and isinstance(loss.weight, (int, float)):
                words.append(f"weight {loss.weight:g}")
            if getattr(loss, "layers", None):
                words.append(f"on {', '.join(loss.layers)}")
            if getattr(loss, "start_iter", 0):
                words.append(f"from iteration {loss.start_iter}")
            if getattr(loss, "end_iter", None) is not None:
                words.append(f"until iteration {loss.end_iter}")
            if name in shares:
                below = "" if loss.t_max is None else f" (t < {loss.t_max:g})"
                words.append(f"{shares[name]:.0%} of the samples{below}")
            yield ", ".join(words)


def _steps(runner: Any) -> str:
    batch, ranks = runner.train_dataloader.batch_size, get_world_size()
    wrapper = runner.optim_wrapper
    several = isinstance(wrapper, OptimWrapperDict)
    optimizers = [one.optimizer for _, one in wrapper.items()] if several else [wrapper.optimizer]
    rates = [
        f"{type(o).__name__} at {o.param_groups[0].get('initial_lr', o.param_groups[0]['lr']):g}"
        for o in optimizers
    ]
    ways = f"{batch} samples" + (f" on each of {ranks} processes" if ranks > 1 else "")
    return f"{runner.max_iters} iterations of {ways}, {', '.join(rates)}, seed {runner.seed}"


def _origin(runner: Any) -> str:
    source = runner._load_from
    if runner.iter and source:
        return f"iteration {runner.iter} of {_near(source)}"
    if source:
        return _near(source)
    parts = [
        f"{name} of {_near(file)}" for name, file in (runner.cfg.get("load_parts") or {}).items()
    ]
    return ", ".join(["the start", *parts])


def _machine() -> str:
    device = get_device()
    card = (
        torch.cuda.get_device_name() if device == "cuda" else f"{torch.get_num_threads()} threads"
    )
    ranks = get_world_size()
    return (
        f"{device} ({card})"
        + (f", {ranks} processes" if ranks > 1 else "")
        + (f", torch {torch.__version__}")
    )


def _folders(runner: Any, training: bool) -> str:
    log, folder = runner.logger.log_file, Path(runner.work_dir)
    text = _near(folder) + (f" (log: {Path(log).relative_to(folder)})" if log else "")
    return f"{text}; Ctrl-C saves, --resume goes on" if training else text


def _near(path: str | Path) -> str:
    """A path, short where it lies below this folder."""
    path = Path(path).absolute()
    return str(path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path)
