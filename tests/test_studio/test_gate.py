"""The gate: who comes in, to which places, with how much; visitors and what they leave."""

import asyncio
import base64
import json
import os
import time
from types import SimpleNamespace

import pytest

from vtonlab.studio.gate import FILES, Gate
from vtonlab.studio.server import check_settings
from vtonlab.studio.sessions import GRACE, Sessions
from vtonlab.studio.settings import Settings


@pytest.fixture
def sessions():
    made = Sessions(Settings(sessions=2, idle=1000.0))
    made.uploads.mkdir()
    yield made
    made.close()
    assert not made.root.exists()


def ask(sessions, path, method="GET", body=b"", settings=None, **headers):
    """(status, text, body that came through or None) of one request."""
    through, sent = [], []

    async def app(scope, receive, send):
        message, parts = {"more_body": True}, []
        while message.get("more_body") and method == "POST":
            message = await receive()
            parts.append(message.get("body", b""))
        through.append(b"".join(parts))
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"inside"})

    half = len(body) // 2
    messages = [dict(type="http.request", body=body[:half], more_body=True)]
    messages.append(dict(type="http.request", body=body[half:], more_body=False))

    async def receive():
        return messages.pop(0)

    async def send(message):
        sent.append(message)

    named = {"host": "127.0.0.1:7860"} | {k.replace("_", "-"): v for k, v in headers.items()}
    raw = [(k.encode(), v.encode()) for k, v in named.items()]
    scope = dict(type="http", method=method, path=path, headers=raw)
    asyncio.run(Gate(app, settings or sessions.settings, sessions)(scope, receive, send))
    text = b"".join(m.get("body", b"") for m in sent).decode()
    assert b"content-security-policy" in dict(sent[0]["headers"])
    return sent[0]["status"], text, through[0] if through else None


@pytest.mark.parametrize(
    "path",
    [
        *("/", "/assets/index-abc.js", "/config", "/theme.css", "/gradio_api/startup-events"),
        *("/gradio_api/heartbeat/abc", "/gradio_api/queue/data", "/gradio_api/upload_progress"),
    ],
)
def test_what_the_page_asks_for_is_open(sessions, path):
    assert ask(sessions, path)[0] == 200


@pytest.mark.parametrize(
    "path",
    [
        *("/gradio_api/vibe-edit/", "/gradio_api/proxy=http://localhost/", "/login", "/monitoring"),
        *("/gradio_api/run/predict", "/gradio_api/call/x", "/gradio_api/component_server"),
        *(
            "/assets/../../etc/passwd",
            "/static//../x",
            "/docs",
            "/openapi.json",
            "/gradio_api/info",
        ),
    ],
)
def test_every_other_place_is_closed(sessions, path):
    for method in ("GET", "POST", "PUT", "OPTIONS"):
        assert ask(sessions, path, method)[0] == 404


def test_only_uploads_can_be_read(sessions, tmp_path):
    inside = sessions.uploads / "abc/a.png"
    inside.parent.mkdir()
    inside.write_bytes(b"a")
    assert ask(sessions, f"{FILES}{inside}")[0] == 200
    (sessions.uploads / "link").symlink_to("/etc/passwd")
    for path in (
        *("/etc/passwd", f"{sessions.uploads}/../x", f"{sessions.uploads}/link", "a.png"),
        *("http://localhost/", "file:///etc/passwd", str(sessions.root), f"{tmp_path}/a"),
    ):
        assert ask(sessions, f"{FILES}{path}")[0] in (403, 404), path


def test_a_path_in_a_request_must_lie_among_the_uploads(sessions):
    def join(*data):
        body = json.dumps(dict(data=data, session_hash="x", fn_index=1)).encode()
        return ask(
            sessions, "/gradio_api/queue/join", "POST", body, content_type="application/json"
        )

    good = dict(path=str(sessions.uploads / "a.png"), meta={"_type": "gradio.FileData"})
    status, _, through = join(good, [dict(layers=[good])], None)
    assert status == 200 and json.loads(through)["data"][0] == good
    for path in ("/etc/passwd", "http://localhost/x", f"{sessions.uploads}/../../x", 7, "a"):
        assert join([dict(deep=[dict(path=path)])])[0] == 403, path
    broken = dict(method="POST", body=b"{", content_type="application/json")
    assert ask(sessions, "/gradio_api/queue/join", **broken)[0] == 400
    plain = dict(method="POST", body=b'{"path": "/etc/passwd"}', content_type="text/plain")
    assert ask(sessions, "/gradio_api/queue/join", **plain)[0] == 403


