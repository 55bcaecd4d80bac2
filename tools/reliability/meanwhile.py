"""What happens to a run from outside: another run, a clock that goes back, a file that is replaced,
a processor of another kind.
"""

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from reliability.card import Measured
from reliability.compare import differing, state_of
from reliability.runs import ITERATIONS, small_config

ROOT = Path(__file__).parents[2]
OTHER = {  # what an old processor has, as `make test-portable` plays it
    "ATEN_CPU_CAPABILITY": "default",
    "ONEDNN_MAX_CPU_ISA": "SSE41",
    "MKL_CBWR": "COMPATIBLE",
}
TRACED = ("configs/coral/dit_synthetic.py", "configs/leffa/unet_synthetic.py")
DRIFT = 1e-6  # relative, of a float64 trace: tests/golden/record.py


@contextmanager
def held(folder: Path) -> Iterator[int]:
    """Another process has the lock of a folder; yields its id."""
    from vtonlab.utils.locking import WorkDirLock

    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        with WorkDirLock(folder):
            os.write(writer, b"x")
            threading.Event().wait(600)
        os._exit(0)
    os.read(reader, 1)
    try:
        yield pid
    finally:
        os.kill(pid, 9)
        os.waitpid(pid, 0)


def two_runs(folder: Path) -> Measured:
    """Of the jobs that fill a folder, how many refuse one that another process fills."""
    from vtonlab.apis.folder_job import try_on_folder
    from vtonlab.engine.running.training import train
    from vtonlab.evaluation.judge import Judge
    from vtonlab.utils.locking import WorkDirLock

    config = small_config(folder, folder, iterations=1)
    judge = Judge.__new__(Judge)  # whose constructor asks for pictures
    judge.path = folder / "judge_answers.jsonl"
    jobs = {
        "training": lambda: train(config),
        "a folder of pairs": lambda: try_on_folder(None, [], folder, settings={}),
        "judging": judge.run,
        "the lock of tests and stores": lambda: WorkDirLock(folder).__enter__(),
    }
    refused = []
    with held(folder) as pid:
        for name, job in jobs.items():
            try:
                job()
            except ValueError as error:
                if f"in use by process {pid}" in str(error):
                    refused.append(name)
    with WorkDirLock(folder):  # the lock of a killed process goes with it
        text = f"{len(refused)} of {len(jobs)} ({', '.join(refused)})"
    return Measured(text, len(refused) == len(jobs))


def clock_back(folder: Path) -> Measured:
    """The checkpoint that a run resumes from when the clock went back a day between two saves."""
    from reliability.writes import save_steps

    from vtonlab.engine.checkpoints.files import find_latest

    save_steps(folder, 1, 2)
    for step in (1, 2):
        path = folder / f"iter_{step}.pth"
        ahead = path.stat().st_mtime + 86400
        os.utime(path, (ahead + step, ahead + step))
    save_steps(folder, 3)
    found = find_latest(folder, lambda text: None)
    return Measured(f"{found.name}, the last saved of 3", found.name == "iter_3.pth")


def written_people(root: Path, count: int = 8) -> None:
    """A data set of files, as VITON-HD lies on disk."""
    from vtonlab.synthetic.writer import Settings, write_dataset
    from vtonlab.synthetic.writer_layouts import build_layout

    settings = Settings("vitonhd", count, (64, 48), split="train")
    write_dataset(build_layout(settings), settings, root)


