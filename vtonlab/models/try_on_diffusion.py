"""A diffusion try-on system: straight down from pictures to losses, or from noise to pictures."""

from collections.abc import Sequence
from functools import cached_property

import numpy as np
import torch
from mmengine.model import BaseModel
from torch import Tensor, nn
from torch.nn import functional as F

from vtonlab.attention import select_layers
from vtonlab.backbones.blocks import compile_blocks
from vtonlab.backbones.codec import LazyCodec, decode_latents, encode_pictures
from vtonlab.backbones.pretrained import half_precision
from vtonlab.backbones.recomputation import check_compiled, recompute_blocks
from vtonlab.conditioners.base import Prediction
from vtonlab.losses.supervision import Supervision, layer_patterns
from vtonlab.models.adapters import add_lora, keep_only_trained, train_only
from vtonlab.models.latent_cache import CachedEncoder, made_by
from vtonlab.models.named_adapters import NamedAdapters
from vtonlab.models.posterior import POSTERIORS, SampledEncoder, draw_noise
from vtonlab.models.results import (
    add_attention,
    bare_results,
    check_loss_names,
    check_needs,
    check_probe,
    check_size,
    checkpoint_facts,
    pair_results,
    preview_picture,
    to_uint8,
)
from vtonlab.ops.repaint import BLUR, ROUNDINGS
from vtonlab.registry import (
    ATTENTION_LOSSES,
    BACKBONES,
    CONDITIONERS,
    MODELS,
    NOISE_SCHEDULES,
    SAMPLERS,
)
from vtonlab.structures.sample import CATEGORIES
from vtonlab.utils.seeding import seed_from
from vtonlab.utils.upload import upload


