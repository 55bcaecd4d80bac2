"""Packaging: ``pip install -e .[tests]``; dependencies are read from requirements/*.txt."""

from pathlib import Path

from setuptools import find_packages, setup

HERE = Path(__file__).parent


def requirements(name: str) -> list[str]:
    """Lines of requirements/<name>.txt without comments."""
    lines = (HERE / "requirements" / f"{name}.txt").read_text(encoding="utf-8").splitlines()
    return [line for line in lines if line and not line.startswith("#")]


def version() -> str:
    """``__version__`` of the package, read without importing it."""
    scope: dict[str, str] = {}
    exec((HERE / "vtonlab" / "version.py").read_text(encoding="utf-8"), scope)
    return scope["__version__"]


readme = HERE / "README.md"
setup(
    name="vtonlab",
    version=version(),
    description="Correspondence-supervised diffusion virtual try-on",
    long_description=readme.read_text(encoding="utf-8") if readme.is_file() else "",
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    python_requires=">=3.10",
    packages=find_packages(include=["vtonlab", "vtonlab.*"]),
    include_package_data=True,
    package_data={
        "vtonlab": ["**/*.npz", "**/*.json", "**/*.txt", "**/*.html", "**/*.css", "**/*.js"]
    },
    install_requires=requirements("runtime"),
    extras_require={"tests": requirements("tests"), "optional": requirements("optional")},
)
