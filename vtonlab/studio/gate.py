"""The gate before the server: who may come in, to which places, with how much.

Plain ASGI, in front of everything that Gradio serves. Of Gradio's many routes only those stay open
that the page uses; a path in a request must lie among the uploaded files.
"""

import asyncio
import base64
import binascii
import hmac
import re
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from vtonlab.studio.sessions import Sessions
from vtonlab.studio.settings import LOCAL_HOSTS, MIB, Settings
from vtonlab.utils.bounded import FileError, parse_json

ASGI = Callable[[dict, Callable, Callable], Awaitable[None]]
FILES, UPLOAD, HEARTBEAT = "/gradio_api/file=", "/gradio_api/upload", "/gradio_api/heartbeat/"
OPEN = {  # method -> paths that the page asks for, from beginning to end
    "GET": re.compile(
        r"/|/(assets|static|svelte)/[\w./@-]+|/(config|theme\.css|favicon\.ico|robots\.txt)"
        r"|/gradio_api/(startup-events|upload_progress|queue/data|theme\.css|heartbeat/\w+)/?"
        r"|/gradio_api/file=.+"
    ),
    "POST": re.compile(r"/gradio_api/(upload|queue/join|cancel|reset)/?"),
}
OPEN["HEAD"] = OPEN["GET"]
_BODY = 4 * MIB  # of a request that carries no files
_WRONG = 1.0  # seconds that a wrong password costs, one after the other
_POLICY = (
    "default-src 'self' data: blob:; script-src 'self' 'unsafe-inline' 'unsafe-eval' blob:; "
    "style-src 'self' 'unsafe-inline'; frame-ancestors 'none'; base-uri 'self'; form-action 'self'"
)
HEADERS = (
    (b"content-security-policy", _POLICY.encode()),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
)


class Refused(Exception):  # noqa: N818 - an answer
    """A request that is answered here.

    Args:
        status: HTTP's number.
        sentence: for whoever asked.
    """

    def __init__(self, status: int, sentence: str) -> None:
        super().__init__(sentence)
        self.status, self.sentence = status, sentence


