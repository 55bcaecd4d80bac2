"""The example: two rendered pictures, the workflow in both of ComfyUI's forms, and its picture.

Example:
    python -m projects.comfyui_vtonlab.example

Writes ``example/`` beside this file. ``workflow.png`` holds the workflow: drop it onto ComfyUI.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont, PngImagePlugin

HERE = Path(__file__).parent / "example"
PERSON, GARMENT, SIZE = 5, 8, (256, 192)  # of SyntheticTryOn's test split
HEAD, ROW = 30, 20  # pixels of a node's title, and of a slot, as the browser draws them
SCALE = 0.6  # of the picture

# One line a node: place and size in the browser, type, and its inputs in order: a link to a node's
# output, or a value.
NODES: dict[int, tuple[tuple[int, int], tuple[int, int], str, dict[str, Any]]] = {
    1: ((0, 0), (270, 330), "LoadImage", {"image": "person.png"}),
    2: ((0, 370), (270, 330), "LoadImage", {"image": "garment.png"}),
    3: (
        (310, 370),
        (270, 110),
        "VtonlabLoadTryOnModel",
        {"model": "coral_synthetic", "device": "auto", "dtype": "as built"},
    ),
    4: (
        (310, 0),
        (270, 130),
        "VtonlabPreparePerson",
        {"person": [1, 0], "category": "upper_body"},
    ),
    5: (
        (620, 150),
        (270, 300),
        "VtonlabTryOn",
        {
            "model": [3, 0],
            "person": [1, 0],
            "garment": [2, 0],
            "category": "upper_body",
            "seed": 0,
            "steps": 0,
            "guidance": 0.0,
            "batch_size": 1,
            "repaint": True,
            "mask": [4, 0],
            "pose": [4, 1],
        },
    ),
    6: (
        (930, 420),
        (270, 290),
        "VtonlabWhereDidItLook",
        {
            "model": [3, 0],
            "result": [5, 2],
            "x": 40,
            "y": 64,
            "layer": "",
            "head": -1,
            "sigma": 0.5,
            "number": 0,
        },
    ),
    7: ((620, -210), (270, 310), "PreviewImage", {"images": [4, 2]}),
    8: ((930, 0), (270, 370), "SaveImage", {"images": [5, 0], "filename_prefix": "try_on"}),
    9: ((1240, 130), (500, 470), "PreviewImage", {"images": [6, 0]}),
}
# What ComfyUI's own nodes take and give.
OWN: dict[str, tuple[dict[str, str], tuple[str, ...]]] = {
    "LoadImage": ({"image": "COMBO"}, ("IMAGE", "MASK")),
    "PreviewImage": ({"images": "IMAGE"}, ()),
    "SaveImage": ({"images": "IMAGE", "filename_prefix": "STRING"}, ()),
}
WIDGETS = ("COMBO", "INT", "FLOAT", "STRING", "BOOLEAN")
COLOURS = {"IMAGE": (100, 181, 246), "MASK": (129, 199, 132)}  # of wires; others are violet
AFTER = {"image": ["image"], "seed": ["fixed"]}  # buttons that the browser saves after a value


def api_form() -> dict[str, dict]:
    """What ``POST /prompt`` takes."""
    return {
        str(number): {
            "class_type": kind,
            "inputs": {
                name: [str(value[0]), value[1]] if isinstance(value, list) else value
                for name, value in given.items()
            },
        }
        for number, (_, _, kind, given) in NODES.items()
    }


def slots(kind: str) -> tuple[dict[str, str], tuple[str, ...], tuple[str, ...]]:
    """Types of a node's inputs by name, types of its outputs, and their names."""
    from .nodes import NODE_CLASS_MAPPINGS

    if kind in OWN:
        takes, gives = OWN[kind]
        return takes, gives, gives
    found = NODE_CLASS_MAPPINGS[kind]
    takes = {
        name: "COMBO" if isinstance(spec[0], list) else spec[0]
        for part in found.INPUT_TYPES().values()
        for name, spec in part.items()
    }
    return takes, found.RETURN_TYPES, found.RETURN_NAMES


