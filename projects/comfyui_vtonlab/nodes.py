"""Four nodes on `vtonlab.apis`: load a model, prepare a person, try on, and see where it looked."""

from vtonlab.apis import TryOnInferencer, list_models, prepare
from vtonlab.apis.watching import calls, usual
from vtonlab.structures.categories import CATEGORIES
from vtonlab.visualization import draw_points_attention, tint

from .host import after_each_step, newest, own_models
from .tensors import areas, as_images, as_masks, pictures, stretched

MODEL, RESULT = "VTONLAB_MODEL", "VTONLAB_RESULT"
AUTO, AS_BUILT = "auto", "as built"
WHITE = "white = generated anew; not connected or empty: made from the photograph"


def shipped() -> list[str]:
    """Names of the models that come with vtonlab and dress people of photographs."""
    return [card.name for card in list_models(photographs=True)]


class LoadTryOnModel:
    """A model with its weights, kept loaded while the workflow uses it."""

    DESCRIPTION = "A shipped model, or a folder of your own below ComfyUI/models/vtonlab."
    CATEGORY, FUNCTION = "vtonlab", "load"
    RETURN_TYPES, RETURN_NAMES = (MODEL,), ("model",)

    @classmethod
    def INPUT_TYPES(cls) -> dict:
        names = dict.fromkeys([*shipped(), *own_models()])
        return {
            "required": {
                "model": (list(names),),
                "device": ([AUTO, "cpu", "cuda"],),
                "dtype": ([AS_BUILT, "bfloat16", "float16"],),
            }
        }

    @classmethod
    def IS_CHANGED(cls, model: str, device: str, dtype: str) -> float:
        """New weights under an old name are loaded anew."""
        if model in shipped():
            return 0.0
        return newest(own_models()[model])

    def load(self, model: str, device: str, dtype: str) -> tuple[TryOnInferencer]:
        place = model if model in shipped() else own_models()[model]
        device, dtype = (None if given in (AUTO, AS_BUILT) else given for given in (device, dtype))
        return (TryOnInferencer(place, device=device, dtype=dtype),)


class PreparePerson:
    """What a model is shown beside two photographs; made once, edited with any mask node."""

    DESCRIPTION = "Mask and pose of a person's photograph. `python tools/get_estimators.py` first."
    CATEGORY, FUNCTION = "vtonlab", "prepare"
    RETURN_TYPES = ("MASK", "IMAGE", "IMAGE", "STRING")
    RETURN_NAMES = ("mask", "pose", "preview", "warnings")

    @classmethod
    def INPUT_TYPES(cls) -> dict:
        return {
            "required": {
                "person": ("IMAGE", {"tooltip": "one person, upright"}),
                "category": (list(CATEGORIES), {"tooltip": "of the garment to try on"}),
            },
            "optional": {"mask": ("MASK", {"tooltip": WHITE})},
        }

    def prepare(self, person, category: str, mask=None) -> tuple:
        people, found = pictures(person), []
        for picture, area in zip(people, areas(mask, len(people)), strict=True):
            given = {} if area is None else {"mask": area.astype("uint8")}
            found.append(prepare(picture, None, category, maps=("mask", "pose"), given=given))
        previews = [tint(each.person, each.mask > 0) for each in found]
        warnings = [sentence for each in found for sentence in each.warnings]
        return (
            as_masks([each.mask for each in found]),
            as_images([each.pose for each in found]),
            as_images(previews),
            "\n".join(warnings),
        )


