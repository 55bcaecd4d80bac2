"""What is said before a studio serves, and what runs in its threads."""

import sys
import threading

import pytest

from vtonlab.apis.watching import Stopped
from vtonlab.studio.jobs import Done, watched
from vtonlab.studio.models import Shelf
from vtonlab.studio.server import make_app
from vtonlab.studio.sessions import Session, Sessions
from vtonlab.studio.settings import Settings


@pytest.fixture
def app(monkeypatch):
    """`tools/app.py`'s main."""
    from pathlib import Path

    monkeypatch.syspath_prepend(str(Path(__file__).parents[2]))
    from tools.app import main

    monkeypatch.delenv("VTONLAB_STUDIO_PASSWORD", raising=False)
    return main


def test_bad_settings_are_refused_before_anything_is_loaded(app, monkeypatch):
    for arguments, words in (
        (["--host", "0.0.0.0"], "set a password"),
        (["--port", "70000"], "below 65536"),
        (["--max-upload", "0"], "at least 1"),
        (["--checkpoint", "a.pth"], "one --model"),
        (["--model", "no_such_model"], "no_such_model"),
    ):
        with pytest.raises((ValueError, FileNotFoundError), match=words):
            app(arguments)
    monkeypatch.setenv("VTONLAB_STUDIO_PASSWORD", "short")
    with pytest.raises(ValueError, match="shorter than"):
        app([])


def test_without_gradio_the_line_that_installs_it_is_said(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "gradio", None)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with pytest.raises(ImportError, match=r"pip install 'vtonlab\[app\]'"):
        make_app(Shelf(), Settings())
    assert not list(tmp_path.iterdir())


def test_models_are_chosen_by_the_name_they_were_started_with():
    shelf = Shelf()
    assert shelf.usual == "coral_unet_synthetic" and "baseline_synthetic" in shelf.offers
    for name in ("../x", "/etc/passwd", "work_dirs/run"):
        with pytest.raises(ValueError, match="no model"):
            shelf[name]
    assert shelf.of_receipt(shelf.identity_of("baseline_synthetic")) == "baseline_synthetic"
    with pytest.raises(ValueError, match="start the studio with --model"):
        shelf.of_receipt(dict(name="other", sha256="0" * 64))


def test_a_model_of_ones_own_is_not_lost_behind_a_shipped_one_of_its_name(monkeypatch):
    monkeypatch.setattr("vtonlab.studio.models.TryOnInferencer", lambda *_, **__: object())
    shelf = Shelf(["runs/coral_unet_synthetic", "a/mine", "b/mine"])
    assert shelf.usual == "coral_unet_synthetic 2"
    assert shelf.offers[shelf.usual].model == "runs/coral_unet_synthetic"
    assert shelf.offers["coral_unet_synthetic"].model == "coral_unet_synthetic"
    assert [shelf.offers[name].model for name in ("mine", "mine 2")] == ["a/mine", "b/mine"]
    assert Shelf(["baseline_synthetic"]).usual == "baseline_synthetic"


def test_work_that_tells_nothing_for_long_is_waited_for(tmp_path, monkeypatch):
    monkeypatch.setattr("vtonlab.studio.jobs._WAIT", 0.01)
    session = Session(tmp_path)
    session.begin()
    told = list(watched(session, lambda tell, stopped: threading.Event().wait(0.05) or "answer"))
    assert told == [Done("answer")]


def test_files_that_go_while_they_are_counted_count_nothing(monkeypatch):
    """Another visitor's folder is removed between the list and the look at a file."""
    sessions = Sessions(Settings())
    (sessions.root / "kept").write_bytes(b"12345")
    gone = [sessions.root / name for name in ("gone", "files/gone")]
    monkeypatch.setattr(type(sessions.root), "rglob", lambda *_: [*gone, sessions.root / "kept"])
    assert sessions.stored() == 5
    sessions.sweep()
    assert (sessions.root / "kept").is_file()
    sessions.close()


def test_work_tells_ends_and_is_stopped(tmp_path):
    session = Session(tmp_path)
    session.begin()
    told = list(watched(session, lambda tell, stopped: [tell(1), tell(2), "answer"][-1]))
    assert told[-1] == Done("answer") and set(told[:-1]) <= {1, 2} and not session.running

    def refuse(tell, stopped):
        raise ValueError("no")

    session.begin()
    with pytest.raises(ValueError, match="no"):
        list(watched(session, refuse))

    def until_stopped(tell, stopped):
        tell("begun")
        while not stopped():
            threading.Event().wait(0.001)
        raise Stopped

    session.begin()
    running = watched(session, until_stopped)
    assert next(running) == "begun" and session.running
    session.stop.set()
    assert list(running) == [Done()]
    session.begin()
    session.stop.set()  # while it waits for its turn
    assert list(watched(session, refuse)) == [Done()]
    session.begin()
    left = watched(session, until_stopped)
    next(left)
    left.close()  # the page is gone
    assert not session.running
