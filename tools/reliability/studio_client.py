"""A studio in a process of its own, and a visitor who sends what no browser would."""

import http.client
import json
import os
import re
import signal
import subprocess
import sys
import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).parents[2]
SECRET = "canary-5b1e-of-this-machine"  # noqa: S105 - what nobody may read
BEGINNINGS = (  # clicks that are noted first, so that they can be stopped while they wait
    *(("start", "click"), ("open-receipt", "upload")),
    *(("batch-start", "click"), ("batch-example", "click")),
)
PATIENCE = 240.0  # seconds for one answer


class Answer(NamedTuple):
    """What came back: HTTP's number, and the text of all of it."""

    status: int
    text: str


class Attacked:
    """A running studio.

    Args:
        process: of the server.
        folder: with its working folder and temporary folder, and secrets all around them.
        port: where it listens.
    """

    def __init__(self, process: subprocess.Popen, folder: Path, port: int) -> None:
        self.process, self.folder, self.port = process, folder, port
        self.config = json.loads(self.ask("GET", "/config").text)
        names = {part["id"]: part["props"].get("elem_id") for part in self.config["components"]}
        self.events = {}  # (component, event) -> number of the function
        self.next = {}  # number -> that of what the page asks for then
        for event in self.config["dependencies"]:
            self.next.setdefault(event["trigger_after"], event["id"])
            for part, kind in event["targets"]:
                self.events[names.get(part), kind] = event["id"]

    def ask(self, method: str, path: str, body: Any = None, headers: dict | None = None) -> Answer:
        """One request, with a path that is sent as it is."""
        line = http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE)
        try:
            line.putrequest(method, path, skip_host="Host" in (headers or {}))
            chunked = body is not None and not isinstance(body, bytes)
            if isinstance(body, bytes):
                line.putheader("Content-Length", (headers or {}).get("Content-Length", len(body)))
            elif chunked:
                line.putheader("Transfer-Encoding", "chunked")
            for name, value in (headers or {}).items():
                if name != "Content-Length":
                    line.putheader(name, value)
            line.endheaders(body, encode_chunked=chunked)
            answer = line.getresponse()
            return Answer(answer.status, answer.read(16 << 20).decode("utf-8", "replace"))
        except (BrokenPipeError, ConnectionResetError, http.client.RemoteDisconnected) as error:
            return Answer(0, f"the line was cut ({type(error).__name__})")
        except (http.client.HTTPException, ValueError) as error:
            return Answer(400, str(error))  # a request that this client does not even send
        finally:
            line.close()

    def upload(self, name: str, data: bytes) -> str:
        """Send a file as the page does; its path there."""
        edge = uuid.uuid4().hex
        head = (
            f'--{edge}\r\nContent-Disposition: form-data; name="files"; filename="{name}"\r\n'
            "Content-Type: application/octet-stream\r\n\r\n"
        )
        body = head.encode() + data + f"\r\n--{edge}--\r\n".encode()
        kind = {"Content-Type": f"multipart/form-data; boundary={edge}"}
        answer = self.ask("POST", "/gradio_api/upload", body, kind)
        if answer.status != 200:
            raise ValueError(f"{answer.status}: {answer.text[:200]}")
        return json.loads(answer.text)[0]

    def call(
        self, visitor: str, event: tuple[str, str] | int, data: list, event_data: Any = None
    ) -> Answer:
        """Join the queue and wait for the last answer; all that was told, as one text.

        Args:
            event: number of a function, or a component and its event: what begins with a click and
                is then computed is asked for as the page does, both.
        """
        number = event if isinstance(event, int) else self.events[event]
        if not isinstance(event, int) and event in BEGINNINGS:
            begun = self.call(visitor, number, [None] * self._inputs(number))
            if begun.status != 200:
                return begun
            number = self.next[number]
        body = dict(data=data, fn_index=number, session_hash=visitor, event_data=event_data)
        kind = {"Content-Type": "application/json"}
        joined = self.ask("POST", "/gradio_api/queue/join", json.dumps(body).encode(), kind)
        if joined.status != 200:
            return joined
        return self.ask("GET", f"/gradio_api/queue/data?session_hash={visitor}")

    def _inputs(self, number: int) -> int:
        return next(len(e["inputs"]) for e in self.config["dependencies"] if e["id"] == number)

    def file(self, path: str, **more: Any) -> dict:
        """A file as the page names it."""
        return dict(path=path, meta={"_type": "gradio.FileData"}, **more)

    def peak(self) -> int:
        """Bytes of resident memory at the highest so far."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(re.search(r"VmHWM:\s+(\d+)", status).group(1)) * 1024

    def forget_peak(self) -> int:
        """Begin a new mark; what is resident now."""
        Path(f"/proc/{self.process.pid}/clear_refs").write_text("5")
        return self.peak()

    @property
    def store(self) -> Path:
        """The folder of its visitors' files."""
        (found,) = (self.folder / "tmp").glob("vtonlab-studio-*")
        return found

    def secrets(self) -> list[Path]:
        """Files that nobody may read."""
        return [self.folder / "secret.txt", self.folder / "cwd/secret.txt",
                self.folder / "tmp/secret.txt", self.store / "secret.txt"]  # fmt: skip


@contextmanager
def attacked(folder: Path) -> Iterator[Attacked]:
    """A studio on a free port, with secrets around it; stopped as by Ctrl-C."""
    for place in ("cwd", "tmp"):
        (folder / place).mkdir(parents=True)
    for place in (folder, folder / "cwd", folder / "tmp"):
        (place / "secret.txt").write_text(SECRET)
    env = dict(os.environ, TMPDIR=str(folder / "tmp"), PYTHONPATH=str(ROOT))
    env.pop("VTONLAB_STUDIO_PASSWORD", None)
    command = [sys.executable, str(ROOT / "tools/app.py"), "--port", "0"]
    with open(folder / "studio.log", "w") as log:
        process = subprocess.Popen(
            command, cwd=folder / "cwd", env=env, stdout=subprocess.PIPE, stderr=log, text=True
        )
    try:
        port = next(
            int(found.group(1))
            for line in process.stdout
            if (found := re.search(r"The studio is at http://127\.0\.0\.1:(\d+)", line))
        )
        threading.Thread(target=process.stdout.read, daemon=True).start()
        studio = Attacked(process, folder, port)
        (studio.store / "secret.txt").write_text(SECRET)
        yield studio
    finally:
        process.send_signal(signal.SIGINT)
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
