"""What is said before torch: never against the full check, and without importing it."""

import subprocess
import sys
from pathlib import Path

import pytest
from mmengine.config import DictAction

from vtonlab import registry
from vtonlab.engine.cli import as_value
from vtonlab.engine.config.check import check_options
from vtonlab.engine.config.early import check_early
from vtonlab.engine.config.load import load_config
from vtonlab.engine.config.names import shipped
from vtonlab.engine.config.static_classes import arguments_of
from vtonlab.engine.config.values import parameters_of
from vtonlab.engine.running import registries as running

ROOT = Path(__file__).parents[3]
TOY = "coral/dit_synthetic"


@pytest.fixture(scope="module")
def toy():
    return load_config(TOY)


def test_no_shipped_config_is_refused():
    for name in shipped():
        check_early(name)


def test_classes_that_are_read_take_all_that_they_take():
    known = [r for r in [*vars(registry).values(), *vars(running).values()]
             if isinstance(r, registry.Registry)]  # fmt: skip
    read = 0
    for each in known:
        registry.names(each)
        for name, found in {**each.module_dict}.items():
            told = arguments_of(name)
            if told is not None and isinstance(found, type):
                missing = set(parameters_of(found)[0]) - told - {"args", "kwargs"}
                assert not missing, f"{name}: {missing}"
                read += 1
    assert read > 100


@pytest.mark.parametrize(
    ("option", "near"),
    [
        ("modle.size=1", "did you mean 'model'?"),
        ("model.conditioner.pose_panl=False", "did you mean 'pose_panel'?"),
        ("model.backbone.num_layer=1", "did you mean 'num_layers'?"),
        ("model.attention_losses.entropy.start_itr=3", "did you mean 'start_iter'?"),
        ("train_dataloader.dataset.splt=test", "did you mean 'split'?"),
        ("train_dataloader.batch_sise=2", "did you mean 'batch_size'?"),
        ("optim_wrapper.optimizer.lrr=1", "did you mean 'lr'?"),
        ("custom_hooks.7.interval=1", "valid names here are 0, 1"),
    ],
)
def test_a_misspelt_option_is_told_as_the_full_check_tells_it(option, near, toy):
    key, _, value = option.partition("=")
    with pytest.raises(ValueError, match=r"--cfg-options") as early:
        check_early(TOY, {key: value})
    assert near in str(early.value)
    with pytest.raises(ValueError) as full:
        check_options(toy, {key: value})
    assert str(full.value).partition(":")[0] == str(early.value).partition(":")[0]


def test_what_exists_passes(tmp_path):
    options = {"size": "96x72", "model.attention_losses.entropy": None, "people.framing": "body"}
    check_early(TOY, options | {"custom_hooks.1.interval": 3, "load_from": "x.pth"})
    more = tmp_path / "mine.py"
    more.write_text("import os\nmodle = dict(type=os.sep)\n")  # more than values: nothing is said
    check_early(more, {"any.thing": 1})


def test_a_key_of_the_file_and_plugins(tmp_path):
    mine = tmp_path / "mine.py"
    start = "from mmengine.config import read_base\nwith read_base():\n    "
    start += "from vtonlab.configs.coral.dit_synthetic import *\n"
    mine.write_text(start + "model.conditioner.update(pose_panl=1)\n")
    with pytest.raises(ValueError, match=r"conditioner.pose_panl' in the config.*pose_panel"):
        check_early(mine)
    check_early(mine, whole=False)
    mine.write_text(start + "trian_cfg = dict(a=1)\n")
    with pytest.raises(ValueError, match=r"unknown key 'trian_cfg'.*train_cfg"):
        check_early(mine)
    mine.write_text(start + "my_key = 1\ncustom_imports = dict(imports=['mine_too'])\n")
    check_early(mine, {"my_key": 2})  # a plugin may read it


def test_files_that_are_not_there(tmp_path):
    (tmp_path / "iter_1200.pth").write_bytes(b"")
    with pytest.raises(FileNotFoundError, match=r"no checkpoint at .*did you mean .*iter_1200.pth"):
        check_early(TOY, checkpoints=[tmp_path / "iter_120.pth", None])
    with pytest.raises(FileNotFoundError, match=r"no folder .*nowhere"):
        check_early(None, checkpoints=[tmp_path / "nowhere" / "x.pth"])


@pytest.mark.parametrize(
    "text",
    ["1", "1e-3", "True", "None", "a b", "1,2", "[1,2]", "(1,a)", "[(1,2),[a,b],c]", "'x'", "1,",
     "[]", "()", "", "data/x-y", "-3", "[1]", "[[1,2],3]", "inf"],
)  # fmt: skip
def test_values_are_read_as_mmengine_reads_them(text):
    assert as_value(text) == DictAction._parse_iterable(text)


def test_brackets_that_do_not_fit_stay_text():
    assert as_value("(1,2") == "(1,2" and as_value("[1,2],[3]") == [[1, 2], [3]]


ALL_HELP = """
import contextlib, io, sys
sys.path.insert(0, {root!r})
from vtonlab.command import main, tools
from vtonlab.engine.config.early import check_early
names = list(tools())
for name in names:
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        try:
            main([name, "--help"])
        except SystemExit as ended:
            assert ended.code == 0, name
    assert "usage:" in out.getvalue(), name
    heavy = [m for m in ("torch", "mmengine", "diffusers", "cv2") if m in sys.modules]
    assert not heavy, f"{{name}} --help imports {{heavy}}"
check_early("coral/dit_vitonhd", {{"model.lora.rank": 8}})
assert "torch" not in sys.modules
print(len(names))
"""


def test_help_of_every_tool_imports_nothing_heavy(tmp_path):
    code = ALL_HELP.format(root=str(ROOT))
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert int(done.stdout) > 30
