"""A pipeline's own text encoders: found, loaded for as long as they are needed, and told apart."""

import hashlib
import inspect
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
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


def _encode_qwen_edit(
    pipeline, prompt: str, length: int, pictures: Sequence[np.ndarray] = ()
) -> tuple[Tensor, Tensor]:
    """As ``QwenImageEditPlusPipeline`` does: its encoder also looks at the pictures, made small."""
    from diffusers.pipelines.qwenimage import pipeline_qwenimage_edit_plus as upstream
    from PIL import Image

    images = []
    for picture in pictures:
        height, width = picture.shape[:2]
        area = upstream.CONDITION_IMAGE_SIZE
        width, height = upstream.calculate_dimensions(area, width / height)
        images.append(pipeline.image_processor.resize(Image.fromarray(picture), height, width))
    tokens, _ = pipeline.encode_prompt(prompt, image=images or None, max_sequence_length=length)
    return tokens, tokens.new_zeros(1, 0)  # no pooled text


# How a pipeline encodes one prompt: (pipeline, prompt, length) -> tokens (1, T, D), pooled (1, P).
# One whose encoder looks at pictures too takes them as `pictures`, uint8 (H, W, 3) each.
PROMPT_ENCODERS.add(_encode_flux, "diffusers.FluxPipeline", "diffusers.FluxKontextPipeline")
PROMPT_ENCODERS.add(_encode_sd3, "diffusers.StableDiffusion3Pipeline")
PROMPT_ENCODERS.add(_encode_klein, "diffusers.Flux2KleinPipeline", "diffusers.Flux2Pipeline")
PROMPT_ENCODERS.add(_encode_qwen_edit, "diffusers.QwenImageEditPlusPipeline")


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


def sees_pictures(encode: Callable) -> bool:
    """Whether a way of encoding takes ``pictures`` beside the prompt."""
    return "pictures" in inspect.signature(encode).parameters


@contextmanager
def text_encoders(pipeline: str, path: str, dtype: str) -> Iterator[Callable]:
    """While open, the encoders are in memory: ``encode(prompt, length)`` gives tokens (T, D) and
    pooled text (P,); `sees_pictures` says whose takes ``pictures`` as a third.

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
            f"the model's hub page and run `hf auth login`, or point `pretrained` to a "
            f"local folder ({type(error).__name__})"
        ) from error

    def ask(prompt: str, length: int, *pictures) -> tuple[Tensor, Tensor]:
        tokens, pooled = encode(loaded, prompt, length, *pictures)
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
