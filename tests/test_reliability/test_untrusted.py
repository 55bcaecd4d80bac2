"""Configs by strangers: ``--safe`` and ``print_config --static`` (R29)."""

import json
import sys
from pathlib import Path

import pytest

from vtonlab.engine.config.load import load_config
from vtonlab.engine.config.safe_mode import check_types
from vtonlab.engine.config.sources import static_text

ROOT = Path(__file__).parents[2]
SHIPPED = sorted(ROOT.glob("configs/*/*.py"))


@pytest.mark.parametrize("path", [p for p in SHIPPED if p.parent.name != "_base_"], ids=str)
def test_shipped_configs_are_safe(path):
    load_config(path, safe=True)


RUNS_CODE = {
    "import": "import os",
    "import from": "from os import system",
    "lazy import": "from torch.optim import AdamW\nx = AdamW",
    "call": "x = open('f')",
    "eval": "x = eval('1')",
    "builtin by name": "x = __builtins__",
    "private attribute": "x = ().__class__",
    "method": "x = '{0.__class__}'.format(1)",
    "call of a result": "x = [dict][0]()",
    "function": "def f():\n    return 1",
    "class": "class A:\n    pass",
    "lambda": "x = lambda: 1",
    "decorated call in a comprehension": "x = [print(i) for i in range(3)]",
    "walrus": "x = [(y := 1)]",
    "base by another door": "_base_ = ['./other.py']",
    "template": "x = '{{ fileBasename }}'",
    "assertion": "assert print('x')",
    "missing base": (
        "from mmengine.config import read_base\nwith read_base():\n    from .nowhere import *"
    ),
}


@pytest.mark.parametrize("name", RUNS_CODE)
def test_r29_files_that_could_run_code_are_refused_unread(name, tmp_path, monkeypatch):
    path = tmp_path / "strange.py"
    path.write_text(RUNS_CODE[name] + "\n")
    monkeypatch.setattr("mmengine.config.Config.fromfile", lambda *a, **k: pytest.fail("read"))
    with pytest.raises((ValueError, FileNotFoundError), match=r"--safe refuses|no config at"):
        load_config(path, safe=True)


def test_r29_base_files_obey_the_same_rules(tmp_path):
    (tmp_path / "base.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\n")
    (tmp_path / "main.py").write_text(
        "from mmengine.config import read_base\nwith read_base():\n    from .base import *\n"
    )
    with pytest.raises(ValueError, match=r"base\.py, line 1: it calls open"):
        load_config(tmp_path / "main.py", safe=True)
    assert "open(" in static_text(tmp_path / "main.py") and not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    ("config", "key"),
    [
        ({"model": {"type": "subprocess.check_output", "args": ["id"]}}, "model.type"),
        ({"custom_hooks": [{"type": "a.b"}]}, r"custom_hooks\.0\.type"),
        ({"optim_wrapper": {"constructor": "a.b"}}, "optim_wrapper.constructor"),
        ({"custom_imports": {"imports": ["os"]}}, "custom_imports"),
        ({"default_scope": "elsewhere"}, "default_scope"),
        ({"model": {"type": "A", "_scope_": "os"}}, "_scope_"),
        ({"model": {"type": ["A"]}}, "model.type"),
    ],
)
def test_r29_types_outside_the_registries_are_refused(config, key, tmp_path):
    path = tmp_path / "strange.json"
    path.write_text(json.dumps(config))
    with pytest.raises(ValueError, match=key):
        load_config(path, safe=True)


def test_r29_classes_in_place_of_names_are_refused():
    for value in (dict, sys, print):
        with pytest.raises(ValueError, match=r"no plain value|plain name"):
            check_types({"model": {"type": "TryOnDiffusion", "x": value}})


def test_other_formats_are_refused(tmp_path):
    (tmp_path / "a.yaml").write_text("model: !!python/object/apply:os.getcwd []\n")
    with pytest.raises(ValueError, match=r"\.py and \.json"):
        load_config(tmp_path / "a.yaml", safe=True)


def test_a_config_that_reads_itself_is_one_sentence(tmp_path):
    text = "from mmengine.config import read_base\nwith read_base():\n    from .{} import *\n"
    (tmp_path / "a.py").write_text(text.format("b"))
    (tmp_path / "b.py").write_text(text.format("a"))
    with pytest.raises(ValueError, match="reads itself"):
        static_text(tmp_path / "a.py")
