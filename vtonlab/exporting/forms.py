"""Which ``pipeline.py`` draws a model's pictures, and what it must be told.

A form answers for one kind of conditioner on one family of backbones. Where something of the model
has no counterpart in diffusers, it says what, and the folder's pipeline goes through vtonlab.
"""

import ast
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from torch import nn

from vtonlab.backbones.codec import SpaceToDepthCodec, whole_codec
from vtonlab.backbones.families.flux import FluxFamily
from vtonlab.backbones.families.sd3 import SD3Family
from vtonlab.backbones.families.unet import UNetFamily
from vtonlab.conditioners.full_3d_attention import Full3DAttentionConditioner
from vtonlab.conditioners.prompts import CachedPrompt, NullPrompt
from vtonlab.conditioners.spatial_concat import SpatialConcatConditioner
from vtonlab.models import TryOnDiffusion
from vtonlab.models.data_preprocessor import TryOnDataPreprocessor
from vtonlab.noise_schedules import DDPMSchedule, FlowMatchingSchedule
from vtonlab.registry import FAMILIES
from vtonlab.samplers import DDIMSampler, DDPMSampler, FlowMatchEulerSampler, PLMSSampler

OURS = "needs_vtonlab"
TEMPLATES = Path(__file__).parent / "pipelines"
_SHARED = "vtonlab.exporting.pipelines.pictures"


class Form(NamedTuple):
    """How a folder's pipeline works.

    Attributes:
        template: file in ``pipelines/``, without its ending.
        settings: of ``model_index.json``.
        why: what needs vtonlab, as the end of a sentence; empty where nothing does.
    """

    template: str
    settings: dict[str, Any]
    why: str = ""

    @property
    def stands_alone(self) -> bool:
        """Whether the pipeline works where vtonlab is not installed."""
        return not self.why


class NoCounterpart(Exception):  # noqa: N818
    """Something of a model has no counterpart in diffusers; the message ends a sentence."""


def form_of(model: TryOnDiffusion) -> Form:
    """The form of a model's pipeline."""
    try:
        _check_plain(model)
        for (conditioner, family), describe in FORMS.items():
            exact = type(model.conditioner) is conditioner  # a subclass may do anything
            if exact and isinstance(FAMILIES.find(model.backbone), family):
                return Form(describe.__name__, describe(model))
        raise NoCounterpart(
            f"{type(model.conditioner).__name__} on {type(model.backbone).__name__} is called by "
            "code of vtonlab"
        )
    except NoCounterpart as why:
        return Form(OURS, {"why": str(why)}, str(why))


def pipeline_text(form: Form) -> str:
    """The text of ``pipeline.py``: the template, with the functions that it shares put into it."""
    text = (TEMPLATES / f"{form.template}.py").read_text(encoding="utf-8")
    shared = (TEMPLATES / "pictures.py").read_text(encoding="utf-8")
    own, others = ast.parse(text), ast.parse(shared)
    if not any(getattr(node, "module", None) == _SHARED for node in own.body):
        return text
    merged = {ast.unparse(node) for tree in (own, others) for node in _imports(tree)}
    first, last = _imports(own)[0].lineno, _imports(own)[-1].end_lineno
    lines, below = text.splitlines(), _imports(others)[-1].end_lineno
    functions = "\n".join(shared.splitlines()[below:]).strip()
    parts = ["\n".join(lines[: first - 1]), _sorted(merged)]
    return "\n".join([*parts, "", "", functions, *lines[last:], ""])


def _imports(tree: ast.Module) -> list[ast.Import | ast.ImportFrom]:
    return [node for node in tree.body if isinstance(node, ast.Import | ast.ImportFrom)]


def _sorted(imports: set[str]) -> str:
    """Lines of imports: Python's own, then others; what is of vtonlab is left out."""
    by_room: dict[bool, list[str]] = {True: [], False: []}
    for line in sorted(imports, key=lambda line: (line.startswith("from"), line.lower())):
        room = line.split()[1].split(".")[0]
        if room != "vtonlab":
            by_room[room in sys.stdlib_module_names].append(line)
    return "\n\n".join("\n".join(lines) for lines in by_room.values() if lines)


# forms, each called as its file in pipelines/ ---------------------------------------------------


