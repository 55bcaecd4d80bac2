"""An export takes the place of an earlier one, wherever that lies."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))
from tools.export import main as export
from vtonlab.engine.checkpoints.exported import is_export


def test_behind_a_link_the_earlier_export_is_replaced(tmp_path):
    disk, link = tmp_path / "disk", tmp_path / "exported"
    disk.mkdir()
    link.symlink_to(disk)
    for dtype in ("float32", "bfloat16"):
        argv = ["--model", "catvton_synthetic", "--dtype", dtype, "--out", str(link)]
        assert export(argv) == 0
    assert link.is_symlink() and is_export(disk)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["disk", "exported"]
