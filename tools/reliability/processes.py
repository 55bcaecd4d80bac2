"""Two processes on one machine, by gloo: one dies; a metric is shared."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
import tools.environment  # noqa: F401

# isort: split
import os
import subprocess
import time
from pathlib import Path

from reliability.card import Measured
from reliability.runs import small_config, small_run

TIMEOUT_S = 240
IMAGES = 7  # odd: one rank is given a surplus picture


def torchrun(mode: str, folder: Path) -> subprocess.CompletedProcess:
    """This file, twice, as ``torchrun`` starts it."""
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    command += ["--nproc-per-node", "2", __file__, mode, str(folder)]
    root = Path(__file__).parents[2]
    paths = [str(root), str(root / "tools"), os.environ.get("PYTHONPATH", "")]
    env = dict(
        os.environ,
        PYTHONPATH=os.pathsep.join(paths),
        CUDA_VISIBLE_DEVICES="",
        OMP_NUM_THREADS="1",
    )
    return subprocess.run(
        command, env=env, capture_output=True, text=True, timeout=TIMEOUT_S, check=False
    )


def rank_dies(folder: Path) -> Measured:
    """Seconds from the moment that one of two ranks fails in training to the end of both."""
    result = torchrun("die", folder)
    ended = time.time()
    died = folder / "died"
    if not died.exists():
        raise RuntimeError(f"no rank died as it should have: {result.stderr[-2000:]}")
    seconds = ended - float(died.read_text())
    return Measured(f"{seconds:.1f}", result.returncode != 0 and seconds < 15)


def metric_of_two(folder: Path) -> Measured:
    """Largest difference of a test's metrics between one process and two."""
    import json

    small_run(folder / "run", folder, iterations=1)
    single = _test(folder, folder / "one", "none")
    result = torchrun("metric", folder)
    if result.returncode:
        raise RuntimeError(f"the test on two processes failed: {result.stderr[-2000:]}")
    double = json.loads((folder / "two/results.json").read_text())["metrics"]
    if single.keys() != double.keys():
        return Measured(f"other metrics: {sorted(single.keys() ^ double.keys())}", False)
    numbers = [k for k, v in single.items() if isinstance(v, (int, float))]
    worst = max(abs(single[key] - double[key]) for key in numbers)
    text = f"{worst:.1e} over {len(numbers)} numbers of {IMAGES} pictures"
    return Measured(text, worst <= 1e-6)


def _test(folder: Path, out: Path, launcher: str) -> dict:
    from vtonlab.engine.config.load import finalize
    from vtonlab.engine.testing.run import test

    config = small_config(out, folder)
    config.test_dataloader.update(batch_size=2)
    config.test_dataloader.dataset.update(length=IMAGES, cache_dir=str(folder / "people"))
    config.model.sampler.num_steps = 1
    finalize(config, work_dir=str(out), launcher=launcher)
    return test(config, str(folder / "run/model.safetensors"), out)["metrics"]


def _train_until_one_dies(folder: Path) -> None:
    from mmengine.hooks import Hook

    from vtonlab.engine.config.load import finalize
    from vtonlab.engine.running.runner import build_runner

    class Die(Hook):
        def before_train_iter(self, runner, batch_idx, data_batch=None) -> None:
            if runner.iter == 2 and runner.rank == 1:
                (folder / "died").write_text(str(time.time()))
                raise RuntimeError("this rank dies here")

    config = small_config(folder / f"run_{os.environ['RANK']}", folder)
    finalize(config, work_dir=config.work_dir, launcher="pytorch")
    runner = build_runner(config)
    runner.register_hook(Die())
    runner.train()


if __name__ == "__main__":
    {
        "die": lambda where: _train_until_one_dies(where),
        "metric": lambda where: _test(where, where / "two", "pytorch"),
    }[sys.argv[1]](Path(sys.argv[2]))
