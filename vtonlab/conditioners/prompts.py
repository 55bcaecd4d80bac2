"""Text for backbones that ask for it. Try-on prompts are constant, so they are encoded once and
kept.
"""

import hashlib
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from mmengine.logging import print_log
from torch import Tensor, nn

from vtonlab.backbones.families import Text
from vtonlab.conditioners.text_encoders import encoder_of, encoder_stamp, text_encoders
from vtonlab.registry import CONDITIONERS
from vtonlab.structures.sample import CATEGORIES
from vtonlab.utils.bounded import FileError, read_tensors, tensor_metadata

_DIPTYCH = (
    "The pair of images highlights a clothing and its styling on a model, high resolution, 4K, 8K; "
    "[IMAGE1] Detailed product shot of a {}clothing[IMAGE2] The same {}cloth is worn by a model in "
    "a lifestyle setting."
)
TEMPLATES: dict[str, str | dict[str, str]] = {  # word for word what published weights were shown
    "catvton_flux": _DIPTYCH.format("", ""),
    "catvton_flux_by_category": {
        category: _DIPTYCH.format(f"{category} ", f"{category} ") for category in CATEGORIES
    },
}


class TextSource(nn.Module):
    """Base of all text sources: one way to be asked, by the batch.

    Attributes:
        dropout: share of training samples that go without text.
    """

    dropout = 0.0

    def of(self, batch: dict) -> Text:
        """Text of each sample of a batch; by default of its garment categories."""
        return Text(*self(batch["category"]))

    def empty(self, count: int) -> Text:
        """The text of ``count`` samples that go without; asked only where there is `dropout`."""
        raise NotImplementedError


def replaced(text: Text, other: Text, where: Tensor) -> Text:
    """``text`` with the samples of ``where`` (B,) bool taken from ``other``, both padded to one
    length.
    """
    text, other = of_one_length(text, other)
    where = where.to(text.tokens.device)
    tokens = torch.where(where[:, None, None], other.tokens, text.tokens)
    pooled, mask = text.pooled, text.mask
    if pooled is not None:
        pooled = torch.where(where[:, None], other.pooled.to(pooled), pooled)
    if mask is not None:
        mask = torch.where(where[:, None], other.mask, mask)
    return Text(tokens, pooled, mask)


def of_one_length(text: Text, other: Text) -> tuple[Text, Text]:
    """Both padded to the longer one's length, with masks, where they are not of one already;
    ``other`` of the type and device of ``text``.
    """
    other = other._replace(tokens=other.tokens.to(text.tokens))
    if text.mask is None and other.mask is None and text.tokens.shape == other.tokens.shape:
        return text, other
    longest = max(text.tokens.shape[1], other.tokens.shape[1])
    found = []
    for each in (text, other):
        missing = longest - each.tokens.shape[1]
        whole = each.tokens.new_ones(each.tokens.shape[:2], dtype=torch.bool)
        mask = whole if each.mask is None else each.mask.to(whole.device)
        tokens = nn.functional.pad(each.tokens, (0, 0, 0, missing))
        found.append(Text(tokens, each.pooled, nn.functional.pad(mask, (0, missing))))
    return found[0], found[1]


@CONDITIONERS.register_module()
class NullPrompt(TextSource):
    """Zero text tokens for models that never saw text: ``num_tokens`` x ``dim``, pooled
    ``pooled_dim``.
    """

    def __init__(self, *, num_tokens: int = 1, dim: int = 16, pooled_dim: int = 16) -> None:
        super().__init__()
        self.register_buffer("tokens", torch.zeros(num_tokens, dim), persistent=False)
        self.register_buffer("pooled", torch.zeros(pooled_dim), persistent=False)

    def forward(self, categories: Sequence[str]) -> tuple[Tensor, Tensor]:
        """Text tokens (B, T, D) and pooled text (B, P) for one batch of garment categories."""
        batch = len(categories)
        return self.tokens.expand(batch, -1, -1), self.pooled.expand(batch, -1)


