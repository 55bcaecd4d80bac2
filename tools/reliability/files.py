"""Checkpoint files: bit flips, cuts, memory of saving, kills inside a save."""

import os
import random
import signal
import time
from pathlib import Path

from reliability.card import Measured, forked, peak_bytes

KILLS = 20


def damage(folder: Path) -> Measured:
    """Of 20 flipped bits and 20 cuts in a checkpoint, how many are found."""
    import torch

    from vtonlab.engine.checkpoints.files import find_problem, save_checkpoint_file

    path = folder / "iter_1.pth"
    save_checkpoint_file({"state_dict": {"w": torch.randn(20_000)}, "meta": {"iter": 1}}, path)
    data = path.read_bytes()
    found = 0
    for place in range(20):
        at = place * (len(data) - 1) // 19
        flipped = bytearray(data)
        flipped[at] ^= 1 << place % 8
        for damaged in (bytes(flipped), data[:at]):
            path.write_bytes(damaged)
            found += find_problem(path) is not None
    path.write_bytes(data)
    sound = find_problem(path) is None
    return Measured(f"{found} of 40" + ("" if sound else ", and the whole file"), found == 40)


def save_memory(folder: Path) -> Measured:
    """Peak memory that a save adds, as a share of the file."""
    import torch

    from vtonlab.engine.checkpoints.files import save_checkpoint_file

    size = 200 * 2**20

    def save() -> float:
        checkpoint = {"state_dict": {str(i): torch.ones(size // 40) for i in range(10)}}
        return peak_bytes(lambda: save_checkpoint_file(checkpoint, folder / "iter_1.pth")) / size

    share = forked(save)
    return Measured(f"{share:.1%} of a {size >> 20} MiB file", share < 0.05)


def kills_while_saving(folder: Path, kills: int = KILLS, seed: int | None = None) -> Measured:
    """SIGKILL at random moments while a run saves 20 MB again and again, two files kept."""
    from vtonlab.engine.checkpoints.files import find_latest, read_checkpoint, sweep

    seed = int(time.time()) if seed is None else seed
    moments = random.Random(seed)
    unusable = torn = inside = 0
    for number in range(kills):
        work = folder / str(number)
        work.mkdir()
        pid = _start_saving(work)
        while len(list(work.glob("iter_*.pth"))) < 2:
            time.sleep(0.001)
        time.sleep(moments.uniform(0.0, 0.25))
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        inside += bool(list(work.glob(".*.tmp-*")))
        visible = list(work.glob("iter_*.pth"))
        torn += sum(not _loads(path) for path in visible)
        latest = find_latest(work, lambda text: None)
        unusable += latest is None or not read_checkpoint(latest)
        sweep(work)
        torn += bool(list(work.glob(".*.tmp-*")))
    text = f"{unusable} unusable, {torn} torn of {kills} ({inside} inside a write; seed {seed})"
    return Measured(text, unusable == torn == 0 and keep_one_is_refused())


def _loads(path: Path) -> bool:
    from vtonlab.engine.checkpoints.files import find_problem

    return find_problem(path) is None


def keep_one_is_refused() -> bool:
    """Whether a run may not be set to keep a single checkpoint."""
    from vtonlab.engine.hooks import SafeCheckpointHook

    try:
        SafeCheckpointHook(max_keep_ckpts=1)
    except ValueError:
        return True
    return False


class _Saver:
    """As much of a runner as the checkpoint hook needs to save."""

    def __init__(self, work_dir: Path) -> None:
        import torch
        from mmengine.logging import MessageHub

        self.work_dir = str(work_dir)
        self.message_hub = MessageHub.get_instance(f"saver-{work_dir}")
        self.weights = {str(i): torch.randn(500_000) for i in range(10)}

    def save_checkpoint(self, out_dir: str, name: str, meta: dict) -> None:
        from vtonlab.engine.checkpoints.files import save_checkpoint_file

        save_checkpoint_file({"state_dict": self.weights, "meta": meta}, Path(out_dir) / name)


def _start_saving(work: Path) -> int:
    """Fork a process that saves through the real hook until it is killed."""
    from vtonlab.engine.hooks import SafeCheckpointHook

    pid = os.fork()
    if pid:
        return pid
    try:
        saver, hook = _Saver(work), SafeCheckpointHook(interval=1)
        hook.out_dir = str(work)
        for step in range(1, 10_000):
            hook._save_checkpoint_with_step(saver, step, meta=dict(iter=step))
    finally:
        os._exit(1)
