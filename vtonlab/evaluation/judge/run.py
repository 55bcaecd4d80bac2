"""Asking the judge about a results folder: planned, priced, cached, resumable."""

import hashlib
import io
import threading
from collections.abc import Callable
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from vtonlab.evaluation.judge.endpoints import Endpoint, NoAnswer, Unusable
from vtonlab.evaluation.judge.rubric import (
    CRITERIA,
    ORDERS,
    SYSTEM,
    parse_answer,
    question,
    rubric_hash,
)
from vtonlab.evaluation.results import Results, pair_name
from vtonlab.utils.bounded import FileError, MemoryFile, check_form, naming, read_json_lines
from vtonlab.utils.images import check_image, read_image
from vtonlab.utils.journal import append, mend
from vtonlab.utils.locking import WorkDirLock
from vtonlab.utils.seeding import seed_from

ANSWERS = "judge_answers.jsonl"
_FILES = {"PERSON": "person_file", "GARMENT": "garment_file", "RESULT": "scored_file"}
_TEXT_TOKENS, _ANSWER_TOKENS, _PIXELS_PER_TOKEN = 4, 80, 750  # common prices of vision models


@dataclass(frozen=True, kw_only=True)
class JudgeSettings:
    """How often and of what the judge is asked.

    Args:
        repeats: calls per pair and criterion, in the fixed picture order.
        control: share of pairs that is asked once more with the pictures in another order.
        limit: only so many pairs, evenly spread over the list.
        max_side: pictures are shrunk to it before they are sent.
        tries: calls per question before it counts as failed.
        workers: calls at once.
        give_up: questions in a row without any answer after which the endpoint counts as gone.
        seed: of the control's choice.

    Raises:
        ValueError: a number below 1, or a share outside [0, 1].
    """

    repeats: int = 3
    control: float = 0.2
    limit: int | None = None
    max_side: int = 768
    tries: int = 3
    workers: int = 4
    give_up: int = 5
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("repeats", "limit", "max_side", "tries", "workers", "give_up"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ValueError(f"{name}={value}: at least 1")
        if not 0 <= self.control <= 1:
            raise ValueError(f"control={self.control}: a share of the pairs, from 0 to 1")


class Question(NamedTuple):
    """One call: which pair, criterion, repeat and picture order (index into ``ORDERS``)."""

    pair: str
    row: int
    criterion: str
    repeat: int
    order: int


class Judge:
    """Questions about one results folder, and the answers that are already there.

    Answers are appended to ``judge_answers.jsonl`` one by one as they come: what was answered is
    never asked again by the same model about the same pictures, whatever ended the run.

    Raises:
        ValueError: a picture is missing, or a line of the answers is damaged.
    """

    def __init__(self, results: Results, endpoint: Endpoint, settings: JudgeSettings) -> None:
        self.results, self.endpoint, self.settings = results, endpoint, settings
        self.path = results.folder / ANSWERS
        self.rubric = rubric_hash()
        self.pictures: dict[Path, bytes] = {}
        self.lock = threading.Lock()
        self.questions = list(self._plan())
        self.answers = self._read()
        self.failures: dict[Question, str] = {}

    def _plan(self):
        rows = self.results.rows
        count = min(len(rows), self.settings.limit or len(rows))
        chosen = np.linspace(0, len(rows) - 1, count).round().astype(int)
        for number in dict.fromkeys(chosen.tolist()):
            row = rows[number]
            for label, key in _FILES.items():
                if row[key] is None or not row[key].is_file():
                    raise ValueError(
                        f"the judge needs the {label} picture of pair {row['id']} with "
                        f"{row['garment_id']}, and {row[key]} is not there"
                    )
            name = pair_name(row["id"], row["garment_id"])
            draw = np.random.default_rng(seed_from("judge control", self.settings.seed, name))
            controlled, order = draw.random() < self.settings.control, draw.integers(1, len(ORDERS))
            for criterion in CRITERIA:
                for repeat in range(self.settings.repeats):
                    yield Question(name, number, criterion, repeat, 0)
                if controlled:
                    yield Question(name, number, criterion, 0, int(order))

    # pictures and keys --------------------------------------------------------------------------

    def picture(self, path: Path) -> bytes:
        """JPEG bytes of a picture, shrunk to ``max_side``; kept for the next questions."""
        with self.lock:
            if path not in self.pictures:
                if len(self.pictures) > 64:
                    self.pictures.clear()
                self.pictures[path] = _encode(read_image(path), self.settings.max_side)
            return self.pictures[path]

    def shown(self, question: Question) -> list[tuple[str, bytes]]:
        row = self.results.rows[question.row]
        return [(label, self.picture(row[_FILES[label]])) for label in ORDERS[question.order]]

    def key(self, question: Question) -> str:
        """Everything an answer depends on."""
        digest = hashlib.sha256(f"{self.rubric} {self.endpoint.name}".encode())
        digest.update(f"{question.criterion} {question.repeat} {question.order}".encode())
        for label, data in self.shown(question):
            digest.update(label.encode() + hashlib.sha256(data).digest())
        return digest.hexdigest()

    # answers ------------------------------------------------------------------------------------

    def _read(self) -> dict[Question, dict[str, Any]]:
        """Answers of this model and rubric to questions of the plan; a cut last line is dropped."""
        known = {}
        try:
            for number, entry in read_json_lines(self.path):
                with naming(f"{self.path}, line {number}"):
                    check_form(entry, {"key!": str, "score!": int})
                    known[entry["key"]] = entry
        except FileNotFoundError:
            return {}
        except FileError as error:
            raise FileError(f"{error}: delete that line") from None
        if not known:
            return {}
        return {q: known[key] for q in self.questions if (key := self.key(q)) in known}

    def open_questions(self) -> list[Question]:
        return [question for question in self.questions if question not in self.answers]

    def cost(self, price_in: float = 0.0, price_out: float = 0.0) -> dict[str, float]:
        """Calls that are open, about how many tokens they take, and the price in the unit of
        ``price_in`` and ``price_out`` (each per million tokens).
        """
        calls = len(self.open_questions())
        shown = [MemoryFile(*picture) for picture in self.shown(self.questions[0])]
        sizes = [check_image(picture, deep=False) for picture in shown]
        pictures = sum(height * width / _PIXELS_PER_TOKEN for height, width in sizes)
        text = max(len(SYSTEM + question(name)) for name in CRITERIA) / _TEXT_TOKENS
        tokens_in, tokens_out = calls * (pictures + text), calls * _ANSWER_TOKENS
        price = (tokens_in * price_in + tokens_out * price_out) / 1e6
        return {
            "calls": calls,
            "answered": len(self.answers),
            "tokens_in": round(tokens_in),
            "tokens_out": round(tokens_out),
            "price": price,
        }

    def run(self, progress: Callable[[int, int, int], None] | None = None) -> None:
        """Ask what is open. Failures are kept in ``failures``; the next run asks them again.

        Raises:
            Unusable: wrong address, key or model, or the endpoint went away; answers are saved.
        """
        with WorkDirLock(self.path.parent, "results folder"):
            self._run(progress)

    def _run(self, progress: Callable[[int, int, int], None] | None) -> None:
        todo, silent = iter(self.open_questions()), 0
        found, total = len(self.answers), len(self.questions)
        self._mend()
        running: dict[Future, Question] = {}
        with ThreadPoolExecutor(self.settings.workers) as pool:
            try:
                while True:
                    for asked in islice(todo, self.settings.workers - len(running)):
                        running[pool.submit(self._ask, asked)] = asked
                    if not running or silent >= self.settings.give_up:
                        break
                    for future in wait(running, return_when=FIRST_COMPLETED).done:
                        silent = silent + 1 if self._take(running.pop(future), future) else 0
                    if progress is not None:
                        progress(len(self.answers) + len(self.failures), found, total)
            finally:  # calls under way may still be answered
                for future, asked in running.items():
                    if not future.cancel():
                        with suppress(Unusable):
                            self._take(asked, future)
        if silent >= self.settings.give_up:
            why = next(reversed(self.failures.values()))
            raise Unusable(
                f"{silent} questions in a row had no answer ({why}); {len(self.answers)} of "
                f"{total} answers are saved, the same command goes on"
            )

    def _mend(self) -> None:
        """A last line that was cut when a run died must not swallow the next one."""
        if self.path.is_file():
            mend(self.path)

    def _take(self, asked: Question, future) -> bool:
        """Note an answer or a failure; True where the endpoint was silent."""
        try:
            self.answers[asked] = future.result()
            self.failures.pop(asked, None)
            return False
        except (NoAnswer, ValueError) as error:
            self.failures[asked] = str(error)
            return isinstance(error, NoAnswer)

    def _ask(self, asked: Question) -> dict[str, Any]:
        """One question, a few tries; the answer is on disk when this returns."""
        shown, text = self.shown(asked), question(asked.criterion)
        for attempt in range(self.settings.tries):
            try:
                said = self.endpoint.ask(SYSTEM, shown, text, seed=asked.repeat)
                score, reason = parse_answer(said, asked.criterion)
                break
            except (NoAnswer, ValueError):
                if attempt + 1 == self.settings.tries:
                    raise
        entry = {
            "key": self.key(asked),
            "model": self.endpoint.name,
            **asked._asdict(),
            "score": score,
            "reason": reason,
        }
        with self.lock:
            append(self.path, entry)
        return entry


def _encode(picture: np.ndarray, max_side: int) -> bytes:
    image = Image.fromarray(picture)
    image.thumbnail((max_side, max_side), Image.Resampling.BICUBIC)
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=95)
    return buffer.getvalue()
