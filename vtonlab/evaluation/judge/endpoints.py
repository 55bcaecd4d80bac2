"""Who answers: any OpenAI-compatible HTTP endpoint, or a transformers model on this machine."""

import base64
import json
import os
import time
from collections.abc import Mapping, Sequence
from typing import Protocol
from urllib.parse import quote, urlsplit

import requests
import urllib3

from vtonlab.evaluation.judge.deadline import Deadline
from vtonlab.utils.bounded import MemoryFile, parse_json, reason_of
from vtonlab.utils.images import read_image

KEY_VARIABLE = "VTONLAB_JUDGE_KEY"
_LONGEST_WAIT_S = 30.0
_REPLY_BYTES = 2**20


class Unusable(Exception):  # noqa: N818 - a state of the endpoint, told to the user as a sentence
    """The endpoint cannot be used at all: wrong address, key or model. Asking again is no use."""


class NoAnswer(Exception):  # noqa: N818
    """One call failed; another try may not."""


class Endpoint(Protocol):
    """Answers one question about labelled pictures with text."""

    name: str

    def ask(self, system: str, pictures: Sequence[tuple[str, bytes]], text: str, seed: int) -> str:
        """``pictures`` are (label, JPEG bytes) in the order shown.

        Raises:
            NoAnswer, Unusable: see there.
        """
        ...


class OpenAIEndpoint:
    """``POST <base>/chat/completions`` with data URLs, temperature 0.

    The key is read from the environment variable ``VTONLAB_JUDGE_KEY``, sent to ``base`` alone (no
    redirect is followed) and written nowhere: a reply that echoes it is cleaned first.

    Args:
        base: such as ``http://localhost:8000/v1``.
        model: as the endpoint names it.
        timeout_s: of one call.
        max_tokens: of one answer.

    Raises:
        ValueError: ``base`` is no http address, or ``timeout_s`` is not above 0.
    """

    def __init__(
        self, base: str, model: str, *, timeout_s: float = 60, max_tokens: int = 300
    ) -> None:
        if urlsplit(base).scheme not in ("http", "https") or not urlsplit(base).netloc:
            raise ValueError(
                f"--endpoint {base!r} is no http(s) address such as http://host:8000/v1"
            )
        if "@" in urlsplit(base).netloc:
            raise ValueError(f"--endpoint holds a name or password: a key goes into {KEY_VARIABLE}")
        if urlsplit(base).query or urlsplit(base).fragment:
            raise ValueError(
                "--endpoint holds more than an address (? or #), which judge.json would keep: a "
                f"key goes into {KEY_VARIABLE}"
            )
        if not timeout_s > 0:
            raise ValueError(f"--timeout {timeout_s}: seconds, more than 0")
        self.base, self.model, self.name = base.rstrip("/"), model, model
        self.timeout_s, self.max_tokens = timeout_s, max_tokens

    def ask(self, system: str, pictures: Sequence[tuple[str, bytes]], text: str, seed: int) -> str:
        content: list[dict] = []
        for label, data in pictures:
            url = f"data:image/jpeg;base64,{base64.b64encode(data).decode()}"
            content.append({"type": "text", "text": f"{label}:"})
            content.append({"type": "image_url", "image_url": {"url": url}})
        content.append({"type": "text", "text": text})
        body = {
            "model": self.model,
            "temperature": 0,
            "seed": seed,
            "max_tokens": self.max_tokens,
            "messages": [
                {"role": "system", "content": system},
                {"role": "user", "content": content},
            ],
        }
        answer = self._post(json.dumps(body).encode())
        try:
            said = answer["choices"][0]["message"]["content"]
        except (KeyError, IndexError, TypeError):
            said = None
        if not isinstance(said, str):
            raise NoAnswer(f"the endpoint's reply holds no message: {_clean(str(answer))[:80]}")
        return _clean(said)

    def _post(self, body: bytes) -> dict:
        headers = {"Content-Type": "application/json", "Accept-Encoding": "identity"}
        if _key():
            headers["Authorization"] = f"Bearer {_key()}"
        with Deadline(self.timeout_s) as deadline, deadline.session() as session:
            try:
                with session.post(
                    f"{self.base}/chat/completions",
                    data=body,
                    headers=headers,
                    auth=_as_it_is,
                    timeout=self.timeout_s,
                    allow_redirects=False,
                    stream=True,
                ) as reply:
                    code, headers, content = reply.status_code, reply.headers, self._content(reply)
            except (OSError, urllib3.exceptions.HTTPError) as error:  # refused, reset, cut
                why = _clean(str(error)) or type(error).__name__
                why = f"it took more than {self.timeout_s} s" if deadline.passed else why
                raise NoAnswer(f"{self.base} did not answer ({why})") from None
            if deadline.passed:
                raise NoAnswer(f"{self.base} did not answer (it took more than {self.timeout_s} s)")
        if code != 200:
            self._refused(code, headers, content)
        try:
            return parse_json(content, self.base)
        except ValueError as error:
            raise NoAnswer(f"{self.base} answered no JSON ({_clean(reason_of(error))})") from None

    def _content(self, reply: requests.Response) -> bytes:
        """The body as it was sent: a small packed one cannot grow here."""
        found = b""
        while piece := reply.raw.read1(2**16, decode_content=False):
            found += piece
            if len(found) > _REPLY_BYTES:
                raise NoAnswer(f"{self.base} answered more than {_REPLY_BYTES} bytes")
        return found

    def _refused(self, code: int, headers: Mapping[str, str], body: bytes) -> None:
        said = _clean(body.decode(errors="replace"))[:200].replace("\n", " ")
        if 200 <= code < 400:
            where = _clean(headers.get("Location", "elsewhere"))[:200]
            raise Unusable(
                f"{self.base} answers {code} and points to {where}: pictures and key go to the "
                "given address alone; give the one that answers as --endpoint"
            )
        if code in (408, 409, 425, 429) or code >= 500:
            wait = headers.get("Retry-After", "0")
            if wait.isascii() and wait.replace(".", "", 1).isdigit():
                time.sleep(min(float(wait), _LONGEST_WAIT_S))
            raise NoAnswer(f"{self.base} answered {code} ({said})")
        key = f"; the key is read from {KEY_VARIABLE}" if code in (401, 403) else ""
        raise Unusable(f"{self.base} refuses model {self.model!r}: {code} ({said}){key}")


