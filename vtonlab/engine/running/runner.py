"""mmengine's runner with safe checkpoints, and the one function that builds it from a config.

What differs from ``mmengine.runner.Runner`` (0.10.7; upstream #1655, #1520):

- ``save_checkpoint``: no pickled classes, atomic, with a manifest and the model's own facts;
- ``load_checkpoint``: ``weights_only``, strict, refuses another method or size, never executes
  the config text inside a checkpoint;
- ``load_or_resume``: the newest *valid* checkpoint;
- ``resume``: refuses another number of samples per iteration and shows how the config changed.
- ``wrap_model``: looks once for synchronised normalisation, not once a module for mmcv's;
- the start of a run is one screen; the rest of what is said goes to the log file.

A model may say ``checkpoint_meta()`` (facts that a checkpoint must share with it),
``frozen_prefixes`` (parameters that come from pretrained folders: neither saved nor expected) and
``train_only_prefixes`` (left out of exports; by default the losses' own parameters). A config may
say ``partial_load=["prefix."]``: tensors so named may be missing or left over in ``load_from``;
and ``load_other_size=True``: it may have been trained at another picture size. A model that
contains one trained before names it in ``trained_before``; ``load_parts=dict(part=FILE)`` fills it
where a training starts, later its weights are in the checkpoints.
"""

import copy
import difflib
import itertools
import time
from pathlib import Path
from typing import Any

import mmengine
import numpy as np
import torch
from mmengine.config import Config
from mmengine.device import get_device
from mmengine.dist import get_world_size, is_main_process
from mmengine.hooks import EMAHook
from mmengine.logging import HistoryBuffer, MMLogger
from mmengine.model import is_model_wrapper
from mmengine.optim import OptimWrapperDict
from mmengine.runner import BaseLoop, Runner
from torch import nn
from torch.utils.data import DataLoader

from vtonlab.engine.checkpoints.files import (
    find_latest,
    plain,
    read_checkpoint,
    save_checkpoint_file,
    save_safetensors,
)
from vtonlab.engine.checkpoints.trained_parts import check_facts, facts_of, load_part
from vtonlab.engine.config.check import check_config
from vtonlab.engine.config.load import RunConfig
from vtonlab.engine.parallel.parts import plain_keys, wrapped_keys
from vtonlab.engine.parallel.processes import init_on_cpu
from vtonlab.engine.parallel.sharding import (
    check_sharding,
    gathered,
    is_sharded,
    scattered_state,
    shard_model,
)
from vtonlab.engine.running.start_screen import quieten, tell_start
from vtonlab.utils.source import commit
from vtonlab.version import __version__

_RUNNERS = itertools.count()


def build_runner(config: Config) -> "SafeRunner":
    """Check a finished config strictly (``load_config``, then ``finalize``) and build its runner.

    Raises:
        ValueError: an unknown key, or what a constructor refuses.
        FileNotFoundError: data or weights that are not there.
    """
    check_config(config)
    check_sharding(config)
    if config.get("launcher", "none") != "none" and not torch.cuda.is_available():
        init_on_cpu(config.launcher, config.env_cfg.dist_cfg.get("timeout", 1800))
    config = copy.deepcopy(config)
    number = next(_RUNNERS)
    if number:  # a second runner of this process, perhaps in the same second: mmengine shares
        # loggers, message hubs and visualisers between runners of one name
        name = config.get("experiment_name") or Path(config.filename or "run").stem
        config.experiment_name = f"{name}-{number}"
    try:
        return SafeRunner.from_cfg(RunConfig.of(config))
    except TypeError as error:
        if "argument" in str(error):  # of a function that a plain dictionary configures
            raise ValueError(f"the config does not fit: {error}") from error
        raise


