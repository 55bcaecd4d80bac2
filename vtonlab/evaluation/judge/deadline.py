"""An end to every HTTP call, however slowly its other side talks.

The time-out of an HTTP client begins anew with each byte that comes: who sends a header a letter at
a time holds a call for ever.
"""

import socket
import threading
from contextlib import suppress

import requests
from requests.adapters import HTTPAdapter


class Deadline:
    """Cuts the connections of one call after ``seconds``, whatever they are at.

    Use as a context; ``session()`` gives what to call with, ``passed`` says whether time was up.
    """

    def __init__(self, seconds: float) -> None:
        self.passed = False
        self._sockets: list[socket.socket] = []
        self._lock = threading.Lock()
        self._timer = threading.Timer(seconds, self._cut)
        self._timer.daemon = True

    def __enter__(self) -> "Deadline":
        self._timer.start()
        return self

    def __exit__(self, *exception) -> None:
        self._timer.cancel()
        with self._lock:
            for other in self._sockets:
                other.close()

    def session(self) -> requests.Session:
        """Whose connections are cut."""
        session = requests.Session()
        for scheme in ("http://", "https://"):
            session.mount(scheme, _Adapter(self))
        return session

    def watch(self, connection: socket.socket) -> None:
        """A second handle on a connection, which TLS may take over, is enough to end it."""
        with self._lock:
            self._sockets.append(connection.dup())
        if self.passed:
            self._cut()

    def _cut(self) -> None:
        self.passed = True
        with self._lock:
            for other in self._sockets:
                with suppress(OSError):  # gone already
                    other.shutdown(socket.SHUT_RDWR)


class _Adapter(HTTPAdapter):
    """requests' own, whose connections are watched from their first byte."""

    def __init__(self, deadline: Deadline) -> None:
        self.deadline = deadline
        super().__init__()

    def get_connection_with_tls_context(self, *args, **settings):
        pool, deadline = super().get_connection_with_tls_context(*args, **settings), self.deadline

        class Watched(pool.ConnectionCls):
            def _new_conn(self) -> socket.socket:
                connection = super()._new_conn()
                deadline.watch(connection)
                return connection

        pool.ConnectionCls = Watched
        return pool
