"""Shared fixtures: no network, and the folders of real photographs and of recorded numbers where
they are there.
"""

import gc
import os
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))  # helpers beside, under --import-mode=importlib

from small_data import full_sample, trees, vitonhd  # noqa: F401

# A million objects of imported libraries stay for the session: the collector need not walk them
# again and again (a tenth of the suite's time).
gc.disable()

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TRANSFORMERS_OFFLINE", "1")


def pytest_collection_modifyitems(items):
    """The longest file first, so that no worker is left with it at the end."""
    items.sort(key=lambda item: item.path.name != "test_configs.py")


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config, log):
    """``--dist loadfile``, with all files that fork processes on one worker: these then need but
    one server (`ranks.py`), which costs as much as a worker's start.
    """
    from xdist.scheduler import LoadFileScheduling

    class Files(LoadFileScheduling):
        def _split_scope(self, nodeid: str) -> str:
            path = nodeid.partition("::")[0]
            text = (config.rootpath / path).read_text(encoding="utf-8")
            return "ranks" if "\nfrom ranks import " in text else path

    return Files(config, log) if config.getvalue("dist") == "loadfile" else None


def pytest_collection_finish(session):
    gc.freeze()
    gc.set_threshold(20_000, 20, 50)
    gc.enable()


def pytest_sessionfinish(session):
    gc.unfreeze()


@pytest.fixture(autouse=True)
def registries_as_before():
    """``--safe`` closes the registries of its process; the next test finds them open."""
    yield
    registered = sys.modules.get("vtonlab.engine.config.registered")
    if registered is not None:
        registered.reopen()


@pytest.fixture(scope="session")
def drawn_samples() -> dict:
    return {}


@pytest.fixture(autouse=True)
def people_are_drawn_once(request, drawn_samples, monkeypatch):
    """Of a synthetic sample, which is a function of its settings and number alone, as
    tests/test_synthetic shows (where nothing is kept), a process keeps a copy.
    """
    module = sys.modules.get("vtonlab.synthetic.dataset")
    if module is None or request.path.parent.name == "test_synthetic":
        return
    draw = module.SyntheticTryOn.draw

    def kept(self, index: int) -> dict:
        key = (type(self).__qualname__, repr(self.cache_key()), index)  # `SecondView` draws others
        if key not in drawn_samples:
            drawn = draw(self, index)
            if sum(array.nbytes for array in drawn.values()) > 2_000_000:
                return drawn
            drawn_samples[key] = drawn
        return {name: array.copy() for name, array in drawn_samples[key].items()}

    monkeypatch.setattr(module.SyntheticTryOn, "draw", kept)


@pytest.fixture
def real_data() -> Path:
    """Folder of real photographs (``VTONLAB_REAL_DATA``); without it the test is skipped."""
    root = os.environ.get("VTONLAB_REAL_DATA", "")
    if not root or not Path(root).is_dir():
        pytest.skip("VTONLAB_REAL_DATA does not point to a folder of test photographs")
    return Path(root)


@pytest.fixture(scope="session")
def estimator_weights() -> Path:
    """Folder of the networks that prepare photographs; without them the test is skipped."""
    from vtonlab.estimators import weights

    if not weights.available():
        pytest.skip(f"{weights.folder()} lacks the estimators' networks: {weights.COMMAND}")
    return weights.folder()


@pytest.fixture
def parity(request):
    """Numbers recorded from the authors' programs (``VTONLAB_PARITY``), a
    :class:`parity_numbers.Parity`; without the folder the test is skipped.
    """
    from parity_numbers import Parity

    root = os.environ.get("VTONLAB_PARITY", "")
    if not root or not Path(root).is_dir():
        pytest.skip("VTONLAB_PARITY does not point to a folder of recorded numbers")
    return Parity(Path(root), request.node.name)