class Gate:
    """ASGI application around another one.

    Args:
        app: what is behind the gate.
        settings: limits and password.
        sessions: whose folder of uploads may be read and filled.
    """

    def __init__(self, app: ASGI, settings: Settings, sessions: Sessions) -> None:
        self.app, self.settings, self.sessions = app, settings, sessions
        self._wrong = asyncio.Lock()
        self._stored, self._counted = 0, -1.0

    async def __call__(self, scope: dict, receive: Callable, send: Callable) -> None:
        if scope["type"] == "lifespan":
            return await self.app(scope, receive, send)
        if scope["type"] != "http":
            return await send({"type": "websocket.close", "code": 1008})
        begun = False

        async def answer(message: dict) -> None:
            nonlocal begun
            if message["type"] == "http.response.start":
                begun = True
                message = {**message, "headers": [*message.get("headers", ()), *HEADERS]}
            await send(message)

        try:
            headers = {k.decode("latin-1"): v.decode("latin-1") for k, v in scope["headers"]}
            self._check_host(scope["method"], headers)
            await self._check_password(headers)
            self._check_place(scope)
            receive = await self._bounded(scope, headers, receive)
            await self.app(scope, receive, answer)
            if scope["path"].startswith(HEARTBEAT):  # which lasts as long as the page is open
                self.sessions.leaves(scope["path"].removeprefix(HEARTBEAT).strip("/"))
        except Refused as refused:
            if not begun:
                await _refuse(answer, refused)

    def _check_host(self, method: str, headers: dict[str, str]) -> None:
        """A page elsewhere must not reach a studio on this machine under a name of its own."""
        host = headers.get("host", "")
        name = (
            host.partition("]")[0].lstrip("[") if "[" in host else host.rpartition(":")[0] or host
        )
        if self.settings.local and name not in LOCAL_HOSTS:
            raise Refused(403, "this studio answers to localhost and 127.0.0.1 alone")
        site = headers.get("sec-fetch-site", "same-origin")
        link = method == "GET" and headers.get("sec-fetch-mode") == "navigate"
        if site == "cross-site" and not link:
            raise Refused(403, "another site may not use this studio")

    async def _check_password(self, headers: dict[str, str]) -> None:
        password = self.settings.password
        if password is None:
            return
        given = _password_of(headers.get("authorization", ""))
        if given is not None and hmac.compare_digest(given, password.encode()):
            return
        if given is not None:
            async with self._wrong:
                await asyncio.sleep(_WRONG)
        raise Refused(401, "this studio asks for a password (any user name)")

    def _check_place(self, scope: dict) -> None:
        method, path = scope["method"], scope["path"]
        allowed = OPEN.get(method)
        if allowed is None or not allowed.fullmatch(path) or "/../" in path:
            raise Refused(404, "there is nothing here")
        if path.startswith(FILES):
            self._check_inside(path.removeprefix(FILES))

    def _check_inside(self, path: str) -> None:
        """Only what was uploaded here, or drawn here to be fetched, has a path."""
        try:
            inside = Path(path).resolve().is_relative_to(self.sessions.uploads)
        except (OSError, ValueError):
            inside = False
        if not inside or not path.startswith("/") or "\0" in path:
            raise Refused(403, "this file is not the studio's to give")

    async def _bounded(self, scope: dict, headers: dict[str, str], receive: Callable) -> Callable:
        """What the application reads from: never more than is allowed."""
        if scope["method"] != "POST":
            return receive
        uploading = scope["path"].startswith(UPLOAD)
        most = self.settings.upload_bytes if uploading else _BODY
        claimed = headers.get("content-length", "0")
        if not claimed.isdigit() or int(claimed) > most:
            raise Refused(413, f"too much at once: {most // MIB} MiB are taken")
        if uploading:
            self._check_room(int(claimed))
            return _counted(receive, most)
        body = await _read(receive, most)
        if body:
            self._check_json(body)  # whatever it says it is
        return _replayed(body, receive)

    def _check_room(self, more: int) -> None:
        now = time.monotonic()
        if now - self._counted > 1.0:
            self._stored, self._counted = self.sessions.stored(), now
        self._stored += more
        if self._stored > self.settings.store_bytes:
            raise Refused(507, "the studio's folder is full: close a page, or come back later")

    def _check_json(self, body: bytes) -> None:
        try:
            data = parse_json(body, "the request")
        except FileError:
            raise Refused(400, "this is no JSON") from None
        for path in _paths(data):
            self._check_inside(path)


def _paths(data: Any) -> Iterator[str]:
    """Every ``path`` in a request, at any depth."""
    left = [data]
    while left:
        value = left.pop()
        if isinstance(value, dict):
            if "path" in value and value["path"] is not None:
                yield str(value["path"])
            left += value.values()
        elif isinstance(value, list):
            left += value


def _password_of(header: str) -> bytes | None:
    """What HTTP's Basic authentication carries."""
    kind, _, text = header.partition(" ")
    if kind.lower() != "basic":
        return None
    try:
        return base64.b64decode(unquote(text), validate=True).partition(b":")[2]
    except (binascii.Error, ValueError):
        return b""


def _counted(receive: Callable, most: int) -> Callable:
    """``receive`` of a body that says nothing of its length."""
    seen = 0

    async def counting() -> dict:
        nonlocal seen
        message = await receive()
        seen += len(message.get("body", b""))
        if seen > most:
            raise Refused(413, f"too much at once: {most // MIB} MiB are taken")
        return message

    return counting


async def _read(receive: Callable, most: int) -> bytes:
    body, counting, more = bytearray(), _counted(receive, most), True
    while more:
        message = await counting()
        if message["type"] != "http.request":
            break
        body += message.get("body", b"")
        more = message.get("more_body", False)
    return bytes(body)


def _replayed(body: bytes, receive: Callable) -> Callable:
    """A body that was read already, then what follows."""
    told = False

    async def replay() -> dict:
        nonlocal told
        if told:
            return await receive()
        told = True
        return {"type": "http.request", "body": body, "more_body": False}

    return replay


async def _refuse(send: Callable, refused: Refused) -> None:
    headers = [(b"content-type", b"text/plain; charset=utf-8")]
    if refused.status == 401:
        headers.append((b"www-authenticate", b'Basic realm="vtonlab studio", charset="UTF-8"'))
    await send({"type": "http.response.start", "status": refused.status, "headers": headers})
    await send({"type": "http.response.body", "body": refused.sentence.encode()})
