"""What drawing costs against diffusers' own pipelines with the same networks, and in batches.

Each system is built at small widths with random weights. Its pictures are drawn by
`TryOnDiffusion.predict` and by diffusers' pipeline around the very same modules, from the same
noise in the same steps, in turns within one process, either first in every other turn: unguided
pictures are compared too. One UNet (CatVTON's way) and two (Leffa's; the second read before each
call of the first) stand in `StableDiffusionInpaintPipeline`, panels (CORAL's way) in
`FluxFillPipeline`. What is counted holds on any machine, however busy: floating-point operations of
products and convolutions, and elements that all operations write.

Example:
    python tools/benchmark/sampling.py --size 256 192 --steps 10 --repeats 5

Prints and writes to `--out` a JSON file and a Markdown table: seconds a picture (the least of all
turns: others' work only adds), their ratio, counted ratios, and ours in batches against batch 1.
Exit code 0, or 2 for bad input.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
import tools.environment  # noqa: F401

# isort: split
import argparse
import json
import time
from collections.abc import Callable
from functools import partial

SYSTEMS = ("one UNet", "two UNets", "panels")
SCALE = 2.5  # of guidance
TOKENS = 8  # of text, which no network here reads or all read as zeros


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    from vtonlab.engine.cli import at_least

    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--systems", nargs="+", choices=SYSTEMS, default=list(SYSTEMS))
    parser.add_argument("--size", type=at_least(1), nargs=2, default=(256, 192), metavar=("H", "W"))
    parser.add_argument(
        "--width", type=at_least(1), default=64, help="channels of the finest level"
    )
    parser.add_argument("--steps", type=at_least(1), default=10)
    parser.add_argument(
        "--batches", type=at_least(1), nargs="+", default=[1, 4], help="1 comes first"
    )
    parser.add_argument("--repeats", type=at_least(1), default=5)
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--out", type=Path, default=Path("work_dirs/benchmark/sampling"))
    return parser.parse_args(argv)


# the same networks, ours ------------------------------------------------------------------------


def build(system: str, guided: bool, args: argparse.Namespace):
    """A `TryOnDiffusion` with random weights, in evaluation mode."""
    import torch

    from vtonlab.models import TryOnDiffusion

    torch.manual_seed(0)
    panels = system == "panels"
    scale = SCALE if guided else 1.0
    sampler = dict(type="FlowMatchEulerSampler", dynamic_shifting=True)
    if not panels:
        sampler = dict(type="DDIMSampler", guidance_scale=scale)
    model = TryOnDiffusion(
        size=args.size,
        backbone=flux(args.width) if panels else unet(args.width),
        codec=vae(16 if panels else 4),
        conditioner=conditioner(system),
        noise_schedule=dict(type="FlowMatchingSchedule" if panels else "DDPMSchedule"),
        sampler=dict(sampler, num_steps=args.steps),
        condition_dropout=0.1 if guided else 0.0,
        data_preprocessor=dict(type="TryOnDataPreprocessor", agnostic="masked_person"),
    )
    with torch.no_grad():  # pipelines draw from the posterior, ours takes its mode: make them one
        half = model.codec.config.latent_channels
        model.codec.quant_conv.weight[half:] = 0
        model.codec.quant_conv.bias[half:] = -30
    return model.to(args.device).eval()


def unet(width: int) -> dict:
    """SD-1.x's levels and blocks at other widths."""
    return dict(
        type="UNet2DConditionModel",
        in_channels=9,
        out_channels=4,
        sample_size=64,  # the pipeline asks
        block_out_channels=(width, 2 * width, 4 * width, 4 * width),
        down_block_types=("CrossAttnDownBlock2D",) * 3 + ("DownBlock2D",),
        up_block_types=("UpBlock2D",) + ("CrossAttnUpBlock2D",) * 3,
        layers_per_block=2,
        cross_attention_dim=16,
        attention_head_dim=8,
        norm_num_groups=8,
    )


