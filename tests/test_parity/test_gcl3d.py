"""3D-GCL against the numbers of its authors' program: both stages, with the published options."""

import dataclasses
import sys
from functools import cache
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from parity_numbers import drawn_weights

sys.path.insert(0, str(Path(__file__).parents[2] / "tools/convert"))
import gcl3d
import gcl3d_keys
from gcl3d_keys import Source, generator_source, residual, styled, to_ours

from vtonlab.backbones.equalized import ResidualDown
from vtonlab.backbones.residual_discriminator import minibatch_stddev
from vtonlab.backbones.two_branch_synthesis import (
    TwoBranchConv,
    TwoBranchRGB,
    TwoBranchStyledConv,
    TwoBranchStyleGenerator,
)
from vtonlab.engine.config.load import load_config
from vtonlab.models.results import to_uint8
from vtonlab.ops.mesh_flow import BACKGROUND, FOUND, mesh_flow
from vtonlab.ops.retained import retained_mask
from vtonlab.registry import MODELS

pytestmark = pytest.mark.parity
SYSTEM = "3D-GCL"
SLOPES = ((".relu.weight", 0.25), ("weight", 1.0), ("running_var", 1.0))


def tensors(values: dict) -> dict:
    return {key: torch.from_numpy(np.asarray(value)) for key, value in values.items()}


def picture(levels: np.ndarray) -> torch.Tensor:
    return torch.from_numpy((levels.astype(np.float32) / 255 - 0.5) / 0.5).permute(2, 0, 1)[None]


