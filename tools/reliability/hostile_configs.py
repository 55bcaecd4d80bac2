"""Configs by somebody hostile, one of each kind, and what `--safe` makes of them.

Each text may name ``CANARY``, a file that none may make, and ``PLANT``, a folder with a module and
a ``hubconf.py`` that would make it.
"""

import json
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from reliability.card import Measured

SECRET = "canary-secret-7f3a"
SLOW_S = 20.0  # of one refusal: what hangs is found, a loaded machine is not
BASE = "from mmengine.config import read_base\nwith read_base():\n    from .{} import *\n"

_PYTHON = {  # what the language offers
    "import": "import os\nos.mkdir('CANARY')",
    "from import": "from os import mkdir\nmkdir('CANARY')",
    "lazy import": "from torch.hub import load\nx = load('PLANT', 'f', source='local')",
    "dunder import": "x = __import__('os').mkdir('CANARY')",
    "open": "open('CANARY', 'w')",
    "eval": "x = eval(\"open('CANARY', 'w')\")",
    "exec in a comprehension": "x = [exec(\"open('CANARY','w')\") for i in range(1)]",
    "builtins": "x = __builtins__['open']('CANARY', 'w')",
    "subclasses": "x = ().__class__.__base__.__subclasses__()",
    "format": "x = '{0.__class__}'.format(1)",
    "call of a result": "x = [dict][0]()",
    "method of a class": "x = dict.fromkeys([1])",
    "function": "def f():\n    open('CANARY', 'w')\nf()",
    "decorator": "@open\nclass A:\n    pass",
    "class": "class A:\n    x = open('CANARY', 'w')",
    "lambda": "x = (lambda: open('CANARY', 'w'))()",
    "walrus": "x = [(y := open)]",
    "try": "try:\n    x = 1\nexcept Exception:\n    pass",
    "assert": "assert open('CANARY', 'w')",
    "match": "match 1:\n    case int():\n        open('CANARY', 'w')",
    "async": "async def f():\n    pass",
    "global": "def f():\n    global x\n    x = 1",
    "with open": "with open('CANARY', 'w'):\n    pass",
    "shadowed function": "dict = 1\nx = dict(a=1)",
    "private name": "__file__ = 'x'",
    "type alias by key": "model = dict(type='A')\nx = model.update.__self__",
    "base by the old door": "_base_ = ['./other.py']",
    "base of a package": BASE.replace(".{}", "os.path"),
    "base that is not there": BASE.format("nowhere"),
    "base that runs code": BASE.format("runs"),
    "base of itself": BASE.format("config"),
    "template": "x = '{{ fileBasename }}'",
    "environment": "work_dir = 'work_dirs/{{$VTONLAB_JUDGE_KEY:x}}'",
    "bytes": "x = b'\\x80\\x04.'",
    "no Python": "x = = 1",
    "null byte": "x = 1\0",
}
_WORK = {  # what never ends or fills the memory
    "tower of powers": "x = 9 ** 9 ** 9",
    "large power": "x = 10 ** 10 ** 6",
    "shift": "x = 1 << 10 ** 10",
    "long list": "x = [0] * 10 ** 10",
    "long text": "x = 'a' * 10 ** 10",
    "endless range": "x = [i for i in range(10 ** 12)]",
    "loops in loops": "x = [0 for a in range(9999) for b in range(9999) for c in range(9999)]",
    "doubling": "x = [1]\nfor i in range(64):\n    x += x",
    "doubling text": "x = 'ab'\nfor i in range(64):\n    x = x + x",
    "billion laughs": "x = [0]\nfor i in range(64):\n    x = [x, x]",
    "laughs in a dictionary": "x = dict(a=0)\nfor i in range(64):\n    x = dict(a=x, b=x)",
    "laughs compared": "x = y = [0]\nfor i in range(40):\n    x, y = [x, x], [y, y]\nz = x == y",
    "list in itself": "x = []\nx.append(x)",
    "dictionary in itself": "x = dict()\nx.update(a=x)",
    "growing while read": "x = [1]\nfor i in x:\n    x.append(i)\ny = [x] * 90000\nz = [y] * 90000",
    "wide format": "x = f'{1:>999999999}'",
    "percent format": "x = '%999999999d' % 1",
    "deep brackets": "x = " + "[" * 150 + "]" * 150,
    "deep signs": "x = " + "-" * 50_000 + "1",
    "long attribute": "x = a" + ".b" * 50_000,
    "long sum": "x = " + "+".join(["1"] * 100_000),
    "long number": "x = " + "9" * 50_000,
    "large file": "x = 1\n#" + "a" * 2_000_000,
}
_VALUES = {  # plain values that a run would resolve, read or write
    "function as model": {"model": {"type": "os.mkdir", "path": "CANARY"}},
    "plain module name": {"model": {"type": "planted_module"}},
    "module as hook": {"custom_hooks": [{"type": "planted_module"}]},
    "ema_type": {
        "custom_hooks": [
            {
                "type": "EMAHook",
                "ema_type": "torch.hub.load",
                "repo_or_dir": "PLANT",
                "source": "local",
            }
        ]
    },
    "ema_type module": {"custom_hooks": [{"type": "EMAHook", "ema_type": "planted_module"}]},
    "constructor": {"optim_wrapper": {"constructor": "os.mkdir", "optimizer": {"type": "SGD"}}},
    "constructor module": {"optim_wrapper": {"constructor": "planted_module", "a": {}}},
    "optimizer": {"optim_wrapper": {"optimizer": {"type": "torch.hub.load"}}},
    "scope": {"model": {"type": "TryOnDiffusion", "_scope_": "planted_module"}},
    "scoped name": {"model": {"type": "planted_module.Model"}},
    "default scope": {"default_scope": "planted_module"},
    "delete": {"model": {"_delete_": True, "type": "os.mkdir"}},
    "custom_imports": {"custom_imports": {"imports": ["planted_module"]}},
    "list as type": {"model": {"type": ["TryOnDiffusion"]}},
    "collate_fn": {"train_dataloader": {"collate_fn": {"type": "os.mkdir"}}},
    "collate_fn module": {"train_dataloader": {"collate_fn": {"type": "planted_module"}}},
    "worker_init_fn": {"train_dataloader": {"worker_init_fn": {"type": "os.system"}}},
    "sampler": {"train_dataloader": {"sampler": {"type": "os.system"}}},
    "data set": {"train_dataloader": {"dataset": {"type": "subprocess.Popen", "args": ["id"]}}},
    "loop": {"train_cfg": {"type": "os.mkdir", "path": "CANARY"}},
    "scheduler": {"param_scheduler": [{"type": "os.mkdir"}]},
    "evaluator": {"val_evaluator": {"type": "os.mkdir"}},
    "metric that pickles": {"test_evaluator": {"type": "DumpResults", "out_file_path": "x.pkl"}},
    "init_cfg": {"model": {"type": "ImgDataPreprocessor", "init_cfg": {"type": "os.mkdir"}}},
    "profiler": {"custom_hooks": [{"type": "ProfilerHook", "json_trace_path": "x"}]},
    "runner type": {"runner_type": "os.mkdir"},
    "visualizer": {"visualizer": {"type": "os.mkdir", "path": "CANARY"}},
    "visualizer file": {
        "visualizer": {
            "type": "Visualizer",
            "vis_backends": [{"type": "LocalVisBackend", "config_save_file": "../../../x.py"}],
        }
    },
    "backend of a service": {"vis_backends": [{"type": "WandbVisBackend"}]},
    "checkpoint folder": {
        "default_hooks": {"checkpoint": {"type": "CheckpointHook", "out_dir": "/tmp"}}
    },
    "checkpoint name": {
        "default_hooks": {"checkpoint": {"type": "CheckpointHook", "filename_tmpl": "../../{}.pth"}}
    },
    "checkpoint server": {
        "default_hooks": {
            "checkpoint": {"type": "CheckpointHook", "backend_args": {"backend": "http"}}
        }
    },
    "load_from address": {"load_from": "http://127.0.0.1:9/x.pth"},
    "load_from outside": {"load_from": "/etc/passwd"},
    "work_dir outside": {"work_dir": "/tmp/x"},
    "work_dir upwards": {"work_dir": "work_dirs/../../x"},
    "work_dir in the package": {"work_dir": "vtonlab"},
    "data_root outside": {"data_root": "~/.ssh"},
    "Windows path": {"data_root": "C:\\Windows"},
    "remote code": {"model": {"type": "TryOnDiffusion", "trust_remote_code": True}},
    "wrapper": {"model_wrapper_cfg": {"type": "os.mkdir"}},
    "wrapper of another framework": {"model_wrapper_cfg": {"type": "MMDeepSpeedEngineWrapper"}},
    "launcher import": {"env_cfg": {"dist_cfg": {"init_backend": "deepspeed"}}},
    "environment in JSON": {"work_dir": "work_dirs/{{$VTONLAB_JUDGE_KEY:x}}"},
    "class of diffusers": {"model": {"backbone": {"type": "DiffusionPipeline"}}},
    "function of diffusers": {"model": {"backbone": {"type": "load_image"}}},
    "reserved name": {"filename": "x"},
    "unknown key": {"executor": "x"},
}
_TEXTS = {  # JSON that is no config
    "deep JSON": "[" * 200_000,
    "deep object": '{"a":' * 200_000,
    "large JSON": '{"a": "' + "a" * 2_000_000 + '"}',
    "JSON list": "[1]",
    "no JSON": "{",
    "long number in JSON": '{"a": ' + "9" * 5000 + "}",
}


