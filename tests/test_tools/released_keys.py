"""Keys and shapes of StableVITON's and SIFT-VTON's checkpoints, written out from the published
configuration (METHODS.md 4.1, ldm's module layout), independently of the converters.
"""

from dataclasses import dataclass

Shapes = dict[str, tuple[int, ...]]


@dataclass(frozen=True)
class Sizes:
    """The published ones by default."""

    width: int = 320
    mults: tuple[int, ...] = (1, 2, 4, 4)
    context: int = 768
    inputs: int = 13
    vae: int = 128
    vae_mults: tuple[int, ...] = (1, 2, 4, 4)
    clip: int = 1024
    clip_mlp: int = 4096
    clip_layers: int = 24
    patches: int = 257
    patch: int = 14
    mapper: int = 5


def conv(name: str, out: int, into: int, size: int) -> Shapes:
    return {f"{name}.weight": (out, into, size, size), f"{name}.bias": (out,)}


def linear(name: str, out: int, into: int, bias: bool = True) -> Shapes:
    return {f"{name}.weight": (out, into)} | ({f"{name}.bias": (out,)} if bias else {})


def norm(name: str, width: int) -> Shapes:
    return {f"{name}.weight": (width,), f"{name}.bias": (width,)}


def res_block(name: str, into: int, out: int, time: int) -> Shapes:
    keys = norm(f"{name}.in_layers.0", into) | conv(f"{name}.in_layers.2", out, into, 3)
    keys |= linear(f"{name}.emb_layers.1", out, time)
    keys |= norm(f"{name}.out_layers.0", out) | conv(f"{name}.out_layers.3", out, out, 3)
    return keys | (conv(f"{name}.skip_connection", out, into, 1) if into != out else {})


def transformer(name: str, width: int, context: int) -> Shapes:
    keys = norm(f"{name}.norm", width) | conv(f"{name}.proj_in", width, width, 1)
    block = f"{name}.transformer_blocks.0"
    for attention, into in (("attn1", width), ("attn2", context)):
        keys |= linear(f"{block}.{attention}.to_q", width, width, bias=False)
        keys |= linear(f"{block}.{attention}.to_k", width, into, bias=False)
        keys |= linear(f"{block}.{attention}.to_v", width, into, bias=False)
        keys |= linear(f"{block}.{attention}.to_out.0", width, width)
    keys |= linear(f"{block}.ff.net.0.proj", 8 * width, width)
    keys |= linear(f"{block}.ff.net.2", width, 4 * width)
    for number in (1, 2, 3):
        keys |= norm(f"{block}.norm{number}", width)
    return keys | conv(f"{name}.proj_out", width, width, 1)


def encoder(name: str, s: Sizes) -> tuple[Shapes, list[int]]:
    """time_embed, input_blocks, middle_block; and the widths of the skip features."""
    time = 4 * s.width
    keys = linear(f"{name}.time_embed.0", time, s.width)
    keys |= linear(f"{name}.time_embed.2", time, time)
    keys |= conv(f"{name}.input_blocks.0.0", s.width, s.inputs, 3)
    widths, now, place = [s.width], s.width, 1
    for level, mult in enumerate(s.mults):
        out = mult * s.width
        for _ in range(2):
            keys |= res_block(f"{name}.input_blocks.{place}.0", now, out, time)
            if level < len(s.mults) - 1:
                keys |= transformer(f"{name}.input_blocks.{place}.1", out, s.context)
            now = out
            widths.append(now)
            place += 1
        if level < len(s.mults) - 1:
            keys |= conv(f"{name}.input_blocks.{place}.0.op", now, now, 3)
            widths.append(now)
            place += 1
    keys |= res_block(f"{name}.middle_block.0", now, now, time)
    keys |= transformer(f"{name}.middle_block.1", now, s.context)
    return keys | res_block(f"{name}.middle_block.2", now, now, time), widths


def decoder(name: str, s: Sizes, widths: list[int]) -> Shapes:
    """output_blocks, out, and the nine warp blocks, at every place but the first three."""
    keys: Shapes = {}
    now, place, skips = s.width * s.mults[-1], 0, list(widths)
    for level in reversed(range(len(s.mults))):
        out = s.mults[level] * s.width
        for number in range(3):
            skip = skips.pop()
            if place >= 3:
                block = place - 3
                keys |= transformer(f"{name}.warp_flow_blks.{block}", now, skip)
                keys |= conv(f"{name}.warp_zero_convs.{block}", now, now, 1)
            part = f"{name}.output_blocks.{place}"
            keys |= res_block(f"{part}.0", now + skip, out, 4 * s.width)
            attends = level < len(s.mults) - 1
            if attends:
                keys |= transformer(f"{part}.1", out, s.context)
            if number == 2 and level > 0:
                keys |= conv(f"{part}.{2 if attends else 1}.conv", out, out, 3)
            now = out
            place += 1
    return keys | norm(f"{name}.out.0", s.width) | conv(f"{name}.out.2", 4, s.width, 3)


