"""``--safe`` against somebody hostile: a corpus of configs; a run whose every look-up is seen."""

from pathlib import Path

import pytest
import toy
from mmengine.registry import Registry
from reliability import hostile_configs

from vtonlab.engine import finalize, load_config, train
from vtonlab.engine.config import registered
from vtonlab.engine.config.evaluate import Budget, evaluate_file
from vtonlab.engine.config.inherit import read
from vtonlab.engine.config.safe_mode import read_safely

ROOT = Path(__file__).parents[2]
SHIPPED = sorted(p for p in ROOT.glob("configs/*/*.py") if not p.parent.name.startswith("_"))


def test_every_hostile_config_is_refused_and_nothing_runs(tmp_path):
    found = hostile_configs.tried(tmp_path)
    assert len(found) >= 60
    assert not {kind: how for kind, how in found.items() if how}


def test_safe_reading_gives_what_mmengine_gives():
    for path in SHIPPED:
        theirs = read(path, import_custom_modules=False)._cfg_dict.to_dict()
        theirs.pop("read_base", None)
        assert read_safely(path)._cfg_dict.to_dict() == theirs, path


def test_a_safe_run_resolves_registered_names_only(toy_config_file, tmp_path, monkeypatch):
    """Every `get` and `build` of a run is seen: plain names, found in a registry."""
    config = load_config(toy_config_file, {"train_cfg.max_iters": 2}, safe=True)
    asked: list[tuple[Registry, str, object]] = []
    built: list[object] = []
    get, build = Registry.get, Registry.build

    def seen(self, key):
        found = get(self, key)
        asked.append((self, key, found))
        return found

    def made(self, cfg, *args, **kwargs):
        built.append(cfg.get("type"))
        return build(self, cfg, *args, **kwargs)

    monkeypatch.setattr(Registry, "get", seen)
    monkeypatch.setattr(Registry, "build", made)
    config.log_level = "ERROR"
    train(finalize(config, work_dir=str(tmp_path / "work")))
    assert len(asked) > 20 and len(built) > 10 and registered.is_closed()
    for registry, key, found in asked:
        known = [registry, *([registry.parent] if registry.parent else [])]
        assert key.isidentifier()
        assert found is None or any(found in r.module_dict.values() for r in known), key
    assert toy.ToyModel in [found for _, _, found in asked]


@pytest.mark.parametrize("name", ["os.mkdir", "torch.hub.load", "mmengine.model.BaseModel", 3])
def test_closed_registries_refuse_dotted_names_everywhere(name):
    from mmengine import registry as mm

    from vtonlab import registry as ours

    registered.close()
    every = [r for module in (mm, ours) for r in vars(module).values() if isinstance(r, Registry)]
    assert len(every) > 30
    for registry in every:
        with pytest.raises(ValueError, match="--safe refuses"):
            registry.get(name)
        with pytest.raises(ValueError, match="--safe refuses"):
            registry.build(dict(type=str(name)))
        assert registry.get("this") is None  # the name of a module, which is not imported


def test_a_scope_imports_no_package():
    from vtonlab.registry import MODELS

    registered.close()
    with pytest.raises(ValueError, match="_scope_"):
        MODELS.build(dict(type="ToyModel", _scope_="antigravity"))


def test_what_the_command_line_says_is_the_users_word(toy_config_file, tmp_path):
    where = str(tmp_path / "data")
    config = load_config(toy_config_file, {"load_from": where}, safe=True)
    assert config.load_from == where


ARITHMETIC = """
a = [i * 2 for i in range(3) if i != 1]
b = {f"k{i}": v for i, v in enumerate(("x", "y"))}
c = 2**10 // 3 - 1 << 2
d = dict(**b, z=[*a, 1.5][-1]) | dict(q=not 1 < 2 <= 2)
e, (f, *_) = 1, (2,)
"""


def test_arithmetic_is_pythons(tmp_path):
    text = ARITHMETIC.replace("e, (f, *_) = 1, (2,)\n", "e, (f, g) = 1, (2, 3)\nd['n'] = len(a)\n")
    text += "del b['k0']\nfor i in a:\n    e += i\nif e > 3:\n    g = max(a) if a else None\n"
    path = tmp_path / "sums.py"
    path.write_text(text)
    expected: dict = {}
    exec(text, expected)
    expected.pop("__builtins__")
    assert evaluate_file(path, Budget()) == expected


@pytest.mark.parametrize("suffix", [".json", ".yaml", ".py"])
def test_the_environment_is_never_read_into_a_config(tmp_path, monkeypatch, suffix):
    monkeypatch.setenv("VTONLAB_JUDGE_KEY", "secret-value")
    text = {".json": '{"work_dir": "%s"}', ".yaml": 'work_dir: "%s"', ".py": 'work_dir = "%s"'}
    path = tmp_path / f"a{suffix}"
    path.write_text(text[suffix] % "wd-{{$VTONLAB_JUDGE_KEY:x}}")
    for safe in (False, True):
        with pytest.raises(ValueError, match=r"VTONLAB_JUDGE_KEY|--safe") as told:
            load_config(path, safe=safe)
        assert "secret-value" not in str(told.value)