@CONDITIONERS.register_module()
class CachedPrompt(TextSource):
    """Constant prompts, encoded once by a pipeline's text encoders and cached on disk.

    Training and sampling read the cache; the encoders are loaded only where it is missing, and
    freed at once. Where the encoders' files of a local folder have changed since, or the file is
    damaged, they are encoded again; where the files are gone, the cache goes on serving.

    Args:
        path: weights (``text_encoder``, ``tokenizer`` and their numbered sisters), folder or hub
            name.
        prompts: one prompt, or a prompt for each garment category.
        template: the name of prompts in ``TEMPLATES`` instead: ``"catvton_flux"`` (catvton-flux
            and CORAL on VITON-HD), ``"catvton_flux_by_category"`` (CORAL on Dress Code).
        cache_dir: folder of the cached embeddings.
        max_length: text tokens (512 for FLUX.1 and FLUX.2, 256 of T5 for SD3).
        dtype: of the text encoders and the kept embeddings.
        pipeline: diffusers' pipeline that encodes, one whose way of encoding is registered in
            ``PROMPT_ENCODERS``: ``FluxPipeline``, ``Flux2KleinPipeline`` (whose pooled text is
            empty), ``StableDiffusion3Pipeline`` and their subclasses.

    Raises:
        FileNotFoundError: the encoders cannot be had, and nothing is cached.
        ValueError: an unknown ``pipeline`` or ``template``, or not one of prompts and template.
    """

    def __init__(
        self,
        *,
        path: str,
        prompts: str | Mapping[str, str] | None = None,
        template: str | None = None,
        cache_dir: str = "work_dirs/cache/prompts",
        max_length: int = 512,
        dtype: str = "bfloat16",
        pipeline: str = "FluxPipeline",
    ) -> None:
        super().__init__()
        encoder_of(pipeline)
        if (prompts is None) == (template is None):
            raise ValueError("give the prompt's words as prompts, or their name as template")
        if template is not None and template not in TEMPLATES:
            raise ValueError(f"template={template!r}: choose one of {', '.join(TEMPLATES)}")
        prompts = TEMPLATES[template] if prompts is None else prompts
        self.pipeline = pipeline
        self.prompts = {"": prompts} if isinstance(prompts, str) else dict(prompts)
        self.path, self.max_length, self.dtype = path, max_length, dtype
        settings = (path, sorted(self.prompts.items()), max_length, dtype)
        if pipeline != "FluxPipeline":
            settings += (pipeline,)
        name = hashlib.sha256(repr(settings).encode()).hexdigest()[:16]
        self.cache_file = Path(cache_dir) / f"{name}.safetensors"
        # by name: processes that share buffers in turn may have encoded or read them
        for name, tensor in sorted(self._load_or_encode().items()):
            self.register_buffer(name, tensor, persistent=False)

    def forward(self, categories: Sequence[str]) -> tuple[Tensor, Tensor]:
        """Text tokens (B, T, D) and pooled text (B, P) for one batch of garment categories.

        Raises:
            ValueError: a category without a prompt.
        """
        keys = ["" if "" in self.prompts else category for category in categories]
        unknown = sorted(set(keys) - set(self.prompts))
        if unknown:
            raise ValueError(
                f"no prompt for category {unknown[0]!r}: `prompts` has {sorted(self.prompts)}"
            )
        tokens = torch.stack([getattr(self, f"tokens_{key}") for key in keys])
        return tokens, torch.stack([getattr(self, f"pooled_{key}") for key in keys])

    def _load_or_encode(self) -> dict[str, Tensor]:
        from safetensors.torch import save_file

        stamp = encoder_stamp(self.path)
        kept = self._load(stamp)
        if kept is not None:
            return kept
        encoded = self._encode()
        self.cache_file.parent.mkdir(parents=True, exist_ok=True)
        temporary = self.cache_file.with_suffix(f".{os.getpid()}.tmp")
        save_file(encoded, temporary, metadata={"encoders": stamp})
        os.replace(temporary, self.cache_file)
        return encoded

    def _load(self, stamp: str) -> dict[str, Tensor] | None:
        """The cached embeddings, unless they are missing, damaged or of other encoders."""
        if not self.cache_file.is_file():
            return None
        try:
            made_of = tensor_metadata(self.cache_file).get("encoders", "")
            if stamp and made_of != stamp:
                print_log(f"{self.cache_file} is of other text encoders: encoded again")
                return None
            return read_tensors(self.cache_file)
        except FileError as error:
            print_log(f"{self.cache_file} is damaged ({error.reason}): encoded again")
            return None

    def _encode(self) -> dict[str, Tensor]:
        encoded = {}
        with text_encoders(self.pipeline, self.path, self.dtype) as encode:
            for key, prompt in self.prompts.items():
                tokens, pooled = encode(prompt, self.max_length)
                encoded[f"tokens_{key}"], encoded[f"pooled_{key}"] = tokens, pooled
        return encoded
