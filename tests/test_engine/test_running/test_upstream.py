"""What the engine depends on in mmengine; an upgrade that changes it fails here, by name."""

import importlib
import inspect
from functools import reduce

import pytest
from mmengine.runner import CheckpointLoader, Runner

import vtonlab.engine.checkpoints.files  # noqa: F401  (registers the loaders)
from vtonlab.engine.running.upstream import OVERRIDES


def find(path: str):
    """``package.module:Class.method`` as the function itself."""
    module, _, name = path.partition(":")
    return reduce(getattr, name.split("."), importlib.import_module(module))


@pytest.mark.parametrize("override", OVERRIDES, ids=lambda o: o.target)
def test_signature_is_the_one_we_rely_on(override):
    parameters = [n for n in inspect.signature(find(override.target)).parameters if n != "self"]
    assert parameters == override.arguments.split()


@pytest.mark.parametrize("override", OVERRIDES, ids=lambda o: o.target)
def test_each_entry_names_what_is_ours(override):
    module, _, name = override.ours.partition(":")
    found = importlib.import_module(f"vtonlab.engine.{module}")
    assert not name or inspect.isclass(getattr(found, name))


def test_the_runner_still_sets_the_loop_s_private_counters():
    source = inspect.getsource(Runner.resume)
    assert "self.train_loop._epoch" in source and "self.train_loop._iter" in source


def test_no_loader_of_mmengine_is_left():
    """Its remote loaders would read pickles from the network."""
    for loader in CheckpointLoader._schemes.values():
        assert loader.__module__ == "vtonlab.engine.checkpoints.files"
    with pytest.raises(ValueError, match="not a local file"):
        CheckpointLoader.load_checkpoint("https://example.org/x.pth")