def labels(levels: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(levels)[None]


def mask(levels: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(levels.astype(np.float32))[None, None]


def densepose(levels: np.ndarray) -> torch.Tensor:
    scaled = levels.astype(np.float32) * np.float32([10, 1 / 255, 1 / 255])
    return torch.from_numpy(scaled).permute(2, 0, 1)[None]


@cache
def published(root: Path, name: str, stage: str) -> torch.nn.Module:
    """The network of a stage with the fixture's weights; every key accounted for."""
    from parity_numbers import Parity

    recipe = Parity(root, "").facts(f"gcl3d/{name}_keys.json")
    weights = tensors(drawn_weights(recipe, SLOPES))
    network = gcl3d.build(stage)
    ours = gcl3d.forward(weights, stage, network)
    assert sum(p.numel() for p in network.parameters()) == recipe["parameters"]
    back = gcl3d.backward(ours, stage, network)
    assert back.keys() == weights.keys() == recipe["keys"].keys()
    for key, value in weights.items():
        assert back[key].shape == value.shape and torch.equal(back[key].float(), value.float()), key
    network.requires_grad_(False)
    return network


def batch_of(inputs: dict) -> dict:
    garment_mask = np.isin(inputs["parsing_ref"], (5, 6, 7))
    iuv = {k: torch.from_numpy(inputs[v]).permute(2, 0, 1)[None] for k, v in MAPS.items()}
    return dict(
        iuv,
        person=picture(inputs["image"]),
        garment=picture(inputs["ref"]),
        garment_mask=mask(garment_mask),
    )


@cache
def _features(root: Path):
    from parity_numbers import Parity

    network, parity = published(root, "stage1", "warping"), Parity(root, "")
    return network._features(batch_of(parity.arrays("gcl3d/inputs.npz")))


def features_of(parity):
    """What both encoders give for the fixture's pictures, computed once."""
    return _features(parity.root)


MAPS = dict(iuv="target_iuv", garment_iuv="source_iuv")


@pytest.mark.slow
def test_first_stage(parity):
    network = published(parity.root, "stage1", "warping")
    network.size = (512, 512)
    recorded, batch = parity.arrays("gcl3d/stage1.npz"), batch_of(parity.arrays("gcl3d/inputs.npz"))
    features = features_of(parity)
    for what, ours, key in (
        ("person features at 64", features.person[0], "theta_64"),
        ("garment features at 64", features.garment[0], "phi_64"),
        ("person features at 128", features.person[1][..., ::2, ::2], "theta_128_every2"),
        ("garment features at 256", features.garment[2][..., ::8, ::8], "phi_256_every8"),
    ):
        parity.compare(SYSTEM, f"stage 1, {what}", ours, recorded[key], 1e-5)
    network._features = lambda batch: features
    try:
        pyramid, warp = network._pyramid(batch), network.warp(batch)
        warps = network._warps(pyramid, batch)
    finally:
        del network._features
    sure = recorded["top2_gap"] > 1e-4
    index = pyramid.record.argmax().reshape(64, 64).numpy()
    other = int((index != recorded["argmax"])[sure].sum())
    parity.record(SYSTEM, "stage 1, best garment tokens that are others", other, 0)
    record = pyramid.record
    cosine = record.query[0, 0, recorded["query_index"].tolist()] @ record.key[0, 0].mT
    softmax = (cosine * record.scale).softmax(-1)
    parity.compare(SYSTEM, "stage 1, cosines", cosine, recorded["cosine_rows"], 1e-5)
    parity.compare(SYSTEM, "stage 1, softmax", softmax, recorded["softmax_rows"], 2e-4)
    for size, flow in zip((128, 256), pyramid.flows[1:], strict=True):
        theirs = (recorded[f"flow_{size}"] + 1) * (size - 1) / 2
        parity.compare(SYSTEM, f"stage 1, flow at {size}", flow * (size - 1), theirs, 1e-3, "px")
    compare = dict(warp_64=warps[0], warp_128=warps[1], warp_256=warps[2], region_64=pyramid.region)
    for key, ours in compare.items():
        parity.compare(SYSTEM, f"stage 1, {key}", ours, recorded[key], 2e-4)
    crop = warp.warped[..., 128:384, 128:384]
    parity.compare(SYSTEM, "stage 1, garment at 512", crop, recorded["warped_512_crop"], 2e-4)
    levels = to_uint8(warp.warped)[0]
    parity.compare(
        SYSTEM, "stage 1, garment picture", levels, recorded["warped_512_uint8"], 1, "levels"
    )


@pytest.mark.slow
def test_what_the_rules_of_flows_change(parity):
    network = published(parity.root, "stage1", "warping")
    network.size = (512, 512)
    features, released = features_of(parity), network.arithmetic
    index = network.network.correlate(features).argmax()

    def flow(**changes) -> torch.Tensor:
        rules = type(released)(**(gcl3d.ARITHMETIC | changes))
        start = rules.start(index, (64, 64), (64, 64), features.person[0])
        return rules.offset(network.refinement(start, features, rules)[-1], (256, 256))

    theirs = flow()
    reason = {
        "row_fraction": "no reason speaks for it; weights trained with it need it",
        "outside": "a border repeated has no dark rim, and offsets near it a gradient",
        "corners": "one convention everywhere (METHODS.md G2): the identity flow changes nothing",
    }
    for name, ours in (("row_fraction", False), ("outside", "border"), ("corners", False)):
        moved = float((flow(**{name: ours}) - theirs).abs().max())
        parity.departs(
            SYSTEM,
            f"flows: {name}={ours!r}, theirs {gcl3d.ARITHMETIC[name]!r}",
            effect=f"{moved:.2g} px at 256",
            switch=f"model.arithmetic.{name}",
            reason=reason[name],
            shown=moved > 1e-3,
        )


@pytest.mark.slow
def test_what_slope_shrinking_and_region_change(parity):
    network = published(parity.root, "stage1", "warping")
    network.size = (512, 512)
    batch, features = batch_of(parity.arrays("gcl3d/inputs.npz")), features_of(parity)
    record, released = network.network.correlate(features), network.arithmetic
    start = released.start(record.argmax(), (64, 64), (64, 64), features.person[0])
    theirs = network.refinement(start, features, released)[-1] * 255
    leaks = [
        m
        for scale in network.refinement.scales
        for m in scale.compare
        if hasattr(m, "negative_slope")
    ]
    for leak in leaks:
        leak.negative_slope = 0.2
    slope = float((network.refinement(start, features, released)[-1] * 255 - theirs).abs().max())
    for leak in leaks:
        leak.negative_slope = 0.1
    coarse = []
    for rules in (released, dataclasses.replace(released, shrinking="area")):
        network.arithmetic = rules
        coarse.append(network._coarse_warp(record, batch)[0])
    network.arithmetic = released
    area = float((coarse[0] - coarse[1]).abs().max())
    for what, effect, switch, reason, shown in (
        (
            "leaky ReLUs of the comparison: slope 0.2, theirs 0.1",
            f"{slope:.2g} px at 256",
            "model.refinement.compare_slope",
            "the paper's, and the rest of the network's",
            slope > 1e-3,
        ),
        (
            "garment at the tokens' size: mean of an area, theirs bilinear points",
            f"{area:.2g} of 2 in the coarse warp",
            "model.arithmetic.shrinking",
            "every pixel counts; points alias patterns",
            area > 1e-2,
        ),
    ):
        parity.departs(SYSTEM, what, effect=effect, switch=switch, reason=reason, shown=shown)


def test_what_the_second_stage_is_shown(parity):
    """The model's own inputs of the generator, against those that the program's network got."""
    inputs, first = parity.arrays("gcl3d/inputs.npz"), parity.arrays("gcl3d/stage1.npz")
    config = released_config("tryon_deepfashion.py").model
    config.image_losses = None
    small = dict(channels=(4, 4, 8, 8, 8, 8), retained_channels=4, fused_channels=8, style_hidden=8)
    config.generator.update(small)
    config.discriminator.update(channels=(4, 4, 8, 8, 8, 8, 8, 8))
    config.warping.network.update(widths=(8, 8, 16), dim=8)
    config.warping.refinement.update(dim=8, hidden=8, motion=8)
    model = MODELS.build(config.to_dict()).eval()
    flow, kept = torch.from_numpy(first["flow_256"]), mask(first["head_mask"])
    model.warping._pyramid = lambda batch: SimpleNamespace(flows=[(flow + 1) / 2], region=None)
    seen = {}
    model.generator.register_forward_hook(lambda _module, shown, _found: seen.update(shown=shown))
    batch = batch_of(inputs) | dict(parse=labels(inputs["parsing"]))
    drawn, _ = model.draw(batch, [torch.zeros(1, 1, *side) for side in model.noise_sizes])
    garment, positions, region, retained, pose, _ = seen["shown"]
    garment_mask = mask(first["cloth_ref_mask"])
    expected = (
        ("garment", garment, picture(inputs["ref"]) * garment_mask + 1 - garment_mask),
        ("flow", positions, (flow + 1) / 2),
        ("garment's region", region, landed(garment_mask, flow)),
        ("retained person", retained, picture(inputs["image"]) * kept + 1 - kept),
        ("pose", pose, densepose(inputs["target_iuv"])),
    )
    for what, ours, theirs in expected:
        parity.compare(SYSTEM, f"stage 2, input: {what}", ours, theirs, 1e-4)
    assert not drawn[..., :96].any() and not drawn[..., 416:].any() and drawn[..., 96:416].all()


def released_config(name: str):
    root = Path(__file__).parents[2] / "configs/gcl3d"
    return load_config(root / name, {"as_released": True})


def test_settings_of_the_release(parity):
    root = Path(__file__).parents[2] / "configs/gcl3d"
    ours, theirs = (
        load_config(root / "tryon_deepfashion.py"),
        released_config("tryon_deepfashion.py"),
    )
    warp, released = (
        load_config(root / "warp_deepfashion.py"),
        released_config("warp_deepfashion.py"),
    )
    for first, second, path, what, reason in (
        (
            ours,
            theirs,
            "model.generator.type",
            "generator of the paper's text, theirs another",
            "paper",
        ),
        (
            ours,
            theirs,
            "model.retained",
            "retained person: all outside the mask; theirs by labels",
            LEAK,
        ),
        (ours, theirs, "model.pose", "pose: coloured parts, theirs label x 10, U, V", SCALES),
        (
            ours,
            theirs,
            "model.columns",
            "side padding drawn and cut off, theirs 0",
            "nothing sees it",
        ),
        (warp, released, "model.network.norm", "groups normalised, theirs batches", BATCH),
        (warp, released, "model.label_scale", "labels / 24, theirs x 10 (G4)", SCALES),
        (
            warp,
            released,
            "model.refinement.smoothing",
            "smoothing added, theirs in place (G7)",
            START,
        ),
        (
            warp,
            released,
            "model.flow_loss.normalisation",
            "flow loss over visible pixels (G3)",
            FAIR,
        ),
        (
            warp,
            released,
            "model.image_losses.perceptual.imagenet",
            "VGG normalised, theirs not",
            VGG,
        ),
        (warp, released, "optim_wrapper.clip_grad", "gradients clipped, theirs not", "stability"),
    ):
        values = [entry(config, path) for config in (first, second)]
        parity.departs(
            SYSTEM,
            what,
            effect="their weights were trained with theirs",
            switch=path,
            reason=reason,
            shown=values[0] != values[1],
        )


LEAK = "no pixel inside the mask can reach the picture"
SCALES = "labels and coordinates of one scale; a picture in [-1, 1] like the others"
BATCH = "no picture depends on another of its batch"
START = "begins as nothing, so that training starts at the coarse flow"
FAIR = "a sample that shows little garment weighs as much as another"
VGG = "VGG19 was trained so"


def entry(config, path: str):
    value = config
    for part in path.split("."):
        value = value.get(part) if value is not None else None
    return value


def test_retained_person(parity):
    inputs, recorded = parity.arrays("gcl3d/inputs.npz"), parity.arrays("gcl3d/stage1.npz")
    parts = labels(inputs["target_iuv"][..., 0])
    ours = retained_mask(labels(inputs["parsing"]), parts)[0, 0]
    parity.compare(SYSTEM, "stage 2, mask of the retained person", ours, recorded["head_mask"], 0)
    garment = np.isin(inputs["parsing_ref"], (5, 6, 7))
    parity.compare(SYSTEM, "garment mask", garment, recorded["cloth_ref_mask"], 0)


def _named(name):
    return lambda key: name(key).keys[0]


_APPEARANCE = dict(channels=(4, 8, 16, 32, 32, 32), retained_channels=4, fused_channels=32)


@pytest.mark.parametrize(
    "case", ["spatial_conv", "spatial_conv_up", "styled_conv_up", "to_rgb_skip", "res_block"]
)
def test_blocks_of_the_generator(parity, case):
    def plain(key):
        return "weight" if key == "conv.weight" else key

    network, name = {
        "spatial_conv": lambda: (TwoBranchConv(6, 5, 3, 128), plain),
        "spatial_conv_up": lambda: (TwoBranchConv(6, 5, 3, 128, "up"), plain),
        "styled_conv_up": lambda: (
            TwoBranchStyledConv(6, 5, 128, "up"),
            lambda key: styled(key, False),
        ),
        "to_rgb_skip": lambda: (TwoBranchRGB(6, 128), lambda key: styled(key, True)),
        "res_block": lambda: (ResidualDown(4, 6), residual),
    }[case]()
    ours = filled(parity, case, network, name)(*inputs_of(parity, case))
    compare_block(parity, case, ours, 0)


def test_pose_encoder_and_appearance_encoder(parity):
    generator = TwoBranchStyleGenerator(**_APPEARANCE)
    prefix = "pose_encoder."
    pose = filled(
        parity,
        "pose_encoder",
        generator.pose,
        lambda key: generator_source(f"pose.{key}").keys[0].removeprefix(prefix),
    )
    ours = pose(*inputs_of(parity, "pose_encoder"))[-1]
    compare_block(parity, "pose_encoder", ours, 0)
    towers = filled(
        parity,
        "appearance_encoder",
        generator.towers,
        lambda key: generator_source(f"towers.{key}").keys[0].removeprefix("appearance_encoder."),
    )
    garment, garment_mask, retained, flow = inputs_of(parity, "appearance_encoder")
    region = landed(garment_mask, flow)
    styles = towers(garment, (flow + 1) / 2, region, retained)
    for place, style in enumerate(styles[::-1]):
        compare_block(parity, "appearance_encoder", style, place)


def landed(garment_mask, flow):
    return torch.nn.functional.grid_sample(
        garment_mask, flow, padding_mode="zeros", align_corners=False
    )


def filled(parity, case, network, name):
    recipe = parity.facts("gcl3d/stage2_blocks_keys.json")[case]
    weights, state = tensors(drawn_weights(recipe)), network.state_dict()
    stored = parity.arrays("gcl3d/stage2_blocks.npz")
    prefix = f"{case}/weights/"
    for key, value in stored.items():
        if key.startswith(prefix):
            assert np.array_equal(value, weights[key.removeprefix(prefix)])
    sources = {key: Source((name(key),)) for key in state}
    network.load_state_dict(to_ours(weights, sources, {k: v.shape for k, v in state.items()}))
    return network.requires_grad_(False)


def inputs_of(parity, case):
    stored = parity.arrays("gcl3d/stage2_blocks.npz")
    keys = sorted(key for key in stored if key.startswith(f"{case}/input_"))
    return [torch.from_numpy(stored[key]) for key in keys]


def compare_block(parity, case, ours, place):
    theirs = parity.arrays("gcl3d/stage2_blocks.npz")[f"{case}/output_{place}"]
    what = f"stage 2, block {case}" + (f", scale {place}" if place else "")
    parity.compare(SYSTEM, what, ours, theirs, 2e-5)


@pytest.mark.slow
def test_whole_generator(parity):
    network = published(parity.root, "stage2_generator", "generator")
    inputs, first = parity.arrays("gcl3d/inputs.npz"), parity.arrays("gcl3d/stage1.npz")
    recorded = parity.arrays("gcl3d/stage2_generator.npz")
    garment_mask, kept = mask(first["cloth_ref_mask"]), mask(first["head_mask"])
    garment = picture(inputs["ref"]) * garment_mask + 1 - garment_mask
    retained = picture(inputs["image"]) * kept + 1 - kept
    flow = torch.from_numpy(first["flow_256"])
    random = np.random.RandomState(5)
    noise = [
        torch.from_numpy(random.standard_normal((1, 1, *side)).astype(np.float32))
        for side in network.noise_sizes((512, 512))
    ]
    styles = []
    network.towers.register_forward_hook(lambda _module, _inputs, found: styles.extend(found))
    region = landed(garment_mask, flow)
    drawn = network(
        garment, (flow + 1) / 2, region, retained, densepose(inputs["target_iuv"]), noise
    )
    for style in styles:
        size, channels = style.shape[-1], style.shape[1]
        ours = style[:, :: channels // 32, :: size // 16, :: size // 16]
        theirs = recorded[f"style_{size}_sub"]
        parity.compare(SYSTEM, f"stage 2, style map of {size}", ours, theirs, 5e-5)
    for key, ours in (
        ("picture_every2", drawn[..., ::2, ::2]),
        ("picture_crop", drawn[..., 192:320, 192:320]),
    ):
        parity.compare(SYSTEM, f"stage 2, {key}", ours, recorded[key], 1e-3)
    ours = to_uint8(drawn[..., ::2, ::2])
    theirs = to_uint8(torch.from_numpy(recorded["picture_every2"]))
    parity.compare(SYSTEM, "stage 2, picture", ours, theirs, 1, "levels")


@pytest.mark.slow
def test_discriminator(parity):
    network = published(parity.root, "stage2_discriminator", "discriminator")
    network.stddev_group = 2
    inputs = parity.arrays("gcl3d/inputs.npz")
    recorded = parity.arrays("gcl3d/stage2_discriminator.npz")
    pictures = torch.cat([picture(inputs["image"]), picture(inputs["ref"])])
    poses = torch.cat([densepose(inputs["target_iuv"]), densepose(inputs["source_iuv"])])
    features = []
    network.pyramid.register_forward_hook(lambda _module, _inputs, found: features.append(found))
    scores = network(pictures, poses)
    parity.compare(
        SYSTEM, "discriminator, features", features[0][-1], recorded["pyramid_batch2"], 1e-3
    )
    spread = minibatch_stddev(features[0][-1], 2)
    parity.compare(SYSTEM, "discriminator, deviation", spread, recorded["stddev_batch2"], 1e-4)
    parity.compare(SYSTEM, "discriminator, scores", scores, recorded["scores_batch2"][:, 0], 2e-4)


def test_flow_of_a_body(parity):
    recorded = parity.arrays("gcl3d/body_flow.npz")
    shift = np.float64([0.5, 0.5])  # their pixel i has coordinate i

    def seen(name):
        found = recorded[name].copy()
        found[found == 4294967295] = -1
        return found

    sides = [recorded[f"{side}_vertices"][:, :2] + shift for side in ("person", "garment")]
    flow, status = mesh_flow(
        *sides,
        recorded["faces"],
        seen("person_visibility"),
        seen("garment_visibility"),
        recorded["mirror"],
    )
    parity.compare(SYSTEM, "body flow, status", status, recorded["status"], 0)
    found = status == FOUND
    theirs = recorded["flow_pixels"] + shift
    parity.compare(SYSTEM, "body flow, found pixels", flow[found], theirs[found], 2e-3, "px")
    assert (status == BACKGROUND).any()


def test_keys_are_the_authors(parity):
    assert gcl3d_keys.kernel("convs.0.conv.blur.kernel").sum() == 4
    for name, stage in (
        ("stage1", "warping"),
        ("stage2_generator", "generator"),
        ("stage2_discriminator", "discriminator"),
    ):
        assert gcl3d.stage_of(parity.facts(f"gcl3d/{name}_keys.json")["keys"]) == stage