def title(kind: str) -> str:
    """What the browser writes over a node."""
    from .nodes import NODE_DISPLAY_NAME_MAPPINGS

    plain = {"LoadImage": "Load Image", "PreviewImage": "Preview Image", "SaveImage": "Save Image"}
    return (NODE_DISPLAY_NAME_MAPPINGS | plain)[kind]


def links() -> list[list]:
    """[number, from node, its output, to node, its input, type] of each link."""
    found: list[list] = []
    for number, (*_, kind, given) in NODES.items():
        takes = slots(kind)[0]
        sockets = [name for name, type_ in takes.items() if type_ not in WIDGETS]
        for place, name in enumerate(sockets):
            if name in given:
                source, output = given[name]
                found.append([len(found) + 1, source, output, number, place, takes[name]])
    return found


def ui_form() -> dict[str, Any]:
    """What the browser saves and opens."""
    wires, nodes = links(), []
    for order, (number, (place, size, kind, given)) in enumerate(NODES.items()):
        takes, gives, names = slots(kind)
        sockets = [name for name, type_ in takes.items() if type_ not in WIDGETS]
        into = {wire[4]: wire[0] for wire in wires if wire[3] == number}
        values = [
            value
            for name, type_ in takes.items()
            if type_ in WIDGETS
            for value in [given[name], *AFTER.get(name, [])]
        ]
        nodes.append(
            dict(
                id=number,
                type=kind,
                pos=list(place),
                size=list(size),
                flags={},
                order=order,
                mode=0,
                inputs=[
                    dict(name=name, type=takes[name], link=into.get(n))
                    for n, name in enumerate(sockets)
                ],
                outputs=[
                    dict(
                        name=name,
                        type=type_,
                        links=[w[0] for w in wires if w[1:3] == [number, n]],
                        slot_index=n,
                    )
                    for n, (name, type_) in enumerate(zip(names, gives, strict=True))
                ],
                properties={"Node name for S&R": kind},
                widgets_values=values,
            )
        )
    return dict(
        last_node_id=max(NODES),
        last_link_id=len(wires),
        nodes=nodes,
        links=wires,
        groups=[],
        config={},
        extra={},
        version=0.4,
    )


def rendered() -> dict[str, np.ndarray]:
    """``person`` and ``garment``, of two rendered people."""
    from vtonlab.synthetic import SyntheticTryOn

    people = SyntheticTryOn(
        size=SIZE,
        split="test",
        length=GARMENT + 1,
        categories=["upper_body"],
        textures="bold",
        hardness=(0.0, 0.5),
    )
    return dict(person=people[PERSON]["person"], garment=people[GARMENT]["garment"])


def run(shown: dict[str, np.ndarray]) -> dict[int, np.ndarray]:
    """The workflow's nodes called in turn: the picture in each node that shows one."""
    from .nodes import LoadTryOnModel, PreparePerson, TryOn, WhereDidItLook
    from .tensors import as_images, pictures

    person, garment = (as_images([shown[name]]) for name in ("person", "garment"))
    (model,) = LoadTryOnModel().load(**NODES[3][3])
    mask, pose, preview, _ = PreparePerson().prepare(person, NODES[4][3]["category"])
    values = {name: v for name, v in NODES[5][3].items() if not isinstance(v, list)}
    picture, _, result = TryOn().try_on(
        model=model, person=person, garment=garment, mask=mask, pose=pose, **values
    )
    values = {name: v for name, v in NODES[6][3].items() if not isinstance(v, list)}
    page, *_ = WhereDidItLook().look(model=model, result=result, **values)
    found = {7: preview, 8: picture, 9: page}
    return {1: shown["person"], 2: shown["garment"]} | {
        number: pictures(image)[0] for number, image in found.items()
    }