def test_bodies_are_bounded_whatever_they_claim(sessions):
    settings = Settings(upload_bytes=1000, store_bytes=1500)
    upload = dict(path="/gradio_api/upload", method="POST", settings=settings)
    assert ask(sessions, **upload, body=b"a" * 900, content_length="900")[0] == 200
    assert ask(sessions, **upload, body=b"a" * 1100, content_length="1100")[::2] == (413, None)
    assert ask(sessions, **upload, body=b"a" * 1100)[::2] == (413, None)  # says nothing of it
    assert ask(sessions, **upload, body=b"a", content_length="-5")[0] == 413
    (sessions.root / "visitor").write_bytes(bytes(1000))
    assert ask(sessions, **upload, body=b"a" * 900, content_length="900")[0] == 507
    join = dict(path="/gradio_api/queue/join", method="POST")
    assert ask(sessions, **join, body=bytes(5 * 2**20))[0] == 413


def test_names_of_other_sites_and_their_pages_are_refused(sessions):
    assert ask(sessions, "/", host="localhost:7860")[0] == 200
    assert ask(sessions, "/", host="[::1]:7860")[0] == 200
    for host in ("evil.example:7860", "", "127.0.0.1.evil.example"):
        assert ask(sessions, "/", host=host)[0] == 403
    assert ask(sessions, "/", sec_fetch_site="cross-site", sec_fetch_mode="cors")[0] == 403
    link = dict(sec_fetch_site="cross-site", sec_fetch_mode="navigate")
    assert ask(sessions, "/", **link)[0] == 200
    assert ask(sessions, "/gradio_api/queue/join", "POST", b"{}", **link)[0] == 403
    open_to_all = Settings(host="0.0.0.0", password="long enough")
    assert ask(sessions, "/", settings=open_to_all, host="studio.example")[0] == 401


def test_a_password_is_asked_for_everywhere(sessions, monkeypatch):
    monkeypatch.setattr("vtonlab.studio.gate._WRONG", 0.0)
    settings = Settings(host="0.0.0.0", password="correct horse")

    def given(password):
        token = base64.b64encode(f"anybody:{password}".encode()).decode()
        return ask(sessions, "/", settings=settings, authorization=f"Basic {token}")[0]

    assert given("correct horse") == 200
    assert given("wrong") == given("") == given("correct horse2") == 401
    assert ask(sessions, "/", settings=settings, authorization="Bearer x")[0] == 401
    assert ask(sessions, "/assets/x.js", settings=settings)[0] == 401


def test_others_are_let_in_with_a_password_alone():
    check_settings(Settings())
    check_settings(Settings(host="0.0.0.0", password="long enough"))
    with pytest.raises(ValueError, match="VTONLAB_STUDIO_PASSWORD"):
        check_settings(Settings(host="0.0.0.0"))
    with pytest.raises(ValueError, match="shorter than 8"):
        check_settings(Settings(password="short"))


def visitor(name):
    return SimpleNamespace(session_hash=name)


def test_visitors_have_folders_of_their_own_that_go_with_them(sessions):
    one, two = sessions.of(visitor("one")), sessions.of(visitor("two"))
    assert one is sessions.of(visitor("one")) and one is not two
    (one.new_folder("a") / "x").write_bytes(b"x")
    assert sessions.stored() == 1
    three = sessions.of(visitor("three"))  # makes room: two was away longest
    assert not two.folder.exists() and two.stop.is_set()
    assert one.folder.exists() and three.folder.exists()


def test_who_leaves_is_forgotten_after_a_minute(sessions):
    one = sessions.of(visitor("one"))
    sessions.leaves("one")
    sessions.sweep()
    assert one.folder.exists()
    assert sessions.of(visitor("one")) is one  # came back
    sessions.sweep()
    assert one.folder.exists()
    one.used -= 1001.0
    old = sessions.uploads / "abc/old.png"
    old.parent.mkdir()
    old.write_bytes(b"x")
    aged = time.time() - GRACE - 10
    os.utime(old, (aged, aged))
    os.utime(old.parent, (aged, aged))
    sessions.sweep()
    assert not one.folder.exists() and not old.exists()
