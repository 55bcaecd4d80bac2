"""Reading a config file with its bases, ours among them, from another folder or package.

mmengine reads ``with read_base(): from vtonlab.configs.coral.dit_synthetic import *`` once it finds
the package, and ``_base_`` only over files of the older dialect. Here ``_base_ =
["vtonlab::coral/dit_synthetic"]`` works over both dialects.
"""

import ast
import importlib.util
import re
import tempfile
from pathlib import Path

import mmengine.config.config as upstream
from mmengine.config import Config

from vtonlab.engine.config.names import find_config
from vtonlab.engine.config.sources import base_files, is_base


def installed_path(package: str) -> str:
    """Folder of an importable package. mmengine asks ``pkg_resources``, which new environments
    lack and which does not know a package on ``PYTHONPATH``.

    Raises:
        ModuleNotFoundError: there is none.
    """
    spec = importlib.util.find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise ModuleNotFoundError(f"no package {package!r} to read a base config from")
    return str(next(iter(spec.submodule_search_locations)))


upstream.get_installed_path = installed_path  # listed in vtonlab.engine.running.upstream


def _check_circle(path: Path, above: tuple[Path, ...] = ()) -> None:
    if path.absolute() in above:
        raise ValueError(f"config {path} reads itself through its base files")
    for base in base_files(path):
        _check_circle(base, (*above, path.absolute()))


def read(path: Path, *, import_custom_modules: bool) -> Config:
    """A config with everything that it inherits, as mmengine reads it.

    Raises:
        FileNotFoundError: a base is missing.
        ValueError: bases read each other in a circle.
    """
    _check_circle(path)
    _refuse_environment(path)
    return _read(path, import_custom_modules)


def _refuse_environment(path: Path) -> None:
    """mmengine would put a variable's value into the config, every checkpoint and the log."""
    if path.suffix == ".py" and Config._is_lazy_import(str(path)):
        return
    found = re.search(r"\{\{\s*\$\s*(\w+)", path.read_text(encoding="utf-8"))
    if found:
        raise ValueError(
            f"config {path} reads the environment variable {found[1]!r}, whose value would stand "
            "in every checkpoint and log: set the key with --cfg-options instead"
        )
    for base in Config._get_base_files(str(path)):
        file = find_config(base) if base.startswith("vtonlab::") else path.parent / base
        if file.is_file():
            _refuse_environment(file)


def _read(path: Path, custom: bool) -> Config:
    bases = base_files(path)
    if not any(_is_lazy(base) for base in bases):
        return Config.fromfile(str(path), import_custom_modules=custom)
    merged: dict = {}
    for base in bases:
        inherited = _read(base, custom)
        merged = Config._merge_a_into_b(inherited._cfg_dict.to_dict(), merged)
    own = _without_bases(path, custom)._cfg_dict.to_dict()
    text = path.read_text(encoding="utf-8")
    return Config(Config._merge_a_into_b(own, merged), cfg_text=text, filename=str(path))


def _is_lazy(path: Path) -> bool:
    """Whether a base, or one of its own bases, is written in the ``read_base`` dialect."""
    if path.suffix != ".py":
        return False
    return Config._is_lazy_import(str(path)) or any(_is_lazy(base) for base in base_files(path))


def _without_bases(path: Path, custom: bool) -> Config:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    tree.body = [node for node in tree.body if not is_base(node)]
    with tempfile.TemporaryDirectory() as folder:
        bare = Path(folder) / path.name
        bare.write_text(ast.unparse(tree) + "\n", encoding="utf-8")
        return Config.fromfile(str(bare), import_custom_modules=custom)
