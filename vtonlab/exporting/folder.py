"""The act of exporting: a model's parts, its pipeline, config, card and checksums in one folder."""

import json
import os
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mmengine.config import Config
from torch import Tensor, nn

from vtonlab.apis import init_model
from vtonlab.backbones.codec import whole_codec
from vtonlab.backbones.export import LORA_FILE, export_backbone, folder_of, save_weights
from vtonlab.backbones.text_free import stand_ins
from vtonlab.conditioners.prompts import CachedPrompt, NullPrompt, TextSource
from vtonlab.engine.checkpoints.exported import (
    ABOUT,
    CONFIG,
    FORMAT,
    REST,
    is_export,
    verify,
    write_sums,
)
from vtonlab.engine.checkpoints.files import plain, save_safetensors
from vtonlab.engine.config.load import load_config
from vtonlab.engine.config.released import released_options
from vtonlab.engine.config.text import config_text
from vtonlab.exporting.card import Run, write_card
from vtonlab.exporting.forms import OURS, Form, form_of, pipeline_text
from vtonlab.models import TryOnDiffusion
from vtonlab.utils.writing import saying
from vtonlab.version import __version__

LEFT_OUT = ("work_dir", "load_from", "resume", "launcher")  # of the config: of one machine
_META = ("facts", "iter", "averaged", "as_released", "commit", "samples_per_iter")


def export_model(
    config: str | Path,
    checkpoint: str | Path,
    out: str | Path,
    *,
    options: Mapping[str, Any] | None = None,
    run: Run,
    dtype: str | None = None,
    repo: str | None = None,
) -> Form:
    """Write a folder as the hub, diffusers and vtonlab read it; all of it, or nothing.

    A LoRA becomes ``pytorch_lora_weights.safetensors`` over its base, which is not copied, several
    a file each; any other model its parts in diffusers' layout.

    Args:
        config: path or name; ``options`` as of ``--cfg-options``.
        checkpoint: of that config.
        out: a new or empty folder, or an earlier export, which is replaced.
        run: what the card says.
        dtype: of weights in the files, such as ``"bfloat16"``; None: as they were trained.
        repo: name on the hub, for the card.

    Returns:
        How the folder's pipeline works.

    Raises:
        ValueError: ``out`` holds something else, or a model that is no `TryOnDiffusion`.
    """
    out = Path(out).resolve()  # of a link, what it names is replaced
    if out.exists() and not is_export(out) and (not out.is_dir() or any(out.iterdir())):
        raise ValueError(f"{out} holds something else: give a new folder, or empty it")
    options = released_options(options or {}, checkpoint=checkpoint)
    loaded = load_config(config, options)
    model = init_model(config, checkpoint, options=options, device="cpu")
    if not isinstance(model, TryOnDiffusion):
        raise ValueError(
            f"{type(model).__name__} has no place in diffusers' layout: its work directory "
            "(config.py and model.safetensors) is what tools and inferencers read"
        )
    form = form_of(model)
    with saying(out):
        out.parent.mkdir(parents=True, exist_ok=True)
        folder = Path(tempfile.mkdtemp(prefix=f".{out.name}.", dir=out.parent))
    try:
        _fill(folder, model, loaded, run, form, dtype)
        write_card(folder, model, form, run, repo, out.name)
        write_sums(folder)
        folder.chmod(0o777 & ~_umask())
        _replace(folder, out)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    verify(out)
    return form


def _fill(
    folder: Path, model: TryOnDiffusion, config: Config, run: Run, form: Form, dtype: str | None
) -> None:
    """All files but the card and the sums."""
    parts, options = {}, {}
    loras = _save_loras(folder, model.backbone, dtype)
    for name, key, module in () if loras else _parts(model):
        place = _save_part(folder, name, module, dtype)
        rebuilt = bool(key) and _node(config, key).get("type") == "from_pretrained"
        state = name != "codec" or not rebuilt  # a frozen codec is in no checkpoint
        parts[name] = {"folder": place, "class": type(module).__name__, "state": state}
        parts[name]["left_out"] = sorted(stand_ins(module))
        if rebuilt:
            options |= {f"{key}.path": place, f"{key}.subfolder": None}
    prompts = _save_prompts(folder, getattr(model.conditioner, "prompt", None), form)
    if prompts and type(model.conditioner.prompt) is CachedPrompt:
        options["model.conditioner.prompt.cache_dir"] = "prompts"
    rest = _rest(model, parts)
    if rest:
        if (folder / REST).exists():
            raise ValueError("an adapter called 'vtonlab' has no place: give it another name")
        save_safetensors(rest, folder / REST, {})
        (folder / f"{REST}.json").unlink()  # SHA256SUMS is its manifest
    about = {
        "format": FORMAT,
        "vtonlab": __version__,
        "meta": plain({key: run.meta[key] for key in _META if key in run.meta}),
        "parts": parts,
        "loras": loras,
        "rest": REST if rest else None,
        "config": options,
    }
    about["meta"].setdefault("facts", plain(model.checkpoint_meta()))
    _write_json(folder / ABOUT, about)
    values = {k: v for k, v in config.to_dict().items() if k not in LEFT_OUT}
    (folder / CONFIG).write_text(config_text(values), encoding="utf-8")
    (folder / "pipeline.py").write_text(pipeline_text(form), encoding="utf-8")
    _write_json(folder / "model_index.json", _index(folder, model, config, form, parts, prompts))


