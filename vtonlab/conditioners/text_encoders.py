"""A pipeline's own text encoders: found, loaded for as long as they are needed, and told apart."""

import hashlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import Tensor

from vtonlab.registry import PROMPT_ENCODERS


def _encode_flux(pipeline, prompt: str, length: int) -> tuple[Tensor, Tensor]:
    found = pipeline.encode_prompt(prompt=prompt, prompt_2=None, max_sequence_length=length)
    return found[0], found[1]


def _encode_sd3(pipeline, prompt: str, length: int) -> tuple[Tensor, Tensor]:
    found = pipeline.encode_prompt(
        prompt=prompt,
        prompt_2=None,
        prompt_3=None,
        do_classifier_free_guidance=False,
        max_sequence_length=length,
    )
    return found[0], found[2]


def _encode_klein(pipeline, prompt: str, length: int) -> tuple[Tensor, Tensor]:
    found = pipeline.encode_prompt(prompt=prompt, max_sequence_length=length)
    return found[0], found[0].new_zeros(1, 0)  # FLUX.2 has no pooled text


# How a pipeline encodes one prompt: (pipeline, prompt, length) -> tokens (1, T, D), pooled (1, P).
PROMPT_ENCODERS.add(_encode_flux, "diffusers.FluxPipeline", "diffusers.FluxKontextPipeline")
PROMPT_ENCODERS.add(_encode_sd3, "diffusers.StableDiffusion3Pipeline")
PROMPT_ENCODERS.add(_encode_klein, "diffusers.Flux2KleinPipeline", "diffusers.Flux2Pipeline")


def encoder_of(name: str) -> tuple[type, Callable]:
    """A pipeline's class (diffusers' own, or one registered by itself) and how it encodes."""
    import diffusers

    registered = [k for k, _ in PROMPT_ENCODERS.items() if isinstance(k, type)]
    cls = next((k for k in registered if k.__name__ == name), getattr(diffusers, name, None))
    encode = PROMPT_ENCODERS.find(cls) if isinstance(cls, type) else None
    if encode is None:
        names = ", ".join(each.rpartition(".")[2] for each in PROMPT_ENCODERS.classes())
        raise ValueError(f"pipeline={name!r}: choose one of {names}")
    return cls, encode


@contextmanager
def text_encoders(pipeline: str, path: str, dtype: str) -> Iterator[Callable]:
    """While open, the encoders are in memory: ``encode(prompt, length)`` gives tokens (T, D) and
    pooled text (P,).

    Raises:
        FileNotFoundError: they cannot be loaded.
    """
    from vtonlab.backbones.pretrained import DTYPES

    cls, encode = encoder_of(pipeline)
    try:
        loaded = cls.from_pretrained(path, transformer=None, vae=None, torch_dtype=DTYPES[dtype])
    except (OSError, ValueError) as error:
        raise FileNotFoundError(
            f"the text encoders of {pipeline} cannot be loaded from {path!r} "
            f"(text_encoder, tokenizer and their numbered sisters): accept the licence on "
            f"the model's hub page and run `huggingface-cli login`, or point `pretrained` to a "
            f"local folder ({type(error).__name__})"
        ) from error

    def ask(prompt: str, length: int) -> tuple[Tensor, Tensor]:
        tokens, pooled = encode(loaded, prompt, length)
        return tokens[0].contiguous(), pooled[0].contiguous()

    with torch.no_grad():
        yield ask


def encoder_stamp(path: str) -> str:
    """What tells the text encoders of a local folder from others: names, sizes and dates of their
    files; empty for a hub name, or where they are not there.
    """
    files = sorted(Path(path).glob("text_encoder*/*")) + sorted(Path(path).glob("tokenizer*/*"))
    facts = [(f.parent.name, f.name, f.stat().st_size, f.stat().st_mtime_ns) for f in files]
    return hashlib.sha256(repr(facts).encode()).hexdigest()[:16] if facts else ""
