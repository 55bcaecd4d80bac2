"""Commands of README and docs: each block of bash is run at small size, or says what it needs.

A block that nobody can run here stands below a comment ``<!-- needs: a data set -->``. All others
have their shrunk form in ``SMALL``; the slow test types them one after another, in a copy of the
repository, as a newcomer would.
"""

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import doc_pages
import pytest

ROOT = Path(__file__).parents[1]
SHARED = (
    "vtonlab/engine/cli.py",
    "vtonlab/evaluation/options.py",
    "tools/convert/zero_cross_attention.py",
)  # options of several tools
FEW = "train_cfg.max_iters=4 default_hooks.checkpoint.interval=4 train_dataloader.batch_size=2"
RUN = (ROOT / "README.md", ROOT / "docs/start/first_steps.md")
FEW_PEOPLE = "test_dataloader.dataset.length=4"
# Start of a command in README -> what is run for it; None: make's own tests and README's own.
SMALL = {
    "make install": None,
    "source .venv/bin/activate": None,
    "make test": None,
    "make demo": "python tools/demo.py --iterations 8",
    "python tools/train.py configs/coral/dit_synthetic.py --resume": f"{{}} --cfg-options {FEW}",
    "python tools/train.py configs/coral/dit_synthetic.py": f"{{}} --cfg-options {FEW}",
    "python tools/test.py configs/coral/dit_synthetic.py": f"{{}} --cfg-options {FEW_PEOPLE}",
    "torchrun --nproc-per-node 2 tools/train.py": f"{{}} --work-dir two --cfg-options {FEW}",
    "python tools/report.py": "{}",
}


def blocks(pages: Sequence[Path] = (ROOT / "README.md",)) -> list[tuple[str, list[str]]]:
    """(what a bash block needs, its commands without comments) in the order of the pages."""
    found = [block for page in pages for block in doc_pages.blocks(page)]
    return [(b.needs, doc_pages.commands(b.text)) for b in found if b.language == "bash"]


def small(command: str) -> str | None:
    """The shrunk form of a command."""
    start = next(start for start in SMALL if command.startswith(start))
    form = SMALL[start]
    return form and form.format(re.sub(r"iter_\d+\.pth", "iter_4.pth", command))


def test_every_block_is_run_or_says_what_it_needs():
    assert len(blocks()) > 5
    for needs, commands in blocks():
        if not needs:
            for command in commands:
                assert any(command.startswith(start) for start in SMALL), command


def test_every_command_names_a_tool_and_options_that_exist():
    targets = set(re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.M))
    for _, commands in blocks(doc_pages.PAGES):
        for command in commands:
            words = command.split()
            if words[0] == "make":
                assert words[1] in targets, command
            for tool in (w for w in words if w.startswith("tools/")):
                source = "".join((ROOT / name).read_text() for name in (tool, *SHARED))
                for option in (w.partition("=")[0] for w in words if w.startswith("--")):
                    known = f'"{option}"' in source or option == "--nproc-per-node"
                    assert known, f"{tool} has no option {option}"


@pytest.mark.slow
def test_the_commands_run_one_after_another(tmp_path):
    names = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True).stdout
    for name in names.splitlines():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        if (ROOT / name).exists():
            (tmp_path / name).symlink_to((ROOT / name).resolve())
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    env = os.environ | {"PATH": path, "PYTHONPATH": str(ROOT)}
    ran: set[str] = set()
    for needs, commands in blocks(RUN):
        for command in () if needs else map(small, commands):
            if command and command not in ran:  # both pages begin alike
                ran.add(command)
                done = subprocess.run(
                    shlex.split(command), cwd=tmp_path, env=env, capture_output=True, text=True
                )
                assert done.returncode == 0, (
                    f"{command}\n{done.stdout[-2000:]}{done.stderr[-2000:]}"
                )
