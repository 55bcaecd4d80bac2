"""Reference pictures of an editing model: clean tokens behind the noisy ones in one sequence.

FLUX.1-Kontext, FLUX.2, Qwen-Image-Edit and LongCat-Image-Edit were trained to edit with clean
pictures in their sequence, told apart by positions. So the generated picture is followed by any
number of references, each with a role and a size of its own:

====================  ==============================
tokens                latents
====================  ==============================
the generated person  noisy; the only ones predicted
first reference       clean
second reference      clean
...                   clean
====================  ==============================

under full attention, as in `Full3DAttentionConditioner`, whose canvas and mask channels these
models have no weights for: with references no weight is new, training starts from an ability the
model has, and what is trained runs in diffusers' own pipeline with the same pictures. How a family
of backbones packs them, and which positions it gives, is in `vtonlab.backbones.families`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vtonlab.attention import AttentionRecorder
from vtonlab.backbones.families import Reference, Text, family_of
from vtonlab.conditioners.base import Conditioner, Encode, Prediction
from vtonlab.conditioners.joint_records import each_of, joint_records
from vtonlab.conditioners.prompts import of_one_length, replaced
from vtonlab.registry import CONDITIONERS

DEFAULT = (dict(role="agnostic"), dict(role="garment"), dict(role="pose"))
GIVEN = ("person", "garment")  # keys that every sample has


@dataclass(frozen=True)
class ReferenceSettings:
    """One picture that the network is shown.

    Args:
        role: key of the batch: ``"garment"``, ``"agnostic"``, ``"pose"``, ``"person"``, or any
            other picture that the data set gives, such as a photograph of somebody wearing it.
        size: (height, width) it is shown at; None: as it is.
        position_scale: factor of its rows and columns: 2 lets a reference of half the size lie
            over the generated picture.
        dropout: share of training samples that go without it; guidance withholds it.

    Raises:
        ValueError: a number outside its range.
    """

    role: str
    size: tuple[int, int] | None = None
    position_scale: float = 1.0
    dropout: float = 0.0

    def __post_init__(self) -> None:
        if not 0.0 <= self.dropout < 1.0:
            raise ValueError(f"reference {self.role!r}: dropout={self.dropout} is not in [0, 1)")
        if self.position_scale <= 0:
            raise ValueError(f"reference {self.role!r}: position_scale must be above 0")


@CONDITIONERS.register_module()
class ReferenceTokensConditioner(Conditioner):
    """In-context conditioning of an editing model (any family with ``references``).

    Args:
        prompt: config of the text source (``NullPrompt``, ``CachedPrompt``).
        references: what the network is shown, in this order, each as `ReferenceSettings` takes it.
        supervise: role whose tokens are the keys of attention records, or several: with
            ``["garment", "garment_2"]`` each layer gives a record of each, and an attention loss
            says whose it reads (``reference``).
        guidance_scale: value of the guidance embedding, for backbones that have one (Kontext,
            FLUX.2 dev; klein has none).

    Raises:
        ValueError: a setting of a reference that does not exist, or no or several references of
            a role in ``supervise``.
    """

    def __init__(
        self,
        *,
        prompt: dict,
        references: Sequence[Mapping] = DEFAULT,
        supervise: str | Sequence[str] = "garment",
        guidance_scale: float = 4.0,
    ) -> None:
        super().__init__()
        self.prompt = CONDITIONERS.build(prompt)
        self.references = [_settings(each) for each in references]
        roles = [each.role for each in self.references]
        supervise = [supervise] if isinstance(supervise, str) else list(supervise)
        for role in supervise:
            if roles.count(role) != 1 or supervise.count(role) != 1:
                raise ValueError(
                    f"supervise={role!r} must be the role of one reference; roles are {roles}"
                )
        if not supervise:
            raise ValueError(f"supervise is empty: name one or more of {roles}")
        self.supervised = [roles.index(role) for role in supervise]
        self.guidance_scale = guidance_scale

    def attach(self, backbone: nn.Module) -> None:
        """Changes nothing.

        Raises:
            ValueError: a backbone whose family takes no reference pictures.
        """
        family_of(backbone, "references", type(self).__name__)

    @property
    def needs(self) -> tuple[str, ...]:
        """Pictures that the network is shown, but those every sample has."""
        return tuple(each.role for each in self.references if each.role not in GIVEN)

    @property
    def dropouts(self) -> dict[str, float]:
        """Share of training samples that go without a reference, by role, or without text."""
        shares = {each.role: each.dropout for each in self.references if each.dropout}
        return shares | ({"text": self.prompt.dropout} if self.prompt.dropout else {})

    def target(self, batch: dict, encode: Encode) -> Tensor:
        """Latents ``(B, C, h, w)`` of the person wearing the garment (``target`` where a batch has
        it).
        """
        return encode(batch.get("target", batch["person"]))

    def prepare(self, batch: dict, encode: Encode) -> dict[str, Any]:
        """Latents of the references, each ``(B, C, h', w')``, text, and the size ``(h, w)`` of the
        generated latents.
        """
        pictures = [self._shown(batch[each.role], each) for each in self.references]
        if len({picture.shape for picture in pictures}) == 1:  # one call of the codec
            latents = list(encode(torch.cat(pictures)).chunk(len(pictures)))
        else:
            latents = [encode(picture) for picture in pictures]
        text, dtype = self.prompt.of(batch), latents[0].dtype
        without = self.prompt.empty(len(text.tokens)) if self.prompt.dropout else None
        factor = pictures[0].shape[-1] // latents[0].shape[-1]  # pixels per latent
        return {
            "references": latents,
            "text": text.tokens.to(dtype),
            "pooled": None if text.pooled is None else text.pooled.to(dtype),
            "text_mask": text.mask,
            "without_text": without,
            "size": tuple(side // factor for side in batch["person"].shape[-2:]),
            "shown": [latents[0].new_ones(len(text.tokens)) for _ in self.references],
        }

    def drop(self, conditions: dict[str, Any], dropped: Tensor) -> dict[str, Any]:
        """Zeros in place of every reference's latents for the samples of ``dropped`` (B,) bool."""
        return self.drop_parts(conditions, {each.role: dropped for each in self.references})

    def drop_parts(
        self, conditions: dict[str, Any], dropped: Mapping[str, Tensor]
    ) -> dict[str, Any]:
        """Zeros in place of the latents of some references, the empty text in place of the text:
        role or ``"text"`` -> samples (B,) bool.
        """
        references, shown = list(conditions["references"]), list(conditions["shown"])
        for place, settings in enumerate(self.references):
            if settings.role in dropped:
                kept = ~dropped[settings.role].to(references[place].device)
                references[place] = references[place] * kept[:, None, None, None]
                shown[place] = shown[place] * kept
        conditions = {**conditions, "references": references, "shown": shown}
        if "text" not in dropped:
            return conditions
        return _with_text(
            conditions, replaced(_text(conditions), conditions["without_text"], dropped["text"])
        )

    def withholds_garment(self, dropped: Mapping[str, Tensor]) -> Tensor | None:
        """Samples (B,) bool of which a supervised reference is dropped; None where none can be."""
        roles = [self.references[place].role for place in self.supervised]
        found = [dropped[role] for role in roles if role in dropped]
        return torch.stack(found).any(0) if found else None

    def unconditional(self, conditions: dict[str, Any]) -> dict[str, Any]:
        """Without the references that training may drop, or without any where it drops none by
        itself.
        """
        roles = self.dropouts or [each.role for each in self.references]
        every = torch.ones(len(conditions["text"]), dtype=torch.bool)
        return self.drop_parts(conditions, {role: every for role in roles})

    def joined(self, conditions: dict[str, Any], without: dict[str, Any]) -> dict[str, Any]:
        """Both as one batch; texts of unequal lengths are padded, with a mask."""
        texts = of_one_length(_text(conditions), _text(without))
        return super().joined(_with_text(conditions, texts[0]), _with_text(without, texts[1]))

    def blank(self, conditions: dict[str, Any]) -> Tensor:
        """Zeros ``(B, C, h, w)``."""
        batch, channels = conditions["references"][0].shape[:2]
        return conditions["references"][0].new_zeros(batch, channels, *conditions["size"])

    def forward(
        self,
        backbone: nn.Module,
        noisy: Tensor,
        sigmas: Tensor,
        conditions: dict[str, Any],
        layers: Sequence[str] = (),
    ) -> Prediction:
        """Velocity of the generated picture ``(B, C, h, w)``; its queries, and the keys of the
        supervised reference, in records.
        """
        family = family_of(backbone, "references", type(self).__name__)
        scales = [each.position_scale for each in self.references]
        latents = conditions["references"]
        references = [Reference(*each) for each in zip(latents, scales, strict=True)]
        text = _text(conditions)

        def run() -> Tensor:
            scale = self.guidance_scale
            return family.references(
                backbone, noisy, references, sigmas, text, guidance_scale=scale
            )

        if not layers:
            return Prediction(run())
        to_record = self._record_builder(backbone, [noisy, *latents], conditions["text"])
        with AttentionRecorder(backbone, layers=layers, to_record=to_record) as recorder:
            sample = run()
        return Prediction(sample, recorder.records)

    def person_latents(self, latents: Tensor) -> Tensor:
        """All of them."""
        return latents

    def sequence_length(self, conditions: dict[str, Any]) -> int:
        """Image tokens that are generated (3 072 at 1024x768), as noise levels count them."""
        height, width = conditions["size"]
        return height * width // 4

    def _record_builder(self, backbone: nn.Module, pictures: list[Tensor], text: Tensor):
        """The places of each supervised reference's tokens, told to `joint_records`."""
        grids = [(each.shape[-2] // 2, each.shape[-1] // 2) for each in pictures]
        counts = [height * width for height, width in grids]
        places = torch.arange(sum(counts)).split(counts)
        builders = []
        for number in self.supervised:
            others = [place for n, place in enumerate(places) if n != 1 + number]
            builders.append(
                joint_records(
                    backbone,
                    grid=grids[0],
                    key_grid=grids[1 + number],
                    person=places[0],
                    garment=places[1 + number],
                    others=torch.cat(others),
                    text=text,
                    reference=self.references[number].role,
                )
            )
        return each_of(builders)

    def _shown(self, picture: Tensor, settings: ReferenceSettings) -> Tensor:
        if settings.size is None or tuple(picture.shape[-2:]) == tuple(settings.size):
            return picture
        size = tuple(settings.size)
        return F.interpolate(picture, size, mode="bilinear", antialias=True).clamp(-1.0, 1.0)


def _text(conditions: Mapping) -> Text:
    return Text(conditions["text"], conditions["pooled"], conditions["text_mask"])


def _with_text(conditions: dict[str, Any], text: Text) -> dict[str, Any]:
    return {**conditions, "text": text.tokens, "pooled": text.pooled, "text_mask": text.mask}


def _settings(given: Mapping) -> ReferenceSettings:
    try:
        return ReferenceSettings(**given)
    except TypeError as error:
        names = ", ".join(ReferenceSettings.__dataclass_fields__)
        raise ValueError(f"reference {dict(given)}: its settings are {names} ({error})") from error
