"""``vtonlab train coral/dit_synthetic``, from any folder: the same mains as ``tools/*.py``.

    vtonlab TOOL [arguments]      run a tool; ``vtonlab TOOL --help`` explains it
    vtonlab configs               names of the configs that are shipped
    vtonlab --version

Nothing heavy is imported before a tool asks for it.
"""

import ast
import difflib
import sys
from pathlib import Path

from vtonlab.version import __version__

TOOLS = Path(__file__).parent / ".mim" / "tools"  # a link in a clone, copies in a wheel


def tools() -> dict[str, Path]:
    """Name on the command line -> file: ``train``, ``convert/leffa``."""
    found = {}
    for path in sorted([*TOOLS.glob("*.py"), *TOOLS.glob("*/*.py")]):
        text = path.read_text(encoding="utf-8")
        if 'if __name__ == "__main__"' in text and "parse_args(" in text:
            found[path.relative_to(TOOLS).with_suffix("").as_posix()] = path
    return found


def first_line(path: Path) -> str:
    """What a tool says of itself."""
    text = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
    return text.split("\n", 1)[0]


def overview() -> str:
    """The help page: every tool with its first line."""
    rows = [f"  {name:<28} {first_line(path)}" for name, path in tools().items()]
    return "\n".join([__doc__.strip(), "", "Tools:", *rows])


def main(argv: list[str] | None = None) -> int:
    """Run one tool as if it had been started by its path. Exit code 2 for an unknown name."""
    name, *rest = [*(sys.argv[1:] if argv is None else argv)] or ["--help"]
    if name in ("-h", "--help", "help"):
        print(overview())
        return 0
    if name in ("-V", "--version"):
        print(f"vtonlab {__version__}")
        return 0
    if name == "configs":
        from vtonlab.engine.config.names import shipped

        print("\n".join(shipped()))
        return 0
    wanted, known = name.replace("-", "_").removesuffix(".py"), tools()
    if wanted not in known:
        near = difflib.get_close_matches(wanted, known, n=1, cutoff=0.5)
        hint = f": did you mean {near[0]}?" if near else ": `vtonlab --help` lists the tools"
        print(f"error: vtonlab has no tool {name!r}{hint}", file=sys.stderr)
        return 2
    path = known[wanted]
    sys.argv = [f"vtonlab {wanted}", *rest]
    sys.path.insert(0, str(path.resolve().parent))  # tools import their neighbours
    code = compile(path.read_text(encoding="utf-8"), str(path), "exec")  # sets its own __doc__
    # one of this package's own tools, by a name that was looked up in its folder
    exec(code, {"__name__": "__main__", "__file__": str(path)})  # noqa: S102
    return 0