def file_replaced(folder: Path) -> Measured:
    """Photographs are cut short in the middle of training; it stops by name, and once they are back
    ``--resume`` ends with the bits of an undisturbed run.
    """
    from mmengine.hooks import Hook

    from vtonlab.engine.checkpoints.files import read_checkpoint
    from vtonlab.engine.running.runner import build_runner
    from vtonlab.utils.locking import WorkDirLock

    written_people(folder / "data")
    photographs = {path: path.read_bytes() for path in (folder / "data/train/image").iterdir()}

    class Replace(Hook):
        def before_train_iter(self, runner, batch_idx, data_batch=None) -> None:
            if runner.iter == ITERATIONS - 3:
                for path, data in photographs.items():
                    path.write_bytes(data[: len(data) // 2])

    def run(name: str, *, replace: bool = False, resume: bool = False) -> dict:
        config = small_config(folder / name, folder)
        config.train_dataloader.dataset = dict(
            type="VITONHDDataset", data_root=str(folder / "data"), size=(64, 48)
        )
        config.model.attention_losses = None
        config.resume = resume
        with WorkDirLock(folder / name):
            runner = build_runner(config)
            if replace:
                runner.register_hook(Replace())
            runner.train()
        return read_checkpoint(folder / name / f"iter_{ITERATIONS}.pth")

    whole = run("whole")
    try:
        run("disturbed", replace=True)
        said = "nothing"
    except ValueError as error:
        said = str(error)
    named = any(str(path) in said for path in photographs) and "truncated" in said
    for path, data in photographs.items():
        path.write_bytes(data)
    wrong = differing(whole, run("disturbed", resume=True))
    text = f"stopped {'by name' if named else 'without a name'}; {len(wrong)} of "
    return Measured(f"{text}{len(state_of(whole))} differ after --resume", named and not wrong)


def disk_full(folder: Path) -> Measured:
    """The disk of the work directory is full from iteration 5 of 8 on; the run stops with a
    sentence, and once there is room ``--resume`` ends with the bits of an undisturbed run.
    """
    from mmengine.hooks import Hook
    from reliability.faults import fill, small_disk

    from vtonlab.engine.checkpoints.files import read_checkpoint
    from vtonlab.engine.cli import exit_code, sentence
    from vtonlab.engine.running.runner import build_runner

    fillers = []

    class Fill(Hook):
        def before_train_iter(self, runner, batch_idx, data_batch=None) -> None:
            if runner.iter == ITERATIONS - 3:
                fillers.append(fill(disk))

    def run(work: Path, *, full: bool = False, resume: bool = False) -> dict:
        config = small_config(work, folder)
        config.default_hooks.logger.interval = 1
        config.resume = resume
        runner = build_runner(config)
        if full:
            runner.register_hook(Fill())
        runner.train()
        return read_checkpoint(work / f"iter_{ITERATIONS}.pth")

    whole, disk, said = run(folder / "whole"), folder / "disk", "nothing"
    disk.mkdir()
    with small_disk(disk, "64m") as allowed:
        if not allowed:
            return Measured("no small disk can be mounted here", None)
        try:
            run(disk / "run", full=True)
        except Exception as error:
            said = f"exit {exit_code(error)}: {sentence(error)}"
        fillers[0].unlink()
        wrong = differing(whole, run(disk / "run", resume=True))
    told = said.startswith("exit 2") and str(disk) in said and "free some" in said
    text = f"{'a sentence' if told else said}; {len(wrong)} of {len(state_of(whole))} differ"
    return Measured(f"{text} after --resume", told and not wrong)


def trace_in(config: str, folder: Path, changes: dict[str, str]) -> dict:
    """A golden trace, and the instruction set it was computed with, in a process of its own."""
    name = f"{Path(config).parent.name}-{Path(config).stem}-{'-'.join(changes) or 'native'}"
    out = folder / f"{name}.json"
    code = (
        "import json, sys, torch; sys.path.insert(0, 'tests/golden'); import record\n"
        "trace = record.trace(sys.argv[1], sys.argv[2])\n"
        "kind = torch.backends.cpu.get_cpu_capability()\n"
        "json.dump({'trace': trace, 'kind': kind}, open(sys.argv[3], 'w'))\n"
    )
    env = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", **changes}
    command = [sys.executable, "-c", code, config, str(folder / name), str(out)]
    subprocess.run(command, cwd=ROOT, env=env, check=True, capture_output=True)
    return json.loads(out.read_text())


def other_processor(folder: Path) -> Measured:
    """Largest relative difference of ten-step float64 traces between this processor's instructions
    and an old one's, and from what is recorded.
    """
    largest, numbers, kinds = 0.0, 0, []
    for config in TRACED:
        native, other = (trace_in(config, folder, changes) for changes in ({}, OTHER))
        kinds = [native["kind"], other["kind"]]
        path = Path(config)
        recorded = ROOT / "tests/golden" / f"{path.parent.name}_{path.stem}.json"
        expected = json.loads(recorded.read_text())["trace"]
        for found in (native["trace"], other["trace"]):
            if found.keys() != expected.keys():
                raise RuntimeError(f"{config} logs other numbers than are recorded")
            for name, values in found.items():
                pairs = zip(values, expected[name], strict=True)
                drifts = [abs(a - b) / max(abs(a), 1e-3) for a, b in pairs]
                largest, numbers = max(largest, *drifts), numbers + len(drifts)
    text = f"{largest:.1e} over {numbers} numbers of {len(TRACED)} configs"
    return Measured(f"{text} ({' and '.join(kinds)})", largest <= DRIFT)
