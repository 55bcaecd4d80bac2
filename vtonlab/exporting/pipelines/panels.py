"""Virtual try-on on diffusers alone: a DiT sees garment, person and pose side by side.

    pipe = DiffusionPipeline.from_pretrained(DIR, custom_pipeline=DIR, trust_remote_code=True)
    picture = pipe(person, garment, mask, pose).images[0]

FLUX.1-Fill has channels for the canvas and its mask; Stable Diffusion 3 was given them. Parts that
the folder does not hold come from the base model, once. The prompt was encoded when the model was
trained and lies in the folder, so no text encoder is loaded. Written by vtonlab; needs torch,
diffusers, peft, NumPy and Pillow.
"""

import os

import numpy as np
import torch
from diffusers import (
    AutoencoderKL,
    DiffusionPipeline,
    FluxFillPipeline,
    FluxTransformer2DModel,
    ImagePipelineOutput,
    ModelMixin,
)
from diffusers.loaders import FluxLoraLoaderMixin
from diffusers.pipelines.flux.pipeline_flux_fill import calculate_shift
from huggingface_hub import hf_hub_download
from safetensors.torch import load_file
from torch.nn import functional as F

from vtonlab.exporting.pipelines.pictures import (
    as_batch,
    as_generators,
    as_pictures,
    draw_noise,
    encode,
)


