"""Small real runs of the demo config: resumed, started with other workers, poisoned, timed."""

import inspect
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from unittest import mock

from reliability.card import Measured
from reliability.compare import differing, fingerprint, state_of

CONFIG = Path(__file__).parents[2] / "configs/coral/dit_synthetic.py"
ITERATIONS = 8


def small_config(work: Path, cache: Path, *, iterations: int = ITERATIONS, workers: int = 0):
    """The demo's config with 24 rendered people, half the batch and no validation."""
    from vtonlab.engine.config.load import finalize, load_config

    config = load_config(CONFIG)
    config.train_cfg.max_iters = iterations
    config.train_dataloader.update(batch_size=2, num_workers=workers)
    config.train_dataloader.dataset.update(length=24, cache_dir=str(cache / "people"))
    config.val_dataloader = config.val_evaluator = config.val_cfg = None
    config.custom_hooks = [h for h in config.custom_hooks if h.type == "EMAHook"]
    config.visualizer.vis_backends = [dict(type="LocalVisBackend")]
    config.default_hooks.checkpoint.interval = max(1, iterations // 2)
    config.log_level = "ERROR"
    return finalize(config, work_dir=str(work))


def small_run(work: Path, cache: Path, *, resume: bool | str = False, **settings):
    """Train ``small_config``; returns the runner and its last checkpoint."""
    from vtonlab.engine.checkpoints.files import read_checkpoint
    from vtonlab.engine.running.training import train

    config = small_config(work, cache, **settings)
    config.resume = bool(resume)
    config.load_from = resume if isinstance(resume, str) else None
    runner = train(config)
    return runner, read_checkpoint(work / f"iter_{runner.iter}.pth")


def resumed_equals_whole(folder: Path) -> Measured:
    """Tensors and numbers that differ between a run of 8 iterations and one of 4 + 4."""
    texts, differing_anywhere = [], False
    for workers in (0, 1, 2):
        whole = folder / f"whole_{workers}"
        _, a = small_run(whole, folder, workers=workers)
        half = str(whole / f"iter_{ITERATIONS // 2}.pth")
        _, b = small_run(folder / f"second_{workers}", folder, workers=workers, resume=half)
        wrong = differing(a, b)
        differing_anywhere |= bool(wrong)
        texts.append(f"{len(wrong)} of {len(state_of(a))}")
    return Measured(f"{', '.join(texts)} for 0, 1, 2 workers", not differing_anywhere)


def same_bits_for_any_workers(folder: Path) -> Measured:
    """Distinct MD5 of all tensors after training with 0, 1 and 2 loader workers."""
    found = {
        fingerprint(small_run(folder / f"w{workers}", folder, iterations=4, workers=workers)[1])
        for workers in (0, 1, 2)
    }
    return Measured(str(len(found)), len(found) == 1)


@contextmanager
def counted(owner: object, name: str) -> Iterator[list[float]]:
    """Seconds of this process's own time in each call of ``owner.name`` meanwhile.

    Not the clock on the wall: what else the machine does would fall on long steps alone.
    """
    original, calls = getattr(owner, name), []
    is_static = isinstance(inspect.getattr_static(owner, name), staticmethod)

    def wrapped(*args, **kwargs):
        start = time.process_time()
        try:
            return original(*args, **kwargs)
        finally:
            calls.append(time.process_time() - start)

    with mock.patch.object(owner, name, staticmethod(wrapped) if is_static else wrapped):
        yield calls


def decoded_again(folder: Path) -> Measured:
    """Samples that a run resumed at iteration 10 000 loads besides those it trains on."""
    from vtonlab.engine.checkpoints.files import read_checkpoint, save_checkpoint_file
    from vtonlab.engine.running.loops import ResumableTrainLoop
    from vtonlab.synthetic import SyntheticTryOn

    small_run(folder / "a", folder, iterations=1)
    checkpoint = read_checkpoint(folder / "a/iter_1.pth")
    checkpoint["meta"]["iter"] = 10_000
    save_checkpoint_file(checkpoint, folder / "iter_10000.pth")
    late = str(folder / "iter_10000.pth")
    start = time.perf_counter()
    original, checked = ResumableTrainLoop.run, []

    def run(loop):
        checked.append(len(calls))  # the first sample, which the check before training looks at
        return original(loop)

    with (
        counted(SyntheticTryOn, "__getitem__") as calls,
        mock.patch.object(ResumableTrainLoop, "run", run),
    ):
        runner, _ = small_run(folder / "b", folder, iterations=10_001, resume=late)
    again = len(calls) - checked[0] - runner.train_dataloader.batch_size
    seconds = time.perf_counter() - start
    return Measured(f"{again} ({seconds:.1f} s for resuming and the step)", again == 0)


def nan_stops_before_the_step(folder: Path) -> Measured:
    """A NaN in one sample: where it stops, and whether parameters are as before that step."""
    import torch
    from mmengine.hooks import Hook

    from vtonlab.engine import NonFiniteError, SafeRunner
    from vtonlab.engine.running.training import train
    from vtonlab.models import TryOnDiffusion

    seen: dict[int, dict] = {}

    class Remember(Hook):
        def before_train_iter(self, runner, batch_idx, data_batch=None) -> None:
            state = runner.bare_model.state_dict()
            seen[runner.iter + 1] = {name: value.clone() for name, value in state.items()}
            seen[0] = state  # the live tensors

    original, build = TryOnDiffusion._draw, SafeRunner.from_cfg
    poisoned = 7  # a sample of iteration 4

    def poison(self, positions, clean):
        noise, sigmas = original(self, positions, clean)
        noise[positions == poisoned] = float("nan")
        return noise, sigmas

    def build_with_memory(config):
        runner = build(config)
        runner.register_hook(Remember(), priority="VERY_LOW")
        return runner

    config = small_config(folder / "run", folder)
    with (
        mock.patch.object(TryOnDiffusion, "_draw", poison),
        mock.patch.object(SafeRunner, "from_cfg", build_with_memory),
    ):
        try:
            train(config)
        except NonFiniteError as error:
            message = str(error)
        else:
            return Measured("not found", False)
    live, before = seen.pop(0), seen[max(seen)]
    untouched = all(torch.equal(before[name], value) for name, value in live.items())
    where = f"iteration {max(seen)}"
    named = where in message and "samples" in message
    text = f"yes, at {where}" if untouched and named else f"parameters changed or: {message}"
    return Measured(text, untouched and named and max(seen) == poisoned // 2 + 1)


def overhead(folder: Path, iterations: int = 30) -> Measured:
    """Share of a training step of the demo config that guards and safe seeding take."""
    import numpy as np
    import torch

    from vtonlab.datasets import ResumableSampler
    from vtonlab.engine import hooks
    from vtonlab.engine.running import optimizers as optim
    from vtonlab.engine.running.loops import ResumableTrainLoop
    from vtonlab.engine.running.training import train
    from vtonlab.models import try_on_diffusion

    timed: dict[str, tuple[object, str]] = {
        "step seed": (hooks.CounterRNGHook, "before_train_iter"),
        "sample trace": (hooks.SampleTraceHook, "before_train_iter"),
        "loss parts": (hooks.SampleTraceHook, "_keep"),
        "signals": (hooks.SaveOnSignalHook, "after_train_iter"),
        "finite loss": (optim.FiniteOptimWrapper, "_agree_nonfinite"),
        "gradient norm": (optim.FiniteOptimWrapper, "_norm"),
        "noise seeds": (try_on_diffusion, "seed_from"),
        "sample generators": (np.random, "default_rng"),
    }
    config = small_config(folder / "run", folder, iterations=iterations)
    config.train_dataloader.batch_size = 4
    config.default_hooks.checkpoint.interval = -1
    config.train_dataloader.dataset.length = 8  # rendered in the first steps, then cached
    with ExitStack() as stack:
        spent = {
            name: stack.enter_context(counted(owner, attribute))
            for name, (owner, attribute) in timed.items()
        }
        steps = stack.enter_context(counted(ResumableTrainLoop, "run_iter"))
        loads = stack.enter_context(counted(ResumableTrainLoop, "_next"))
        train(config)
    samples = 4 * iterations
    order = _seconds_of(lambda: _draw(ResumableSampler(range(1000)), samples))
    generators = _seconds_of(
        lambda: [torch.Generator().manual_seed(number) for number in range(samples)]
    )
    # medians of the second half: the first steps render their samples
    step = float(np.median(steps[iterations // 2 :]) + np.median(loads[iterations // 2 :]))
    parts = {
        name: float(np.median(calls)) * len(calls) / iterations for name, calls in spent.items()
    }
    parts["sample order"] = order / iterations
    parts["noise generators"] = generators / iterations
    share = sum(parts.values()) / step
    largest = sorted(parts, key=parts.get, reverse=True)[:3]
    shown = ", ".join(f"{name} {1e3 * parts[name]:.2f} ms" for name in largest)
    return Measured(f"{share:.2%} of {1e3 * step:.0f} ms ({shown})", share <= 0.02)


def _draw(sampler, count: int) -> None:
    keys = iter(sampler)
    for _ in range(count):
        next(keys)


def _seconds_of(action: Callable[[], object]) -> float:
    start = time.process_time()
    action()
    return time.process_time() - start


def killed_three_times(folder: Path) -> Measured:
    """``kills.py`` on the demo's config, in a process of its own."""
    import json
    import subprocess
    import sys

    out = folder / "kills.json"
    command = [sys.executable, str(Path(__file__).with_name("kills.py")), str(CONFIG)]
    command += ["--folder", str(folder), "--out", str(out), "--options"]
    command += ["val_dataloader.dataset.length=4", "val_dataloader.batch_size=4"]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    if not out.is_file():
        raise RuntimeError(result.stderr[-1000:])
    wrong = {name: len(found) for name, found in json.loads(out.read_text()).items()}
    return Measured(", ".join(f"{k}: {v}" for k, v in wrong.items()), not any(wrong.values()))
