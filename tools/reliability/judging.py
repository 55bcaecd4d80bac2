"""The judge against endpoints that drip, echo the key and point elsewhere."""

import base64
import contextlib
import io
import json
import os
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from unittest import mock

import numpy as np
from reliability.card import Measured

KEY = 'sk-CANARY/7f3+9a"c=0d'  # holds what addresses, JSON and base64 write in other ways
TIMEOUT_S = 0.5
PATIENCE_S = 20.0  # of a server that drips; then it answers well
GOOD = json.dumps({"choices": [{"message": {"content": '{"score": 3, "reason": "fair"}'}}]})


# slowly -------------------------------------------------------------------------------------------


def drip(part: str) -> Callable[[socket.socket, threading.Event], None]:
    """A server that sends the ``part`` of its answer ("status", "header" or "body") a byte at a
    time, and never ends.
    """
    whole = f"HTTP/1.1 200 OK\r\nContent-Length: {len(GOOD)}\r\n".encode()
    before = {"status": b"", "header": whole, "body": whole + b"\r\n"}[part]

    def serve(connection: socket.socket, stop: threading.Event) -> None:
        end = time.monotonic() + PATIENCE_S
        connection.sendall(before)
        while time.monotonic() < end and not stop.wait(0.02):
            connection.sendall({"status": b"H", "header": b"x", "body": b" "}[part])
        connection.sendall(f"\r\nContent-Length: {len(GOOD)}\r\n\r\n{GOOD}".encode())

    return serve


@contextlib.contextmanager
def serving(serve: Callable) -> Iterator[str]:
    """Address of a raw server."""
    stop, server = threading.Event(), socket.create_server(("127.0.0.1", 0))

    def accept() -> None:
        with contextlib.suppress(OSError):  # closed, by one of the two sides
            connection, _ = server.accept()
            with connection:
                connection.recv(1 << 16)
                serve(connection, stop)

    threading.Thread(target=accept, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.getsockname()[1]}/v1"
    finally:
        stop.set()
        server.close()


def asked(base: str, timeout_s: float = TIMEOUT_S) -> str:
    """What becomes of one question: the answer, or why there is none."""
    from vtonlab.evaluation.judge import OpenAIEndpoint
    from vtonlab.evaluation.judge.endpoints import NoAnswer

    try:
        return OpenAIEndpoint(base, "m", timeout_s=timeout_s).ask("s", [], "t", 0)
    except NoAnswer as error:
        return f"no answer: {error}"


def slow_answers(folder: Path) -> Measured:
    """Seconds until a call that is answered a byte at a time is given up."""
    seconds = {}
    for part in ("status", "header", "body"):
        with serving(drip(part)) as base:
            start = time.perf_counter()
            ended = "took more than" in asked(base)
            seconds[part] = time.perf_counter() - start if ended else float("inf")
    text = ", ".join(f"{part} {value:.2f} s" for part, value in seconds.items())
    return Measured(text, max(seconds.values()) < 2 * TIMEOUT_S)


# echoes -------------------------------------------------------------------------------------------


class Echo:
    """An endpoint that gives the key back in every way it can think of, one after the other."""

    def __init__(self) -> None:
        owner, self.seen, self.lock = self, [], threading.Lock()

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self):
                self.rfile.read(int(self.headers["Content-Length"]))
                owner.answer(self)

            def log_message(self, *args):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.base = f"http://127.0.0.1:{self.server.server_port}/v1"

    def __enter__(self) -> "Echo":
        threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(self, *exception) -> None:
        self.server.shutdown()
        self.server.server_close()

    def answer(self, handler: BaseHTTPRequestHandler) -> None:
        key = handler.headers.get("Authorization", "").removeprefix("Bearer ")
        with self.lock:
            number = len(self.seen)
            self.seen.append(key)
        packed = base64.b64encode(f"Bearer {key}".encode()).decode()
        said = json.dumps({"score": 4, "reason": f"your key is {key}, or {packed}"})
        well = json.dumps({"choices": [{"message": {"content": said}}]})
        ways = [
            (200, well), (200, f"no JSON {key}"), (500, f"error {key} {packed}"),
            (200, json.dumps({"echo": key})), (429, json.dumps({"error": key})), (200, well),
        ]  # fmt: skip
        code, body = ways[number % len(ways)]
        handler.send_response(code)
        handler.send_header("X-Echo", key)
        handler.send_header("Content-Length", str(len(body.encode())))
        handler.end_headers()
        handler.wfile.write(body.encode())


