"""What ComfyUI offers to a running node; outside of it there is no bar and no stop button."""

from collections.abc import Callable
from pathlib import Path

from PIL import Image

from vtonlab.apis import TryOnInferencer
from vtonlab.apis.watching import preview

try:
    import comfy.model_management
    import comfy.utils
    import folder_paths
except ImportError:  # in tests and scripts
    comfy = folder_paths = None

FOLDER = "vtonlab"  # below ComfyUI's models: one folder for each model of one's own
PREVIEW = 512  # pixels of a preview's longer side, at most


def after_each_step(total: int) -> Callable[..., None] | None:
    """A ``callback_on_step_end`` that moves the node's bar, shows the picture so far and, when the
    user says so, stops by ComfyUI's own exception; None outside of ComfyUI.

    Args:
        total: steps to come.
    """
    if comfy is None:
        return None
    bar, done = comfy.utils.ProgressBar(total), 0

    def step_done(inferencer: TryOnInferencer, step, timestep, kwargs: dict) -> None:
        nonlocal done
        done += 1
        shown = Image.fromarray(preview(inferencer, kwargs["clean"])[0])
        bar.update_absolute(done, total, ("JPEG", shown, PREVIEW))
        comfy.model_management.throw_exception_if_processing_interrupted()

    return step_done


def own_models() -> dict[str, Path]:
    """Folders of models below ``ComfyUI/models/vtonlab``: what `tools/export.py` writes, or what a
    training leaves.
    """
    if folder_paths is None:
        return {}
    found = (Path(folder_paths.models_dir) / FOLDER).glob("*/config.py")
    return {path.parent.name: path.parent for path in sorted(found)}


def newest(folder: Path) -> float:
    """When a file below it was last written, seconds."""
    return max(path.stat().st_mtime for path in folder.rglob("*") if path.is_file())
