"""A stand-in for the hub's HTTP interface: what huggingface_hub asks when a folder is uploaded."""

import base64
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

COMMIT = "c" * 40


class HubServer:
    """Keeps what it is sent.

    Attributes:
        base: its address.
        asked: (method, path) of every request.
        tokens: of their headers.
        files: name -> bytes of the last commit.
        refuse: path beginning -> (status, message) that is answered instead.
    """

    def __init__(self) -> None:
        self.asked, self.tokens, self.files, self.refuse = [], set(), {}, {}
        self.private, self.deleted, self.there = None, [], []
        owner = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                owner.answer(self)

            def do_POST(self):
                owner.answer(self)

            def log_message(self, *args):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.base = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True).start()

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        self.server.shutdown()
        self.server.server_close()

    def answer(self, handler) -> None:
        body = handler.rfile.read(int(handler.headers.get("Content-Length") or 0))
        path = handler.path.partition("?")[0]
        self.asked.append((handler.command, path))
        self.tokens.add(handler.headers.get("Authorization"))
        for start, (status, words) in self.refuse.items():
            if path.startswith(start):
                return self.send(handler, {"error": words}, status)
        return self.send(handler, self.found(path, body))

    def found(self, path: str, body: bytes):
        """The JSON that is answered."""
        if path == "/api/whoami-v2":
            return {"name": "me", "type": "user", "orgs": []}
        if path == "/api/repos/create":
            asked = json.loads(body)
            self.private = asked.get("visibility", "private" if asked.get("private") else None)
            return {"url": f"{self.base}/me/x", "name": "me/x", "id": "me/x"}
        if path == "/api/validate-yaml":
            return {"errors": [], "warnings": []}
        if "/preupload/" in path:
            files = json.loads(body)["files"]
            row = {"uploadMode": "regular", "shouldIgnore": False, "oid": None}
            return {"files": [row | {"path": file["path"]} for file in files]}
        if "/commit/" in path:
            for line in body.splitlines():
                entry = json.loads(line)
                if entry["key"] == "file":
                    value = entry["value"]
                    self.files[value["path"]] = base64.b64decode(value["content"])
                elif entry["key"].startswith("deleted"):
                    self.deleted.append(entry["value"]["path"])
            return {"commitUrl": f"{self.base}/me/x/commit/{COMMIT}", "commitOid": COMMIT}
        if "/tree/" in path:
            return [{"type": "file", "path": p, "size": 1, "oid": "0" * 40} for p in self.there]
        return {"id": "me/x", "sha": COMMIT, "siblings": [{"rfilename": p} for p in self.there]}

    def send(self, handler, value, status: int = 200) -> None:
        data = json.dumps(value).encode()
        handler.send_response(status)
        handler.send_header("Content-Type", "application/json")
        handler.send_header("Content-Length", str(len(data)))
        if status >= 400:
            handler.send_header("X-Error-Message", value["error"])
        handler.end_headers()
        handler.wfile.write(data)
