"""Plugins: found by entry point, and what fails inside them is said."""

import sys
from importlib.metadata import EntryPoint

import pytest

from vtonlab.utils import plugins


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(tmp_path))
    before = set(sys.modules)
    yield tmp_path
    for name in set(sys.modules) - before:
        if name.startswith("plugin_of_a_test"):
            del sys.modules[name]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("import nothing_of_this_name", r"plugin_of_a_test.py:2\): ModuleNotFoundError: No module"),
        ("1 / 0", r"plugin_of_a_test.py:2\): ZeroDivisionError: division by zero"),
        ("def broken(:", r"plugin_of_a_test.py:2\): SyntaxError"),
    ],
)
def test_what_fails_inside_is_said(folder, text, said):
    (folder / "plugin_of_a_test.py").write_text("x = 1\n" + text + "\n")
    begin = "custom_imports: module 'plugin_of_a_test' fails inside.*"
    with pytest.raises(ValueError, match=begin + said):
        plugins.import_plugins("plugin_of_a_test")
    with pytest.warns(UserWarning, match="fails inside"):
        plugins.import_plugins(["plugin_of_a_test"], forgive=True)


@pytest.mark.parametrize("name", ["plugin_of_a_test", "plugin_of_a_test.part"])
def test_a_missing_module_is_named(folder, name):
    with pytest.raises(ValueError, match=f"no module {name!r}: install it, or start from"):
        plugins.import_plugins([name])


def test_entry_points_are_imported_once(folder, monkeypatch):
    (folder / "plugin_of_a_test.py").write_text("import sys\nsys.plugin_of_a_test_ran = True\n")
    point = EntryPoint("mine", "plugin_of_a_test", plugins.GROUP)
    monkeypatch.setattr(plugins, "entry_points", lambda group: [point])
    monkeypatch.setattr(plugins, "_loaded", set())
    plugins.load_plugins()
    assert sys.__dict__.pop("plugin_of_a_test_ran")
    plugins.load_plugins()
    assert "plugin_of_a_test_ran" not in sys.__dict__


def test_a_failing_entry_point_is_named(folder, monkeypatch):
    (folder / "plugin_of_a_test.py").write_text("raise RuntimeError('no licence')\n")
    point = EntryPoint("mine", "plugin_of_a_test", plugins.GROUP)
    monkeypatch.setattr(plugins, "entry_points", lambda group: [point])
    monkeypatch.setattr(plugins, "_loaded", set())
    with pytest.raises(ValueError, match=r"installed plugin 'mine': .*RuntimeError: no licence"):
        plugins.load_plugins()
