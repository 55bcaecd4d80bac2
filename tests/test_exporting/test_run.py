"""What a card is told of a run: the tests that belong to its checkpoint, and no others."""

import json
import shutil
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1]))
from fake_results import fake_results

from vtonlab.engine.checkpoints.exported import digest
from vtonlab.engine.checkpoints.files import save_checkpoint_file
from vtonlab.exporting.run import run_of

CONFIG = Path(__file__).parents[2] / "configs/coral/dit_synthetic.py"
PRINTED = dict(notes="", repaint=None)  # of a protocol


@pytest.fixture
def checkpoint(tmp_path) -> Path:
    """With one whole test below it."""
    path = tmp_path / "run" / "iter_1.pth"
    path.parent.mkdir()
    save_checkpoint_file({"state_dict": {}, "meta": {}}, path)
    fake_results(path.parent / "whole", "mine", attention=0)
    change(path.parent / "whole", sha256=digest(path), by_category={}, real_pictures=0)
    facts = json.loads((path.parent / "whole/results.json").read_text())
    change(path.parent / "whole", protocol=facts["protocol"] | PRINTED)
    return path


def change(folder: Path, **changes) -> None:
    facts = json.loads((folder / "results.json").read_text()) | changes
    facts = {key: value for key, value in facts.items() if value != "gone"}
    (folder / "results.json").write_text(json.dumps(facts))


def test_other_files_of_that_name_are_passed_over(checkpoint):
    for name in ("no_table", "other_format", "lacks_a_part", "no_json"):
        shutil.copytree(checkpoint.parent / "whole", checkpoint.parent / name)
    (checkpoint.parent / "no_table/per_image.csv").unlink()
    change(checkpoint.parent / "other_format", format=0)
    change(checkpoint.parent / "lacks_a_part", intervals="gone")
    (checkpoint.parent / "no_json/results.json").write_text("<html>")
    (facts,) = run_of(CONFIG, checkpoint).results
    assert facts["system"] == "mine"


def test_a_folder_that_was_named_is_told_of(checkpoint):
    change(checkpoint.parent / "whole", intervals="gone")
    with pytest.raises(ValueError, match=r"whole/results\.json: KeyError\('intervals'\)"):
        run_of(CONFIG, checkpoint, results=[checkpoint.parent / "whole"])
