"""Kill a real training run again and again, resume it, and compare it with one left in peace.

Example:
    python tools/reliability/kills.py configs/coral/dit_synthetic.py --iterations 60

A run is killed three times by SIGKILL at random moments, one of them inside a save, with 0 and with
2 loader workers, and stopped once by SIGTERM; each time ``tools/train.py --resume`` continues.
Parameters, averages, optimiser state, schedules, every logged value and the exported file must
equal the undisturbed run's in every bit. Runs are forked from one process that has imported
everything and trains nothing itself.

Exit codes: 0 no bit differs, 1 some do, 2 bad input.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
import tools.environment  # noqa: F401

# isort: split
import argparse
import importlib.util
import json
import os
import random
import shutil
import signal
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(Path(__file__).parents[1]))

INTERVAL = 10


class RunEndedError(RuntimeError):
    """A run was faster than its killer."""


class Runs:
    """Forked runs of ``tools/train.py`` on one config, each in its own folder of ``folder``."""

    def __init__(self, config: str, folder: Path, options: list[str], seed: int) -> None:
        self.config, self.folder, self.options = config, folder, options
        self.random = random.Random(seed)
        self.seconds = 0.0  # of the undisturbed run
        self.events: dict[str, list[str]] = {}  # what was done to each run
        spec = importlib.util.spec_from_file_location("train_tool", ROOT / "tools/train.py")
        self.tool = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(self.tool)

    def start(self, name: str, workers: int) -> int:
        """Begin or resume; returns the process id."""
        sys.stdout.flush()
        pid = os.fork()
        if pid:
            return pid
        code = 70
        try:
            code = self._train(name, workers)
        finally:
            os._exit(code)

    def _train(self, name: str, workers: int) -> int:
        from vtonlab.engine.cli import run_tool

        log = os.open(self.folder / f"{name}.log", os.O_CREAT | os.O_WRONLY | os.O_APPEND)
        os.dup2(log, 1)
        os.dup2(log, 2)
        os.setpgid(0, 0)  # loader workers go with it
        sys.argv = ["train.py", self.config, "--work-dir", str(self.folder / name), "--resume"]
        sys.argv += ["--cfg-options", *self.options, f"train_dataloader.num_workers={workers}"]
        try:
            run_tool(self.tool.main)
        except SystemExit as stop:
            return int(stop.code or 0)
        except BaseException:
            import traceback

            traceback.print_exc()
            raise
        return 0

    def calm(self) -> None:
        """The undisturbed run."""
        seconds = self.folder / "calm.seconds"
        if not seconds.exists():
            start = time.monotonic()
            self.finish("calm", 0)
            seconds.write_text(str(time.monotonic() - start))
        self.seconds = float(seconds.read_text())

    def finish(self, name: str, workers: int) -> None:
        """Run to the end."""
        self._expect(name, self._wait(self.start(name, workers)), 0)

    def kill_inside_a_save(self, name: str, workers: int) -> None:
        """SIGKILL while a checkpoint is being written, at the first or second save from here."""
        folder = self.folder / name
        for _ in range(5):
            before, wanted = self._saves(folder), self.random.randint(0, 1)
            pid = self.start(name, workers)
            while self._running(pid):
                temporary = list(folder.glob(".iter_*.pth.tmp-*"))
                if temporary and len(self._saves(folder) - before) >= wanted:
                    self._kill(pid)
                    if any(path.exists() for path in temporary):
                        self._note(name, f"killed inside the save of {temporary[0].name}")
                        return
                    break
                time.sleep(0.0005)
            else:
                raise RunEndedError("the run ended before it was killed")
        raise RunEndedError("no kill fell inside a save in 5 attempts")

    def kill_somewhere(self, name: str, workers: int) -> None:
        """SIGKILL at a random moment."""
        pid = self.start(name, workers)
        self._pause(pid)
        if not self._running(pid):
            raise RunEndedError("the run ended before it was killed")
        self._kill(pid)
        self._note(name, f"killed after {len(self._saves(self.folder / name))} files were there")

    def terminate(self, name: str, workers: int) -> None:
        """SIGTERM at a random moment after training began; the run saves and exits with 143."""
        pid = self.start(name, workers)
        while self._running(pid) and not self._saves(self.folder / name):
            time.sleep(0.002)
        time.sleep(self.random.uniform(0.0, 0.1) * self.seconds)
        os.kill(pid, signal.SIGTERM)
        code = self._wait(pid)
        if code == 0:
            raise RunEndedError("the run ended before it was stopped")
        self._expect(name, code, 143)
        latest = max(self._saves(self.folder / name), key=lambda n: int(n[5:-4]))
        self._note(name, f"terminated, saved {latest}")

    def compare(self, name: str, last: int) -> list[str]:
        """What differs from the undisturbed run, and what is left behind."""
        from reliability.compare import differing, differing_logs, leaves, same

        from vtonlab.engine.checkpoints.files import find_latest, find_problem, read_checkpoint

        calm, other = self.folder / "calm", self.folder / name
        if find_latest(other) != other / f"iter_{last}.pth":
            return [f"{name} did not end with iter_{last}.pth"]
        a, b = (read_checkpoint(folder / f"iter_{last}.pth") for folder in (calm, other))
        wrong = differing(a, b) + [f"log: {line}" for line in differing_logs(calm, other)]
        a, b = (dict(leaves(read_checkpoint(d / "model.safetensors"))) for d in (calm, other))
        wrong += [
            f"export: {k}" for k in sorted(a.keys() | b.keys()) if not same(a.get(k), b.get(k))
        ]
        files = [*other.glob("*.pth"), other / "model.safetensors"]
        wrong += [f"{path.name}: {problem}" for path in files if (problem := find_problem(path))]
        return wrong + [f"left over: {path.name}" for path in other.glob(".*tmp*")]

    def _note(self, name: str, what: str) -> None:
        self.events.setdefault(name, []).append(what)

    def _pause(self, pid: int) -> None:
        end = time.monotonic() + self.random.uniform(0.1, 0.5) * self.seconds
        while time.monotonic() < end and self._running(pid):
            time.sleep(0.002)

    @staticmethod
    def _saves(folder: Path) -> set[str]:
        return {path.name for path in folder.glob("iter_*.pth")}

    @staticmethod
    def _running(pid: int) -> bool:
        try:
            return os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None
        except ChildProcessError:
            return False

    @staticmethod
    def _wait(pid: int) -> int:
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])

    @staticmethod
    def _kill(pid: int) -> None:
        try:
            os.killpg(pid, signal.SIGKILL)
        except ProcessLookupError:  # killed before it had a group of its own
            os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)

    def _expect(self, name: str, code: int, wanted: int) -> None:
        if code != wanted:
            tail = (self.folder / f"{name}.log").read_text()[-2000:]
            raise RuntimeError(f"run {name!r} ended with {code} instead of {wanted}:\n{tail}")


SCENARIOS = {
    "killed_0": "3 x SIGKILL, 0 workers",
    "killed_2": "3 x SIGKILL, 2 workers",
    "terminated": "SIGTERM, 2 workers",
}


def measure(
    config: str,
    folder: Path,
    *,
    iterations: int,
    options: list[str],
    seed: int,
    only: list[str] | None = None,
) -> dict:
    """Run everything; scenario -> names of what differs.

    An undisturbed run that ``folder`` already holds serves again.
    """
    import torch

    from vtonlab.engine.running import training  # noqa: F401  (imported once, before any fork)

    torch.set_num_threads(1)
    fixed = [f"train_cfg.max_iters={iterations}", f"default_hooks.checkpoint.interval={INTERVAL}"]
    fixed += ["default_hooks.logger.interval=1", "log_level=WARNING"]
    runs = Runs(config, folder, fixed + options, seed)
    runs.calm()
    results = {}
    for name in only if only is not None else SCENARIOS:
        workers = int(name != "killed_0") * 2
        disturb(runs, name, workers)
        runs.finish(name, workers)
        results[SCENARIOS[name]] = runs.compare(name, iterations)
        shown = runs.events[name]
        print(f"{name}: {', '.join(shown)}: {len(results[SCENARIOS[name]])} differ", flush=True)
    return results


def disturb(runs: Runs, name: str, workers: int) -> None:
    """Three kills in any order, or one SIGTERM; anew and sooner where the run was too fast."""
    kills = [runs.kill_inside_a_save, runs.kill_somewhere, runs.kill_somewhere]
    if name == "terminated":
        kills = [runs.terminate]
    runs.random.shuffle(kills)
    for attempt in range(5):
        try:
            for kill in kills:
                kill(name, workers)
            return
        except RunEndedError:
            if attempt == 4:
                raise
            shutil.rmtree(runs.folder / name)
            runs.events.pop(name, None)
            runs.seconds /= 2


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("config")
    parser.add_argument("--iterations", type=int, default=60)
    parser.add_argument("--seed", type=int, default=int(time.time()), help="of the kill times")
    parser.add_argument("--folder", help="keep the runs here; default a temporary folder")
    parser.add_argument("--out", help="write the result as JSON")
    parser.add_argument("--only", nargs="*", choices=list(SCENARIOS), help="default all")
    parser.add_argument("--options", nargs="*", default=[], help="as --cfg-options of train.py")
    args = parser.parse_args()
    print(f"seed of the kill times: {args.seed}", flush=True)
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(args.folder or scratch)  # kept, its undisturbed run serves again
        folder.mkdir(parents=True, exist_ok=True)
        results = measure(
            args.config,
            folder,
            iterations=args.iterations,
            options=args.options,
            seed=args.seed,
            only=args.only,
        )
    for name, wrong in results.items():
        print(f"{name}: {'no bit differs' if not wrong else f'{len(wrong)} differ: {wrong[:5]}'}")
    if args.out:
        Path(args.out).write_text(json.dumps(results, indent=1) + "\n")
    return int(any(results.values()))


if __name__ == "__main__":
    sys.exit(main())
