"""Short loss traces of all ``*_synthetic`` configs, at one thread: refactorings keep them.

Example:
    python tests/golden/record.py                              # those without a trace yet
    python tests/golden/record.py configs/coral/dit_synthetic.py    # a change meant to change it
    python tests/golden/record.py --check                      # exit code 1 where one differs

A new config is found by itself. Writes ``tests/golden/<method>_<config>.json``. The pictures are
noise, the same on every machine: the trace guards model, losses, noise, sampler order, optimiser
and loop. Rendering has its own tests.

A few float32 steps amplify the last bit, which differs between instruction sets, to 1e-3. So
everything runs in float64 here: what processors disagree about is then 1e-16 at the start and stays
far below ``TOLERANCE``. ``make test-portable`` shows it, playing other processors.
"""

import argparse
import importlib.util
import json
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from unittest.mock import patch

import torch
from torch.utils.data import Dataset

from vtonlab.registry import DATASETS

ROOT = Path(__file__).parents[2]
CONFIGS = tuple(
    sorted(path.relative_to(ROOT).as_posix() for path in ROOT.glob("configs/*/*_synthetic.py"))
)
STEPS = 3  # by the third, the optimiser's moments have moved twice
BATCH, SAMPLES, TOLERANCE = 2, 20, 1e-6
NOT_LOSSES = ("time", "data_time", "memory", "lr", "base_lr", "momentum", "grad_norm")
# Hooks that look on while a model trains, or save it: they have tests of their own.
WATCHING = ("dead_losses", "supervision")
DRAWING = ("SampleGridHook", "MemoryReportHook")
PACKAGES = ("torch", "diffusers", "mmengine", "numpy")


@DATASETS.register_module(force=True)
class NoiseSamples(Dataset):
    """Noise pictures with random matches, as the models' tests use them."""

    def __init__(self, *, length: int, size: tuple[int, int], data_root: str | None = None) -> None:
        source = ROOT / "tests/test_models/conftest.py"
        spec = importlib.util.spec_from_file_location("golden_samples", source)
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        self.sample, self.length, self.size = module.sample, length, size

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, key: tuple[int, int]) -> dict:
        index, position = map(int, key)
        return {**self.sample(index, True, *self.size), "position": position}


@contextmanager
def double_precision() -> Iterator[None]:
    """float64 wherever float32 is the default or asked for by ``.float()``; one thread."""
    threads, dtype = torch.get_num_threads(), torch.get_default_dtype()
    torch.set_num_threads(1)
    torch.set_default_dtype(torch.float64)
    try:
        with patch.object(torch.Tensor, "float", torch.Tensor.double):
            yield
    finally:
        torch.set_num_threads(threads)
        torch.set_default_dtype(dtype)


def trace(config_path: str, work_dir: str | Path) -> dict[str, list[float]]:
    """Every number the model logs, step by step, in a run of the real training loop.

    Data, batch size and length are the trace's own; all else is the config's.
    """
    from vtonlab.engine.config.load import finalize, load_config
    from vtonlab.engine.running.training import train

    config = load_config(ROOT / config_path)
    config.train_cfg.max_iters = STEPS
    config.train_dataloader.batch_size = BATCH
    config.train_dataloader["dataset"] = dict(
        type="NoiseSamples", length=SAMPLES, size=tuple(config.model["size"])
    )
    config.pop("load_parts", None)  # weights of an earlier stage
    config.val_dataloader = config.val_evaluator = config.val_cfg = None
    config.visualizer.vis_backends = [dict(type="LocalVisBackend")]
    config.log_level = "ERROR"
    config.default_hooks.update(checkpoint=None)
    for name in WATCHING:
        del config.default_hooks[name]
    config.custom_hooks = [h for h in config.custom_hooks if h["type"] not in DRAWING]
    with double_precision():
        runner = train(finalize(config, work_dir=str(work_dir), seed=0))
    return {
        name.removeprefix("train/"): [float(f"{v:.10g}") for v in scalar.data[0]]
        for name, scalar in sorted(runner.message_hub.log_scalars.items())
        if name.startswith("train/") and name.split("/")[1].split(".")[-1] not in NOT_LOSSES
    }


def path_of(config_path: str) -> Path:
    """Where the trace of a config is kept."""
    path = Path(config_path)
    return Path(__file__).with_name(f"{path.parent.name}_{path.stem}.json")


def differences(expected: dict, found: dict) -> list[str]:
    """One line for each series that differs by more than ``TOLERANCE``, with its first step."""
    lines = [f"{name}: only in one trace" for name in sorted(set(expected) ^ set(found))]
    for name in sorted(set(expected) & set(found)):
        pairs = enumerate(zip(expected[name], found[name], strict=True), 1)
        wrong = [p for p in pairs if abs(p[1][0] - p[1][1]) > TOLERANCE * max(abs(p[1][0]), 1e-3)]
        if wrong:
            step, (before, now) = wrong[0]
            lines.append(f"{name}: {now:.7g} at step {step}, recorded {before:.7g}")
    return lines


def as_text(config_path: str, made_with: dict, losses: dict) -> str:
    """JSON with one series a line, so that a change reads well in a diff."""
    rows = ",\n".join(f"  {json.dumps(k)}: {json.dumps(v)}" for k, v in losses.items())
    head = f'"config": {json.dumps(config_path)},\n "made_with": {json.dumps(made_with)}'
    return f'{{{head},\n "trace": {{\n{rows}\n }}\n}}\n'


def main() -> int:
    from importlib.metadata import version

    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("configs", nargs="*", help="default: those without a trace; --check: all")
    parser.add_argument("--check", action="store_true", help="compare, write nothing")
    args = parser.parse_args()
    chosen = args.configs or [c for c in CONFIGS if args.check or not path_of(c).exists()]
    different = 0
    for config in chosen:
        with tempfile.TemporaryDirectory() as folder:
            losses = trace(config, folder)
        if args.check:
            lines = differences(json.loads(path_of(config).read_text())["trace"], losses)
            print(f"{config}: {'; '.join(lines) or 'as recorded'}")
            different += bool(lines)
            continue
        made_with = {name: version(name) for name in PACKAGES}
        path_of(config).write_text(as_text(config, made_with, losses))
        print(f"written to {path_of(config)}")
    return int(different > 0)


if __name__ == "__main__":
    sys.exit(main())