def vae_block(name: str, into: int, out: int) -> Shapes:
    keys = norm(f"{name}.norm1", into) | conv(f"{name}.conv1", out, into, 3)
    keys |= norm(f"{name}.norm2", out) | conv(f"{name}.conv2", out, out, 3)
    return keys | (conv(f"{name}.nin_shortcut", out, into, 1) if into != out else {})


def vae(s: Sizes) -> Shapes:
    keys: Shapes = {}
    top = s.vae * s.vae_mults[-1]
    last = len(s.vae_mults) - 1
    now = s.vae
    for level, mult in enumerate(s.vae_mults):
        for number in range(2):
            keys |= vae_block(f"encoder.down.{level}.block.{number}", now, s.vae * mult)
            now = s.vae * mult
        if level < last:
            keys |= conv(f"encoder.down.{level}.downsample.conv", now, now, 3)
    now = top
    for level in reversed(range(last + 1)):
        for number in range(3):
            keys |= vae_block(f"decoder.up.{level}.block.{number}", now, s.vae * s.vae_mults[level])
            now = s.vae * s.vae_mults[level]
        if level > 0:
            keys |= conv(f"decoder.up.{level}.upsample.conv", now, now, 3)
    for half in ("encoder", "decoder"):
        for number in (1, 2):
            keys |= vae_block(f"{half}.mid.block_{number}", top, top)
        keys |= norm(f"{half}.mid.attn_1.norm", top)
        for part in ("q", "k", "v", "proj_out"):
            keys |= conv(f"{half}.mid.attn_1.{part}", top, top, 1)
    keys |= conv("encoder.conv_in", s.vae, 3, 3) | norm("encoder.norm_out", top)
    keys |= conv("encoder.conv_out", 8, top, 3) | conv("decoder.conv_in", top, 4, 3)
    keys |= norm("decoder.norm_out", s.vae) | conv("decoder.conv_out", 3, s.vae, 3)
    keys |= conv("quant_conv", 8, 8, 1) | conv("post_quant_conv", 4, 4, 1)
    return {f"first_stage_model.{key}": shape for key, shape in keys.items()}


def token(s: Sizes) -> Shapes:
    """CLIP, mapper, projection, learned vector."""
    tower = "cond_stage_model.transformer.vision_model"
    keys: Shapes = {
        f"{tower}.embeddings.class_embedding": (s.clip,),
        f"{tower}.embeddings.patch_embedding.weight": (s.clip, 3, s.patch, s.patch),
        f"{tower}.embeddings.position_embedding.weight": (s.patches, s.clip),
        f"{tower}.embeddings.position_ids": (1, s.patches),
        "learnable_vector": (1, 1, s.context),
    }
    for name in ("pre_layrnorm", "post_layernorm"):
        keys |= norm(f"{tower}.{name}", s.clip)
    for number in range(s.clip_layers):
        layer = f"{tower}.encoder.layers.{number}"
        for part in ("k_proj", "v_proj", "q_proj", "out_proj"):
            keys |= linear(f"{layer}.self_attn.{part}", s.clip, s.clip)
        keys |= norm(f"{layer}.layer_norm1", s.clip) | norm(f"{layer}.layer_norm2", s.clip)
        keys |= linear(f"{layer}.mlp.fc1", s.clip_mlp, s.clip)
        keys |= linear(f"{layer}.mlp.fc2", s.clip, s.clip_mlp)
    for number in range(s.mapper):
        block = f"cond_stage_model.mapper.resblocks.{number}"
        keys |= linear(f"{block}.attn.c_qkv", 3 * s.clip, s.clip)
        keys |= linear(f"{block}.attn.c_proj", s.clip, s.clip)
        keys |= norm(f"{block}.ln_1", s.clip) | norm(f"{block}.ln_2", s.clip)
        keys |= linear(f"{block}.mlp.c_fc", 4 * s.clip, s.clip)
        keys |= linear(f"{block}.mlp.c_proj", s.clip, 4 * s.clip)
    keys |= norm("cond_stage_model.final_ln", s.clip)
    return keys | linear("proj_out", s.context, s.clip)


TABLES = (
    "betas", "alphas_cumprod", "alphas_cumprod_prev", "sqrt_alphas_cumprod",
    "sqrt_one_minus_alphas_cumprod", "log_one_minus_alphas_cumprod", "sqrt_recip_alphas_cumprod",
    "sqrt_recipm1_alphas_cumprod", "posterior_variance", "posterior_log_variance_clipped",
    "posterior_mean_coef1", "posterior_mean_coef2", "logvar",
)  # fmt: skip


def released(s: Sizes | None = None) -> Shapes:
    """Every key of a released checkpoint's ``state_dict``, with its shape."""
    s = s or Sizes()
    unet, widths = encoder("model.diffusion_model", s)
    control, _ = encoder("control_model", s)
    control |= conv("control_model.cond_first_block.0", s.width, 4, 3)
    keys = unet | decoder("model.diffusion_model", s, widths) | control | vae(s) | token(s)
    return keys | conv("lastzc", 4, 4, 1) | {name: (1000,) for name in TABLES}
