"""ComfyUI's side of the node contract, as its documentation tells it: loads a folder of custom
nodes, checks a workflow and runs it, with stand-ins for ComfyUI's own nodes and modules.
"""

import importlib.util
import sys
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType, SimpleNamespace

import numpy as np
import torch
from PIL import Image, ImageOps

PLAIN = {"INT": int, "FLOAT": (int, float), "STRING": str, "BOOLEAN": bool}
BUTTONS = {"image_upload": 1, "control_after_generate": 1}  # values the browser saves after a value


class InterruptProcessingException(Exception):  # noqa: N818
    """What ComfyUI raises where its user pressed stop."""


class Host:
    """A running ComfyUI: ``input`` and ``output`` folders, custom nodes, a bar, a stop button.

    Args:
        folder: of it; ``models`` is in it too.
    """

    def __init__(self, folder: Path) -> None:
        self.input, self.output, self.models = (
            folder / name for name in ("input", "output", "models")
        )
        for each in (self.input, self.output, self.models):
            each.mkdir(parents=True)
        self.nodes = {"LoadImage": self._load_image(), "LoadImageMask": self._load_mask()}
        self.nodes |= {"SaveImage": self._save(named=True), "PreviewImage": self._save(named=False)}
        self.bars: list[list[tuple]] = []
        self.stops_after: int | None = None  # updates of a bar

    # its modules ----------------------------------------------------------------------------------

    def modules(self) -> dict[str, ModuleType | SimpleNamespace]:
        host = self

        class ProgressBar:
            def __init__(self, total: int) -> None:
                self.total = total
                host.bars.append([])

            def update_absolute(self, value, total=None, preview=None) -> None:
                host.bars[-1].append((value, self.total if total is None else total, preview))

        def throw_exception_if_processing_interrupted() -> None:
            if host.stops_after is not None and len(host.bars[-1]) >= host.stops_after:
                raise InterruptProcessingException

        utils = SimpleNamespace(ProgressBar=ProgressBar)
        stop = throw_exception_if_processing_interrupted
        management = SimpleNamespace(throw_exception_if_processing_interrupted=stop)
        return {
            "comfy": SimpleNamespace(utils=utils, model_management=management),
            "comfy.utils": utils,
            "comfy.model_management": management,
            "folder_paths": SimpleNamespace(models_dir=str(self.models)),
        }

    @contextmanager
    def custom_nodes(self, folder: Path):
        """A folder of nodes, imported as ComfyUI does it; yields its module."""
        name = "custom_nodes_" + folder.name
        before = set(sys.modules)
        sys.modules.update(self.modules())
        spec = importlib.util.spec_from_file_location(
            name, folder / "__init__.py", submodule_search_locations=[str(folder)]
        )
        module = sys.modules[name] = importlib.util.module_from_spec(spec)
        try:
            spec.loader.exec_module(module)
            self.nodes |= module.NODE_CLASS_MAPPINGS
            yield module
        finally:
            for key in [
                k for k in sys.modules if k not in before and k.startswith(("comfy", name))
            ]:
                del sys.modules[key]
            sys.modules.pop("folder_paths", None)

    # its own nodes --------------------------------------------------------------------------------

    def _load_image(self) -> type:
        host = self

        class LoadImage:
            RETURN_TYPES, FUNCTION = ("IMAGE", "MASK"), "load"

            @classmethod
            def INPUT_TYPES(cls) -> dict:  # noqa: N802
                files = sorted(path.name for path in host.input.iterdir())
                return {"required": {"image": (files, {"image_upload": True})}}

            def load(self, image: str) -> tuple:
                opened = ImageOps.exif_transpose(Image.open(host.input / image))
                pixels = np.array(opened.convert("RGB")).astype(np.float32) / 255.0
                mask = torch.zeros((1, 64, 64))
                if "A" in opened.getbands():
                    alpha = np.array(opened.getchannel("A")).astype(np.float32) / 255.0
                    mask = 1.0 - torch.from_numpy(alpha)[None]
                return torch.from_numpy(pixels)[None], mask

        return LoadImage

    def _load_mask(self) -> type:
        host = self

        class LoadImageMask:
            RETURN_TYPES, FUNCTION = ("MASK",), "load"

            @classmethod
            def INPUT_TYPES(cls) -> dict:  # noqa: N802
                files = sorted(path.name for path in host.input.iterdir())
                channels = ["alpha", "red", "green", "blue"]
                return {"required": {"image": (files,), "channel": (channels,)}}

            def load(self, image: str, channel: str) -> tuple:
                plane = Image.open(host.input / image).convert("RGB").getchannel(channel[0].upper())
                return (torch.from_numpy(np.array(plane).astype(np.float32) / 255.0)[None],)

        return LoadImageMask

    def _save(self, named: bool) -> type:
        host = self
        takes = {"images": ("IMAGE",)}
        takes |= {"filename_prefix": ("STRING", {"default": "ComfyUI"})} if named else {}

        class SaveImage:
            RETURN_TYPES, FUNCTION, OUTPUT_NODE = (), "save", True

            @classmethod
            def INPUT_TYPES(cls) -> dict:  # noqa: N802
                return {"required": takes}

            def save(self, images, filename_prefix: str = "preview") -> dict:
                for image in images:
                    levels = np.clip(255.0 * image.cpu().numpy(), 0, 255).astype(np.uint8)
                    number = len(list(host.output.glob(f"{filename_prefix}_*")))
                    path = host.output / f"{filename_prefix}_{number:05}_.png"
                    Image.fromarray(levels).save(path)
                return {"ui": {"images": []}}

        return SaveImage

    # running --------------------------------------------------------------------------------------

    def check(self, prompt: dict) -> None:
        """``ValueError`` for what ComfyUI refuses before it runs anything."""
        for number, node in prompt.items():
            takes = self.nodes[node["class_type"]].INPUT_TYPES()
            for name in takes["required"]:
                if name not in node["inputs"]:
                    raise ValueError(f"node {number}: required input {name} is missing")
            for name, value in node["inputs"].items():
                kind, options = _spec(takes, name)
                if isinstance(value, list):
                    source = self.nodes[prompt[value[0]]["class_type"]]
                    if source.RETURN_TYPES[value[1]] != kind:
                        raise ValueError(f"node {number}: {name} takes {kind}")
                elif isinstance(kind, list):
                    if value not in kind:
                        raise ValueError(f"node {number}: {name}={value!r} is not in the list")
                elif not isinstance(value, PLAIN[kind]):
                    raise ValueError(f"node {number}: {name}={value!r} is no {kind}")
                elif kind in ("INT", "FLOAT"):
                    if not options.get("min", value) <= value <= options.get("max", value):
                        raise ValueError(f"node {number}: {name}={value!r} is out of range")

    def run(self, prompt: dict) -> dict[str, tuple]:
        """Outputs of every node that an output node needs."""
        self.check(prompt)
        done: dict[str, tuple] = {}

        def outputs(number: str) -> tuple:
            if number not in done:
                node = prompt[number]
                kind = self.nodes[node["class_type"]]
                given = {
                    name: outputs(value[0])[value[1]] if isinstance(value, list) else value
                    for name, value in node["inputs"].items()
                }
                found = getattr(kind(), kind.FUNCTION)(**given)
                found = found.get("result", ()) if isinstance(found, dict) else found
                assert isinstance(found, tuple) and len(found) == len(kind.RETURN_TYPES)
                done[number] = found
            return done[number]

        with torch.inference_mode():
            for number, node in prompt.items():
                if getattr(self.nodes[node["class_type"]], "OUTPUT_NODE", False):
                    outputs(number)
        return done

    def converted(self, workflow: dict) -> dict:
        """What the browser sends for a saved workflow: its form for ``POST /prompt``."""
        wires, prompt = {wire[0]: wire for wire in workflow["links"]}, {}
        for node in workflow["nodes"]:
            takes, given = self.nodes[node["type"]].INPUT_TYPES(), {}
            values = list(node["widgets_values"])
            for name in (n for part in ("required", "optional") for n in takes.get(part, {})):
                kind, options = _spec(takes, name)
                if isinstance(kind, list) or kind in PLAIN:
                    given[name] = values.pop(0)
                    for button in BUTTONS:
                        if options.get(button):
                            values.pop(0)
            for socket in node["inputs"]:
                if socket["link"] is not None:
                    _, source, output, target, _, kind = wires[socket["link"]]
                    assert (target, kind) == (node["id"], socket["type"])
                    given[socket["name"]] = [str(source), output]
            assert not values, (node["type"], values)
            prompt[str(node["id"])] = {"class_type": node["type"], "inputs": given}
        return prompt


def _spec(takes: dict, name: str) -> tuple:
    """Type and options of an input."""
    spec = {**takes["required"], **takes.get("optional", {})}[name]
    return spec[0], spec[1] if len(spec) > 1 else {}