@MODELS.register_module()
class TryOnDiffusion(BaseModel):
    """Backbone + conditioner + noise schedule + attention losses + sampler, all from the config.

    Args:
        backbone: a diffusers network by its class name, or ``from_pretrained``.
        codec: ``AutoencoderKL`` or ``SpaceToDepthCodec``; frozen.
        conditioner: how the garment enters, and where attention can be read.
        noise_schedule: training-side noising and target.
        sampler: diffusion sampler; must fit the noise schedule.
        attention_losses: name -> config; each is logged as ``loss_<name>``.
        size: (height, width) of the pictures this model is for; batches of another size are
            refused.
        categories: garment categories the model is trained for, written into its checkpoints.
        lora: arguments of :func:`vtonlab.models.adapters.add_lora`; the backbone is frozen but for
            it.
        adapters: several LoRAs by name, each with its own settings, for its own samples: see
            :class:`vtonlab.models.named_adapters.NamedAdapters`; instead of ``lora``.
        trainable: glob patterns of backbone parameters to train; ``None`` trains all (or LoRA
            alone).
        gradient_checkpointing: recompute the backbone's blocks in the backward pass: True, or
            ``dict(every=2)``, ``dict(keep_attention=True)`` or both, see
            :func:`vtonlab.backbones.recomputation.recompute_blocks`.
        compile: ``torch.compile`` the backbone's repeated blocks, in training and sampling, but for
            those whose attention a loss reads: True, or its arguments, such as
            ``dict(mode="max-autotune-no-cudagraphs")``.
        mask_loss_weight: weight of the diffusion loss inside the mask (1 treats the whole diptych
            alike, METHODS.md A4).
        condition_dropout: share of training samples whose garment is withheld, as the conditioner's
            ``drop`` does; guidance needs it. Attention to what is withheld is not supervised.
        probe: ``dict(layers=[...], sigma=0.5)``: attention layers read when testing, at that noise
            level.
        val_sigmas: noise levels at which validation asks for the denoising loss of each pair
            (:meth:`denoising_errors`); None for none.
        lazy_codec: load the codec when it is first used: never, while latents come from
            `tools/cache_latents.py` (the data set's ``latents``) and no picture is drawn.
        posterior: ``"mode"`` of the VAE, or ``"sample"``: while pictures are drawn, latents of what
            the network is shown are drawn too, as every released program does. Training takes the
            mode.
        decode: ``"person"``: the codec sees the person's latents alone; ``"whole"``: all that was
            generated, of which the person is then cut out, as CORAL's program does: a VAE's group
            norms and attention see another picture.
        picture_rounding, blend_rounding: from numbers to uint8, of the generated picture and of the
            one pasted into the photograph: ``"round"``, or ``"truncate"`` as released programs do.
        repaint_blur: the paste's edge is blurred by ``height // repaint_blur``; 0 pastes hard.
        seed: first coordinate of every noise and timestep.

    Raises:
        ValueError: sampler and noise schedule do not belong together; guidance without
            ``condition_dropout``.
    """

    def __init__(
        self,
        *,
        backbone: dict,
        codec: dict,
        conditioner: dict,
        noise_schedule: dict,
        sampler: dict,
        attention_losses: dict[str, dict] | None = None,
        size: Sequence[int],
        categories: Sequence[str] = CATEGORIES,
        lora: dict | None = None,
        adapters: dict[str, dict] | None = None,
        trainable: Sequence[str] | None = None,
        gradient_checkpointing: bool | dict = False,
        compile: bool | dict = False,
        mask_loss_weight: float = 1.0,
        condition_dropout: float = 0.0,
        probe: dict | None = None,
        val_sigmas: Sequence[float] | None = None,
        lazy_codec: bool = False,
        posterior: str = "mode",
        decode: str = "person",
        picture_rounding: str = "round",
        blend_rounding: str = "round",
        repaint_blur: int = BLUR,
        seed: int = 0,
        data_preprocessor: dict | None = None,
        init_cfg: dict | None = None,
    ) -> None:
        preprocessor = MODELS.build(data_preprocessor or dict(type="TryOnDataPreprocessor"))
        super().__init__(data_preprocessor=preprocessor, init_cfg=init_cfg)
        self.backbone = BACKBONES.build(backbone)
        self.codec = LazyCodec(codec) if lazy_codec else BACKBONES.build(codec)
        self.codec.requires_grad_(False).eval()
        self._latent_settings = (codec, conditioner, data_preprocessor)
        self.conditioner = CONDITIONERS.build(conditioner)
        self.noise_schedule = NOISE_SCHEDULES.build(noise_schedule)
        self.sampler = SAMPLERS.build(sampler)
        self.sampler.fit(self.noise_schedule)
        if self.sampler.guided and condition_dropout == 0 and not self.conditioner.dropouts:
            raise ValueError(
                f"guidance_scale={self.sampler.guidance_scale} needs a model that was trained "
                "without its garment too: set condition_dropout (0.1, say), or guidance_scale=1"
            )
        check_loss_names("attention_losses", attention_losses or {})
        check_probe(probe)
        if not 0.0 <= condition_dropout < 1.0:
            raise ValueError(f"condition_dropout={condition_dropout}: a share in [0, 1) is needed")
        self.attention_losses = nn.ModuleDict(
            {name: ATTENTION_LOSSES.build(cfg) for name, cfg in (attention_losses or {}).items()}
        )
        self.size, self.categories = tuple(size), tuple(categories)
        self.mask_loss_weight, self.probe, self.seed = mask_loss_weight, probe, seed
        self.val_sigmas = tuple(val_sigmas or ())
        if not all(0.0 < sigma < 1.0 for sigma in self.val_sigmas):
            raise ValueError(f"val_sigmas={val_sigmas}: noise levels between 0 and 1")
        self.condition_dropout = condition_dropout
        for name, value, known in (
            ("posterior", posterior, POSTERIORS),
            ("decode", decode, ("person", "whole")),
            ("picture_rounding", picture_rounding, ROUNDINGS),
            ("blend_rounding", blend_rounding, ROUNDINGS),
        ):
            if value not in known:
                raise ValueError(f"{name}={value!r}: choose one of {', '.join(known)}")
        self.posterior, self.picture_rounding = posterior, picture_rounding
        self.decodes_whole = decode == "whole"
        self.paste = dict(blur=repaint_blur, blend_rounding=blend_rounding)
        if gradient_checkpointing:
            recompute_blocks(self.backbone, gradient_checkpointing)
        self.conditioner.attach(self.backbone)
        self.adapters = None
        if adapters:
            if lora is not None or trainable is not None:
                raise ValueError("adapters train alone: leave lora and trainable out, or adapters")
            references = getattr(self.conditioner, "references", ())
            roles = [each.role for each in references]
            self.adapters = NamedAdapters(self.backbone, adapters, roles)
        elif lora is not None:
            add_lora(self.backbone, **lora)
        elif trainable is not None:
            train_only(self.backbone, trainable)
        if compile:
            check_compiled(gradient_checkpointing)
            compile_blocks(self.backbone, compile, supervised=self._supervised_in_backbone())
        saved = [f"conditioner.{name}" for name in self.conditioner.saved_when_frozen]
        keep_only_trained(self, also=saved)

    def train(self, mode: bool = True) -> "TryOnDiffusion":
        """As ``nn.Module.train``; the codec stays in evaluation mode."""
        super().train(mode)
        self.codec.eval()
        return self

    def forward(self, mode: str = "tensor", step: int = 0, **batch) -> dict | list:
        """``mode="loss"``: dict of scalars; ``mode="predict"``: list of result dicts; see both
        methods.
        """
        self.check_sample(batch)
        check_size(batch, self.size)
        if mode == "loss":
            return self.loss(batch, step)
        if mode == "predict":
            return self.predict(batch)
        if mode == "probe":
            return self.probe_attention(batch)
        raise ValueError(f"mode={mode!r}: TryOnDiffusion answers 'loss', 'predict' and 'probe'")

    def val_step(self, data: dict) -> list[dict]:
        """Validation while training: attention where the model has a probe, the denoising loss
        where it has ``val_sigmas``; pictures where it has neither.

        Reading attention takes one network call, the loss one for each level, drawing pictures as
        many as the sampler steps.
        """
        batch = self.data_preprocessor(data, False)
        draws = self.probe is None and not self.val_sigmas
        return self(**batch, mode="predict" if draws else "probe")

    def check_sample(self, sample: dict, where: str = "") -> None:
        """Whether a sample or batch has the maps that the conditioner reads.

        Raises:
            ValueError: it lacks one, by name; ``where`` it comes from is said too.
        """
        check_needs(sample, self.conditioner.needs, type(self.conditioner).__name__, where)
        if self.adapters is not None:
            self.adapters.check_sample(sample, where)

    # Training -------------------------------------------------------------------------------------

    def loss(self, batch: dict, step: int = 0) -> dict[str, Tensor]:
        """``loss_diffusion`` and one ``loss_<name>`` for each attention loss, with their monitors.

        Noise, noise level and dropout of a sample depend on ``(seed, position)`` alone: not on the
        batch, the rank or a restart.
        """
        with torch.no_grad():
            clean = self.conditioner.target(batch, self._encoder(batch, "target"))
            conditions = self._prepare(batch, self._encoder(batch, "prepare"))
        positions = batch["position"]
        noise, levels = self._draw(positions, clean)
        sigmas, timesteps = upload(levels, clean.device), self.noise_schedule.timesteps(levels)
        if self.condition_dropout:
            dropped = self._draw_dropped(positions, self.condition_dropout)
            conditions = self.conditioner.drop(conditions, upload(dropped, clean.device))
            withheld = self.conditioner.withheld(dropped)
            timesteps = timesteps.masked_fill(withheld, torch.inf)  # outside every gate
        if self.conditioner.dropouts:
            conditions, timesteps = self._drop_parts(positions, conditions, timesteps, clean.device)
        noisy = self.noise_schedule.add_noise(clean, noise, sigmas)
        supervision = Supervision(self.attention_losses, timesteps, step)
        prediction = self._run(noisy, sigmas, conditions, supervision.layers)
        output = prediction.sample.float()
        residual = self.noise_schedule.residual(output, clean, noise, sigmas)
        weights = self.noise_schedule.loss_weights(sigmas)
        losses = {"loss_diffusion": self._diffusion_loss(residual, batch, weights)}
        return losses | supervision(prediction.records, batch, output)

    def _prepare(self, batch: dict, encode) -> dict:
        """The conditioner's conditions, and on which samples each named adapter acts."""
        conditions = self.conditioner.prepare(batch, encode)
        if self.adapters is not None and self.adapters.tasks:
            conditions["adapters"] = self.adapters.told(batch, batch["person"].device)
        return conditions

    def _run(self, noisy: Tensor, sigmas: Tensor, conditions: dict, layers=()) -> Prediction:
        """The conditioner's call, in the precision the backbone is kept in (bfloat16 weights want
        autocast: latents, and whatever trains, are float32).
        """
        if self.adapters is not None:
            self.adapters.act_on(conditions)
        with half_precision(self.backbone):
            return self.conditioner(self.backbone, noisy, sigmas, conditions, layers)

    def _supervised_in_backbone(self) -> list[str]:
        """Names of the backbone's attention layers that any attention loss reads."""
        inside = self.conditioner.recorded(self.backbone) is self.backbone
        if not inside or not self.attention_losses:
            return []
        return select_layers(self.backbone, self.supervised_layers)

    @property
    def supervised_layers(self) -> list[str]:
        """Name patterns of the layers that any attention loss reads."""
        return layer_patterns(self.attention_losses.values())

    def _draw(self, positions: np.ndarray, clean: Tensor) -> tuple[Tensor, Tensor]:
        """Noise like ``clean``, and noise levels (B,) on the host, each sample from its own
        counter-based generator.
        """
        noises, sigmas = [], []
        for position in positions.tolist():
            generator = torch.Generator().manual_seed(seed_from("train", self.seed, position))
            sigmas.append(self.noise_schedule.draw(generator))
            noises.append(torch.randn(clean.shape[1:], generator=generator))
        return upload(torch.stack(noises), clean.device, clean.dtype), torch.stack(sigmas)

    def _draw_dropped(self, positions: np.ndarray, share: float, *part: str) -> Tensor:
        """Which samples go without their garment, or a part of their conditions, bool (B,) on the
        host.
        """
        chances = []
        for position in positions.tolist():
            seed = seed_from("drop", *part, self.seed, position)
            chances.append(torch.rand((), generator=torch.Generator().manual_seed(seed)))
        return torch.stack(chances) < share

    def _drop_parts(self, positions: np.ndarray, conditions: dict, timesteps: Tensor, device):
        """Conditions without what the conditioner's ``dropouts`` withhold, and the timesteps, at
        infinity where that is the supervised garment.
        """
        dropped = {
            part: self._draw_dropped(positions, share, part)
            for part, share in self.conditioner.dropouts.items()
        }
        without = self.conditioner.withholds_garment(dropped)
        if without is not None:
            timesteps = timesteps.masked_fill(without, torch.inf)
        dropped = {part: upload(samples, device) for part, samples in dropped.items()}
        return self.conditioner.drop_parts(conditions, dropped), timesteps

    def _diffusion_loss(
        self, residual: Tensor, batch: dict, weights: Tensor | None = None
    ) -> Tensor:
        error = residual.square()
        if weights is not None:
            error = error * weights.to(error).reshape(-1, *[1] * (error.ndim - 1))
        if self.mask_loss_weight == 1.0:
            return error.mean()
        inside = F.interpolate(
            batch["mask"], size=self.conditioner.person_latents(error).shape[-2:]
        )
        weight = torch.ones_like(error[:, :1])
        self.conditioner.person_latents(weight).add_(inside * (self.mask_loss_weight - 1.0))
        return (error * weight).mean()

    # Sampling -------------------------------------------------------------------------------------

    @torch.no_grad()
    def predict(self, batch: dict) -> list[dict]:
        """Dress each person of the batch.

        Each result holds ``id``, ``garment_id``, ``category``, ``image`` (H, W, 3) uint8 as
        generated, ``repainted`` (outside the mask the photograph), ``target``, ``mask`` (H, W), and
        with ``probe`` also ``attention``: layer -> ``argmax`` (Nq,) int64 garment key of the head
        mean, ``mass`` and ``entropy`` (Nq,), and ``grids``; ``flow`` where the truth is known. A
        picture depends on its pair and the seed alone.
        """
        conditions = self._prepare(batch, self._picture_encoder(batch, "prepare"))
        generators = self._pair_generators(batch, "picture")
        start = draw_noise(self._like_target(batch, conditions), generators)
        if self.sampler.start != "noise":
            start = self._noised_start(batch, start)
        if self.sampler.guided:
            without = self.conditioner.unconditional(conditions)
            if "adapters" in conditions:  # of both predictions
                without = {**without, "adapters": conditions["adapters"]}
            both = self._predictor(self.conditioner.joined(conditions, without))
            predict = self.sampler.guide(both)
        else:
            predict = self._predictor(conditions)
        length = self.conditioner.sequence_length(conditions)
        drawn = []
        for number in range(self.sampler.average):
            start = draw_noise(start, generators) if number else start
            begun = self.conditioner.start(start, conditions)
            drawn.append(self.sampler(predict, begun, length, generators))
        latents = self.conditioner.finish(sum(drawn) / len(drawn) if drawn[1:] else drawn[0])
        pictures = self._person_pictures(latents)
        rounding = self.picture_rounding
        images = to_uint8(pictures, rounding)
        results = pair_results(batch, images, picture_rounding=rounding, **self.paste)
        if self.probe is not None:
            clean = self.conditioner.target(batch, self._encoder(batch, "target"))
            self._probe(batch, clean, conditions, results)
        return results

    def _like_target(self, batch: dict, conditions: dict) -> Tensor:
        """Latents of the shape of what is generated."""
        blank = self.conditioner.blank(conditions)
        if blank is not None:
            return blank
        return self.conditioner.target(batch, self._encoder(batch, "target"))

    def _predictor(self, conditions: dict):
        """What a sampler steps on, as a function of latents and noise levels (B,)."""

        def predict(latents: Tensor, sigmas: Tensor) -> Tensor:
            output = self._run(latents, sigmas, conditions).sample
            return self.noise_schedule.prediction(output.float(), latents, sigmas)

        return predict

    def _person_pictures(self, latents: Tensor) -> Tensor:
        """(B, 3, H, W) of sampled latents: decoded and cut out, in the order of ``decode``."""
        cut = self.conditioner.person_latents
        return cut(self.decode(latents)) if self.decodes_whole else self.decode(cut(latents))

    def _noised_start(self, batch: dict, noise: Tensor) -> Tensor:
        """Latents of the sampler's ``start`` picture at the last noise level; with ``"agnostic"``
        the photograph is not seen.
        """
        key = {"agnostic": "agnostic", "photograph": "person"}[self.sampler.start]
        shown = {**batch, "person": batch[key], "target": batch[key]}
        clean = self.conditioner.target(shown, self._picture_encoder(shown, "start"))
        return self.noise_schedule.add_noise(clean, noise, torch.ones(len(noise)).to(noise))

    def preview(self, batch: dict) -> np.ndarray:
        """Rows of person, agnostic, garment and result, uint8 (B * H, 4 * W, 3), for logs."""
        return preview_picture(batch, [result["image"] for result in self.predict(batch)])

    @torch.no_grad()
    def probe_attention(self, batch: dict) -> list[dict]:
        """``id``, ``attention`` and ``flow`` of each pair, as :meth:`predict`, but no pictures; and
        ``denoising``, noise level -> loss, where there are ``val_sigmas``.
        """
        results = bare_results(batch)
        conditions = self._prepare(batch, self._encoder(batch, "prepare"))
        clean = self.conditioner.target(batch, self._encoder(batch, "target"))
        if self.probe is not None:
            self._probe(batch, clean, conditions, results)
        if self.val_sigmas:
            errors = self.denoising_errors(batch, clean, conditions)
            for result, error in zip(results, errors, strict=True):
                result["denoising"] = error
        return results

    @torch.no_grad()
    def denoising_errors(
        self, batch: dict, clean: Tensor, conditions: dict
    ) -> list[dict[float, float]]:
        """``loss_diffusion`` of each pair at each of ``val_sigmas``, without weights of places or
        levels.

        Noise depends on the pair, the level and the seed alone: two networks, or one at two times,
        answer the same questions.
        """
        generators = self._pair_generators(batch, "validation")
        found, was_training = [], self.conditioner.training
        self.conditioner.training = True  # this flag alone: guidance embeddings as when training
        try:
            for sigma in self.val_sigmas:
                noise = draw_noise(clean, generators)
                levels = torch.full((len(clean),), sigma, device=clean.device)
                noisy = self.noise_schedule.add_noise(clean, noise, levels)
                output = self._run(noisy, levels, conditions).sample.float()
                residual = self.noise_schedule.residual(output, clean, noise, levels)
                found.append(residual.square().flatten(1).mean(1))
        finally:
            self.conditioner.training = was_training
        pairs = torch.stack(found, dim=1).tolist()  # (B, levels)
        return [dict(zip(self.val_sigmas, errors, strict=True)) for errors in pairs]

    @torch.no_grad()
    def attention_records(
        self, batch: dict, sigma: float, layers: Sequence[str], reference: str | None = None
    ) -> list:
        """Attention records of ``layers`` while denoising the batch's true pictures at noise level
        ``sigma``: one a layer, of the reference of that role, or of the first that is recorded.
        """
        conditions = self._prepare(batch, self._encoder(batch, "prepare"))
        clean = self.conditioner.target(batch, self._encoder(batch, "target"))
        records = self._read_attention(batch, clean, conditions, sigma, layers)
        role = reference or (records[0].reference if records else None)
        return [record for record in records if record.reference == role]

    def _read_attention(self, batch, clean, conditions, sigma, layers) -> list:
        noise = draw_noise(clean, self._pair_generators(batch, "probe"))
        sigmas = torch.full((clean.shape[0],), sigma, device=clean.device)
        noisy = self.noise_schedule.add_noise(clean, noise, sigmas)
        return self._run(noisy, sigmas, conditions, layers).records

    def _probe(self, batch: dict, clean: Tensor, conditions: dict, results: list[dict]) -> None:
        sigma, layers = self.probe.get("sigma", 0.5), self.probe["layers"]
        records = self._read_attention(batch, clean, conditions, sigma, layers)
        add_attention(results, records, batch)

    def _pair_generators(self, batch: dict, purpose: str) -> list[torch.Generator]:
        pairs = zip(batch["id"], batch["garment_id"], strict=True)
        return [
            torch.Generator().manual_seed(seed_from(purpose, self.seed, person, garment))
            for person, garment in pairs
        ]

    # Latents --------------------------------------------------------------------------------------

    def encode(self, pictures: Tensor) -> Tensor:
        """Pictures (B, 3, H, W) in [-1, 1] to scaled latents; the posterior's mode, so that nothing
        is drawn here.
        """
        return encode_pictures(self.codec, pictures)

    def _encoder(self, batch: dict, stage: str):
        """`encode`, or what it gave before training where the batch brings ``latents``."""
        if "latents" not in batch:
            return self.encode
        return CachedEncoder(batch["latents"], stage, self._made_by)

    def _picture_encoder(self, batch: dict, stage: str):
        """What encodes while pictures are drawn: `_encoder`, or draws from the posterior."""
        if self.posterior == "sample":
            generators = self._pair_generators(batch, f"posterior {stage}")
            return SampledEncoder(self.codec, generators)
        return self._encoder(batch, stage) if stage == "prepare" else self.encode

    @cached_property
    def _made_by(self) -> dict:
        return made_by(*self._latent_settings)

    def decode(self, latents: Tensor) -> Tensor:
        """Scaled latents to pictures (B, 3, H, W), about [-1, 1]."""
        return decode_latents(self.codec, latents)

    # What a checkpoint must say -------------------------------------------------------------------

    def checkpoint_meta(self) -> dict:
        """Facts written into checkpoints and compared when one is loaded."""
        return checkpoint_facts(
            self,
            backbone=type(self.backbone).__name__,
            conditioner=type(self.conditioner).__name__,
        )
