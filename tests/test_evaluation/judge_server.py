"""An OpenAI-compatible server whose scores are planted in the pictures, and which misbehaves on
order.
"""

import base64
import io
import json
import re
import threading
import time
from collections.abc import Callable, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
from PIL import Image

STEP = 45  # grey levels of one score


def planted_picture(score: float) -> np.ndarray:
    """A picture whose brightness is its score."""
    return np.full((32, 24, 3), round(STEP * score), np.uint8)


class JudgeServer:
    """Answers with the score planted in RESULT, changed by ``alter(score, criterion, seed,
    order)``.

    Args:
        mischief: what to do to the first requests, one each: "wrong", "malformed", "slow", "busy",
            "cut", "other", "float"; None answers well.
        die_after: stop listening after that many answers.
        port: 0 takes a free one.
    """

    def __init__(
        self,
        mischief: Sequence[str | None] = (),
        alter: Callable | None = None,
        die_after: int | None = None,
        port: int = 0,
        refuse: int | None = None,
    ) -> None:
        self.mischief, self.alter, self.die_after = list(mischief), alter, die_after
        self.refuse, self.lock, self.asked, self.keys = refuse, threading.Lock(), [], []
        self.admitted = 0
        owner = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self):
                owner.answer(self)

            def log_message(self, *args):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
        self.server.daemon_threads = True
        self.base = f"http://127.0.0.1:{self.server.server_port}/v1"
        threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True).start()

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        self.server.shutdown()
        self.server.server_close()

    def answer(self, handler) -> None:
        body = json.loads(handler.rfile.read(int(handler.headers["Content-Length"])))
        self.keys.append(handler.headers.get("Authorization"))
        if self.refuse:
            return self.reply(handler, self.refuse, {"error": "no such key"})
        with self.lock:
            if self.die_after is not None and self.admitted >= self.die_after:
                handler.connection.close()
                return None
            self.admitted += 1  # counted when let in: several are answered at once
            trick = self.mischief.pop(0) if self.mischief else None
        score, criterion, order = self.read(body)
        if self.alter is not None:
            score = self.alter(score, criterion, body["seed"], order)
        if trick is None:
            with self.lock:
                self.asked.append((criterion, body["seed"], order))
        return self.send(handler, score, criterion, trick)

    def read(self, body: dict) -> tuple[int, str, tuple[str, ...]]:
        parts = body["messages"][1]["content"]
        labels = [p["text"].rstrip(":") for p in parts[:-1] if p["type"] == "text"]
        pictures = [p["image_url"]["url"] for p in parts if p["type"] == "image_url"]
        shown = dict(zip(labels, pictures, strict=True))
        data = base64.b64decode(shown["RESULT"].split(",", 1)[1])
        level = np.asarray(Image.open(io.BytesIO(data))).mean()
        criterion = re.search(r'"criterion": "(\w+)"', parts[-1]["text"]).group(1)
        return round(level / STEP), criterion, tuple(labels)

    def send(self, handler, score: int, criterion: str, trick: str | None) -> None:
        answer = {"criterion": criterion, "reason": "planted", "score": score}
        text = json.dumps(answer)
        if trick == "slow":
            time.sleep(1.5)
        if trick == "busy":
            return self.reply(handler, 503, {"error": "busy"})
        text = {
            "wrong": json.dumps(answer | {"score": 9}),
            "float": json.dumps(answer | {"score": 3.5}),
            "malformed": "I would give it a four.",
            "other": json.dumps(answer | {"criterion": "beauty"}),
            "fence": f"```json\n{text}\n```",
        }.get(trick, text)
        reply = {"choices": [{"message": {"content": text}}]}
        return self.reply(handler, 200, reply, cut=trick == "cut")

    def reply(self, handler, code: int, content: dict, cut: bool = False) -> None:
        data = json.dumps(content).encode()
        handler.send_response(code)
        handler.send_header("Content-Length", str(len(data)))
        handler.end_headers()
        try:
            handler.wfile.write(data[: len(data) // 2] if cut else data)
        except OSError:
            pass  # the client was tired of waiting
