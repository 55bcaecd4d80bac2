"""Headless Chromium over its DevTools pipe, with the standard library alone."""

import base64
import json
import os
import shutil
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

CHROMIUM = next(
    (p for n in ("chromium", "chromium-browser", "google-chrome") if (p := shutil.which(n))), None
)
FLAGS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-quic"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
    *("--disable-extensions", "--hide-scrollbars", "--remote-debugging-pipe"),
)


class Browser:
    """One page of one browser. Messages are JSON ended by a zero byte, on descriptors 3 and 4.

    ``errors`` collects what the page's console or its scripts complain of, ``requests`` every
    address it asked for.
    """

    def __init__(self, patience: float = 60.0) -> None:
        self.patience = patience
        self.errors: list[str] = []
        self.requests: list[str] = []
        self._number, self._rest, self._answers = 0, b"", {}
        self._events: set[str] = set()
        self._profile = tempfile.mkdtemp(prefix="vtonlab-browser-")
        to_browser, self._out = os.pipe()
        self._in, from_browser = os.pipe()

        def connect() -> None:  # the pipe's ends become descriptors 3 and 4, whatever they were
            ends = os.dup(to_browser), os.dup(from_browser)
            high = [os.dup2(end, 60 + place) for place, end in enumerate(ends)]
            os.dup2(high[0], 3)
            os.dup2(high[1], 4)

        self._process = subprocess.Popen(
            [CHROMIUM, *FLAGS, f"--user-data-dir={self._profile}"],
            preexec_fn=connect,
            close_fds=False,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        os.close(to_browser)
        os.close(from_browser)
        target = self.send("Target.createTarget", url="about:blank", session=None)["targetId"]
        attached = self.send("Target.attachToTarget", targetId=target, flatten=True, session=None)
        self._session = attached["sessionId"]
        for domain in ("Page", "Runtime", "Network", "Log"):
            self.send(f"{domain}.enable")

    def __enter__(self) -> "Browser":
        return self

    def __exit__(self, *_) -> None:
        self._process.terminate()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        os.close(self._out)
        os.close(self._in)
        shutil.rmtree(self._profile, ignore_errors=True)

    def send(self, method: str, session: str | None = "", **params) -> dict[str, Any]:
        """One command; returns its result."""
        self._number += 1
        message = dict(id=self._number, method=method, params=params)
        if session is not None:
            message["sessionId"] = session or self._session
        os.write(self._out, json.dumps(message).encode() + b"\0")
        end = time.monotonic() + self.patience
        while self._number not in self._answers:
            assert time.monotonic() < end, f"no answer to {method}"
            self._take()
        answer = self._answers.pop(self._number)
        assert "error" not in answer, f"{method}: {answer['error']}"
        return answer["result"]

    def _take(self) -> None:
        data = os.read(self._in, 1 << 20)
        assert data, "the browser ended"
        *messages, self._rest = (self._rest + data).split(b"\0")
        for message in map(json.loads, messages):
            if "id" in message:
                self._answers[message["id"]] = message
            else:
                self._event(message["method"], message["params"])

    def _event(self, method: str, params: dict) -> None:
        self._events.add(method)
        if method == "Network.requestWillBeSent":
            self.requests.append(params["request"]["url"])
        elif method == "Runtime.exceptionThrown":
            self.errors.append(json.dumps(params["exceptionDetails"])[:2000])
        elif method == "Runtime.consoleAPICalled" and params["type"] in ("error", "warning"):
            self.errors.append(json.dumps(params["args"])[:2000])
        elif method == "Log.entryAdded" and params["entry"]["level"] in ("error", "warning"):
            self.errors.append(params["entry"]["text"])

    def open(self, path: Path) -> None:
        """Open a file and wait until it has loaded."""
        self._events.discard("Page.loadEventFired")
        self.send("Page.navigate", url=path.resolve().as_uri())
        end = time.monotonic() + self.patience
        while "Page.loadEventFired" not in self._events:
            assert time.monotonic() < end, f"{path} did not load"
            self._take()

    def run(self, script: str) -> Any:
        """The value of a JavaScript expression, awaited where it is a promise."""
        answer = self.send(
            "Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True
        )
        assert "exceptionDetails" not in answer, json.dumps(answer["exceptionDetails"])[:2000]
        return answer["result"].get("value")

    def until(self, condition: str) -> None:
        """Wait until a JavaScript expression is true."""
        end = time.monotonic() + self.patience
        while not self.run(condition):
            assert time.monotonic() < end, f"never became true: {condition}"
            time.sleep(0.05)

    def box(self, selector: str) -> tuple[float, float, float, float]:
        """(left, top, width, height) of the first match, after it was scrolled into view."""
        found = self.run(
            f"(e => {{ e.scrollIntoView({{block: 'center', behavior: 'instant'}}); "
            "const b = e.getBoundingClientRect(); return [b.left, b.top, b.width, b.height]; })"
            f"(document.querySelector({json.dumps(selector)}))"
        )
        return tuple(found)

    def mouse(self, kind: str, x: float, y: float, down: bool = False) -> None:
        """``kind``: moved, pressed or released, at a place of the window."""
        self.send(
            "Input.dispatchMouseEvent",
            type=f"mouse{kind.capitalize()}",
            x=x,
            y=y,
            button="left" if down or kind != "moved" else "none",
            buttons=int(down or kind == "pressed"),
            clickCount=int(kind != "moved"),
        )

    def click(self, selector: str) -> None:
        """Press and release in the middle of an element."""
        left, top, width, height = self.box(selector)
        for kind in ("moved", "pressed", "released"):
            self.mouse(kind, left + width / 2, top + height / 2)

    def choose(self, selector: str, value: str) -> None:
        """Set a select or an input as a user does."""
        self.run(
            f"(e => {{ e.value = {json.dumps(value)}; "
            "for (const kind of ['input', 'change']) e.dispatchEvent(new Event(kind)); })"
            f"(document.querySelector({json.dumps(selector)}))"
        )

    def window(self, width: int, height: int, phone: bool = False) -> None:
        """Size of the window in CSS pixels."""
        self.send(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=2 if phone else 1,
            mobile=phone,
        )

    def screenshot(self, path: Path, whole: bool = False) -> None:
        """A PNG of the window, or of the whole page."""
        answer = self.send("Page.captureScreenshot", captureBeyondViewport=whole)
        Path(path).write_bytes(base64.b64decode(answer["data"]))
