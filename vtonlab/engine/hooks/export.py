"""The trained backbone in diffusers' own format, written when training ends."""

from pathlib import Path

from mmengine.dist import is_main_process
from mmengine.hooks import Hook

from vtonlab.backbones.export import export_backbone
from vtonlab.registry import HOOKS


@HOOKS.register_module()
class DiffusersExportHook(Hook):
    """Writes ``<work_dir>/export``: a LoRA file or a weights folder that plain diffusers loads.

    Where training averaged (EMA), the averages are written.

    Args:
        max_shard_size: of one file of a weights folder.
        dtype: of the weights in the file, such as ``"bfloat16"``; None: as they were trained.
    """

    priority = "VERY_LOW"

    def __init__(self, *, max_shard_size: str | int = "10GB", dtype: str | None = None) -> None:
        self.max_shard_size, self.dtype = max_shard_size, dtype

    def after_train(self, runner) -> None:
        """Export ``model.backbone``."""
        backbone = runner.bare_model.backbone
        has_adapter = bool(getattr(backbone, "peft_config", None))
        state = runner.part_weights("backbone", frozen=not has_adapter)
        if not is_main_process():
            return
        written = export_backbone(
            backbone,
            Path(runner.work_dir) / "export",
            state,
            max_shard_size=self.max_shard_size,
            dtype=self.dtype,
        )
        runner.logger.info(f"for diffusers: {written}")
