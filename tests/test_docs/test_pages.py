"""Every block of code on every page is run, or says what it needs; pages name what exists."""

import re
import sys
from pathlib import Path

import pytest
from doc_pages import PAGES, ROOT, blocks, commands

from vtonlab import registry
from vtonlab.engine.config.early import check_early
from vtonlab.engine.config.names import shipped

RUN = [p for p in PAGES if any(b.language == "python" and not b.needs for b in blocks(p))]
INCLUDED = re.compile(r"^<!-- include: (\S+) -->$", re.M)
KINDS = "Loss|Conditioner|Matcher|Sampler|Schedule|Dataset|Hook|Codec|EMA|Prompt|Preprocessor"
KEYS = re.compile(
    r"`((?:model|optim_wrapper|train_cfg|train_dataloader|test_dataloader|randomness)\.[\w.]+)"
)


def name(page: Path) -> str:
    return str(page.relative_to(ROOT))


@pytest.mark.parametrize("page", RUN, ids=name)
def test_python_blocks_run_one_after_another(page, tmp_path, monkeypatch, capsys):
    monkeypatch.syspath_prepend(str(ROOT))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    space = {"__name__": "a page"}
    for block in blocks(page):
        if block.language != "python" or block.needs:
            continue
        code = block.text
        if "read_base" in code:  # a config: it is read, not run
            (tmp_path / "mine.py").write_text(code)
            check_early(tmp_path / "mine.py")
            from vtonlab.engine import load_config

            load_config(tmp_path / "mine.py")
            continue
        exec(compile(code, name(page), "exec"), space)


def test_every_block_is_run_or_says_what_it_needs():
    """Bash is typed by tests/test_readme.py, where it stands in its table."""
    from test_readme import SMALL

    wrong = []
    for page in PAGES:
        for block in blocks(page):
            if block.needs or block.language not in ("bash", "shell", "sh", "console"):
                continue
            for command in commands(block.text):
                if not any(command.startswith(start) for start in SMALL):
                    wrong.append(f"{name(page)}: {command}")
    assert not wrong, "\n".join(wrong)


def test_included_files_exist():
    found = 0
    for page in PAGES:
        for path in INCLUDED.findall(page.read_text()):
            assert (ROOT / path).is_file(), f"{name(page)}: {path}"
            found += 1
    assert found > 6


def test_files_that_pages_name_exist():
    wrong = []
    pattern = re.compile(r"`((?:tools|vtonlab|projects|docs|tests)/[\w/.-]+\.(?:py|md|json|csv))`")
    for page in PAGES:
        if page.name in ("CHANGELOG.md", "METHODS.md"):
            continue
        for path in pattern.findall(page.read_text(encoding="utf-8")):
            if not (ROOT / path).exists() and path != "docs/benchmark.md":
                wrong.append(f"{name(page)}: {path}")
    assert not wrong, "\n".join(wrong)


def test_classes_that_pages_name_are_registered():
    known = {"PromptSource"}
    for each in vars(registry).values():
        if isinstance(each, registry.Registry):
            known |= set(registry.names(each))
    wrong = []
    for page in (ROOT / "docs").glob("*/*.md"):
        for path in INCLUDED.findall(page.read_text()):
            known |= set(re.findall(r"^class (\w+)", (ROOT / path).read_text(), re.M))
    for page in (ROOT / "docs").glob("*/*.md"):
        text = page.read_text(encoding="utf-8")
        for found in re.findall(rf"`(\w*[a-z](?:{KINDS}))[`(]", text):
            if found not in known and not hasattr(__import__("diffusers"), found):
                wrong.append(f"{name(page)}: {found}")
    allowed = {"VitonHDDataset"}  # of IDM-VTON
    assert not [w for w in wrong if w.rpartition(" ")[2] not in allowed], wrong


def test_keys_that_pages_name_are_taken_by_some_config():
    wrong = []
    for page in (ROOT / "docs/coming_from").glob("*.md"):
        for key in KEYS.findall(page.read_text(encoding="utf-8")):
            if not any(_takes(config, key) for config in CONFIGS):
                wrong.append(f"{name(page)}: {key}")
    assert not wrong, "\n".join(wrong)


CONFIGS = [n for n in shipped() if n.rpartition("/")[2] in (
    "unet_vitonhd", "dit_vitonhd", "dit_synthetic", "dit_vitonhd_24gb")]  # fmt: skip


def _takes(config: str, key: str) -> bool:
    try:
        check_early(config, {key: 1}, whole=False)
    except ValueError:
        return False
    return True