class SafeRunner(Runner):
    """mmengine's runner; see the module's list of differences."""

    _resuming = False  # while `resume` loads a checkpoint

    def __init__(self, *args, **kwargs) -> None:
        super().__init__(*args, **kwargs)
        self.data_notes: dict[str, str] = {}  # loader -> what it reads, for the start screen

    def build_logger(self, *args, **kwargs) -> MMLogger:
        """mmengine's; its console is quiet until the start is told."""
        logger = super().build_logger(*args, **kwargs)
        quieten(logger)
        return logger

    def call_hook(self, fn_name: str, **kwargs) -> None:
        """mmengine's; once all is built, one screen says what starts."""
        super().call_hook(fn_name, **kwargs)
        if fn_name in ("before_train", "before_test"):
            tell_start(self, training=fn_name == "before_train")

    @property
    def bare_model(self) -> nn.Module:
        """The model without its distributed wrapper."""
        return self.model.module if is_model_wrapper(self.model) else self.model

    def wrap_model(self, model_wrapper_cfg: dict | None, model: nn.Module) -> nn.Module:
        """Sharded over the processes where the config says so, else mmengine's wrapper."""
        settings = self.cfg.get("sharding")
        if settings and self.distributed:
            model.init_weights()  # mmengine's turn comes later, when no process has them whole
            return shard_model(model, get_device(), **settings)
        if settings:
            self.logger.info("one process: `sharding` has nothing to share (start with torchrun)")
        alone = not self.distributed and not is_model_wrapper(model)
        if alone and not any(isinstance(part, nn.SyncBatchNorm) for part in model.modules()):
            return model.to(get_device())  # mmengine would look for mmcv once for every module
        return super().wrap_model(model_wrapper_cfg, model)

    def build_val_loop(self, loop: BaseLoop | dict) -> BaseLoop:
        """mmengine's, with a loop of ours where the config names none."""
        if isinstance(loop, dict) and "type" not in loop:
            loop = dict(loop, type="PairValLoop")
        return super().build_val_loop(loop)

    @staticmethod
    def build_dataloader(
        dataloader: DataLoader | dict, seed: int | None = None, diff_rank_seed: bool = False
    ) -> DataLoader:
        """mmengine's; batches come in pinned memory where there is a GPU to copy them."""
        pinned = isinstance(dataloader, dict) and torch.cuda.is_available()
        loader = {"pin_memory": True, **dataloader} if pinned else dataloader
        return Runner.build_dataloader(loader, seed, diff_rank_seed)

    def _init_model_weights(self) -> None:
        if not is_sharded(self.bare_model):
            super()._init_model_weights()

    def config_text(self) -> str:
        """The config as text."""
        return self.cfg.pretty_text if self.cfg._cfg_dict else ""

    def model_facts(self) -> dict[str, Any]:
        """What a checkpoint must share with the model, as plain values."""
        return facts_of(self.bare_model)

    # ------------------------------------------------------------------ saving

    def save_checkpoint(
        self,
        out_dir: str,
        filename: str,
        file_client_args: dict | None = None,
        save_optimizer: bool = True,
        save_param_scheduler: bool = True,
        meta: dict | None = None,
        by_epoch: bool = False,
        backend_args: dict | None = None,
    ) -> None:
        """Save atomically; the signature is mmengine's, remote backends are refused."""
        if file_client_args or backend_args:
            raise ValueError("checkpoints are saved to local folders only: drop backend_args")
        if not self._takes_part():
            return
        checkpoint = {"meta": self._meta(meta, by_epoch), **self._weights()}
        checkpoint["message_hub"] = self._plain_message_hub()
        if save_optimizer:
            state = self.optim_wrapper.state_dict()
            checkpoint["optimizer"] = gathered(state) if is_sharded(self.bare_model) else state
        if not is_main_process():
            return
        if save_param_scheduler and self.param_schedulers is not None:
            checkpoint["param_schedulers"] = self._scheduler_states()
        save_checkpoint_file(checkpoint, Path(out_dir) / filename)

    def _takes_part(self) -> bool:
        """Whether this process has a share in what is saved; process 0 alone writes."""
        return is_main_process() or is_sharded(self.bare_model)

    def part_weights(self, name: str, *, frozen: bool) -> dict | None:
        """State dict of one part of the model for inference: averaged weights where there are any.

        All processes call it; the first gets whole tensors, others may get None.

        Args:
            name: of a child of the model.
            frozen: what did not train too, gathered where it is sharded.
        """
        if not self._takes_part():
            return None
        state, prefix = self._weights()["state_dict"], f"{name}."
        part = {k.removeprefix(prefix): v for k, v in state.items() if k.startswith(prefix)}
        if frozen:
            own = self.bare_model.get_submodule(name).state_dict()
            part = gathered({k: v for k, v in own.items() if k not in part}) | part
        return part

    def export_weights(self, path: str | Path) -> dict | None:
        """Write what inference needs (averaged weights where there are any) as safetensors.

        All processes call it; the first writes and returns the manifest.
        """
        if not self._takes_part():
            return None
        weights = self._weights()
        if not is_main_process():
            return None
        dropped = self._train_only_prefixes()
        state = {k: v for k, v in weights["state_dict"].items() if not k.startswith(dropped)}
        averaged = "ema_state_dict" in weights
        meta = {"facts": self.model_facts(), "iter": self.iter, "averaged": averaged}
        meta |= {"commit": commit(), "samples_per_iter": self._samples_per_iter()}
        return save_safetensors(state, path, {**meta, "vtonlab": __version__})

    def _meta(self, meta: dict | None, by_epoch: bool) -> dict[str, Any]:
        place = dict(epoch=self.epoch + 1, iter=self.iter)
        if not by_epoch:
            place = dict(epoch=self.epoch, iter=self.iter + 1)
        return plain(
            {
                **place,
                **(meta or {}),
                "cfg": self.config_text(),
                "seed": self.seed,
                "experiment_name": self.experiment_name,
                "time": time.strftime("%Y%m%d_%H%M%S"),
                "mmengine_version": mmengine.__version__,
                "vtonlab_version": __version__,
                "facts": self.model_facts(),
                "commit": commit(),
                "samples_per_iter": self._samples_per_iter(),
            }
        )

    def _weights(self) -> dict[str, dict]:
        """``state_dict``, and what hooks add to it (the EMA hook swaps its weights in)."""
        checkpoint = {"state_dict": plain_keys(self.bare_model.state_dict(), self.bare_model)}
        self.call_hook("before_save_checkpoint", checkpoint=checkpoint)
        frozen = self._frozen_prefixes()
        for name, prefixes in (
            ("state_dict", frozen),
            ("ema_state_dict", tuple(f"module.{p}" for p in frozen)),
        ):
            if name in checkpoint:
                kept = {k: v for k, v in checkpoint[name].items() if not k.startswith(prefixes)}
                checkpoint[name] = gathered(kept)
        return checkpoint

    def _frozen_prefixes(self) -> tuple[str, ...]:
        return tuple(getattr(self.bare_model, "frozen_prefixes", ()))

    def _train_only_prefixes(self) -> tuple[str, ...]:
        return tuple(getattr(self.bare_model, "train_only_prefixes", ("attention_losses.",)))

    def _samples_per_iter(self) -> int:
        return self.train_dataloader.batch_size * get_world_size()

    def _plain_message_hub(self) -> dict[str, dict]:
        info = {}
        for key, value in self.message_hub.runtime_info.items():
            if isinstance(value, np.generic):
                value = value.item()
            if type(value) in (int, float, str, bool, list, type(None)):
                info[key] = plain(value)
        return {
            "log_scalars": {},
            "runtime_info": info,
            "resumed_keys": dict.fromkeys(info, True),
            "recent_scalars": self._recent_scalars(),
        }

    def _recent_scalars(self) -> dict[str, list[list[float]]]:
        """What logs are smoothed over: the last values and counts of each series, as numbers."""
        custom = [c.get("window_size") for c in self.log_processor.custom_cfg]
        sizes = [self.log_processor.window_size, *(n for n in custom if isinstance(n, int))]
        recent = {}
        for name, series in self.message_hub.log_scalars.items():
            if self.message_hub._resumed_keys.get(name, True):
                recent[name] = [part[-max(sizes) :].tolist() for part in series.data]
        return recent

    def _scheduler_states(self) -> list | dict:
        if isinstance(self.param_schedulers, dict):
            return {
                name: [plain_state(s.state_dict()) for s in schedulers]
                for name, schedulers in self.param_schedulers.items()
            }
        return [plain_state(s.state_dict()) for s in self.param_schedulers]

    # ----------------------------------------------------------------- loading

    def load_checkpoint(
        self,
        filename: str,
        map_location: Any = "cpu",
        strict: bool = True,
        revise_keys: list | None = None,
    ) -> dict:
        """Load weights; strict by default, and only of the same method and size.

        Raises:
            FileNotFoundError: no such file.
            ValueError: damaged, pickled, of another model, or keys that do not fit.
        """
        del revise_keys  # mmengine strips "module." here; our checkpoints never have it
        sharded = is_sharded(self.bare_model)
        checkpoint = read_checkpoint(filename, "cpu" if sharded else map_location, lazy=sharded)
        checkpoint.setdefault("meta", {}).pop("config", None)  # never executed: R30
        state = checkpoint.setdefault("state_dict", {})
        if state and all(key.startswith("module.") for key in state):
            self.logger.info(f"{filename}: 'module.' before every name is left out")
            checkpoint["state_dict"] = _without_module(state)
        if self._resuming:
            self._take_raw_weights(checkpoint)
        saved, other_size = checkpoint["meta"].get("facts"), bool(self.cfg.get("load_other_size"))
        check_facts(self.model_facts(), saved, str(filename), other_size=other_size)
        if sharded:
            self._scatter(checkpoint)
        self.call_hook("after_load_checkpoint", checkpoint=checkpoint)
        is_export = str(filename).endswith(".safetensors") or Path(filename).is_dir()
        state = wrapped_keys(checkpoint["state_dict"], self.bare_model)
        self._load_state(state, filename, strict, is_export)
        self._has_loaded = True
        self.logger.info(f"Load checkpoint from {filename}")
        return checkpoint

    def _take_raw_weights(self, checkpoint: dict) -> None:
        """A run that averages no more goes on from the weights its optimiser moved, not from their
        average, which a checkpoint of an averaging run has as its ``state_dict``.
        """
        averages = any(isinstance(hook, EMAHook) for hook in self.hooks)
        if averages or "ema_state_dict" not in checkpoint:
            return
        raw = checkpoint.pop("ema_state_dict")
        checkpoint["state_dict"] |= _without_module(
            {key: value for key, value in raw.items() if key.startswith("module.")}
        )
        self.logger.warning(
            "the checkpoint has averaged weights and this run no EMAHook: training goes on from "
            "the weights that were not averaged"
        )

    def _scatter(self, checkpoint: dict) -> None:
        """Weights of a file, which are whole, become this process's share; in place."""
        own = self.bare_model.state_dict()
        averaged = {f"module.{key}": value for key, value in own.items()}
        for name, like in (("state_dict", own), ("ema_state_dict", averaged)):
            if name in checkpoint:
                checkpoint[name] = scattered_state(checkpoint[name], like)

    def _load_state(self, state: dict, filename: str, strict: bool, is_export: bool) -> None:
        model = self.bare_model
        own = model.state_dict()
        wrong = [k for k, v in state.items() if k in own and own[k].shape != v.shape]
        if wrong:
            key = wrong[0]
            raise ValueError(
                f"checkpoint {filename} does not fit: {len(wrong)} tensors differ in shape, the "
                f"first is {key} with {tuple(state[key].shape)} where the model has "
                f"{tuple(own[key].shape)}"
            )
        optional = self._frozen_prefixes()
        if is_export:
            optional += self._train_only_prefixes()
        missing, unexpected = model.load_state_dict(state, strict=False)
        kept = [key for key in missing if key.startswith(optional)]
        if kept:
            parts = ", ".join(sorted({key.split(".")[0] for key in kept}))
            self.logger.info(f"{len(kept)} tensors of {parts} are never saved and stay as built")
        missing = [key for key in missing if key not in kept]
        missing, unexpected = self._excused(missing, "missing"), self._excused(unexpected, "unused")
        if strict and (missing or unexpected):
            raise ValueError(
                f"checkpoint {filename} does not fit the model: {len(missing)} keys missing "
                f"{missing[:3]}, {len(unexpected)} unexpected {unexpected[:3]}; use the config it "
                f"was trained with, or name what may differ in partial_load=['prefix.']"
            )

    def _excused(self, keys: list[str], what: str) -> list[str]:
        """Keys that ``partial_load`` does not excuse; those it does are counted and named."""
        prefixes = tuple(self.cfg.get("partial_load") or ())
        excused = [key for key in keys if key.startswith(prefixes)] if prefixes else []
        if excused:
            self.logger.warning(f"partial_load: {len(excused)} tensors {what}: {excused}")
        return [key for key in keys if key not in excused]

    def load_or_resume(self) -> None:
        """Resume from the newest valid checkpoint when asked to without a name."""
        if self._resume and self._load_from is None and not self._has_loaded:
            latest = find_latest(self.work_dir, self.logger.warning)
            if latest is None:
                self.logger.info(f"nothing to resume in {self.work_dir}: training starts anew")
                self._load_parts()
                return
            self.logger.info(f"resuming from {latest}")
            self._load_from = str(latest)
        if self._load_from is None:
            self._load_parts()
        super().load_or_resume()

    def _load_parts(self) -> None:
        """Parts that another run trained; a checkpoint of this model would hold them."""
        files = self.cfg.get("load_parts") or {}
        for name, filename in files.items():
            other_size = bool(self.cfg.get("load_other_size"))
            load_part(self.bare_model, name, filename, other_size=other_size)
            self.logger.info(f"{name}: weights of {filename}")
        for name in getattr(self.bare_model, "trained_before", ()):
            if name not in files:
                self.logger.warning(
                    f"{name} has random weights and is not trained here: set load_parts.{name} to "
                    f"the checkpoint of a run that trained it"
                )

    def resume(
        self,
        filename: str,
        resume_optimizer: bool = True,
        resume_param_scheduler: bool = True,
        map_location: Any = "default",
    ) -> None:
        """Continue a run as if it had not stopped.

        Raises:
            ValueError: the checkpoint was saved with another number of samples per iteration, or
                holds no training state.
        """
        where = get_device() if map_location == "default" else map_location
        recent = self._check_resumable(filename)
        anew = bool(self.cfg.get("new_schedule"))
        fresh = _group_settings(self.optim_wrapper) if anew else []
        self._resuming = True
        try:
            super().resume(filename, resume_optimizer, resume_param_scheduler and not anew, where)
        finally:
            self._resuming = False
        if anew:
            self._schedule_anew(fresh)
        for name, (values, counts) in recent.items():
            self.message_hub.log_scalars[name] = HistoryBuffer(values, counts)

    def _schedule_anew(self, fresh: list[dict[str, Any]]) -> None:
        """The optimiser's state as saved; rates and schedules as the config says them, at the
        iteration reached.
        """
        for group, settings in zip(_groups(self.optim_wrapper), fresh, strict=True):
            group.update(settings)
        self.param_schedulers = self.build_param_scheduler(self.cfg.param_scheduler)
        several = isinstance(self.param_schedulers, dict)
        lists = self.param_schedulers.values() if several else [self.param_schedulers]
        schedulers = [one for schedules in lists for one in schedules or ()]
        for _ in range(self.iter):
            for scheduler in schedulers:
                scheduler.step()
        self.logger.info(f"new schedule: as if it had run from the start to iteration {self.iter}")

    def _check_resumable(self, filename: str) -> dict[str, list[list[float]]]:
        """Refuse what cannot be continued, show what changed; returns the recent log scalars."""
        checkpoint = read_checkpoint(filename, lazy=True)
        meta = checkpoint.get("meta", {})
        if "optimizer" not in checkpoint or "iter" not in meta:
            raise ValueError(
                f"checkpoint {filename} has weights only and cannot be resumed: start a new run "
                f"from it with --cfg-options load_from={filename}"
            )
        saved, mine = meta.get("samples_per_iter"), self._samples_per_iter()
        if saved is not None and saved != mine:
            raise ValueError(
                f"checkpoint {filename} was trained with {saved} samples per iteration (batch size "
                f"x processes), this run has {mine}: change train_dataloader.batch_size or the "
                f"number of processes so that they agree"
            )
        changes = config_changes(meta.get("cfg", ""), self.config_text())
        how = "continue as saved (--new-schedule takes rates and schedules from the config)"
        if self.cfg.get("new_schedule"):
            how = "are the config's, the optimiser's state is the saved one"
        if changes:
            self.logger.warning(
                "The config differs from the checkpoint's; optimiser and schedule settings "
                f"(learning rate among them) {how}:\n" + "\n".join(changes)
            )
        return checkpoint.get("message_hub", {}).get("recent_scalars", {})