def spatial_concat(model: TryOnDiffusion) -> dict[str, Any]:
    """Settings of ``pipelines/spatial_concat.py``."""
    sampler, conditioner = model.sampler, model.conditioner
    if type(sampler) not in (DDIMSampler, DDPMSampler, PLMSSampler):
        raise NoCounterpart(f"{type(sampler).__name__} steps a scheduler in a way of its own")
    if sampler.timestep_spacing == "stride":
        raise NoCounterpart("its sampler's timestep_spacing='stride' is none of diffusers'")
    trained = sampler.timestep_spacing == "training"
    return _settings(model) | dict(
        inputs=",".join(conditioner.inputs),
        cross_attention=conditioner.cross_attention,
        shows_pose="pose" in conditioner.needs,
        reference_timestep=conditioner.reference_timestep,
        guidance_scale=sampler.guidance_scale,
        guidance_rescale=sampler.guidance_rescale,
        eta=getattr(sampler, "eta", 0.0),
        levels_shift=sampler.noise_schedule.shift if trained else None,
    )


def panels(model: TryOnDiffusion) -> dict[str, Any]:
    """Settings of ``pipelines/panels.py``."""
    sampler, conditioner = model.sampler, model.conditioner
    if type(sampler) is not FlowMatchEulerSampler or sampler.dynamic_shifting not in (True, False):
        raise NoCounterpart(f"{type(sampler).__name__} steps a scheduler in a way of its own")
    if sampler.guided:
        raise NoCounterpart("panels are guided by a second prediction")
    if isinstance(FAMILIES.find(model.backbone), SD3Family) and _has_lora(model):
        raise NoCounterpart("its LoRA lies over input channels that the base has not")
    if type(conditioner.prompt) not in (CachedPrompt, NullPrompt):
        raise NoCounterpart(f"{type(conditioner.prompt).__name__} makes a text for each pair")
    return _settings(model) | dict(
        shows_pose=conditioner.panels == 3,
        pose_tokens=conditioner.pose_tokens,
        guidance_scale=conditioner.guidance_scale,
    )


FORMS: dict[tuple[type, type], Callable[[TryOnDiffusion], dict[str, Any]]] = {
    (SpatialConcatConditioner, UNetFamily): spatial_concat,
    (Full3DAttentionConditioner, FluxFamily): panels,
    (Full3DAttentionConditioner, SD3Family): panels,
}


def _has_lora(model: TryOnDiffusion) -> bool:
    return bool(getattr(model.backbone, "peft_config", None))


def _check_plain(model: TryOnDiffusion) -> None:
    """Nothing but classes whose every step a form repeats: a subclass may do anything."""
    if type(model) is not TryOnDiffusion:
        raise NoCounterpart(f"{type(model).__name__} draws in a way of its own")
    if model.adapters is not None:
        raise NoCounterpart("each of its LoRAs acts on samples of its own")
    if type(model.data_preprocessor) is not TryOnDataPreprocessor:
        raise NoCounterpart(f"{type(model.data_preprocessor).__name__} prepares its pictures")
    if type(model.noise_schedule) not in (DDPMSchedule, FlowMatchingSchedule):
        raise NoCounterpart(f"{type(model.noise_schedule).__name__} reads what its network says")


def _settings(model: TryOnDiffusion) -> dict[str, Any]:
    """What all forms must be told: sizes, and every switch between numbers and pictures."""
    sampler = model.sampler
    if sampler.average > 1:
        raise NoCounterpart(f"the mean of {sampler.average} samplings is no sampler of diffusers")
    if sampler.start != "noise":
        raise NoCounterpart(f"its sampling starts from the {sampler.start} picture")
    return dict(
        height=model.size[0],
        width=model.size[1],
        agnostic=model.data_preprocessor.agnostic,
        posterior=model.posterior,
        pixel_factor=_pixel_factor(model.codec),
        decode="whole" if model.decodes_whole else "person",
        picture_rounding=model.picture_rounding,
        blend_rounding=model.paste["blend_rounding"],
        repaint_blur=model.paste["blur"],
        num_steps=sampler.num_steps,
        network_predicts=model.noise_schedule.network_predicts,
    )


def _pixel_factor(codec: nn.Module) -> int | None:
    """Of the codec that folds pixels; None for a VAE of diffusers."""
    codec = whole_codec(codec)
    if type(codec) is SpaceToDepthCodec:
        if (codec.config.scaling_factor, codec.config.shift_factor) != (1.0, 0.0):
            raise NoCounterpart("its codec scales folded pixels")
        return codec.factor
    if type(codec).__name__ != "AutoencoderKL":
        raise NoCounterpart(f"pictures go through {type(codec).__name__}")
    return None
