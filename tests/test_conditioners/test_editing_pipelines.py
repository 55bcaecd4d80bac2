"""Conditioner, backbone and sampler give the latents of diffusers' own pipeline, at every step.

Float64 throughout, so that what is compared is the same sums in the same order but for the codec
and the scheduler's float32 noise levels: 1e-5 of the scale is far above their rounding.
"""

import copy
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from diffusers import FlowMatchEulerDiscreteScheduler
from PIL import Image

from vtonlab.backbones.codec import encode_pictures
from vtonlab.backbones.export import LORA_FILE, export_backbone
from vtonlab.conditioners import ReferenceTokensConditioner
from vtonlab.conditioners.prompts import TextSource
from vtonlab.models.adapters import add_lora
from vtonlab.ops.panels import pack_latents
from vtonlab.registry import BACKBONES, CONDITIONERS
from vtonlab.samplers import FlowMatchEulerSampler

STEPS, TEXT, DIM, CHANNELS = 3, 5, 8, 4
HEIGHT, WIDTH = 64, 96  # 8 x 12 latents, 4 x 6 tokens


@CONDITIONERS.register_module()
class FixedText(TextSource):
    """The text that a test gives the pipeline too."""

    def __init__(self, *, text):
        super().__init__()
        self.text = text

    def of(self, batch):
        return self.text


class Text:
    def __init__(self, mask=None):
        g = torch.Generator().manual_seed(3)
        self.tokens = torch.randn(1, TEXT, DIM, generator=g, dtype=torch.float64)
        self.pooled = torch.randn(1, DIM, generator=g, dtype=torch.float64)
        self.mask = mask


def picture(seed, size):
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (*size, 3), np.uint8))


def tensor(image):
    return torch.from_numpy(np.array(image)).permute(2, 0, 1)[None].double() / 127.5 - 1


def build(name, **changes):
    torch.manual_seed(0)
    sizes = dict(num_layers=2, attention_head_dim=16, num_attention_heads=2)
    settings = dict(type=name, in_channels=4 * CHANNELS, joint_attention_dim=DIM, **sizes)
    return BACKBONES.build(settings | changes).double().eval()


def tiny_vae(channels=CHANNELS):
    torch.manual_seed(1)
    return BACKBONES.build(
        dict(
            type="AutoencoderKL",
            block_out_channels=(4,) * 4,
            down_block_types=("DownEncoderBlock2D",) * 4,
            up_block_types=("UpDecoderBlock2D",) * 4,
            norm_num_groups=2,
            layers_per_block=1,
            latent_channels=channels,
            scaling_factor=0.36,
            shift_factor=0.11,
        )
    ).double()


def flux2_vae():
    torch.manual_seed(1)
    vae = BACKBONES.build(
        dict(
            type="AutoencoderKLFlux2",
            block_out_channels=(4,) * 4,
            norm_num_groups=2,
            layers_per_block=1,
            latent_channels=CHANNELS,
        )
    )
    vae.bn.running_mean.normal_()
    vae.bn.running_var.uniform_(0.5, 2.0)
    return vae.double()


def qwen_vae():
    torch.manual_seed(1)
    sizes = dict(base_dim=4, z_dim=CHANNELS, num_res_blocks=1)
    statistics = dict(latents_mean=[0.3, -0.2, 0.1, 0.5], latents_std=[1.5, 0.7, 2.0, 1.1])
    return BACKBONES.build(dict(type="AutoencoderKLQwenImage", **sizes, **statistics)).double()


def steps_of(pipeline, call):
    """Packed latents after every step of ``call()``."""
    steps, step = [], pipeline.scheduler.step

    def watched(*args, **kwargs):
        found = step(*args, **kwargs)
        steps.append(found[0])
        return found

    pipeline.scheduler.step = watched
    pipeline.set_progress_bar_config(disable=True)
    call()
    pipeline.scheduler.step = step
    return steps


