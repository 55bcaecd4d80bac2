"""Work in a thread of its own, watched and stopped from the page."""

import queue
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from vtonlab.apis.watching import Stopped
from vtonlab.studio.sessions import Session

_WAIT = 600.0  # seconds between two looks at work that tells nothing


@dataclass(frozen=True)
class Done:
    """The work has ended: its answer, or what it raised."""

    answer: Any = None
    error: BaseException | None = None


Work = Callable[[Callable[[Any], None], Callable[[], bool]], Any]


def watched(session: Session, work: Work) -> Iterator[Any]:
    """What ``work`` tells while it runs; its answer last, as :class:`Done`.

    Args:
        session: whose ``stop`` ends the work; it may be set before the work's turn comes. Leaving
            this iterator early ends the work, too.
        work: is given a function to tell news with, and one that says whether it should stop.

    Raises:
        Exception: what ``work`` raises, but for `Stopped`, which is an answer of None.
    """
    news: queue.Queue = queue.Queue()
    stop, left = session.stop, threading.Event()

    def run() -> None:
        try:
            news.put(Done(work(news.put, lambda: stop.is_set() or left.is_set())))
        except Stopped:
            news.put(Done(None))
        except BaseException as error:
            news.put(Done(error=error))

    if stop.is_set():
        yield Done()
        return
    session.running = True
    thread = threading.Thread(target=run, name="studio work", daemon=True)
    thread.start()
    try:
        while True:
            try:
                told = news.get(timeout=_WAIT)
            except queue.Empty:
                continue  # a slow step, or a large model that is being read
            while not isinstance(told, Done) and not news.empty():
                told = news.get()  # a slow page sees the newest alone
            if isinstance(told, Done) and told.error is not None:
                raise told.error
            yield told
            if isinstance(told, Done):
                return
    finally:
        left.set()
        thread.join()
        session.running = False