class TryOn:
    """Dresses each person in a garment: the pictures of `TryOnInferencer`."""

    DESCRIPTION = "One person and one garment, as many of each, or one for all of the other."
    CATEGORY, FUNCTION = "vtonlab", "try_on"
    RETURN_TYPES = ("IMAGE", "MASK", RESULT)
    RETURN_NAMES = ("picture", "mask", "result")

    @classmethod
    def INPUT_TYPES(cls) -> dict:
        own = "0: the model's own"
        seed = {"default": 0, "min": 0, "max": 2**64 - 1, "control_after_generate": True}
        scale = {"default": 0.0, "min": 0.0, "max": 20.0, "step": 0.1, "tooltip": own}
        return {
            "required": {
                "model": (MODEL,),
                "person": ("IMAGE",),
                "garment": ("IMAGE", {"tooltip": "a picture of the garment alone"}),
                "category": (list(CATEGORIES), {"tooltip": "of the garment"}),
                "seed": ("INT", seed),
                "steps": ("INT", {"default": 0, "min": 0, "max": 1000, "tooltip": own}),
                "guidance": ("FLOAT", scale),
                "batch_size": ("INT", {"default": 1, "min": 1, "max": 64}),
                "repaint": ("BOOLEAN", {"default": True, "tooltip": "photograph outside the mask"}),
            },
            "optional": {
                "mask": ("MASK", {"tooltip": WHITE}),
                "pose": ("IMAGE", {"tooltip": "not connected: made from the photograph"}),
            },
        }

    def try_on(
        self,
        model: TryOnInferencer,
        person,
        garment,
        category: str,
        seed: int,
        steps: int,
        guidance: float,
        batch_size: int,
        repaint: bool,
        mask=None,
        pose=None,
    ) -> tuple:
        people, garments = pictures(person), pictures(garment)
        poses = [None] if pose is None else pictures(pose)
        count, steps = max(len(people), len(garments)), steps or usual(model).num_steps
        total = -(-count // batch_size) * calls(model, steps)
        results = model(
            people,
            garments,
            areas(mask, count),
            category,
            pose=poses,
            seed=seed,
            num_steps=steps,
            guidance_scale=guidance or None,
            batch_size=batch_size,
            repaint=repaint,
            callback_on_step_end=after_each_step(total),
        )
        drawn = [result.picture for result in results]
        return as_images(drawn), as_masks([result.mask for result in results]), results


class WhereDidItLook:
    """Where in the garment a place of the dressed person looked."""

    DESCRIPTION = "Attention of one layer at one noise level, from a place of the picture."
    CATEGORY, FUNCTION = "vtonlab", "look"
    RETURN_TYPES = ("IMAGE", "MASK", "INT", "INT", "FLOAT", "FLOAT", "STRING")
    RETURN_NAMES = ("page", "attention", "x", "y", "confidence", "share", "layers")

    @classmethod
    def INPUT_TYPES(cls) -> dict:
        place = {"default": 0, "min": 0, "max": 16384}
        return {
            "required": {
                "model": (MODEL,),
                "result": (RESULT,),
                "x": ("INT", dict(place, tooltip="pixels from the picture's left")),
                "y": ("INT", dict(place, tooltip="pixels from the picture's top")),
                "layer": ("STRING", {"default": "", "tooltip": "empty: a supervised one"}),
                "head": (
                    "INT",
                    {"default": -1, "min": -1, "max": 256, "tooltip": "-1: their mean"},
                ),
                "sigma": ("FLOAT", {"default": 0.5, "min": 0.0, "max": 1.0, "step": 0.05}),
                "number": ("INT", {"default": 0, "min": 0, "max": 4096, "tooltip": "of the batch"}),
            }
        }

    def look(
        self,
        model: TryOnInferencer,
        result: list,
        x: int,
        y: int,
        layer: str,
        head: int,
        sigma: float,
        number: int,
    ) -> tuple:
        if number >= len(result):
            raise ValueError(f"number={number}: the batch has {len(result)} pictures, from 0 on")
        one = result[number]
        look = model.look(one, layer=layer or None, head=None if head < 0 else head, sigma=sigma)
        match, heat, garment = look.at(x, y), look.map_at(x, y), one.inputs["garment"]
        height, width = one.picture.shape[:2]
        view = f"{look.layer}\n{'mean of heads' if head < 0 else f'head {head}'}"
        note = f"{match.share:.0%} on the garment, {match.confidence:.0%} of it here"
        page = draw_points_attention(
            one.picture,
            garment,
            [((x + 0.5) / width, (y + 0.5) / height)],
            {view: heat[None]},
            notes={view: [note]},
            height=384,
        )
        shown = stretched(heat / (heat.max() or 1.0), garment.shape[:2])
        return (
            as_images([page]),
            as_masks([shown]),
            round(match.x),
            round(match.y),
            match.confidence,
            match.share,
            "\n".join(look.layers),
        )


NODE_CLASS_MAPPINGS = {
    "VtonlabLoadTryOnModel": LoadTryOnModel,
    "VtonlabPreparePerson": PreparePerson,
    "VtonlabTryOn": TryOn,
    "VtonlabWhereDidItLook": WhereDidItLook,
}
NODE_DISPLAY_NAME_MAPPINGS = {
    "VtonlabLoadTryOnModel": "Load try-on model",
    "VtonlabPreparePerson": "Prepare person",
    "VtonlabTryOn": "Try on",
    "VtonlabWhereDidItLook": "Where did it look",
}
