"""Who answers: any OpenAI-compatible HTTP endpoint, or a transformers model on this machine."""

import base64
import json
import os
import time
import urllib.error
import urllib.request
from collections.abc import Sequence
from http.client import HTTPException
from typing import Protocol
from urllib.parse import urlsplit

KEY_VARIABLE = "VTONLAB_JUDGE_KEY"
_LONGEST_WAIT_S = 30.0


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

    The key is read from the environment variable ``VTONLAB_JUDGE_KEY`` and written nowhere.

    Args:
        base: such as ``http://localhost:8000/v1``.
        model: as the endpoint names it.
        timeout_s: of one call.
        max_tokens: of one answer.

    Raises:
        ValueError: ``base`` is no http address.
    """

    def __init__(
        self, base: str, model: str, *, timeout_s: float = 60, max_tokens: int = 300
    ) -> None:
        if urlsplit(base).scheme not in ("http", "https") or not urlsplit(base).netloc:
            raise ValueError(
                f"--endpoint {base!r} is no http(s) address such as http://host:8000/v1"
            )
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
            return str(answer["choices"][0]["message"]["content"])
        except (KeyError, IndexError, TypeError):
            raise NoAnswer(f"the endpoint's reply holds no message: {str(answer)[:80]}") from None

    def _post(self, body: bytes) -> dict:
        request = urllib.request.Request(f"{self.base}/chat/completions", body)
        request.add_header("Content-Type", "application/json")
        if os.environ.get(KEY_VARIABLE):
            request.add_header("Authorization", f"Bearer {os.environ[KEY_VARIABLE]}")
        try:
            with urllib.request.urlopen(request, timeout=self.timeout_s) as reply:
                return json.loads(reply.read())
        except urllib.error.HTTPError as error:
            self._refused(error)
        except (OSError, HTTPException) as error:  # refused, reset, cut short, too slow
            raise NoAnswer(
                f"{self.base} did not answer ({error or type(error).__name__})"
            ) from None
        except ValueError as error:
            raise NoAnswer(f"{self.base} answered no JSON ({error})") from None

    def _refused(self, error: urllib.error.HTTPError) -> None:
        said = error.read(200).decode(errors="replace").replace("\n", " ")
        if error.code in (408, 409, 425, 429) or error.code >= 500:
            wait = error.headers.get("Retry-After", "0")
            if wait.replace(".", "", 1).isdigit():
                time.sleep(min(float(wait), _LONGEST_WAIT_S))
            raise NoAnswer(f"{self.base} answered {error.code} ({said})")
        key = f"; the key is read from {KEY_VARIABLE}" if error.code in (401, 403) else ""
        raise Unusable(f"{self.base} refuses model {self.model!r}: {error.code} ({said}){key}")


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
        import io

        import torch
        from PIL import Image

        processor, model = self._load()
        content: list[dict] = []
        for label, data in pictures:
            picture = Image.open(io.BytesIO(data)).convert("RGB")
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
