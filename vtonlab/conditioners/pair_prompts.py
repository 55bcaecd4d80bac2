"""A text for each pair: sentences from templates, encoded once by the model's own text encoders."""

import hashlib
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from string import Formatter
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from vtonlab.backbones.families import Text
from vtonlab.conditioners.prompts import TEMPLATES, TextSource
from vtonlab.conditioners.text_encoders import (
    encoder_of,
    encoder_stamp,
    sees_pictures,
    text_encoders,
)
from vtonlab.registry import CONDITIONERS
from vtonlab.utils.bounded import FileError, read_tensors, tensor_metadata
from vtonlab.utils.seeding import seed_from
from vtonlab.utils.upload import upload

EMPTY = ""  # the sentence of samples that go without text


class Asked(NamedTuple):
    """What the text encoders are asked once: a sentence, and the pictures that they see with it."""

    sentence: str
    pictures: tuple[np.ndarray, ...] = ()  # (H, W, 3) uint8 each


@CONDITIONERS.register_module()
class PairPrompt(TextSource):
    """Sentences made of a sample's words, from a cache that holds each of them once.

    ``tools/cache_prompts.py CONFIG`` fills the cache, and is the only one to load the encoders:
    training and sampling read it, and name a sentence that it lacks.

    Editing models whose text encoder looks at pictures too (Qwen-Image-Edit) are told ``pictures``:
    the cache then holds one text for each sentence and set of pictures, by the pictures' contents.

    Args:
        path: weights (``text_encoder``, ``tokenizer`` and their numbered sisters), folder or hub
            name.
        templates: a sentence with ``{caption}``, ``{category}`` or any other text of a sample; or
            several; or either for each garment category; or the name of one of ``TEMPLATES``. Of
            several, training takes one by the sample's position, testing the first.
        dropout: share of training samples that go without text.
        cache_dir: folder of caches.
        max_length: text tokens (512 for FLUX.1 and FLUX.2, 256 of T5 for SD3, 1024 for Qwen-Image,
            pictures among them).
        dtype: of the text encoders and the kept embeddings.
        pipeline: see `CachedPrompt`.
        pictures: roles of the pictures that the encoder is shown, in the order of the conditioner's
            ``references``, as the pipeline shows it all of them; none by default, and none where
            the text is dropped.
        missing: ``"error"`` names a text that is not kept; ``"encode"`` loads the encoders for it,
            as one does who tries a model on new photographs.
        seed: of the choice among templates.

    Raises:
        ValueError: an unknown ``pipeline``, or one whose text encoder sees no pictures with
            ``pictures``; no template, or a ``dropout`` outside [0, 1).
    """

    def __init__(
        self,
        *,
        path: str,
        templates: str | Sequence[str] | Mapping[str, str | Sequence[str]] = "{caption}",
        dropout: float = 0.0,
        cache_dir: str = "work_dirs/cache/prompts",
        max_length: int = 512,
        dtype: str = "bfloat16",
        pipeline: str = "FluxPipeline",
        pictures: Sequence[str] = (),
        missing: str = "error",
        seed: int = 0,
    ) -> None:
        super().__init__()
        _, encode = encoder_of(pipeline)
        if pictures and not sees_pictures(encode):
            raise ValueError(
                f"pictures={list(pictures)}: the text encoders of {pipeline} see none, leave it out"
            )
        if missing not in ("error", "encode"):
            raise ValueError(f"missing={missing!r}: choose 'error' or 'encode'")
        if not 0.0 <= dropout < 1.0:
            raise ValueError(f"dropout={dropout}: a share of the samples, in [0, 1)")
        named = TEMPLATES.get(templates) if isinstance(templates, str) else None
        self.templates = _by_category(templates if named is None else named)
        self.path, self.max_length, self.dtype, self.pipeline = path, max_length, dtype, pipeline
        self.pictures, self.missing = tuple(pictures), missing
        self.dropout, self.seed = dropout, seed
        settings = (path, max_length, dtype, pipeline)
        name = hashlib.sha256(repr(settings).encode()).hexdigest()[:16]
        self.folder = Path(cache_dir) / f"pairs_{name}"
        self.stamp = encoder_stamp(path)
        self.register_buffer("_place", torch.zeros(0), persistent=False)

    def of(self, batch: Mapping) -> Text:
        """Text of each sample: tokens (B, T, D), padded to the longest, and its mask.

        Raises:
            ValueError: a template asks for what the batch lacks; a sentence is not in the cache.
        """
        return self.read(self.asked(batch))

    def empty(self, count: int) -> Text:
        """The text of ``count`` samples that go without."""
        return self.read([EMPTY] * count)

    def sentences(self, batch: Mapping) -> list[str]:
        """The sentence of each sample of a batch."""
        categories = list(batch["category"])
        positions = list(batch["position"]) if self.training and "position" in batch else None
        found = []
        for place, category in enumerate(categories):
            choice = self._templates_of(category)
            pick = 0
            if positions is not None and len(choice) > 1:
                pick = seed_from("template", self.seed, int(positions[place])) % len(choice)
            found.append(_filled(choice[pick], batch, place))
        return found

    def asked(self, batch: Mapping) -> list[Asked]:
        """What the encoders are told and shown of each sample of a preprocessed batch."""
        shown = self._shown(batch)
        return [Asked(told, shown[n]) for n, told in enumerate(self.sentences(batch))]

    def possible(self, batch: Mapping) -> list[Asked]:
        """Everything that the encoders may be told of the samples of a preprocessed batch, and the
        empty sentence.
        """
        found, shown = [Asked(EMPTY)], self._shown(batch)
        for place, category in enumerate(batch["category"]):
            told = [_filled(each, batch, place) for each in self._templates_of(category)]
            found += [Asked(sentence, shown[place]) for sentence in told]
        return found

    def read(self, asked: Sequence[Asked | str]) -> Text:
        """Kept embeddings.

        Raises:
            ValueError: one is not kept, or is of other text encoders.
        """
        named = [(self.file_of(each), each) for each in map(_asked, asked)]
        if self.missing == "encode":
            self.fill(each for _, each in named)
        kept = {file: self._load(file, each.sentence) for file, each in dict(named).items()}
        tokens = [kept[file][0] for file, _ in named]
        lengths = [len(each) for each in tokens]
        longest, device = max(lengths), self._place.device
        padded = [F.pad(each, (0, 0, 0, longest - len(each))) for each in tokens]
        mask = None
        if min(lengths) != longest:
            counts = upload(torch.tensor(lengths), device)
            mask = torch.arange(longest, device=device)[None] < counts[:, None]
        pooled = torch.stack([kept[file][1] for file, _ in named])
        return Text(upload(torch.stack(padded), device), upload(pooled, device), mask)

    def fill(self, asked: Iterable[Asked | str]) -> int:
        """Encode what the cache lacks; how many were encoded.

        Args:
            asked: may be made one after the other while this runs.

        Raises:
            FileNotFoundError: the encoders cannot be had.
        """
        seen, made, encode = set(), 0, None
        with ExitStack() as while_needed:
            for each in map(_asked, asked):
                file = self.file_of(each)
                if file in seen or seen.add(file) or self._holds(file, each.sentence):
                    continue
                if encode is None:
                    opened = text_encoders(self.pipeline, self.path, self.dtype)
                    encode = while_needed.enter_context(opened)
                self._keep(file, each, encode)
                made += 1
        return made

    def _keep(self, file: Path, asked: Asked, encode: Callable) -> None:
        from safetensors.torch import save_file

        shown = (asked.pictures,) if asked.pictures else ()
        tokens, pooled = encode(asked.sentence, self.max_length, *shown)
        self.folder.mkdir(parents=True, exist_ok=True)
        temporary = file.with_suffix(f".{os.getpid()}.tmp")
        facts = {"encoders": self.stamp, "sentence": asked.sentence}
        save_file({"tokens": tokens, "pooled": pooled}, temporary, metadata=facts)
        os.replace(temporary, file)

    def _shown(self, batch: Mapping) -> list[tuple[np.ndarray, ...]]:
        """The pictures of each sample, as they were before they were made numbers in [-1, 1]."""
        if not self.pictures:
            return [()] * len(batch["category"])
        columns = []
        for role in self.pictures:
            if role not in batch:
                raise ValueError(f"pictures: the batch lacks {role!r}, which the text is made with")
            levels = ((batch[role].float() + 1.0) * 127.5).round().clamp(0, 255)
            columns.append(levels.to(torch.uint8).permute(0, 2, 3, 1).cpu().numpy())
        return list(zip(*columns, strict=True))

    def _templates_of(self, category: str) -> tuple[str, ...]:
        choice = self.templates.get(category, self.templates.get(""))
        if choice is None:
            raise ValueError(f"no template for category {category!r}: there is {[*self.templates]}")
        return choice

    def file_of(self, asked: Asked | str) -> Path:
        """Where a text is kept."""
        sentence, pictures = _asked(asked)
        digest = hashlib.sha256(sentence.encode())
        for picture in pictures:
            digest.update(repr(picture.shape).encode())
            digest.update(np.ascontiguousarray(picture).tobytes())
        return self.folder / f"{digest.hexdigest()[:32]}.safetensors"

    def _holds(self, file: Path, sentence: str) -> bool:
        try:
            self._load(file, sentence)
        except ValueError:
            return False
        return True

    def _load(self, path: Path, sentence: str) -> tuple[Tensor, Tensor]:
        way_out = "run tools/cache_prompts.py with this config"
        if not path.is_file():
            beside = " with these pictures" if self.pictures else ""
            raise ValueError(
                f"the text {sentence!r}{beside} is not encoded yet ({path}): {way_out}"
            )
        try:
            made_of = tensor_metadata(path).get("encoders", "")
            held = read_tensors(path, ("tokens", "pooled"))
            tensors = held["tokens"], held["pooled"]
        except FileError as error:
            raise FileError(f"{path} is damaged ({error.reason}): {way_out}") from error
        if self.stamp and made_of != self.stamp:
            raise ValueError(f"the text {sentence!r} is of other text encoders: {way_out}")
        return tensors


def _asked(given: Asked | str) -> Asked:
    return Asked(given) if isinstance(given, str) else given


def _by_category(templates) -> dict[str, tuple[str, ...]]:
    """Category ("" for any) -> templates."""
    given = templates if isinstance(templates, Mapping) else {"": templates}
    found = {
        category: (each,) if isinstance(each, str) else tuple(each)
        for category, each in given.items()
    }
    if not found or not all(found.values()):
        raise ValueError("templates: give at least one sentence, for each category that is named")
    return found


def _filled(template: str, batch: Mapping, place: int) -> str:
    """A template with the words of one sample of a batch."""
    words = {}
    for _, name, _, _ in Formatter().parse(template):
        if name is None:
            continue
        if name not in batch:
            raise ValueError(
                f"template {template!r} asks for {name!r}, which the batch lacks: give the data "
                "set captions (the transform `Captions`), or leave it out of the template"
            )
        words[name] = str(batch[name][place])
    return template.format(**words)