def drawing(shown: dict[int, np.ndarray]) -> Image.Image:
    """The graph as the browser draws it, pictures in their nodes."""
    left = min(place[0] for place, *_ in NODES.values()) - 20
    top = min(place[1] for place, *_ in NODES.values()) - HEAD - 20
    right = max(place[0] + size[0] for place, size, *_ in NODES.values()) + 20
    bottom = max(place[1] + size[1] for place, size, *_ in NODES.values()) + 20

    def at(x: float, y: float) -> tuple[float, float]:
        return (x - left) * SCALE, (y - top) * SCALE

    size = (round((right - left) * SCALE), round((bottom - top) * SCALE))
    page = Image.new("RGB", size, (38, 38, 40))
    draw, font = ImageDraw.Draw(page), ImageFont.load_default(10.5)
    for _, source, output, target, place, kind in links():
        x0, y0 = NODES[source][0]
        x1, y1 = NODES[target][0]
        begin = np.array(at(x0 + NODES[source][1][0], y0 + 13 + ROW * output))
        end = np.array(at(x1, y1 + 13 + ROW * place))
        draw.line(curve(begin, end), COLOURS.get(kind, (179, 157, 219)), 2, joint="curve")
    for (x, y), (width, height), kind, _ in NODES.values():  # over the wires
        box = (*at(x, y - HEAD), *at(x + width, y + height))
        draw.rounded_rectangle(box, 5, (58, 60, 66), (24, 24, 26))
        draw.text(at(x + 10, y - HEAD + 6), title(kind), (235, 235, 235), font)
    for number, ((x, y), (width, _), kind, given) in NODES.items():
        takes, gives, names = slots(kind)
        values = [n for n in takes if takes[n] in WIDGETS]
        sockets = [n for n in takes if takes[n] not in WIDGETS]
        for place, name in enumerate(sockets):
            draw.text(at(x + 14, y + 5 + ROW * place), name, (190, 190, 190), font)
        for place, name in enumerate(names):
            here = at(x + width - 14, y + 5 + ROW * place)
            draw.text(here, name, (190, 190, 190), font, anchor="ra")
        start = y + ROW * max(len(sockets), len(gives)) + 8
        for place, name in enumerate(values):
            here = at(x + 14, start + ROW * place)
            draw.text(here, f"{name}  {given[name]}", (140, 170, 220), font)
        if number in shown:
            start += ROW * len(values) + 6
            room = at(x + width - 10, y + NODES[number][1][1] - 10)
            origin = at(x + 10, start)
            picture = Image.fromarray(shown[number])
            side = [room[n] - origin[n] for n in (0, 1)]
            factor = min(side[n] / picture.size[n] for n in (0, 1))
            picture = picture.resize([round(factor * n) for n in picture.size], Image.LANCZOS)
            corner = (round(origin[0] + (side[0] - picture.width) / 2), round(origin[1]))
            page.paste(picture, corner)
    return page


def curve(begin: np.ndarray, end: np.ndarray) -> list[tuple[float, float]]:
    """A wire that leaves to the right and arrives from the left."""
    bend = np.array([max(20.0, abs(end[0] - begin[0]) / 2), 0.0])
    corners = np.stack([begin, begin + bend, end - bend, end])
    t = np.linspace(0, 1, 24)[:, None]
    weights = np.concatenate([(1 - t) ** 3, 3 * t * (1 - t) ** 2, 3 * t**2 * (1 - t), t**3], 1)
    return [tuple(point) for point in weights @ corners]


def main() -> None:
    HERE.mkdir(exist_ok=True)
    shown = rendered()
    for name, picture in shown.items():
        Image.fromarray(picture).save(HERE / f"{name}.png", optimize=True)
    texts = {"workflow": ui_form(), "prompt": api_form()}
    for name, file in (("workflow", "workflow.json"), ("prompt", "workflow_api.json")):
        (HERE / file).write_text(json.dumps(texts[name], indent=1) + "\n", encoding="utf-8")
    kept = PngImagePlugin.PngInfo()
    for name, form in texts.items():
        kept.add_text(name, json.dumps(form))
    with torch.inference_mode():
        page = drawing(run(shown))
    page.quantize(200).save(HERE / "workflow.png", optimize=True, pnginfo=kept)


if __name__ == "__main__":
    main()