class Hostile(NamedTuple):
    """One config: what it tries, its file's name and its text."""

    kind: str
    file: str
    text: str


def hostile_configs(canary: Path, plant: Path) -> Iterator[Hostile]:
    """All of them, with the two names filled in."""
    for kind, text in {**_PYTHON, **_WORK}.items():
        yield Hostile(kind, "config.py", _filled(text, canary, plant) + "\n")
    for kind, values in _VALUES.items():
        yield Hostile(kind, "config.json", _filled(json.dumps(values), canary, plant))
        text = "".join(f"{key} = {value!r}\n" for key, value in values.items())
        yield Hostile(f"{kind} in Python", "config.py", _filled(text, canary, plant))
    for kind, text in _TEXTS.items():
        yield Hostile(kind, "config.json", text)
    yield Hostile("YAML object", "config.yaml", "model: !!python/object/apply:os.getcwd []\n")


def _filled(text: str, canary: Path, plant: Path) -> str:
    return text.replace("CANARY", str(canary)).replace("PLANT", str(plant))


def planted(folder: Path, canary: Path) -> Path:
    """A folder whose modules make the canary when they are imported."""
    plant = folder / "plant"
    plant.mkdir()
    code = f"open({str(canary)!r}, 'w').close()\n"
    (plant / "planted_module.py").write_text(code)
    (plant / "hubconf.py").write_text(f"{code}def f(*a, **k):\n    pass\n")
    return plant


