"""A studio in a process of its own: this repository's, or the command in ``VTONLAB_STUDIO``."""

import os
import re
import shlex
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).parents[2]


@contextmanager
def studio(folder: Path, *arguments: str, password: str | None = None) -> Iterator["Served"]:
    """Start one on a free port, from an empty folder, and stop it by Ctrl-C."""
    own = [sys.executable, str(ROOT / "tools/app.py")]
    command = shlex.split(os.environ.get("VTONLAB_STUDIO", "")) or own
    env = dict(os.environ, TMPDIR=str(folder / "tmp"), CUDA_VISIBLE_DEVICES="")
    env.pop("VTONLAB_STUDIO_PASSWORD", None)
    if password is not None:
        env["VTONLAB_STUDIO_PASSWORD"] = password
    if command is own:
        env["PYTHONPATH"] = str(ROOT)
    (folder / "tmp").mkdir()
    (folder / "cwd").mkdir()
    process = subprocess.Popen(
        [*command, "--port", "0", *arguments],
        cwd=folder / "cwd",
        env=env,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    served = Served(process, folder)
    try:
        served.wait()
        yield served
    finally:
        process.send_signal(2)
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


class Served:
    """Address, process and output of a studio."""

    def __init__(self, process: subprocess.Popen, folder: Path) -> None:
        self.process, self.folder = process, folder
        self.lines: list[str] = []
        self.address = ""
        self._ready = threading.Event()
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        for line in self.process.stdout:
            self.lines.append(line)
            found = re.search(r"The studio is at (\S+)", line)
            if found:
                self.address = found.group(1)
                self._ready.set()
        self._ready.set()

    def wait(self) -> None:
        assert self._ready.wait(180) and self.address, "".join(self.lines)[-3000:]

    @property
    def store(self) -> Path:
        """The one folder that its visitors' files lie in."""
        (found,) = (self.folder / "tmp").glob("vtonlab-studio-*")
        return found

    def memory(self) -> int:
        """Bytes at the highest so far (Linux)."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(re.search(r"VmHWM:\s+(\d+)", status).group(1)) * 1024