def planted_results(folder: Path, pairs: int = 2) -> Path:
    """A results folder with small pictures."""
    from vtonlab.evaluation.results import write_results
    from vtonlab.visualization.pages import save_png

    rows = []
    for number in range(pairs):
        row = {"id": f"p{number}", "garment_id": f"g{number}", "category": "dresses"}
        for kind in ("person", "garment", "scored"):
            save_png(folder / f"{kind}_{number}.png", np.full((24, 16, 3), 40 * number, np.uint8))
            row[f"{kind}_file"] = f"{kind}_{number}.png"
        rows.append(row | {"index": number})
    write_results(folder, {"system": "x", "setting": "unpaired", "metrics": {}}, rows)
    return folder


def judged(folder: Path, *options: str) -> list[str]:
    """``tools/judge.py`` on a planted folder against an `Echo`; what it said, and its keys."""
    from tools.judge import main

    planted_results(folder)
    output = io.StringIO()
    with (
        Echo() as echo,
        mock.patch.dict(os.environ, VTONLAB_JUDGE_KEY=KEY),
        contextlib.redirect_stdout(output),
        contextlib.redirect_stderr(output),
    ):
        command = ["judge.py", str(folder), "--endpoint", echo.base, "--model", "m", "--yes"]
        for _ in range(3):
            with mock.patch.object(sys, "argv", [*command, "--tries", "1", *options]):
                try:
                    main()
                except Exception as error:
                    output.write(f"{type(error).__name__}: {error!r}\n{error.__cause__!r}\n")
    (folder / "output.log").write_text(output.getvalue(), encoding="utf-8")
    return echo.seen


def with_key(folder: Path) -> list[str]:
    """Files below ``folder`` that hold the key in any form, as bytes or in a zip's members."""
    import zipfile

    from vtonlab.evaluation.judge.endpoints import forms

    marks = [form.encode() for form in forms(KEY)]
    found = []
    for path in sorted(p for p in folder.rglob("*") if p.is_file()):
        pieces = [path.read_bytes(), path.name.encode()]
        if zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive:
                pieces += [archive.read(member) for member in archive.infolist()]
        if any(mark in piece for piece in pieces for mark in marks):
            found.append(path.relative_to(folder).as_posix())
    return found


def key_stays_secret(folder: Path) -> Measured:
    """Train, judge and report with the key in the environment, then look into every file."""
    from reliability.runs import small_run

    from vtonlab.evaluation.report.page import Story, write_page
    from vtonlab.evaluation.report.systems import collect

    with mock.patch.dict(os.environ, VTONLAB_JUDGE_KEY=KEY):
        small_run(folder / "run", folder / "cache", iterations=1)
        seen = judged(folder / "results")
        write_page(folder / "report.html", collect([folder / "results"]), Story())
    files = sum(path.is_file() for path in folder.rglob("*"))
    leaks = with_key(folder)
    sent = len(seen) > 0 and set(seen) == {KEY}
    (folder / "planted").write_bytes(KEY.encode())  # the search itself
    works = with_key(folder) == [*sorted([*leaks, "planted"])]
    text = f"{len(leaks)} of {files} files ({len(seen)} calls, all with the key)"
    return Measured(text + "".join(f"; {name}" for name in leaks[:3]), not leaks and sent and works)
