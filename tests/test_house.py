"""The house: floors of imports, a light package, no folder outside the repository, short files."""

import ast
import re
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "vtonlab"
FLOORS = {
    "utils": -1,  # the floor's lower half: ops may use its compat.py, never the other way round
    "version": -1,
    "ops": 0,
    "zoo": 0,
    "registry": 1,
    "structures": 1,
    "attention": 2,
    "backbones": 3,  # families know where their attention blocks hold text and image
    "matchers": 2,
    "estimators": 2,
    "samplers": 2,
    "noise_schedules": 2,
    "datasets": 2,
    "synthetic": 3,
    "doctor": 3,
    "visualization": 3,
    "conditioners": 4,
    "losses": 4,
    "evaluation": 4,
    "models": 5,
    "engine": 5,
    "apis": 6,
    "studio": 7,
    "exporting": 7,
    "command": 7,
    "__main__": 8,
}
HEAVY = ("transformers", "diffusers", "timm", "cv2", "gradio", "smplx")


@cache
def tracked() -> tuple[Path, ...]:
    """Files of the repository, without what git ignores."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    names = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    return tuple(ROOT / name for name in names.splitlines() if (ROOT / name).is_file())


def imported(path: Path) -> set[str]:
    """Absolute names of the modules that a file imports, at any depth."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                parent = path.parents[node.level - 1].relative_to(ROOT).parts
                base = ".".join([*parent, *([base] if base else [])])
            found |= {base} if base != "vtonlab" else {f"vtonlab.{a.name}" for a in node.names}
    return found


def library_files() -> list[Path]:
    return [p for p in tracked() if p.suffix == ".py" and PACKAGE in p.parents]


