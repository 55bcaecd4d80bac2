"""The trained backbone in diffusers' own format, written when training ends."""

from pathlib import Path

from mmengine.dist import master_only
from mmengine.hooks import Hook

from vtonlab.backbones.export import export_backbone
from vtonlab.registry import HOOKS


@HOOKS.register_module()
class DiffusersExportHook(Hook):
    """Writes ``<work_dir>/export``: a LoRA file or a weights folder that plain diffusers loads.

    Where training averaged (EMA), the averages are written.
    """

    priority = "VERY_LOW"

    @master_only
    def after_train(self, runner) -> None:
        """Export ``model.backbone``."""
        weights = runner.inference_weights()
        prefix = "backbone."
        state = {k.removeprefix(prefix): v for k, v in weights.items() if k.startswith(prefix)}
        written = export_backbone(
            runner.bare_model.backbone, Path(runner.work_dir) / "export", state
        )
        runner.logger.info(f"for diffusers: {written}")