def _save_loras(folder: Path, backbone: nn.Module, dtype: str | None) -> dict[str, str]:
    """Write a backbone's adapters; name -> file."""
    adapters = list(getattr(backbone, "peft_config", None) or ())
    if not adapters:
        return {}
    export_backbone(backbone, folder, dtype=dtype)
    if adapters == ["default"]:
        return {"default": LORA_FILE}
    return {name: f"{name}.safetensors" for name in adapters}


def _parts(model: TryOnDiffusion) -> list[tuple[str, str | None, nn.Module]]:
    """Name in the model, key of its config, and module, of the parts that diffusers' layout has a
    place for.
    """
    found = [("backbone", "model.backbone", model.backbone)]
    codec = whole_codec(model.codec)
    if hasattr(codec, "save_config"):
        found.append(("codec", "model.codec", codec))
    reference = getattr(model.conditioner, "reference_unet", None)
    if reference is not None:
        found.append(("conditioner.reference_unet", None, reference))
    encoder = getattr(model.conditioner, "image_encoder", None)
    if encoder is not None:
        key = "model.conditioner.image_encoder"
        found.append(("conditioner.image_encoder", key, encoder))
    return found


def _save_part(folder: Path, name: str, module: nn.Module, dtype: str | None) -> str:
    """Write one part; returns its folder."""
    if name.startswith("conditioner."):
        place = name.removeprefix("conditioner.")
    else:
        place = "vae" if name == "codec" else folder_of(module)
    if hasattr(module, "save_config"):
        save_weights(module, folder / place, dtype=dtype)
    else:
        module.save_pretrained(folder / place)
    return place


def _rest(model: TryOnDiffusion, parts: Mapping[str, Any]) -> dict[str, Tensor]:
    """What was trained and lies in no part: not the LoRA, which has a file, nor losses."""
    elsewhere = ("backbone.", "attention_losses.", *(f"{name}." for name in parts))
    return {k: v for k, v in model.state_dict().items() if not k.startswith(elsewhere)}


def _save_prompts(folder: Path, prompt: TextSource | None, form: Form) -> str | None:
    """Embedded prompts, for the pipeline and for vtonlab; returns the file's name within the
    folder.
    """
    from safetensors.torch import save_file

    if type(prompt) is CachedPrompt:
        (folder / "prompts").mkdir()
        shutil.copyfile(prompt.cache_file, folder / "prompts" / prompt.cache_file.name)
        return f"prompts/{prompt.cache_file.name}"
    if type(prompt) is NullPrompt and form.stands_alone:
        (folder / "prompts").mkdir()
        texts = {"tokens_": prompt.tokens.cpu(), "pooled_": prompt.pooled.cpu()}
        texts = {name: value.contiguous() for name, value in texts.items()}
        save_file(texts, folder / "prompts/none.safetensors")
        return "prompts/none.safetensors"
    return None


def _index(
    folder: Path,
    model: TryOnDiffusion,
    config: Config,
    form: Form,
    parts: Mapping[str, Mapping[str, str]],
    prompts: str | None,
) -> dict[str, Any]:
    """``model_index.json``."""
    import diffusers

    index = {"_class_name": ["pipeline", "TryOnPipeline"]}
    index["_diffusers_version"] = diffusers.__version__
    if form.template == OURS:
        return index | {"settings": form.settings}
    scheduler = _scheduler(model)
    scheduler.save_pretrained(folder / "scheduler")
    index["scheduler"] = ["diffusers", type(scheduler).__name__]
    settings = dict(form.settings)
    if form.template == "panels":
        backbone = config.model.backbone
        settings |= dict(
            base=backbone.get("path") or config.get("pretrained"),
            base_dtype=backbone.get("dtype", "float32"),
            lora=LORA_FILE if (folder / LORA_FILE).is_file() else None,
            prompts=prompts,
        )
    places = {part["folder"]: part["class"] for part in parts.values()}
    wanted = ("transformer",) if form.template == "panels" else ("unet", "reference_unet")
    for name in (*wanted, "vae"):
        index[name] = ["diffusers", places[name]] if name in places else [None, None]
    return index | {"settings": settings}


def _scheduler(model: TryOnDiffusion):
    """Diffusers' own, of the model's sampler."""
    sampler = model.sampler
    if hasattr(sampler, "scheduler"):
        return sampler.scheduler()
    from diffusers import FlowMatchEulerDiscreteScheduler

    shifting = bool(sampler.dynamic_shifting)
    return FlowMatchEulerDiscreteScheduler(use_dynamic_shifting=shifting, shift=sampler.shift)


def _node(config: Config, key: str) -> Mapping[str, Any]:
    node: Any = config
    for part in key.split("."):
        node = node[part]
    return node


def _write_json(path: Path, value: Any) -> None:
    path.write_text(json.dumps(value, indent=2) + "\n", encoding="utf-8")


def _replace(folder: Path, out: Path) -> None:
    """``folder`` becomes ``out``; an earlier export is gone only once the new one is there."""
    with saying(out):
        if out.exists():
            old = out.with_name(f".{out.name}.old-{os.getpid()}")
            os.replace(out, old)
            os.replace(folder, out)
            shutil.rmtree(old)
        else:
            os.replace(folder, out)


def _umask() -> int:
    mask = os.umask(0o022)
    os.umask(mask)
    return mask