def ours(conditioner, backbone, vae, batch, noise, shifting):
    """Latents (B, C, h, w) after every step."""
    steps = []

    def predict(latents, sigmas):
        steps.append(latents)
        return conditioner(backbone, latents, sigmas, conditions).sample

    with torch.no_grad():
        conditions = conditioner.prepare(batch, lambda x: encode_pictures(vae, x).double())
        sampler = FlowMatchEulerSampler(num_steps=STEPS, dynamic_shifting=shifting)
        last = sampler(predict, noise, conditioner.sequence_length(conditions))
    return [*steps[1:], last]


def compare(theirs, mine):
    assert len(theirs) == len(mine) == STEPS
    for one, other in zip(theirs, mine, strict=True):
        other = pack_latents(other)
        assert (one - other).abs().max() <= 1e-5 * one.abs().max()


def noise_and_packed(channels=CHANNELS):
    g = torch.Generator().manual_seed(5)
    noise = torch.randn(1, channels, HEIGHT // 8, WIDTH // 8, generator=g, dtype=torch.float64)
    return noise, pack_latents(noise)


def scheduler(**changes):
    return FlowMatchEulerDiscreteScheduler(use_dynamic_shifting=True, **changes)


def make_conditioner(text, *roles):
    prompt = dict(type="FixedText", text=text)
    references = [dict(role=role) for role in roles]
    return ReferenceTokensConditioner(prompt=prompt, references=references, guidance_scale=2.5)


def batch_of(**pictures):
    return dict(person=torch.zeros(1, 3, HEIGHT, WIDTH), category=["dresses"], **pictures)


def kontext(monkeypatch, mask=None):
    from diffusers import FluxKontextPipeline

    backbone = build(
        "FluxTransformer2DModel", num_single_layers=1, pooled_projection_dim=DIM,
        guidance_embeds=True, axes_dims_rope=(4, 6, 6),
    )  # fmt: skip
    text, vae, garment = Text(), tiny_vae(), picture(0, (HEIGHT, WIDTH))
    noise, packed = noise_and_packed()
    settings = dict(height=HEIGHT, width=WIDTH, max_area=HEIGHT * WIDTH, _auto_resize=False)
    settings |= dict(prompt_embeds=text.tokens, pooled_prompt_embeds=text.pooled)
    return SimpleNamespace(
        backbone=backbone,
        vae=vae,
        noise=noise,
        shifting=True,
        pipeline=lambda net: FluxKontextPipeline(scheduler(), vae, None, None, None, None, net),
        call=dict(image=garment, latents=packed, guidance_scale=2.5, **settings),
        conditioner=make_conditioner(text, "garment"),
        batch=batch_of(garment=tensor(garment)),
    )


def flux2(monkeypatch, mask=None):
    from diffusers import Flux2Pipeline

    backbone = build(
        "Flux2Transformer2DModel", num_single_layers=1, guidance_embeds=True,
        axes_dims_rope=(4, 4, 4, 4),
    )  # fmt: skip
    text, vae = Text(), flux2_vae()
    person, garment = picture(0, (HEIGHT, WIDTH)), picture(1, (64, 64))
    noise, _ = noise_and_packed()
    folded = torch.nn.functional.pixel_unshuffle(noise, 2)
    sizes = dict(height=HEIGHT, width=WIDTH, guidance_scale=2.5)
    return SimpleNamespace(
        backbone=backbone,
        vae=vae,
        noise=noise,
        shifting="flux2",
        pipeline=lambda net: Flux2Pipeline(scheduler(), vae, None, None, net),
        call=dict(image=[person, garment], latents=folded, prompt_embeds=text.tokens, **sizes),
        conditioner=make_conditioner(text, "agnostic", "garment"),
        batch=batch_of(agnostic=tensor(person), garment=tensor(garment)),
    )


def qwen_image_edit_plus(monkeypatch, mask=None):
    from diffusers import QwenImageEditPlusPipeline
    from diffusers.pipelines.qwenimage import pipeline_qwenimage_edit_plus as module

    for name in ("VAE_IMAGE_SIZE", "CONDITION_IMAGE_SIZE"):  # 1024 x 1024 and 384 x 384
        monkeypatch.setattr(module, name, 64 * 64)
    backbone = build("QwenImageTransformer2DModel", out_channels=CHANNELS, axes_dims_rope=(4, 6, 6))
    text, vae = Text(mask), qwen_vae()
    person, garment = picture(0, (64, 64)), picture(1, (64, 64))
    noise, packed = noise_and_packed()
    settings = dict(height=HEIGHT, width=WIDTH, prompt_embeds_mask=mask)
    return SimpleNamespace(
        backbone=backbone,
        vae=vae,
        noise=noise,
        shifting=True,
        pipeline=lambda net: QwenImageEditPlusPipeline(scheduler(), vae, None, None, None, net),
        call=dict(image=[person, garment], latents=packed, prompt_embeds=text.tokens, **settings),
        conditioner=make_conditioner(text, "agnostic", "garment"),
        batch=batch_of(agnostic=tensor(person), garment=tensor(garment)),
    )


def longcat_image_edit(monkeypatch, mask=None):
    from diffusers import LongCatImageEditPipeline
    from diffusers.pipelines.longcat_image import pipeline_longcat_image_edit as module

    channels = 16  # which the pipeline takes for granted
    monkeypatch.setattr(module, "calculate_dimensions", lambda area, ratio: (WIDTH, HEIGHT))
    backbone = build(
        "LongCatImageTransformer2DModel", num_single_layers=1, axes_dims_rope=(4, 6, 6),
        in_channels=4 * channels,
    )  # fmt: skip
    text, vae, garment = Text(), tiny_vae(channels), picture(0, (HEIGHT, WIDTH))

    class Processor:  # of the text encoder, which a test lacks
        image_processor = None

    def pipeline(net):
        made = LongCatImageEditPipeline(scheduler(), vae, None, None, Processor(), net)
        ids = module.prepare_pos_ids(0, "text", num_token=TEXT)
        made.encode_prompt = lambda **kwargs: (text.tokens, ids)
        return made

    noise, packed = noise_and_packed(channels)
    return SimpleNamespace(
        backbone=backbone,
        vae=vae,
        noise=noise,
        shifting=True,
        pipeline=pipeline,
        call=dict(image=garment, prompt="x", latents=packed, guidance_scale=1.0),
        conditioner=make_conditioner(text, "garment"),
        batch=batch_of(garment=tensor(garment)),
    )


FAMILIES = [kontext, flux2, qwen_image_edit_plus, longcat_image_edit]
PADDED = torch.arange(TEXT)[None] < 3


def theirs_of(pipeline, case):
    settings = dict(num_inference_steps=STEPS, output_type="latent")
    return steps_of(pipeline, lambda: pipeline(**case.call, **settings))


def mine_of(backbone, case):
    return ours(case.conditioner, backbone, case.vae, case.batch, case.noise, case.shifting)


@pytest.mark.parametrize(
    ("make", "mask"), [*((make, None) for make in FAMILIES), (qwen_image_edit_plus, PADDED)]
)
def test_latents_are_the_pipelines_at_every_step(make, mask, monkeypatch):
    case = make(monkeypatch, mask)
    compare(theirs_of(case.pipeline(case.backbone), case), mine_of(case.backbone, case))


@pytest.mark.parametrize("make", FAMILIES)
def test_a_lora_trained_here_draws_the_same_in_the_pipeline(make, tmp_path, monkeypatch):
    """Exported, then read by ``load_lora_weights`` over the weights it was trained on; LongCat's
    pipeline has none, its network reads the file.
    """
    case = make(monkeypatch)
    backbone, bare = case.backbone, copy.deepcopy(case.backbone)
    add_lora(backbone, rank=4)
    for parameter in backbone.parameters():
        if parameter.requires_grad:
            torch.nn.init.normal_(parameter, std=0.3)
    export_backbone(backbone, tmp_path)
    pipeline = case.pipeline(bare)
    unchanged = theirs_of(pipeline, case)
    read = getattr(pipeline, "load_lora_weights", pipeline.transformer.load_lora_adapter)
    assert (make is longcat_image_edit) == (read == pipeline.transformer.load_lora_adapter)
    read(tmp_path, weight_name=LORA_FILE)
    pipeline.transformer.double()
    theirs = theirs_of(pipeline, case)
    compare(theirs, mine_of(backbone, case))
    assert (theirs[-1] - unchanged[-1]).abs().max() > 1e-2 * theirs[-1].abs().max()