def escape(hostile: Hostile, folder: Path, canary: Path) -> str | None:
    """How a config got through, or None where it was refused in one sentence."""
    from vtonlab.engine.config.load import load_config

    folder.mkdir(exist_ok=True)
    path = folder / hostile.file
    path.write_text(hostile.text, encoding="utf-8")
    (folder / "runs.py").write_text(f"open({str(canary)!r}, 'w')\n")
    start, problem = time.perf_counter(), None
    try:
        load_config(path, safe=True)
        problem = "accepted"
    except (ValueError, FileNotFoundError) as error:
        if SECRET in str(error):
            problem = "told the secret"
        elif len(str(error)) > 2000:
            problem = "no sentence"
    except BaseException as error:
        problem = f"{type(error).__name__}"
    if canary.exists():
        canary.unlink()
        problem = "ran"
    if time.perf_counter() - start > SLOW_S:
        problem = "hung"
    path.unlink()
    return problem


def tried(folder: Path) -> dict[str, str | None]:
    """Every hostile config: kind -> how it escaped, or None."""
    from vtonlab.engine.config import registered

    canary = folder / "canary"
    plant = planted(folder, canary)
    before = os.environ.get("VTONLAB_JUDGE_KEY")
    os.environ["VTONLAB_JUDGE_KEY"] = SECRET
    sys.path.insert(0, str(plant))
    try:
        return {
            h.kind: escape(h, folder / "configs", canary) for h in hostile_configs(canary, plant)
        }
    finally:
        registered.reopen()
        sys.path.remove(str(plant))
        sys.modules.pop("planted_module", None)
        if before is None:
            del os.environ["VTONLAB_JUDGE_KEY"]
        else:
            os.environ["VTONLAB_JUDGE_KEY"] = before


def hostile_configs_refused(folder: Path) -> Measured:
    """How many hostile configs `--safe` lets through."""
    found = tried(folder)
    escaped = [f"{kind}: {how}" for kind, how in found.items() if how]
    text = f"{len(escaped)} of {len(found)}" + (f" ({', '.join(escaped)})" if escaped else "")
    return Measured(text, not escaped)
