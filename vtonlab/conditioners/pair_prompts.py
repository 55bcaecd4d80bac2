"""A text for each pair: sentences from templates, encoded once by the model's own text encoders."""

import hashlib
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from string import Formatter

import torch
from torch import Tensor
from torch.nn import functional as F

from vtonlab.backbones.families import Text
from vtonlab.conditioners.prompts import TEMPLATES, TextSource
from vtonlab.conditioners.text_encoders import encoder_of, encoder_stamp, text_encoders
from vtonlab.registry import CONDITIONERS
from vtonlab.utils.bounded import FileError, read_tensors, tensor_metadata
from vtonlab.utils.seeding import seed_from
from vtonlab.utils.upload import upload

EMPTY = ""  # the sentence of samples that go without text


@CONDITIONERS.register_module()
class PairPrompt(TextSource):
    """Sentences made of a sample's words, from a cache that holds each of them once.

    ``tools/cache_prompts.py CONFIG`` fills the cache, and is the only one to load the encoders:
    training and sampling read it, and name a sentence that it lacks.

    Args:
        path: weights (``text_encoder``, ``tokenizer`` and their numbered sisters), folder or hub
            name.
        templates: a sentence with ``{caption}``, ``{category}`` or any other text of a sample; or
            several; or either for each garment category; or the name of one of ``TEMPLATES``. Of
            several, training takes one by the sample's position, testing the first.
        dropout: share of training samples that go without text.
        cache_dir: folder of caches.
        max_length: text tokens (512 for FLUX.1 and FLUX.2, 256 of T5 for SD3).
        dtype: of the text encoders and the kept embeddings.
        pipeline: see `CachedPrompt`.
        seed: of the choice among templates.

    Raises:
        ValueError: an unknown ``pipeline``, no template, or a ``dropout`` outside [0, 1).
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
        seed: int = 0,
    ) -> None:
        super().__init__()
        encoder_of(pipeline)
        if not 0.0 <= dropout < 1.0:
            raise ValueError(f"dropout={dropout}: a share of the samples, in [0, 1)")
        named = TEMPLATES.get(templates) if isinstance(templates, str) else None
        self.templates = _by_category(templates if named is None else named)
        self.path, self.max_length, self.dtype, self.pipeline = path, max_length, dtype, pipeline
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
        return self.read(self.sentences(batch))

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

    def possible(self, sample: Mapping) -> list[str]:
        """Every sentence that one sample (not collated) may be told, and the empty one."""
        batch = {key: [value] for key, value in sample.items()}
        choice = self._templates_of(sample["category"])
        return [*(_filled(template, batch, 0) for template in choice), EMPTY]

    def read(self, sentences: Sequence[str]) -> Text:
        """Kept embeddings of sentences.

        Raises:
            ValueError: one is not kept, or is of other text encoders.
        """
        kept = {sentence: self._load(sentence) for sentence in dict.fromkeys(sentences)}
        tokens = [kept[sentence][0] for sentence in sentences]
        lengths = [len(each) for each in tokens]
        longest, device = max(lengths), self._place.device
        padded = [F.pad(each, (0, 0, 0, longest - len(each))) for each in tokens]
        mask = None
        if min(lengths) != longest:
            counts = upload(torch.tensor(lengths), device)
            mask = torch.arange(longest, device=device)[None] < counts[:, None]
        pooled = torch.stack([kept[sentence][1] for sentence in sentences])
        return Text(upload(torch.stack(padded), device), upload(pooled, device), mask)

    def fill(self, sentences: Iterable[str]) -> int:
        """Encode what the cache lacks; the number of sentences encoded.

        Raises:
            FileNotFoundError: the encoders cannot be had.
        """
        from safetensors.torch import save_file

        missing = [each for each in dict.fromkeys(sentences) if not self._holds(each)]
        if not missing:
            return 0
        self.folder.mkdir(parents=True, exist_ok=True)
        with text_encoders(self.pipeline, self.path, self.dtype) as encode:
            for sentence in missing:
                tokens, pooled = encode(sentence, self.max_length)
                temporary = self._file(sentence).with_suffix(f".{os.getpid()}.tmp")
                facts = {"encoders": self.stamp, "sentence": sentence}
                save_file({"tokens": tokens, "pooled": pooled}, temporary, metadata=facts)
                os.replace(temporary, self._file(sentence))
        return len(missing)

    def _templates_of(self, category: str) -> tuple[str, ...]:
        choice = self.templates.get(category, self.templates.get(""))
        if choice is None:
            raise ValueError(f"no template for category {category!r}: there is {[*self.templates]}")
        return choice

    def _file(self, sentence: str) -> Path:
        name = hashlib.sha256(sentence.encode()).hexdigest()[:32]
        return self.folder / f"{name}.safetensors"

    def _holds(self, sentence: str) -> bool:
        try:
            self._load(sentence)
        except ValueError:
            return False
        return True

    def _load(self, sentence: str) -> tuple[Tensor, Tensor]:
        path = self._file(sentence)
        way_out = "run tools/cache_prompts.py with this config"
        if not path.is_file():
            raise ValueError(f"the text {sentence!r} is not encoded yet ({path}): {way_out}")
        try:
            made_of = tensor_metadata(path).get("encoders", "")
            held = read_tensors(path, ("tokens", "pooled"))
            tensors = held["tokens"], held["pooled"]
        except FileError as error:
            raise FileError(f"{path} is damaged ({error.reason}): {way_out}") from error
        if self.stamp and made_of != self.stamp:
            raise ValueError(f"the text {sentence!r} is of other text encoders: {way_out}")
        return tensors


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
