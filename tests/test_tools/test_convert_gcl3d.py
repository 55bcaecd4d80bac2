"""3D-GCL's files to ours and back, on small networks with the authors' names."""

import sys
from pathlib import Path

import pytest
import torch

sys.path.insert(0, str(Path(__file__).parents[2] / "tools/convert"))
import gcl3d
from gcl3d import build, forward, parse_args, run

from vtonlab.registry import MODELS

SMALL = dict(
    size=(128, 128),
    network=dict(widths=(8, 8, 16), dim=8),
    refinement=dict(dim=8, hidden=8, motion=8),
    generator=dict(
        channels=(4, 4, 8, 8, 8, 8), retained_channels=4, fused_channels=8, style_hidden=8
    ),
    discriminator=dict(channels=(4, 4, 8, 8, 8, 8, 8, 8)),
)


def authors_file(folder: Path, stage: str, **changes) -> Path:
    """What the authors' program would save for a small network of random weights."""
    torch.manual_seed(0)
    network = build(stage, SMALL)
    state = gcl3d.backward(network.state_dict(), stage, network) | changes
    path = folder / f"{stage}.pth"
    torch.save({key: value for key, value in state.items() if value is not None}, path)
    return path


def convert(*arguments) -> str:
    return run(parse_args([str(argument) for argument in arguments]), SMALL)


def test_first_stage_there_and_back(tmp_path):
    source, target = authors_file(tmp_path, "warping"), tmp_path / "warp.safetensors"
    said = convert(source, target)
    assert "464 keys read" in said and "flow (of 1)" in said and "deviation" in said
    convert("--back", "warping", target, tmp_path / "again.pth")
    first, again = (torch.load(p, weights_only=True) for p in (source, tmp_path / "again.pth"))
    assert first.keys() == again.keys()
    assert all(torch.equal(value, again[key]) for key, value in first.items())


def test_smoothing_layers_are_turned(tmp_path):
    theirs = torch.load(authors_file(tmp_path, "warping"), weights_only=True)
    ours = forward(theirs, "warping", build("warping", SMALL))
    place = "refinement.scales.1.smooth.0"
    assert torch.equal(ours[f"{place}.0.weight"], theirs["GACRM2.filter.0.weight"].flip(1))
    assert torch.equal(ours[f"{place}.3.bias"], theirs["GACRM2.filter.3.bias"].flip(0))


def test_second_stage_holds_the_first(tmp_path):
    warping, generator, judge = (authors_file(tmp_path, stage) for stage in gcl3d._PARTS)
    target = tmp_path / "tryon.safetensors"
    said = convert(generator, target, "--warping", warping, "--discriminator", judge)
    for part in ("warping: flow", "generator: colours", "discriminator: score"):
        assert part in said
    parts = {k: v for k, v in SMALL.items() if k in ("network", "refinement")}
    model = MODELS.build(
        dict(
            type="TryOnSynthesis",
            size=SMALL["size"],
            warping=gcl3d.WARPING
            | {k: gcl3d.WARPING[k] | v for k, v in parts.items()}
            | dict(size=SMALL["size"]),
            generator=gcl3d.GENERATOR | SMALL["generator"],
            discriminator=gcl3d.DISCRIMINATOR | dict(size=SMALL["size"], **SMALL["discriminator"]),
            adversarial=dict(type="NonSaturatingLoss"),
            retained="parse",
            pose="iuv",
            columns=(24, 104),
        )
    )
    from safetensors.torch import load_file

    model.load_state_dict(load_file(target))
    convert("--back", "generator", target, tmp_path / "again.pth")
    first, again = (torch.load(p, weights_only=True) for p in (generator, tmp_path / "again.pth"))
    assert first.keys() == again.keys()
    assert all(torch.equal(value, again[key]) for key, value in first.items())


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"extra.weight": torch.zeros(1)}, "no place"),
        ({"phi_1.bias": None}, "lacks 'phi_1.bias'"),
        ({"phi_1.bias": torch.zeros(3)}, "our 'network.garment_heads.0.bias' is"),
        ({"content_encoder.up1.2.model.3.weight": torch.ones(1)}, "other numbers"),
    ],
)
def test_a_file_of_something_else_is_named(tmp_path, changes, word):
    source = authors_file(tmp_path, "warping", **changes)
    with pytest.raises(ValueError, match=word):
        convert(source, tmp_path / "x.safetensors")


def test_values_that_are_not_finite_are_named(tmp_path):
    bad = {"phi_3.bias": torch.full((8,), torch.nan)}
    with pytest.raises(ValueError, match="not finite"):
        convert(authors_file(tmp_path, "warping", **bad), tmp_path / "x.safetensors")


def test_stages_are_told_apart(tmp_path):
    warping, generator = (authors_file(tmp_path, s) for s in ("warping", "generator"))
    with pytest.raises(ValueError, match="give --warping"):
        convert(generator, tmp_path / "x.safetensors")
    with pytest.raises(ValueError, match="the generator's; the warping is in net_Corr"):
        convert(generator, tmp_path / "x.safetensors", "--warping", generator)
    with pytest.raises(ValueError, match="are not"):
        convert(warping, tmp_path / "x.safetensors", "--warping", warping)
    torch.save({"unet.a": torch.zeros(1)}, tmp_path / "other.pth")
    with pytest.raises(ValueError, match="none of 3D-GCL's networks"):
        convert(tmp_path / "other.pth", tmp_path / "x.safetensors")