class TryOnPipeline(DiffusionPipeline, FluxLoraLoaderMixin):
    """Dresses people.

    Args:
        scheduler: of diffusers, as the model was trained.
        transformer, vae: None takes them from ``settings["base"]``.
        settings: of ``model_index.json``; what is read of it stands in this file.
    """

    model_cpu_offload_seq = "transformer->vae"
    _optional_components = ["transformer", "vae"]
    text_encoder = None  # where the loader of LoRAs looks

    def __init__(
        self,
        scheduler,
        transformer: ModelMixin = None,
        vae: AutoencoderKL = None,
        settings: dict = None,  # noqa: RUF013  (diffusers reads the types)
    ):
        super().__init__()
        base = dict(torch_dtype=getattr(torch, settings["base_dtype"]))
        if transformer is None:
            transformer = FluxTransformer2DModel.from_pretrained(
                settings["base"], subfolder="transformer", **base
            )
        if vae is None and not settings["pixel_factor"]:
            vae = AutoencoderKL.from_pretrained(settings["base"], subfolder="vae", **base)
        self.register_modules(scheduler=scheduler, transformer=transformer, vae=vae)
        self.register_to_config(settings=dict(settings))
        self._prompts = None

    @torch.no_grad()
    def __call__(
        self,
        person,
        garment,
        mask,
        pose=None,
        *,
        category=None,
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
            category: of the garments, for models with a prompt for each.
            num_inference_steps, guidance_scale: None: as the model was tested.
            generator: of torch, on the CPU for the same picture everywhere; or one for each pair.
            repaint: paste the photograph back outside the mask.
            output_type: ``"pil"``, ``"np"`` (uint8) or ``"latent"``.
        """
        settings = self.config.settings
        batch, arrays = as_batch(person, garment, mask, pose, settings)
        batch = {name: value.to(self._execution_device) for name, value in batch.items()}
        generators = as_generators(generator, len(batch["person"]))
        text = self._read_folder(category, len(generators))
        canvas, masks, clean = self._conditions(batch, generators)
        width = canvas.shape[-1] // self._panels
        latents = draw_noise(canvas[..., : 2 * width], generators)
        if clean is not None:
            latents = torch.cat([latents, clean], dim=-1)
        beside = (canvas, masks)
        guidance = settings["guidance_scale"] if guidance_scale is None else guidance_scale
        steps = num_inference_steps or settings["num_steps"]
        self._set_timesteps(steps, canvas.shape[-2] * canvas.shape[-1] // 4)
        levels = zip(self.scheduler.timesteps, self.scheduler.sigmas, strict=False)
        for number, (timestep, sigma) in enumerate(self.progress_bar(list(levels))):
            level = sigma.to(latents).expand(len(latents))
            output = self._run(latents, beside, level, text, guidance)
            if settings["network_predicts"] == "clean":
                output = (latents - output) / level[:, None, None, None]
            latents = self.scheduler.step(output, timestep, latents, return_dict=False)[0]
            if clean is not None and settings["pose_tokens"] == "clean":
                latents = torch.cat([latents[..., : 2 * width], clean], dim=-1)
            if callback_on_step_end is not None:
                answer = callback_on_step_end(self, number, timestep, {"latents": latents}) or {}
                latents = answer.get("latents", latents)
        images = as_pictures(
            self.vae,
            latents[..., : 2 * width],
            lambda found: found[..., found.shape[-1] // 2 :],
            arrays,
            settings,
            repaint,
            output_type,
        )
        return ImagePipelineOutput(images=images)

    @property
    def _panels(self):
        return 3 if self.config.settings["shows_pose"] else 2

    def _read_folder(self, category, count):
        """Text tokens (B, T, D) and pooled text (B, P); the LoRA is loaded too, the first time."""
        settings = self.config.settings
        if settings["lora"] and not getattr(self.transformer, "peft_config", None):
            self.transformer.load_lora_adapter(
                self.name_or_path, weight_name=settings["lora"], prefix="transformer"
            )
        if self._prompts is None:
            self._prompts = load_file(self._file(settings["prompts"]))
        known = sorted(name.removeprefix("tokens_") for name in self._prompts if "tokens_" in name)
        category = "" if "" in known else category
        if category not in known:
            raise ValueError(f"category={category!r}: give one of {', '.join(known)}")
        found = (self._prompts[f"{kind}_{category}"] for kind in ("tokens", "pooled"))
        like = dict(device=self._execution_device, dtype=self.transformer.dtype)
        return tuple(text.to(**like).expand(count, *text.shape) for text in found)

    def _file(self, name):
        if os.path.isdir(self.name_or_path):
            return os.path.join(self.name_or_path, name)
        return hf_hub_download(self.name_or_path, name)

    def _conditions(self, batch, generators):
        """Canvas latents (B, C, h, P * w), mask channels beside them, clean pose or None."""
        garment, nothing = batch["garment"], torch.zeros_like(batch["mask"])
        pictures, masks = [garment, batch["agnostic"]], [nothing, batch["mask"]]
        if self._panels == 3:
            pictures.append(torch.zeros_like(garment))
            masks.append(nothing)
        settings = self.config.settings
        canvas = encode(self.vae, torch.cat(pictures, dim=-1), settings, generators)
        factor = garment.shape[-2] // canvas.shape[-2]
        clean = None
        if self._panels == 3:
            clean = encode(self.vae, batch["pose"], settings, generators)
        return canvas, F.pixel_unshuffle(torch.cat(masks, dim=-1), factor).to(canvas), clean

    def _position_ids(self, height, width):
        """As FLUX counts them, but the pose stands where the person does."""
        ids = FluxFillPipeline._prepare_latent_image_ids(
            1, height, self._panels * width, "cpu", torch.float32
        )
        if self._panels == 3:
            columns = ids.view(height, self._panels * width, 3)[..., 2]
            columns[:, 2 * width :] -= width
        return ids

    def _set_timesteps(self, steps, tokens):
        """Noise levels, shifted by the number of image tokens where the scheduler does so."""
        config, mu = self.scheduler.config, None
        if config.use_dynamic_shifting:
            mu = calculate_shift(tokens, 256, 4096, 0.5, 1.15)
        self.scheduler.set_timesteps(sigmas=np.linspace(1.0, 1.0 / steps, steps), mu=mu)

    def _run(self, latents, beside, level, text, guidance):
        """The network's answer, like ``latents`` (B, C, h, P * w)."""
        kind, (tokens, pooled) = self.transformer.dtype, text
        words = dict(encoder_hidden_states=tokens, pooled_projections=pooled, return_dict=False)
        if not isinstance(self.transformer, FluxTransformer2DModel):  # pictures in, pictures out
            streams = torch.cat([latents, *beside], dim=1).to(kind)
            return self.transformer(streams, timestep=level * 1000.0, **words)[0].float()
        streams = torch.cat([self._packed(part) for part in (latents, *beside)], dim=2).to(kind)
        height, width = (side // 2 for side in latents.shape[-2:])
        ids = self._position_ids(height, width // self._panels).to(level)
        embedded = self.transformer.config.guidance_embeds
        output = self.transformer(
            streams,
            timestep=level,
            img_ids=ids,
            txt_ids=torch.zeros(tokens.shape[1], 3).to(ids),
            guidance=torch.full_like(level, guidance) if embedded else None,
            **words,
        )[0].float()
        output = output.reshape(len(latents), height, width, -1, 2, 2)  # (c, row, column) last
        return output.permute(0, 3, 1, 4, 2, 5).reshape(latents.shape)

    @staticmethod
    def _packed(latents):
        return FluxFillPipeline._pack_latents(latents, *latents.shape)
