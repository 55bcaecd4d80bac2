"""Saving at intervals: the new checkpoint is complete before an old one goes."""

import json
import math
import shutil
from pathlib import Path

from mmengine.dist import is_main_process
from mmengine.fileio import LocalBackend
from mmengine.hooks import CheckpointHook, EMAHook
from mmengine.optim import OptimWrapperDict

from vtonlab.engine.checkpoints.files import find_problem, remove_checkpoint, sweep, write_text
from vtonlab.registry import HOOKS
from vtonlab.utils.bounded import read_json


@HOOKS.register_module()
class SafeCheckpointHook(CheckpointHook):
    """mmengine's hook with another order and a safetensors export at the end.

    Args:
        interval: iterations between checkpoints; a multiple of ``accumulative_counts``, because a
            gradient under accumulation is not saved.
        max_keep_ckpts: at least 2 (with one, a kill while saving loses the run), or -1 for all.
        save_last: also save the last iteration.
        save_best: metric whose best checkpoint is kept as well, as ``best_<metric>_iter_<n>.pth``
            (weights only), with its score in ``best.json``; None: none.
        rule: "greater" or "less", for ``save_best``; None: the way the metric says is better.
        save_begin: first iteration that may be saved.
        export: write ``model.safetensors`` (averaged weights where there are any) after training.

    Raises:
        ValueError: ``max_keep_ckpts`` or ``interval`` out of range; ``save_best`` that no metric
            of the validation gives, or whose better way nobody says.
    """

    def __init__(
        self,
        *,
        interval: int = 1000,
        max_keep_ckpts: int = 2,
        save_last: bool = True,
        save_best: str | None = None,
        rule: str | None = None,
        save_begin: int = 0,
        export: bool = True,
    ) -> None:
        if max_keep_ckpts != -1 and max_keep_ckpts < 2:
            raise ValueError(
                f"max_keep_ckpts={max_keep_ckpts}: keep at least 2, because a run killed while it "
                f"saves its only checkpoint is lost (-1 keeps all)"
            )
        if interval != -1 and interval < 1:
            raise ValueError(f"interval={interval}: at least 1, or -1 for the last iteration alone")
        if rule not in (None, "greater", "less"):
            raise ValueError(f"rule={rule!r}: choose 'greater' or 'less'")
        super().__init__(
            interval=interval,
            by_epoch=False,
            max_keep_ckpts=max_keep_ckpts,
            save_last=save_last,
            save_best=save_best,
            rule=rule or "greater",  # settled before training: see `_settle_best`
            save_begin=save_begin,
        )
        self._rule_given = rule is not None
        self.export = export
        self.kept: list[int] = []
        self.saved_at = -1  # iterations done when last saved
        self.best: tuple[float, str] | None = None  # score and file name

    def before_train(self, runner) -> None:
        """Clean up after killed runs, check the interval, recall what was kept."""
        self.out_dir = self.out_dir or runner.work_dir
        self.file_backend = LocalBackend()
        counts = accumulative_counts(runner.optim_wrapper)
        if self.interval > 0 and self.interval % counts:
            raise ValueError(
                f"checkpoint interval {self.interval} is no multiple of accumulative_counts "
                f"{counts}: a resumed run would lose part of a gradient"
            )
        if is_main_process():
            sweep(self.out_dir)
            self._check_space(runner)
        if self.save_best:
            self._settle_best(runner)
        known = runner.message_hub.runtime_info
        self.kept = [int(step) for step in known.get("keep_ckpt_ids", [])]
        self.best = self._known_best() if runner.iter > 0 else None

    def _settle_best(self, runner) -> None:
        """Whether validation gives the metric, and which way it is better."""
        (metric,) = self.save_best
        loop = runner.val_loop
        if loop is None:
            raise ValueError(
                f"save_best={metric!r} needs a validation: set val_dataloader, val_evaluator and "
                f"val_cfg, or drop it"
            )
        names = getattr(loop, "names", None)  # None: not known before a validation
        if names is not None and metric not in names:
            raise ValueError(
                f"save_best={metric!r} is no metric of this run: choose of {', '.join(names)}"
            )
        if self._rule_given:
            return
        directions: dict[str, str] = {}
        for judge in loop.evaluator.metrics:
            directions |= dict(getattr(judge, "directions", {}))  # mmengine's have none
        if metric not in directions:
            raise ValueError(
                f"save_best={metric!r}: no metric says which way it is better; set rule='greater' "
                f"or rule='less' beside it"
            )
        self._init_rule(["less" if directions[metric] == "down" else "greater"], self.save_best)

    def _check_space(self, runner) -> None:
        """Better refused now than at the first save."""
        frozen = tuple(getattr(runner.bare_model, "frozen_prefixes", ()))
        state = runner.bare_model.state_dict()
        sizes = (v.numel() * v.element_size() for k, v in state.items() if not k.startswith(frozen))
        needed, free = sum(sizes), shutil.disk_usage(self.out_dir).free
        if free < needed:
            raise ValueError(
                f"{self.out_dir} has {free} bytes free and the weights of one checkpoint alone "
                f"take {needed}: free some, or give another --work-dir"
            )

    def after_train(self, runner) -> None:
        """Export the weights that inference uses, with the config beside them."""
        if self.export:
            path = Path(self.out_dir) / "model.safetensors"
            runner.export_weights(path)
            if is_main_process() and runner.config_text():  # what builds the model again
                write_text(Path(self.out_dir) / "config.py", runner.config_text())
            averaged = any(isinstance(hook, EMAHook) for hook in runner.hooks)
            kind = "averaged (EMA)" if averaged else "last"
            runner.logger.info(f"{kind} weights for inference: {path}")

    def save_now(self, runner) -> None:
        """Save after this iteration, unless that was done."""
        if self.saved_at != runner.iter + 1:
            self._save_checkpoint(runner)

    def _save_checkpoint_with_step(self, runner, step: int, meta: dict) -> None:
        steps = [s for s in self.kept if s != step] + [step]
        keep = len(steps) if self.max_keep_ckpts == -1 else self.max_keep_ckpts
        outdated, self.kept = steps[:-keep], steps[-keep:]
        name = self.filename_tmpl.format(step)
        self.last_ckpt = str(Path(self.out_dir) / name)
        runner.message_hub.update_info("keep_ckpt_ids", self.kept)
        runner.message_hub.update_info("last_ckpt", self.last_ckpt)
        runner.save_checkpoint(self.out_dir, name, meta=meta)
        self.saved_at = step
        if is_main_process():
            write_text(Path(runner.work_dir) / "last_checkpoint", self.last_ckpt)
            for old in outdated:
                remove_checkpoint(Path(self.out_dir) / self.filename_tmpl.format(old))

    def _save_best_checkpoint(self, runner, metrics: dict) -> None:
        """Save and note a better one; only then remove the one before."""
        if not self.save_best:
            return
        (metric,) = self.key_indicators
        if metric not in metrics:
            names = ", ".join(metrics)
            raise ValueError(f"save_best={metric!r} is no metric of this run: choose of {names}")
        score = float(metrics[metric])
        if math.isnan(score) or (
            self.best is not None and not self.is_better_than[metric](score, self.best[0])
        ):
            return
        previous, name = self.best, f"best_{metric}_iter_{runner.iter}.pth".replace("/", "_")
        meta = dict(epoch=runner.epoch, iter=runner.iter)
        runner.save_checkpoint(
            self.out_dir, name, save_optimizer=False, save_param_scheduler=False, meta=meta
        )
        self.best = score, name
        if is_main_process():
            text = json.dumps({"metric": metric, "score": score, "file": name})
            write_text(Path(self.out_dir) / "best.json", text + "\n")
            if previous is not None and previous[1] != name:
                remove_checkpoint(Path(self.out_dir) / previous[1])
        runner.logger.info(f"best {metric} so far, {score:.4f}: {name}")

    def _known_best(self) -> tuple[float, str] | None:
        """The best of a run that is resumed, if its file is whole."""
        try:
            known = read_json(Path(self.out_dir) / "best.json")
            name, score = known["file"], float(known["score"])
        except (OSError, ValueError, KeyError, TypeError):
            return None
        whole = [known["metric"]] == self.save_best and not find_problem(Path(self.out_dir) / name)
        return (score, name) if whole else None


def accumulative_counts(optim_wrapper) -> int:
    """Iterations after which no optimiser has a gradient under accumulation."""
    several = isinstance(optim_wrapper, OptimWrapperDict)
    wrappers = optim_wrapper.values() if several else [optim_wrapper]
    return math.lcm(*(wrapper._accumulative_counts for wrapper in wrappers))