def flux(width: int) -> dict:
    """FLUX.1-Fill's inputs, few and narrow blocks."""
    return dict(
        type="FluxTransformer2DModel",
        in_channels=384,
        out_channels=64,
        num_layers=2,
        num_single_layers=4,
        attention_head_dim=32,
        num_attention_heads=max(1, 4 * width // 32),
        joint_attention_dim=16,
        pooled_projection_dim=16,
        guidance_embeds=True,
        axes_dims_rope=(8, 12, 12),
    )


def vae(channels: int) -> dict:
    """An eightfold `AutoencoderKL`, narrow."""
    return dict(
        type="AutoencoderKL",
        block_out_channels=(16, 32, 32, 32),
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        layers_per_block=1,
        norm_num_groups=8,
        latent_channels=channels,
        scaling_factor=0.18215,
        shift_factor=0.0,
    )


def conditioner(system: str) -> dict:
    if system == "panels":
        prompt = dict(type="NullPrompt", num_tokens=TOKENS, dim=16, pooled_dim=16)
        return dict(type="Full3DAttentionConditioner", prompt=prompt, pose_panel=False)
    kind = "self" if system == "one UNet" else "unet"
    inputs = ["mask", "agnostic"]  # SD-inpainting's channels
    return dict(type="SpatialConcatConditioner", reference=kind, inputs=inputs)


def noise_batch(model, count: int) -> dict:
    """A preprocessed batch of noise pictures with a mask in the middle."""
    import torch

    draw = torch.Generator().manual_seed(0)
    size = model.size
    batch = {
        name: torch.randint(0, 256, (count, 3, *size), generator=draw, dtype=torch.uint8)
        for name in ("person", "garment", "agnostic")
    }
    batch["mask"] = torch.zeros(count, 1, *size, dtype=torch.uint8)
    batch["mask"][..., size[0] // 4 : -size[0] // 4, size[1] // 4 : -size[1] // 4] = 1
    names = [f"noise{n}" for n in range(count)]
    batch |= dict(id=names, garment_id=names, index=list(range(count)))
    return model.data_preprocessor(batch | dict(category=["upper_body"] * count), False)


# the same networks, diffusers' ------------------------------------------------------------------


def peer(system: str, guided: bool, model, batch: dict) -> Callable[[], "object"]:
    """What draws the batch with diffusers' pipeline: pictures (B, H, W, 3) in [0, 1]."""
    import torch

    conditions = model.conditioner.prepare(batch, model.encode)
    blank = model.conditioner.blank(conditions)
    noise = [
        torch.randn(blank.shape[1:], generator=g) for g in model._pair_generators(batch, "picture")
    ]
    noise = torch.stack(noise).to(blank.device)
    if system == "panels":
        return _flux_peer(model, batch, noise)
    return _unet_peer(system, guided, model, batch, noise)


def _pipeline(cls, scheduler, **modules):
    pipeline = cls(scheduler=scheduler, **modules)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def _unet_peer(system: str, guided: bool, model, batch: dict, noise):
    import torch
    from diffusers import DDIMScheduler, StableDiffusionInpaintPipeline

    pipeline = _pipeline(
        StableDiffusionInpaintPipeline,
        DDIMScheduler.from_config(model.sampler.scheduler().config),
        vae=model.codec,
        unet=model.backbone,
        **dict.fromkeys(("text_encoder", "tokenizer", "safety_checker", "feature_extractor")),
        requires_safety_checker=False,
    )
    one = system == "one UNet"
    text = torch.zeros(len(noise), TOKENS, 16, device=noise.device)
    nothing = torch.zeros_like(batch["mask"])
    mask = torch.cat([batch["mask"], nothing], 2) if one else batch["mask"]  # person above garment

    def before(module, arguments, named, garments):
        """The second UNet reads the garments at the level of this call."""
        features: dict = {}
        named = named | {"cross_attention_kwargs": {"reference": features}}
        second = model.conditioner.reference_unet
        second(garments, arguments[1], None, cross_attention_kwargs={"reference": features})
        return arguments, named

    def draw():
        garments, shown = model.encode(batch["garment"]), model.encode(batch["agnostic"])
        hook = None
        if one:
            shown = torch.cat([shown, garments], 2)
        else:
            given = torch.cat([torch.zeros_like(garments), garments]) if guided else garments
            hook = pipeline.unet.register_forward_pre_hook(
                partial(before, garments=given), with_kwargs=True
            )
        latents = pipeline(
            prompt_embeds=text,
            negative_prompt_embeds=text if guided else None,
            image=torch.zeros_like(mask).expand(-1, 3, -1, -1),
            mask_image=mask,
            masked_image_latents=shown,
            height=mask.shape[2],
            width=mask.shape[3],
            strength=1.0,
            num_inference_steps=model.sampler.num_steps,
            guidance_scale=SCALE if guided else 1.0,
            latents=noise,
            output_type="latent",
        ).images
        if hook is not None:
            hook.remove()
        return decode(pipeline, latents[:, :, : shown.shape[2] // (1 + one)])

    return draw


def decode(pipeline, latents):
    """Pictures (B, H, W, 3) in [0, 1], as the pipelines end."""
    scaled = latents / pipeline.vae.config.scaling_factor
    found = pipeline.vae.decode(scaled, return_dict=False)[0]
    return pipeline.image_processor.postprocess(found, output_type="np")


def _flux_peer(model, batch: dict, noise):
    import torch
    from diffusers import FlowMatchEulerDiscreteScheduler, FluxFillPipeline

    from vtonlab.ops.panels import join_panels

    pipeline = _pipeline(
        FluxFillPipeline,
        FlowMatchEulerDiscreteScheduler(use_dynamic_shifting=True),
        vae=model.codec,
        transformer=model.backbone,
        **dict.fromkeys(("text_encoder", "text_encoder_2", "tokenizer", "tokenizer_2")),
    )
    tokens, pooled = model.conditioner.prompt(batch["category"])
    picture = join_panels(batch["garment"], batch["agnostic"])
    mask = join_panels(torch.zeros_like(batch["mask"]), batch["mask"])
    height, width = picture.shape[-2:]
    count, channels, rows, columns = noise.shape
    packed = pipeline._pack_latents(noise, count, channels, rows, columns)

    def draw():
        latents = pipeline(
            prompt_embeds=tokens,
            pooled_prompt_embeds=pooled,
            image=picture,
            mask_image=mask,
            height=height,
            width=width,
            num_inference_steps=model.sampler.num_steps,
            guidance_scale=model.conditioner.guidance_scale,
            latents=packed,
            output_type="latent",
        ).images
        latents = pipeline._unpack_latents(latents, height, width, pipeline.vae_scale_factor)
        return decode(pipeline, latents[..., columns // 2 :])

    return draw


# measuring --------------------------------------------------------------------------------------


def seconds(work: Callable, device: str) -> float:
    """CPU seconds of this process; on a GPU seconds until it has finished."""
    import torch

    clock = time.process_time if device == "cpu" else time.perf_counter
    start = clock()
    work()
    if device == "cuda":
        torch.cuda.synchronize()
    return clock() - start


def counted(work: Callable) -> tuple["object", int, int]:
    """What ``work`` gives, its floating-point operations, and elements that operations wrote."""
    import torch
    from torch.utils._python_dispatch import TorchDispatchMode
    from torch.utils.flop_counter import flop_registry

    class Count(TorchDispatchMode):
        products = written = 0

        def __torch_dispatch__(self, function, types, arguments=(), named=None):
            found = function(*arguments, **(named or {}))
            product = flop_registry.get(function._overloadpacket)
            if product is not None:
                self.products += product(*arguments, **(named or {}), out_val=found)
            if not function.is_view:
                several = found if isinstance(found, tuple | list) else [found]
                self.written += sum(t.numel() for t in several if isinstance(t, torch.Tensor))
            return found

    with Count() as count:
        found = work()
    return found, count.products, count.written


def turns(ours: Callable, theirs: Callable, args: argparse.Namespace) -> list[tuple[float, float]]:
    """Seconds of both in each turn; who is first changes from turn to turn."""
    found = []
    for number in range(args.repeats):
        if number % 2:
            second = seconds(theirs, args.device)
            found.append((seconds(ours, args.device), second))
        else:
            first = seconds(ours, args.device)
            found.append((first, seconds(theirs, args.device)))
    return found


def measure(system: str, guided: bool, args: argparse.Namespace) -> list[dict]:
    """One row for each batch size."""
    import numpy as np
    import torch

    rows, alone = [], None
    model = build(system, guided, args)
    with torch.no_grad():
        for count in args.batches:
            batch = noise_batch(model, count)
            draw, ours = peer(system, guided, model, batch), partial(model.predict, batch)
            (own, *work), (other, *known) = counted(ours), counted(draw)  # a first time for both
            levels = np.rint(other * 255) - np.stack([found["image"] for found in own])
            cost, known_cost = (
                min(each) / count for each in zip(*turns(ours, draw, args), strict=True)
            )
            alone = cost if alone is None else alone
            rows.append(
                dict(
                    system=system,
                    guided=guided,
                    batch=count,
                    ours=cost,
                    diffusers=known_cost,
                    ratio=cost / known_cost,
                    products=work[0] / known[0],
                    written=work[1] / known[1],
                    of_batch_1=cost / alone,
                    levels_apart=None if guided else float(np.abs(levels).max()),
                )
            )
            print(line(rows[-1]), flush=True)
    return rows


HEAD = (
    "| system | guidance | batch | ours, s a picture | diffusers, s | ratio | products | written "
    "| of batch 1 |\n|---|---|--:|--:|--:|--:|--:|--:|--:|"
)


def line(row: dict) -> str:
    """A row of the table."""
    guidance = "one call of both halves" if row["guided"] else "none"
    return (
        f"| {row['system']} | {guidance} | {row['batch']} | {row['ours']:.2f} | "
        f"{row['diffusers']:.2f} | {row['ratio']:.3f} | {row['products']:.3f} | "
        f"{row['written']:.3f} | {row['of_batch_1']:.2f} |"
    )


def main() -> int:
    args = parse_args()
    if any(side % 16 for side in args.size):
        raise ValueError(f"--size {args.size[0]} {args.size[1]}: both must be multiples of 16")
    print(HEAD)
    rows = []
    for system in args.systems:
        for guided in (False, True):
            if not (guided and system == "panels"):  # its guidance is distilled into the network
                rows += measure(system, guided, args)
    args.out.mkdir(parents=True, exist_ok=True)
    (args.out / "sampling.json").write_text(json.dumps(rows, indent=2) + "\n")
    (args.out / "sampling.md").write_text("\n".join([HEAD, *map(line, rows)]) + "\n")
    return 0


if __name__ == "__main__":
    from vtonlab.engine.cli import run_tool

    run_tool(main)
