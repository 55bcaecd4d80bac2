"""``projects/comfyui_vtonlab``: the workflow's picture is the inferencer's, node by node."""

import importlib
import inspect
import json
import os
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

sys.path.insert(0, str(Path(__file__).parent))
from comfy_walker import Host, InterruptProcessingException

from vtonlab.apis import TryOnInferencer, prepare

FOLDER = Path(__file__).parents[2] / "projects/comfyui_vtonlab"
EXAMPLE = FOLDER / "example"


def read(path: Path) -> np.ndarray:
    return np.asarray(Image.open(path))


@pytest.fixture(scope="module")
def host(tmp_path_factory):
    host = Host(tmp_path_factory.mktemp("comfy") / "ComfyUI")
    for name in ("person", "garment"):
        shutil.copy(EXAMPLE / f"{name}.png", host.input)
    person = read(EXAMPLE / "person.png")
    mask = np.zeros(person.shape[:2], np.uint8)
    mask[60:220, 30:170] = 255
    Image.fromarray(mask).save(host.input / "mask.png")
    Image.fromarray(255 - person).save(host.input / "pose.png")
    with host.custom_nodes(FOLDER) as module:
        host.module = module
        yield host


@pytest.fixture(scope="module")
def inferencer():
    return TryOnInferencer("coral_synthetic", device="cpu")


def shipped() -> dict:
    return json.loads((EXAMPLE / "workflow_api.json").read_text())


def with_given_maps(**settings) -> dict:
    """The shipped workflow, mask and pose from files instead of estimators."""
    prompt = shipped()
    prompt["3"]["inputs"]["device"] = "cpu"
    prompt["5"]["inputs"] |= {"mask": ["10", 0], "pose": ["11", 0], **settings}
    prompt["10"] = dict(class_type="LoadImageMask", inputs=dict(image="mask.png", channel="red"))
    prompt["11"] = dict(class_type="LoadImage", inputs=dict(image="pose.png"))
    for unused in ("4", "7"):
        del prompt[unused]
    return prompt


def given(host) -> dict:
    """The same for the inferencer, as files."""
    return {name: host.input / f"{name}.png" for name in ("person", "garment", "mask", "pose")}


def drawn_directly(inferencer, host, **settings):
    """The inferencer's result; in ComfyUI pictures have no names, and the noise goes by names."""
    arrays = {name: read(path) for name, path in given(host).items()}
    return inferencer(**arrays, **settings)


def test_nodes_keep_the_contract(host):
    mappings = host.module.NODE_CLASS_MAPPINGS
    assert set(mappings) == set(host.module.NODE_DISPLAY_NAME_MAPPINGS)
    names = ["Load try-on model", "Prepare person", "Try on", "Where did it look"]
    assert list(host.module.NODE_DISPLAY_NAME_MAPPINGS.values()) == names
    for kind in mappings.values():
        takes = kind.INPUT_TYPES()
        inputs = [*takes["required"], *takes.get("optional", {})]
        arguments = inspect.signature(getattr(kind, kind.FUNCTION)).parameters
        assert list(arguments)[1:] == inputs
        assert all(arguments[n].default is None for n in takes.get("optional", {}))
        assert len(kind.RETURN_NAMES) == len(kind.RETURN_TYPES)
        assert kind.CATEGORY == "vtonlab" and kind.DESCRIPTION


def test_the_shipped_workflow_is_one_graph_in_both_forms(host):
    example = importlib.import_module(f"{host.module.__name__}.example")
    workflow = json.loads((EXAMPLE / "workflow.json").read_text())
    assert workflow == example.ui_form() and shipped() == example.api_form()
    assert host.converted(workflow) == shipped()
    host.check(shipped())
    kept = Image.open(EXAMPLE / "workflow.png").text  # the picture opens the workflow when dropped
    assert json.loads(kept["workflow"]) == workflow and json.loads(kept["prompt"]) == shipped()


def test_the_workflows_picture_is_the_inferencers(host, inferencer):
    host.bars.clear()
    outputs = host.run(with_given_maps(seed=3, steps=2))
    result = drawn_directly(inferencer, host, seed=3, num_steps=2)
    saved = sorted(host.output.glob("try_on_*"))[-1]
    assert np.array_equal(read(saved), result.picture)
    picture, mask, _ = outputs["5"]
    assert picture.shape == (1, *result.picture.shape) and mask.shape == picture.shape[:3]
    assert picture.dtype == mask.dtype == torch.float32 and 0 <= picture.min() <= picture.max() <= 1
    assert np.array_equal(mask[0].numpy(), result.mask)
    assert [step[:2] for step in host.bars[0]] == [(1, 2), (2, 2)]
    kind, preview, longest = host.bars[0][1][2]
    assert kind == "JPEG" and preview.size == (96, 128) and longest >= 128
    page, heat, x, y, confidence, share, layers = outputs["6"]
    look = inferencer.look(result)
    match = look.at(40, 64)
    assert (x, y, confidence, share) == (round(match.x), round(match.y), *match[2:])
    assert layers.split("\n") == list(look.layers)
    assert page.ndim == 4 and heat.shape == (1, 128, 96) and 0.3 < heat.max() <= 1
    row, column = np.unravel_index(heat[0].argmax(), (128, 96))
    assert abs(row - match.y) <= 8 and abs(column - match.x) <= 8  # within the cell