_NOT_A_CHANGE = (
    "resume",
    "new_schedule",
    "load_from",
    "load_parts",
    "work_dir",
    "launcher",
    "model_wrapper_cfg",
    "experiment_name",
)


def config_changes(before: str, after: str) -> list[str]:
    """Lines of two config texts that differ, as ``-`` and ``+`` lines; both are only text."""
    lines = difflib.unified_diff(before.splitlines(), after.splitlines(), lineterm="", n=0)
    changes = [line for line in lines if line[:1] in "+-" and line[:3] not in ("+++", "---")]
    return [line for line in changes if not line[1:].strip().startswith(_NOT_A_CHANGE)]


def _without_module(state: dict[str, Any]) -> dict[str, Any]:
    return {key.removeprefix("module."): value for key, value in state.items()}


def _groups(wrapper: Any) -> list[dict[str, Any]]:
    """Parameter groups of one optimiser, or of several in order."""
    several = isinstance(wrapper, OptimWrapperDict)
    wrappers = [one for _, one in wrapper.items()] if several else [wrapper]
    return [group for one in wrappers for group in one.optimizer.param_groups]


def _group_settings(wrapper: Any) -> list[dict[str, Any]]:
    """Rates, decay and so on of each group, without its parameters, as before any schedule."""
    found = [{k: v for k, v in g.items() if k != "params"} for g in _groups(wrapper)]
    return [{**group, "lr": group.get("initial_lr", group["lr"])} for group in found]


def plain_state(state: dict[str, Any]) -> dict[str, Any]:
    """A scheduler's state: tensors kept, all else plain."""
    return {k: v if isinstance(v, torch.Tensor) else plain(v) for k, v in state.items()}