def _key() -> str:
    key = os.environ.get(KEY_VARIABLE, "").strip()
    if not (key.isascii() and key.isprintable()):
        raise Unusable(f"{KEY_VARIABLE} holds characters that no key has")
    return key


def _clean(text: str) -> str:
    """Without the key, should somebody have echoed it, as it is or written in another way."""
    for form in forms(_key()):
        text = text.replace(form, "[key]")
    return text


def forms(key: str) -> list[str]:
    """How a key may be written, the longest first: as it is, escaped, in base64 at any offset."""
    if not key:
        return []
    shifted = (base64.b64encode(b"-" * n + key.encode()).decode() for n in range(3))
    middles = [text[4 * (n > 0) : -4] for n, text in enumerate(shifted)]  # what offsets share
    others = [quote(key, safe=""), json.dumps(key)[1:-1], *(m for m in middles if len(m) > 8)]
    return sorted({key, *others}, key=len, reverse=True)


def _as_it_is(request: requests.PreparedRequest) -> requests.PreparedRequest:
    """Keeps requests from putting a password of ~/.netrc in the key's place."""
    return request


class LocalModel:
    """A transformers image-text-to-text model, greedy.

    Args:
        model: a local folder or a hub name.
        max_tokens: of one answer.
    """

    def __init__(self, model: str, *, max_tokens: int = 300) -> None:
        self.name, self.max_tokens = model, max_tokens
        self._loaded = None

    def _load(self):
        if self._loaded is None:
            from transformers import AutoModelForImageTextToText, AutoProcessor

            try:
                processor = AutoProcessor.from_pretrained(self.name)
                model = AutoModelForImageTextToText.from_pretrained(self.name, dtype="auto")
            except (OSError, ValueError, ImportError) as error:
                reason = str(error).strip().splitlines()[0]
                raise Unusable(
                    f"--local {self.name} cannot be loaded ({reason}): give the folder of an "
                    f"image-text-to-text model, or --endpoint"
                ) from None
            from mmengine.device import get_device

            self._loaded = processor, model.to(get_device()).eval()
        return self._loaded

    def ask(self, system: str, pictures: Sequence[tuple[str, bytes]], text: str, seed: int) -> str:
        import torch
        from PIL import Image

        processor, model = self._load()
        content: list[dict] = []
        for label, data in pictures:
            picture = Image.fromarray(read_image(MemoryFile(f"{label}.jpg", data)))
            content += [{"type": "text", "text": f"{label}:"}, {"type": "image", "image": picture}]
        messages = [
            {"role": "system", "content": [{"type": "text", "text": system}]},
            {"role": "user", "content": [*content, {"type": "text", "text": text}]},
        ]
        inputs = processor.apply_chat_template(
            messages,
            add_generation_prompt=True,
            tokenize=True,
            return_dict=True,
            return_tensors="pt",
        ).to(model.device)
        torch.manual_seed(seed)
        with torch.inference_mode():
            tokens = model.generate(**inputs, max_new_tokens=self.max_tokens, do_sample=False)
        new = tokens[:, inputs["input_ids"].shape[1] :]
        return processor.batch_decode(new, skip_special_tokens=True)[0]