def test_batches_go_side_by_side(host, inferencer):
    nodes, arrays = host.module.NODE_CLASS_MAPPINGS, given(host)
    arrays = {name: torch.from_numpy(read(path) / np.float32(255)) for name, path in arrays.items()}
    settings = dict(
        category="upper_body", seed=0, steps=0, guidance=0.0, batch_size=2, repaint=True
    )
    picture, mask, results = nodes["VtonlabTryOn"]().try_on(
        model=inferencer,
        person=torch.stack([arrays["person"], arrays["person"].flip(1)]),
        garment=arrays["garment"][None],
        mask=torch.stack([arrays["mask"], arrays["mask"].flip(1)]),
        pose=torch.stack([arrays["pose"], arrays["pose"].flip(1)]),
        **settings,
    )
    assert picture.shape == (2, 128, 96, 3) and len(results) == 2
    assert torch.equal(mask[1], mask[0].flip(1))
    one = drawn_directly(inferencer, host).picture
    apart = np.abs((picture[0].numpy() * 255).round() - one)  # sums of a batch in another order
    assert apart.max() <= 1
    look = nodes["VtonlabWhereDidItLook"]().look
    place = dict(x=40, y=64, layer="", head=1, sigma=0.5)
    assert look(model=inferencer, result=results, number=1, **place)[4] > 0
    with pytest.raises(ValueError, match="the batch has 2 pictures"):
        look(model=inferencer, result=results, number=2, **place)
    tensors = sys.modules["custom_nodes_comfyui_vtonlab.tensors"]
    with pytest.raises(ValueError, match="2 masks for 3 people"):
        tensors.areas(mask, 3)
    empty = torch.zeros(1, 64, 64)  # what Load Image gives for a file without alpha
    assert tensors.areas(empty, 2) == [None, None]


def test_stop_stops_and_leaves_the_model_as_it_was(host, inferencer):
    arrays = {n: torch.from_numpy(read(p) / np.float32(255))[None] for n, p in given(host).items()}
    settings = dict(category="upper_body", guidance=0.0, batch_size=1, repaint=True)
    node = host.module.NODE_CLASS_MAPPINGS["VtonlabTryOn"]()
    before = node.try_on(model=inferencer, **arrays, seed=0, steps=0, **settings)[0]
    host.stops_after = 2
    try:
        with pytest.raises(InterruptProcessingException):
            node.try_on(model=inferencer, **arrays, seed=5, steps=4, **settings)
    finally:
        host.stops_after = None
    assert len(host.bars[-1]) == 2
    after = node.try_on(model=inferencer, **arrays, seed=0, steps=0, **settings)[0]
    assert torch.equal(before, after)


def test_models_of_ones_own_lie_below_comfyuis_models(host):
    node = host.module.NODE_CLASS_MAPPINGS["VtonlabLoadTryOnModel"]
    choose = dict(device="cpu", dtype="as built")
    assert node.IS_CHANGED("coral_synthetic", **choose) == node.IS_CHANGED(
        "baseline_synthetic", **choose
    )
    folder = host.models / "vtonlab/mine"
    folder.mkdir(parents=True)
    config = folder / "config.py"
    config.write_text("")
    names = node.INPUT_TYPES()["required"]["model"][0]
    assert names[-1] == "mine" and "coral_synthetic" in names
    first = node.IS_CHANGED("mine", **choose)
    os.utime(config, (1, 1))
    assert node.IS_CHANGED("mine", **choose) != first
    with pytest.raises(FileNotFoundError, match=r"mine has no model.safetensors"):
        node().load("mine", **choose)


def test_the_shipped_workflow_runs_as_it_is(host, inferencer, estimator_weights):
    """Mask and pose by the estimators; acceptance on a machine that has fetched them."""
    prompt = shipped()
    prompt["3"]["inputs"]["device"] = "cpu"
    outputs = host.run(prompt)
    person, garment = (read(host.input / f"{name}.png") for name in ("person", "garment"))
    maps = prepare(person, None, "upper_body", maps=("mask", "pose"))
    result = inferencer(person, garment, maps.mask > 0, pose=maps.pose)
    assert np.array_equal(read(sorted(host.output.glob("try_on_*"))[-1]), result.picture)
    assert outputs["4"][3] == "\n".join(maps.warnings)
    alone = inferencer(person, garment)  # prepares by itself
    assert np.array_equal(alone.picture, result.picture)
