"""The garment enters the decoder of a UNet through cross-attention that starts at zero.

The UNet sees 13 channels (METHODS.md 4.1): noisy latents, then ``inputs`` in their order. The
garment enters twice: as one CLIP token in the UNet's ordinary cross-attention, and as the features
of a spatial encoder, to which a zero cross-attention block attends at each place of the decoder but
the lowest level. Person queries and garment keys of a block lie on one grid.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vtonlab.attention import AttentionRecorder, list_attention_layers
from vtonlab.attention.layers import unwrap
from vtonlab.backbones.families import family_of
from vtonlab.backbones.input_channels import fit_input_channels
from vtonlab.conditioners.base import Conditioner, Encode, Prediction
from vtonlab.conditioners.zero_cross_attention_blocks import SpatialEncoder, ZeroCrossAttention
from vtonlab.registry import BACKBONES, CONDITIONERS
from vtonlab.structures import AttentionRecord

INPUTS = ("agnostic", "mask", "pose")
DROPS = ("token", "features")
READ = "attn2"  # of a block's two attentions, the one whose keys are the garment's


@CONDITIONERS.register_module()
class ZeroCrossAttentionConditioner(Conditioner):
    """Zero cross-attention conditioning of diffusers' ``UNet2DConditionModel`` (StableVITON).

    Args:
        image_encoder: config of the :class:`GarmentTokenEncoder`; its CLIP and mapper are frozen.
        inputs: channels beside the noisy latents, in order. Paint-by-Example's weights take
            ``("agnostic", "mask", "pose")``, those of SD-1.5-inpainting ``("mask", "agnostic",
            "pose")``.
        mask_shows: ``"generate"``: the mask channel is 1 where the picture is generated (as
            SD-1.5-inpainting was trained); ``"keep"``: 1 where it is kept (Paint-by-Example and
            the weights that come from it).
        antialias: shrink the mask, and the garment for CLIP, with antialiasing (SIFT-VTON's
            torchvision does); False without, as StableVITON's did.
        encoder_sees: ``"person_and_garment"`` (released code) or ``"garment"`` (paper), METHODS.md
            D1.
        garment_positions: add the sine code of its place to each garment feature. The papers' deep
            encoder knows where on the garment it is by its depth; a toy's shallow one does not.
        num_heads: of the zero cross-attention.
        drops: what is withheld for guidance: the ``"token"``, replaced by the learned vector, and
            the spatial ``"features"``, whose blocks are then skipped (SIFT-VTON samples so).
        training_drops: None withholds the same in training, as it must be for guidance to be
            trained; ``("token",)`` is what both releases do (METHODS.md B5).
        train_token: train the token's projection and the learned vector (StableVITON does,
            SIFT-VTON does not).
    """

    saved_when_frozen = ("image_encoder.proj_out.", "image_encoder.uncond_vector")

    def __init__(
        self,
        *,
        image_encoder: dict,
        inputs: Sequence[str] = INPUTS,
        mask_shows: str = "generate",
        antialias: bool = True,
        encoder_sees: str = "person_and_garment",
        garment_positions: bool = False,
        num_heads: int = 8,
        drops: Sequence[str] = DROPS,
        training_drops: Sequence[str] | None = None,
        train_token: bool = True,
    ) -> None:
        super().__init__()
        for name in inputs:
            _check("inputs", name, INPUTS)
        for name in (*drops, *(training_drops or ())):
            _check("drops", name, DROPS)
        _check("mask_shows", mask_shows, ("generate", "keep"))
        _check("encoder_sees", encoder_sees, ("person_and_garment", "garment"))
        self.inputs, self.mask_shows, self.encoder_sees = tuple(inputs), mask_shows, encoder_sees
        self.antialias, self.garment_positions = antialias, garment_positions
        self.num_heads, self.drops = num_heads, tuple(drops)
        self.training_drops = self.drops if training_drops is None else tuple(training_drops)
        self.image_encoder = BACKBONES.build(image_encoder).requires_grad_(False)
        if train_token:
            self.image_encoder.proj_out.requires_grad_(True)
            self.image_encoder.uncond_vector.requires_grad_(True)
        self.encoder: SpatialEncoder | None = None  # once attached
        self.cross: ZeroCrossAttention | None = None

    def attach(self, backbone: nn.Module) -> None:
        """Widen the backbone's input with zeros, copy its encoder, and size the blocks by it.

        Raises:
            ValueError: of no family of UNets, one for tokens of another width, or of widths that
                `garment_positions` cannot encode.
        """
        family_of(backbone, "unet", type(self).__name__)
        width = self.image_encoder.proj_out.out_features
        if backbone.config.cross_attention_dim != width:
            raise ValueError(
                f"the garment token is {width} wide, the UNet's cross_attention_dim is "
                f"{backbone.config.cross_attention_dim}: set projection_dim to it"
            )
        latent = backbone.config.out_channels
        more = sum(1 if name == "mask" else latent for name in self.inputs)
        fit_input_channels(backbone, latent + more)
        self.encoder = SpatialEncoder(backbone, latent_channels=latent, sees=self.encoder_sees)
        self.cross = ZeroCrossAttention(backbone, num_heads=self.num_heads)
        odd = [p.garment_dim for p in self.cross.places if p.garment_dim % 4]
        if self.garment_positions and odd:
            raise ValueError(
                f"garment_positions needs widths that 4 divides, the UNet has {odd[0]}: change its "
                "block_out_channels or leave garment_positions out"
            )

    def recorded(self, backbone: nn.Module) -> nn.Module:
        """The zero cross-attention blocks."""
        return self.cross

    def readable(self, backbone: nn.Module) -> list[str]:
        """Cross-attention of the blocks."""
        layers = list_attention_layers(self.cross)
        return [layer.name for layer in layers if layer.name.endswith(READ)]

    @property
    def needs(self) -> tuple[str, ...]:
        """Maps of the person that the network is shown."""
        return self.inputs

    def train(self, mode: bool = True) -> "ZeroCrossAttentionConditioner":
        """As ``nn.Module.train``; the image encoder stays in evaluation mode."""
        super().train(mode)
        self.image_encoder.eval()
        return self

    def target(self, batch: dict, encode: Encode) -> Tensor:
        """Latents (B, C, h, w) of the person in the garment."""
        return encode(batch.get("target", batch["person"]))

    def prepare(self, batch: dict, encode: Encode) -> dict[str, Any]:
        """``given`` (B, C', h, w), ``garment`` latents, and CLIP's feature of the garment."""
        garment = encode(batch["garment"])
        parts = {
            "agnostic": lambda: encode(batch["agnostic"]),
            "mask": lambda: self._mask_channel(batch["mask"], garment),
            "pose": lambda: encode(batch["pose"]),
        }
        given = torch.cat([parts[name]() for name in self.inputs], dim=1)
        clip = self.image_encoder.features(batch["garment"], antialias=self.antialias)
        clip = clip.to(garment.dtype)
        return {"given": given, "garment": garment, "clip": clip, "dropped": None}

    def blank(self, conditions: dict[str, Any]) -> Tensor:
        """The garment's latents."""
        return conditions["garment"]

    def drop(self, conditions: dict[str, Any], dropped: Tensor) -> dict[str, Any]:
        """Marks the samples of ``dropped`` (B,) bool; :meth:`forward` withholds
        ``training_drops``.
        """
        return {**conditions, "dropped": dropped, "drops": self.training_drops}

    def withheld(self, dropped: Tensor) -> Tensor:
        """None while the spatial features stay: the blocks attend to them without the token."""
        return dropped if "features" in self.training_drops else torch.zeros_like(dropped)

    def unconditional(self, conditions: dict[str, Any]) -> dict[str, Any]:
        """All samples without ``drops``; a garment of None skips encoder and blocks."""
        dropped = torch.ones(len(conditions["given"]), dtype=torch.bool)
        dropped = dropped.to(conditions["given"].device)
        kept = None if "features" in self.drops else conditions["garment"]
        return {**conditions, "dropped": dropped, "drops": self.drops, "garment": kept}

    def joined(self, conditions: dict[str, Any], without: dict[str, Any]) -> dict[str, Any]:
        """One batch of both; where ``without`` has no garment, the second half runs without encoder
        and blocks.
        """
        garments = [conditions["garment"]]
        if without["garment"] is not None:
            garments.append(without["garment"])
        dropped = without["dropped"]
        return {
            "given": torch.cat([conditions["given"], without["given"]]),
            "clip": torch.cat([conditions["clip"], without["clip"]]),
            "garment": torch.cat(garments),
            "dropped": torch.cat([~dropped, dropped]),
            "drops": without["drops"],
        }

    def forward(
        self,
        backbone: nn.Module,
        noisy: Tensor,
        sigmas: Tensor,
        conditions: dict[str, Any],
        layers: Sequence[str] = (),
    ) -> Prediction:
        """The UNet's answer on ``noisy`` at timestep ``1000 * sigmas``.

        ``layers`` are names within the blocks, ``blocks.<place>.transformer.transformer_blocks.0.
        attn2`` with places counted in decoder order; patterns such as ``blocks.1.*.attn2`` match.
        """
        family = family_of(backbone, "unet", type(self).__name__)
        stream = torch.cat([noisy, conditions["given"]], dim=1)
        token = self._token(conditions)

        def run() -> Tensor:
            return family.unet(backbone, stream, sigmas, token)

        if conditions["garment"] is None:
            return Prediction(run())
        shown = len(conditions["garment"])  # fewer than samples where guidance's half has none
        features = self.encoder(
            stream[:shown], conditions["garment"], sigmas[:shown] * 1000.0, token[:shown]
        )
        if self.garment_positions:
            features = [feature + _positions(feature) for feature in features]
        kept = None
        if conditions["dropped"] is not None and "features" in conditions["drops"]:
            kept = ~conditions["dropped"][:shown]
        with self.cross.applied(unwrap(backbone), features, kept) as grids:
            if not layers:
                return Prediction(run())
            to_record = _record_builder(grids)
            with AttentionRecorder(self.cross, layers=layers, to_record=to_record) as recorder:
                sample = run()
        return Prediction(sample, recorder.records)

    def person_latents(self, latents: Tensor) -> Tensor:
        """All of them."""
        return latents

    def sequence_length(self, conditions: dict[str, Any]) -> int:
        """Latent pixels."""
        return conditions["given"].shape[-2] * conditions["given"].shape[-1]

    def _token(self, conditions: dict[str, Any]) -> Tensor:
        """(B, 1, D): the garment's token, or the learned vector where it is withheld."""
        token = self.image_encoder.proj_out(conditions["clip"])
        if conditions["dropped"] is None or "token" not in conditions["drops"]:
            # the vector joins the graph all the same, so that ranks agree on what has a gradient
            return token + 0.0 * self.image_encoder.uncond_vector
        nothing = self.image_encoder.uncond_vector.expand_as(token)
        return torch.where(conditions["dropped"][:, None, None], nothing, token)

    def _mask_channel(self, mask: Tensor, like: Tensor) -> Tensor:
        shown = mask if self.mask_shows == "generate" else 1 - mask
        size = like.shape[-2:]
        shrunk = F.interpolate(shown, size, mode="bilinear", antialias=self.antialias)
        return shrunk.to(like.dtype)


def _positions(feature: Tensor) -> Tensor:
    """(C, h, w), the sine code of each place of a feature (B, C, h, w), as ViT and DETR have it."""
    from diffusers.models.embeddings import get_2d_sincos_pos_embed

    channels, size = feature.shape[1], tuple(feature.shape[-2:])
    code = get_2d_sincos_pos_embed(channels, size, device=feature.device, output_type="pt")
    return code.to(feature.dtype).mT.reshape(channels, *size)


def _record_builder(grids: list[tuple[int, int]]):
    """Cross-attention of block ``blocks.<place>``; self-attention holds no garment."""

    def to_record(
        name: str, query: Tensor, key: Tensor, scale: float, mask: Tensor | None = None
    ) -> AttentionRecord | None:
        if not name.endswith(READ):
            return None
        grid = grids[int(name.split(".")[1])]
        return AttentionRecord(
            name=name, query=query, key=key, query_grid=grid, key_grid=grid, scale=scale,
            key_mask=mask,
        )  # fmt: skip

    return to_record


def _check(name: str, value: str, options: Sequence[str]) -> None:
    if value not in options:
        raise ValueError(f"{name}: {value!r} is none of {', '.join(options)}")
