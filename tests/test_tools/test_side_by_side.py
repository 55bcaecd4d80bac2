import os
import signal
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import pytest

from tools.benchmark.side_by_side import Program, side_by_side

ROOT = Path(__file__).parents[2]
STUBBORN = "import os,time,signal; signal.signal(15, signal.SIG_IGN); "
LEAVES_A_CHILD = "import subprocess as s; p = s.Popen(['sleep', '600']); print(p.pid, flush=True); "


def program(folder, name, code):
    return Program(name, [sys.executable, "-S", "-c", code], folder / f"{name}.txt")


def gone(pid):
    """Whether a process has ended (it may still wait to be reaped by init)."""
    deadline = time.time() + 20
    while time.time() < deadline:
        try:
            state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        except FileNotFoundError:
            return True
        if state == "Z":
            return True
        time.sleep(0.02)
    return False


def first_line(path):
    while not (path.is_file() and path.read_text().endswith("\n")):
        time.sleep(0.02)
    return int(path.read_text().split()[0])


def test_all_run_and_say_how_they_ended(tmp_path):
    asked = [program(tmp_path, str(n), f"print({n}); raise SystemExit({n})") for n in range(3)]
    assert dict(side_by_side(asked, 2)) == {"0": 0, "1": 1, "2": 2}
    assert (tmp_path / "2.txt").read_text() == "2\n"


def test_what_a_program_leaves_behind_is_killed(tmp_path):
    assert list(side_by_side([program(tmp_path, "a", LEAVES_A_CHILD)], 1)) == [("a", 0)]
    assert gone(first_line(tmp_path / "a.txt"))


def test_time_ends_all_and_what_waits_is_left_out(tmp_path):
    stays = program(tmp_path, "a", LEAVES_A_CHILD + STUBBORN + "time.sleep(600)")
    ended = dict(side_by_side([stays, program(tmp_path, "b", "")], 1, time.time() + 3, 0.2))
    assert ended == {"a": -signal.SIGKILL} and not (tmp_path / "b.txt").exists()
    assert gone(first_line(tmp_path / "a.txt"))


def test_a_loop_that_is_left_kills_all(tmp_path):
    asked = [program(tmp_path, "a", LEAVES_A_CHILD + STUBBORN + "time.sleep(600)")]
    asked.append(program(tmp_path, "b", "pass"))
    with closing(side_by_side(asked, 2)) as ended:
        next(ended)
        child = first_line(tmp_path / "a.txt")
    assert gone(child)


@pytest.mark.skipif(not hasattr(os, "killpg"), reason="no process groups here")
def test_a_caller_that_is_told_to_end_takes_all_along_and_frees_its_pipe(tmp_path):
    code = (
        "import sys; from pathlib import Path; from contextlib import closing\n"
        "from tools.benchmark.side_by_side import *\n"
        "leave_on_sigterm()\n"
        f"asked = [Program('a', [sys.executable, '-S', '-c', {LEAVES_A_CHILD + STUBBORN!r}\n"
        f"          'time.sleep(600)'], Path({str(tmp_path)!r}) / 'a.txt')]\n"
        "with closing(side_by_side(asked, 1)) as ended:\n"
        "    for name, status in ended: pass\n"
    )
    caller = subprocess.Popen(
        [sys.executable, "-c", code], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    child = first_line(tmp_path / "a.txt")
    caller.send_signal(signal.SIGTERM)
    caller.communicate(timeout=60)  # returns when nobody holds the pipe any more
    assert caller.returncode == 143 and gone(child)
