"""Virtual try-on on diffusers alone: a UNet in whose self-attention person and garment meet.

    pipe = DiffusionPipeline.from_pretrained(DIR, custom_pipeline=DIR, trust_remote_code=True)
    picture = pipe(person, garment, mask, pose).images[0]

Two forms: a reference UNet reads the garment and every self-attention of ``unet`` sees its tokens
(as Leffa), or person and garment are one canvas, above each other (as CatVTON). Written by vtonlab;
needs torch, diffusers, NumPy and Pillow.
"""

import inspect

import numpy as np
import torch
from diffusers import AutoencoderKL, DiffusionPipeline, ImagePipelineOutput, UNet2DConditionModel
from diffusers.models.attention import BasicTransformerBlock
from diffusers.models.attention_processor import AttnProcessor2_0
from torch.nn import functional as F

from vtonlab.exporting.pipelines.pictures import (
    as_batch,
    as_generators,
    as_pictures,
    draw_noise,
    encode,
)


class OfReference(AttnProcessor2_0):
    """On self-attention of either UNet: attends as always, once it has met the reference."""

    def __init__(self, name):
        super().__init__()
        self.name = name

    def __call__(
        self,
        attn,
        hidden_states,
        encoder_hidden_states=None,
        attention_mask=None,
        temb=None,
        reference=None,
    ):
        if reference is not None:
            encoder_hidden_states = self.meet(reference, hidden_states)
        return super().__call__(attn, hidden_states, encoder_hidden_states, attention_mask, temb)


class KeepsInput(OfReference):
    """Of the reference UNet: keeps what came in."""

    def meet(self, reference, tokens):
        reference[self.name] = tokens


class SeesReference(OfReference):
    """Of the UNet: attends to its own tokens, then to the reference's."""

    def meet(self, reference, tokens):
        return torch.cat([tokens, reference[self.name]], dim=1)


class GivesBack:
    """In place of cross-attention to a text that there is not: its input, which the block adds."""

    def __call__(
        self,
        attn,
        hidden_states,
        encoder_hidden_states=None,
        attention_mask=None,
        temb=None,
        reference=None,
    ):
        return hidden_states