def room(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def test_imports_go_down_the_floors():
    wrong = []
    for path in library_files():
        here = room(path)
        if here == "__init__":
            continue
        for name in imported(path):
            if not name.startswith("vtonlab."):
                continue
            there = name.split(".")[1]
            if there == "__version__":
                continue
            if there != here and FLOORS[there] >= FLOORS[here]:
                wrong.append(f"{path.relative_to(ROOT)} ({here}) imports {name}")
    assert not wrong, "\n".join(wrong)


def test_every_room_has_a_floor():
    assert {room(p) for p in library_files()} - {"__init__"} <= set(FLOORS)


def test_nothing_in_the_package_imports_recipes_or_tools():
    for path in library_files():
        roots = {name.split(".")[0] for name in imported(path)}
        assert not roots & {"configs", "tools", "projects", "tests"}, path


def test_ops_do_not_know_mmengine():
    for path in library_files():
        if room(path) == "ops":
            assert not [n for n in imported(path) if n.split(".")[0] == "mmengine"], path


@pytest.mark.parametrize("module", ["vtonlab", "vtonlab.registry"])
def test_import_is_light(module):
    code = f"import {module}, sys; print([m for m in {HEAVY!r} if m in sys.modules])"
    command = [sys.executable, "-c", code]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"


def test_no_file_mentions_a_folder_outside():
    """Only the Makefile and .ci/run may know where the photographs lie."""
    outside = re.compile(
        "|".join([r"\.\./" + "shared", "/" + "work/", "/" + "root/", "/home/" + r"\w"])
    )
    allowed = {ROOT / "Makefile", ROOT / ".ci" / "run"}
    wrong = []
    for path in tracked():
        if path in allowed or path.stat().st_size > 5_000_000:
            continue
        try:
            text = path.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            continue
        wrong += [f"{path.relative_to(ROOT)}: {m.group()}" for m in [outside.search(text)] if m]
    assert not wrong, "\n".join(wrong)


def test_every_tool_looks_at_its_python_first():
    for path in tracked():
        text = path.read_text(encoding="utf-8") if path.suffix == ".py" else ""
        if ROOT / "tools" in path.parents and 'if __name__ == "__main__"' in text:
            before = text.partition("import tools.environment  # noqa: F401\n\n# isort: split\n")[0]
            assert before != text and "torch" not in re.sub('"""[^"]*"""', "", before), path


OPENERS = {
    *("np.load", "numpy.load", "json.load", "json.loads", "yaml.load", "yaml.safe_load"),
    *("torch.load", "safe_open", "load_file", "safetensors.torch.load_file", "torch.jit.load"),
    *("Image.open", "cv2.imread", "cv2.imdecode", "zipfile.ZipFile", "tarfile.open"),
    *("pickle.load", "pickle.loads", "pickle.Unpickler", "np.fromfile"),
}
OPENING = {  # what opens containers, and why it may
    "vtonlab/utils/bounded/": "the one reader",
    "vtonlab/utils/images.py": "the one reader of pictures",
    "vtonlab/utils/array_pickles.py": "the one reader of pickles, which builds arrays alone",
    "vtonlab/datasets/readers/shards.py": "writes tar",
    "vtonlab/synthetic/writer_files.py": "writes zip",
    "vtonlab/evaluation/protocol.py": "decodes the JPEG it has just encoded",
    "vtonlab/exporting/pipelines/": "runs where vtonlab is not installed",
    "tools/benchmark/": "reads what its own runs have written",
    "tools/gpu_card.py": "reads what its own runs have written",
    "tools/card/": "reads what its own runs have written",
    "tools/demo.py": "reads what its own runs have written",
    "tools/reliability/": "looks at what it measures without the reader that it measures",
    "tools/docs/": "reads this repository's own pages",
    "tools/synthetic/": "makes this repository's own assets",
    "tools/convert/pickle_checkpoint.py": "opens a pickle whose user says that it is trusted",
}


def test_containers_are_opened_in_one_place():
    wrong = []
    for path in tracked():
        name = path.relative_to(ROOT).as_posix()
        ours = name.startswith(("vtonlab/", "tools/", "projects/")) and path.suffix == ".py"
        if ours and not name.startswith(tuple(OPENING)):
            tree = ast.parse(path.read_text(encoding="utf-8"))
            calls = [ast.unparse(n.func) for n in ast.walk(tree) if isinstance(n, ast.Call)]
            wrong += [f"{name}: {call}" for call in calls if call in OPENERS]
    assert not wrong, "use vtonlab.utils.bounded (or images):\n" + "\n".join(wrong)


WAYS_IN = (  # what people use a model through; none has inference code of its own
    *("vtonlab/studio/", "vtonlab/command.py", "projects/comfyui_vtonlab/"),
    *("tools/app.py", "tools/try_on.py", "tools/prepare.py", "tools/export.py", "tools/test.py"),
)
PARTS = ("sampler", "conditioner", "codec", "noise_schedule", "backbone")  # of a model
DRAWS = (  # calls of which a picture is made
    *("test_step", "predict", "sampler", "guide", "prediction", "add_noise", "set_timesteps"),
    *("attention_records", "decode_latents", "encode_pictures"),
)
DRAWING = {  # where pictures are made, and who may look over their shoulder
    "vtonlab/apis/": "the one way in",
    "vtonlab/models/": "makes pictures",
    "vtonlab/engine/": "trains, tests and looks at attention on the way",
    "vtonlab/samplers/": "makes pictures",
    "vtonlab/noise_schedules/": "makes pictures",
    "vtonlab/conditioners/": "makes pictures",
    "vtonlab/backbones/": "makes pictures",
    "vtonlab/evaluation/attention_probe.py": "reads attention level by level, for a table",
    "vtonlab/exporting/pipelines/": "leaves the house: diffusers runs it where vtonlab is not",
    "tools/analysis/vis_attention.py": "draws attention of data whose truth is known",
    "tools/benchmark/": "measures parts alone",
    "tools/card/": "measures parts alone",
    "tools/convert/": "compares weights before and after",
    "tools/docs/": "draws this repository's own pages",
    "tools/synthetic/": "makes this repository's own assets",
}


def test_there_is_one_way_in():
    """Studio, ComfyUI and the command line call `vtonlab.apis` (or a test's loop): they import no
    part of a model, touch none, and nobody but the drawing rooms makes pictures.
    """
    wrong = []
    for path in tracked():
        name = path.relative_to(ROOT).as_posix()
        if path.suffix != ".py" or not name.startswith(("vtonlab/", "tools/", "projects/")):
            continue
        nodes = list(ast.walk(ast.parse(path.read_text(encoding="utf-8"))))
        called = {n.func.attr for n in nodes if isinstance(n, ast.Call) and _is_method(n.func)}
        if not name.startswith(tuple(DRAWING)):
            wrong += [f"{name} calls .{each}()" for each in sorted(called & set(DRAWS))]
        if name.startswith(WAYS_IN):
            touched = {n.attr for n in nodes if isinstance(n, ast.Attribute)} & set(PARTS)
            wrong += [f"{name} touches .{each}" for each in sorted(touched)]
            rooms = ("models", "samplers", "noise_schedules", "conditioners", "backbones")
            parts = [
                m for m in imported(path) if m.startswith(tuple(f"vtonlab.{r}" for r in rooms))
            ]
            parts += [m for m in imported(path) if m.split(".")[0] == "diffusers"]
            wrong += [f"{name} imports {each}" for each in parts]
    assert not wrong, "ask vtonlab.apis instead:\n" + "\n".join(wrong)


def _is_method(call: ast.expr) -> bool:
    return isinstance(call, ast.Attribute)


def test_files_are_short():
    code = [p for p in tracked() if p.suffix == ".py"]
    long = {
        str(p.relative_to(ROOT)): n for p in code if (n := len(p.read_text().splitlines())) > 600
    }
    assert not long


def test_package_inits_only_reexport():
    for path in library_files():
        if path.name != "__init__.py":
            continue
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            allowed = ast.Import | ast.ImportFrom | ast.Assign | ast.Expr
            assert isinstance(node, allowed), f"{path}: line {node.lineno} does more than re-export"


def test_the_suite_of_requirements_is_locked():
    """Every requirement has a lower bound and stands in the lock."""
    folder = ROOT / "requirements"
    locked = {
        re.split("==", line)[0].lower().replace("_", "-") for line in lines(folder / "lock.txt")
    }
    for name in ("runtime", "tests"):
        for line in lines(folder / f"{name}.txt"):
            assert re.fullmatch(r"[\w.-]+>=[\w.]+,<[\w.]+", line), line
            assert re.split("[><=]", line)[0].lower().replace("_", "-") in locked, line


def lines(path: Path) -> list[str]:
    return [line for line in path.read_text().splitlines() if line and not line.startswith("#")]
