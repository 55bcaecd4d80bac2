"""Photographs in, tensors out, and pictures back: what every exported pipeline shares."""

import numpy as np
import torch
from diffusers.utils import load_image
from PIL import Image, ImageFilter


def as_arrays(pictures, size, fill, kind="RGB"):
    """uint8 (B, H, W, 3), or (B, H, W) for ``kind="L"``, of one picture or a list.

    A picture is a path, an address, a PIL picture or a uint8 array. One of another size is shrunk
    or grown to fit, keeping its sides' ratio, and padded with ``fill``.
    """
    found = [
        _fitted(_opened(each, kind), size, fill, kind)
        for each in (pictures if isinstance(pictures, (list, tuple)) else [pictures])
    ]
    return np.stack(found)


def _opened(picture, kind):
    if isinstance(picture, np.ndarray):
        if picture.dtype == bool:
            picture = picture.astype(np.uint8) * 255
        if picture.dtype != np.uint8:
            raise ValueError(f"a picture's array must be uint8 in 0..255, not {picture.dtype}")
        picture = Image.fromarray(picture)
    elif not isinstance(picture, Image.Image):
        picture = load_image(str(picture))
    return picture.convert(kind)


def _fitted(picture, size, fill, kind):
    height, width = size
    if picture.size == (width, height):
        return np.asarray(picture)
    scale = min(height / picture.height, width / picture.width)
    inner = (round(picture.width * scale), round(picture.height * scale))
    smooth = Image.Resampling.BICUBIC if kind == "RGB" else Image.Resampling.BILINEAR
    canvas = Image.new(kind, (width, height), fill if kind == "L" else (fill,) * 3)
    place = ((width - inner[0]) // 2, (height - inner[1]) // 2)
    canvas.paste(picture.resize(inner, smooth), place)
    return np.asarray(canvas)


def as_batch(person, garment, mask, pose, settings):
    """What the network is shown: pictures (B, 3, H, W) in [-1, 1], ``mask`` (B, 1, H, W) in {0, 1},
    1 = generated; a single picture goes with every one of the others.
    """
    size = settings["height"], settings["width"]
    arrays = {
        "person": as_arrays(person, size, 255),
        "garment": as_arrays(garment, size, 255),
        "mask": as_arrays(mask, size, 0, "L") > 127,
    }
    if settings["shows_pose"]:
        if pose is None:
            raise ValueError("this model is shown a pose: give pose=, a DensePose-like rendering")
        arrays["pose"] = as_arrays(pose, size, 0)
    count = max(len(array) for array in arrays.values())
    for name, array in arrays.items():
        if len(array) not in (1, count):
            raise ValueError(f"{name}: {len(array)} pictures for {count} people")
        arrays[name] = np.repeat(array, count, axis=0) if len(array) == 1 else array
    if not arrays["mask"].reshape(count, -1).any(1).all():
        raise ValueError("a mask is empty: nothing would be generated")
    hidden = np.where(arrays["mask"][..., None], np.uint8(128), arrays["person"])
    batch = {name: _scaled(array) for name, array in arrays.items() if name != "mask"}
    batch["mask"] = torch.from_numpy(arrays["mask"][:, None].astype(np.float32))
    batch["agnostic"] = _scaled(hidden)
    if settings["agnostic"] == "masked_person":  # a hole of exactly 0
        batch["agnostic"] = batch["person"] * (1.0 - batch["mask"])
    return batch, arrays


def _scaled(array):
    pictures = torch.from_numpy(array.copy()).permute(0, 3, 1, 2).contiguous()  # plain strides:
    return pictures.float() / 127.5 - 1.0  # others sum in another order


def as_generators(generator, count):
    """One for each pair, so that a picture does not depend on its batch."""
    if generator is None:
        return [torch.Generator().manual_seed(number) for number in range(count)]
    found = list(generator) if isinstance(generator, (list, tuple)) else [generator] * count
    if len(found) != count:
        raise ValueError(f"{len(found)} generators for {count} pairs: give one, or one for each")
    return found


def draw_noise(like, generators):
    """Standard normal noise of the shape and place of ``like`` (B, ...)."""
    drawn = [torch.randn(like.shape[1:], generator=each, device=each.device) for each in generators]
    return torch.stack([each.to(like.device) for each in drawn]).to(like)


def encode(vae, pictures, settings, generators):
    """Pictures (B, 3, H, W) in [-1, 1] to latents as the network wants them.

    Without a VAE, blocks of pixels are folded into channels.
    """
    if vae is None:
        return torch.nn.functional.pixel_unshuffle(pictures, settings["pixel_factor"])
    posterior = vae.encode(pictures.to(vae.device, vae.dtype)).latent_dist
    latents = posterior.mode().float()
    if settings["posterior"] == "sample":
        latents = posterior.mean.float()
        latents = latents + posterior.std.float() * draw_noise(latents, generators)
    return (latents - (vae.config.shift_factor or 0.0)) * vae.config.scaling_factor


def decode(vae, latents, settings):
    """Latents to pictures (B, 3, H, W), about [-1, 1]."""
    if vae is None:
        return torch.nn.functional.pixel_shuffle(latents, settings["pixel_factor"])
    latents = latents / vae.config.scaling_factor + (vae.config.shift_factor or 0.0)
    return vae.decode(latents.to(vae.dtype)).sample.float()


def as_uint8(pictures, rounding):
    """Pictures (B, 3, H, W) in [-1, 1] to uint8 (B, H, W, 3)."""
    if rounding == "truncate":
        levels = ((pictures.float() + 1.0) / 2.0).clamp(0, 1) * 255.0
    else:
        levels = ((pictures.float() + 1.0) * 127.5).round().clamp(0, 255)
    return levels.to(torch.uint8).permute(0, 2, 3, 1).cpu().numpy()


def pasted(generated, person, mask, settings):
    """``generated`` (H, W, 3) inside the mask's soft edge, the photograph outside."""
    weight = mask.astype(np.float32)
    if settings["repaint_blur"]:
        radius = mask.shape[0] // settings["repaint_blur"]
        soft = Image.fromarray((mask * 255).astype(np.uint8))
        soft = soft.filter(ImageFilter.GaussianBlur(radius + 1 - radius % 2))
        weight = np.asarray(soft, np.float32) / 255.0
    weight = weight[..., None]
    blend = weight * generated.astype(np.float32) + (1 - weight) * person.astype(np.float32)
    blend = np.rint(blend) if settings["blend_rounding"] == "round" else blend
    return np.clip(blend, 0, 255).astype(np.uint8)


def as_pictures(vae, latents, cut, arrays, settings, repaint, output_type):
    """What a pipeline returns: latents, arrays or PIL pictures, pasted into the photographs.

    ``cut`` takes the person out of latents or of pictures.
    """
    if output_type == "latent":
        return latents
    if settings["decode"] == "whole":
        pictures = cut(decode(vae, latents, settings))
    else:
        pictures = decode(vae, cut(latents), settings)
    images = as_uint8(pictures, settings["picture_rounding"])
    if repaint:  # the photograph goes the way that the picture went
        shown = as_uint8(_scaled(arrays["person"]), settings["picture_rounding"])
        rows = zip(images, shown, arrays["mask"], strict=True)
        images = np.stack([pasted(*row, settings) for row in rows])
    return images if output_type == "np" else [Image.fromarray(image) for image in images]