class TryOnPipeline(DiffusionPipeline):
    """Dresses people.

    Args:
        unet, reference_unet: without text; the second in Leffa's form alone.
        vae: None folds blocks of pixels into channels.
        scheduler: of diffusers, as the model was trained.
        settings: of ``model_index.json``; what is read of it stands in this file.
    """

    model_cpu_offload_seq = "reference_unet->unet->vae"
    _optional_components = ["reference_unet", "vae"]

    def __init__(
        self,
        scheduler,
        unet: UNet2DConditionModel,
        reference_unet: UNet2DConditionModel = None,
        vae: AutoencoderKL = None,
        settings: dict = None,  # noqa: RUF013  (diffusers reads the types)
    ):
        super().__init__()
        self.register_modules(
            scheduler=scheduler, unet=unet, reference_unet=reference_unet, vae=vae
        )
        self.register_to_config(settings=dict(settings))
        for network in (unet, reference_unet):
            for block in network.modules() if network is not None else ():
                if not isinstance(block, BasicTransformerBlock) or block.attn2 is None:
                    continue
                if settings["cross_attention"] == "residual":
                    block.attn2.set_processor(GivesBack())
                else:  # stand-ins, which add exactly nothing
                    block.attn2 = block.norm2 = None
        if reference_unet is not None:
            for network, kind in ((reference_unet, KeepsInput), (unet, SeesReference)):
                for name, module in network.named_modules():
                    if name.endswith(".attn1"):
                        module.set_processor(kind(name))

    @torch.no_grad()
    def __call__(
        self,
        person,
        garment,
        mask,
        pose=None,
        *,
        num_inference_steps=None,
        guidance_scale=None,
        generator=None,
        repaint=True,
        output_type="pil",
        callback_on_step_end=None,
    ):
        """One picture for each person; lists go side by side.

        Args:
            person, garment: paths, PIL pictures or uint8 arrays; those of the model's size are
                taken as they are, others are fitted and padded.
            mask: white where the picture is generated, of the person's size.
            pose: DensePose-like rendering, for models that are shown one.
            num_inference_steps, guidance_scale: None: as the model was tested.
            generator: of torch, on the CPU for the same picture everywhere; or one for each pair.
            repaint: paste the photograph back outside the mask.
            output_type: ``"pil"``, ``"np"`` (uint8) or ``"latent"``.
        """
        settings = self.config.settings
        batch, arrays = as_batch(person, garment, mask, pose, settings)
        batch = {name: value.to(self._execution_device) for name, value in batch.items()}
        generators = as_generators(generator, len(batch["person"]))
        scale = settings["guidance_scale"] if guidance_scale is None else guidance_scale
        garment, given = self._conditions(batch, generators)
        if scale > 1:  # a second prediction without the garment, in the same batch
            nothing, without = self._conditions(batch, generators, zero=True, like=(garment, given))
            garment, given = torch.cat([garment, nothing]), torch.cat([given, without])
        shape = given[: len(generators), : garment.shape[1]]
        latents = draw_noise(shape, generators)
        self._set_timesteps(num_inference_steps or settings["num_steps"])
        extra = self._step_arguments(generators)
        features = None
        for number, timestep in enumerate(self.progress_bar(self.scheduler.timesteps)):
            if features is None or settings["reference_timestep"] is None:
                features = self._features(garment, timestep)
            epsilon = self._epsilon(latents, given, timestep, features, scale)
            latents = self.scheduler.step(epsilon, timestep, latents, return_dict=False, **extra)[0]
            if callback_on_step_end is not None:
                answer = callback_on_step_end(self, number, timestep, {"latents": latents}) or {}
                latents = answer.get("latents", latents)
        images = as_pictures(
            self.vae, latents, self._person, arrays, settings, repaint, output_type
        )
        return ImagePipelineOutput(images=images)

    def _set_timesteps(self, steps):
        """The scheduler's own, or spread as training draws noise levels."""
        shift = self.config.settings["levels_shift"]
        if shift is None:
            return self.scheduler.set_timesteps(steps)
        total = self.scheduler.config.num_train_timesteps
        shares = [step / steps for step in range(steps, 0, -1)]
        levels = [shift * share / (1 + (shift - 1) * share) for share in shares]
        times = dict.fromkeys(max(round(level * total) - 1, 0) for level in levels)
        return self.scheduler.set_timesteps(timesteps=[*times])

    @property
    def _one_canvas(self):
        return self.reference_unet is None

    def _person(self, latents):
        return latents[:, :, : latents.shape[2] // 2] if self._one_canvas else latents

    def _conditions(self, batch, generators, zero=False, like=None):
        """The garment's latents (B, C, h, w), and what stands beside the noisy latents
        (B, C', h, w), 2h with the garment below.
        """
        if zero:
            garment, given = torch.zeros_like(like[0]), like[1].clone()
            if self._one_canvas:
                inputs = self.config.settings["inputs"].split(",")
                first = inputs[: inputs.index("agnostic")].count("mask")
                first += 3 * inputs[: inputs.index("agnostic")].count("pose")
                before = inputs[: inputs.index("agnostic")].count("pose_latents")
                first += before * garment.shape[1]
                given[:, first : first + garment.shape[1], given.shape[2] // 2 :] = 0.0
            return garment, given
        settings = self.config.settings
        garment = encode(self.vae, batch["garment"], settings, generators)
        size = garment.shape[-2:]
        parts = []
        for name in settings["inputs"].split(","):
            if name == "agnostic":
                part, beside = encode(self.vae, batch[name], settings, generators), garment
            elif name == "pose_latents":
                part = encode(self.vae, batch["pose"], settings, generators)
                beside = torch.zeros_like(part)
            else:
                part = F.interpolate(batch[name], size=size).to(garment)
                beside = torch.zeros_like(part)
            parts.append(torch.cat([part, beside], dim=2) if self._one_canvas else part)
        return garment, torch.cat(parts, dim=1)

    def _features(self, garment, timestep):
        """Name of a self-attention -> its input (B, N, C) in the reference UNet."""
        if self._one_canvas:
            return {}
        fixed, features = self.config.settings["reference_timestep"], {}
        if fixed is not None:
            timestep = fixed * self.scheduler.config.num_train_timesteps / 1000
        self._run(self.reference_unet, garment, timestep, features)
        return features

    def _epsilon(self, latents, given, timestep, features, scale):
        """The predicted noise, guided where ``scale`` is above 1."""
        twice = torch.cat([latents, latents]) if scale > 1 else latents
        output = self._run(self.unet, torch.cat([twice, given], dim=1), timestep, features).float()
        if self.config.settings["network_predicts"] == "clean":
            signal, spread = self._rates(timestep, twice)
            output = (twice - signal * output) / spread
        if scale <= 1:
            return output
        shown, without = output.chunk(2)
        guided = without + scale * (shown - without)
        rescale = self.config.settings["guidance_rescale"]
        if rescale == 0.0:
            return guided
        ratio = shown.std((1, 2, 3), keepdim=True) / guided.std((1, 2, 3), keepdim=True)
        return guided * (rescale * ratio + (1.0 - rescale))

    def _run(self, network, streams, timestep, features):
        steps = self.scheduler.config.num_train_timesteps
        level = torch.as_tensor(timestep, dtype=torch.float32, device=streams.device) / steps
        levels = level.expand(len(streams)) * 1000.0  # rounded as in training
        return network(
            streams.to(network.dtype),
            levels,
            encoder_hidden_states=None,
            cross_attention_kwargs=None if self._one_canvas else {"reference": features},
            return_dict=False,
        )[0]

    def _rates(self, timestep, like):
        """Shares of picture and noise at a timestep, worked out in float64 as in training."""
        config = self.scheduler.config
        ends = config.beta_start**0.5, config.beta_end**0.5
        betas = np.linspace(*ends, config.num_train_timesteps, dtype=np.float64) ** 2
        alphas = np.cumprod(1.0 - betas)
        if config.get("rescale_betas_zero_snr"):
            signal = np.sqrt(alphas)
            alphas = np.square((signal - signal[-1]) * signal[0] / (signal[0] - signal[-1]))
        alpha = torch.tensor(alphas[int(timestep)], dtype=torch.float64)
        return alpha.sqrt().to(like), (1 - alpha).sqrt().to(like)

    def _step_arguments(self, generators):
        """``eta`` and ``generator`` for schedulers that take them."""
        taken = inspect.signature(self.scheduler.step).parameters
        eta = self.config.settings["eta"]
        if "eta" in taken:
            return {"eta": eta, "generator": generators if eta else None}
        return {"generator": generators} if "generator" in taken else {}
