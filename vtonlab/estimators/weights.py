"""Small published networks: where they lie, how they are fetched, and that they are the right ones.

They are inside the wheel ``mediapipe==0.10.21`` on PyPI (Google, Apache-2.0); later ones ship none.
They are not part of this repository: ``python tools/get_estimators.py`` fetches them once.
"""

import hashlib
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from vtonlab.structures.pair_store import write_atomic
from vtonlab.utils.bounded import FileError, reason_of, zip_members

COMMAND = "python tools/get_estimators.py"
WHEEL = "mediapipe==0.10.21"
# One wheel for every machine: the networks in all of them are the same.
PLATFORM = ("--platform", "manylinux_2_28_x86_64", "--python-version", "311")
FILES = {
    "pose_detection.tflite": (
        "mediapipe/modules/pose_detection/pose_detection.tflite",
        "9ba9dd3d42efaaba86b4ff0122b06f29c4122e756b329d89dca1e297fd8f866c",
    ),
    "pose_landmark_full.tflite": (
        "mediapipe/modules/pose_landmark/pose_landmark_full.tflite",
        "e9a5c5cb17f736fafd4c2ec1da3b3d331d6edbe8a0d32395855aeb2cdfd64b9f",
    ),
    "selfie_segmentation.tflite": (
        "mediapipe/modules/selfie_segmentation/selfie_segmentation.tflite",
        "9ee168ec7c8f2a16c56fe8e1cfbc514974cbbb7e434051b455635f1bd1462f5c",
    ),
    "LICENSE": (
        "mediapipe-0.10.21.dist-info/LICENSE",
        "8707eef0533987efc5b155d64761eeb6e20793f50b9bd1a68dad1cf4719d0ed8",
    ),
}


def folder() -> Path:
    """Where the networks lie: ``$VTONLAB_CACHE/estimators``, else below ``~/.cache/vtonlab``."""
    root = os.environ.get("VTONLAB_CACHE", "")
    return (Path(root).expanduser() if root else Path.home() / ".cache/vtonlab") / "estimators"


def available() -> bool:
    """Whether every file is there (what is in it is checked when it is opened)."""
    return all((folder() / name).is_file() for name in FILES)


def path(name: str) -> Path:
    """The file of a network, found to be the published one.

    Raises:
        FileNotFoundError: it was not fetched; names the command.
        ValueError: it is damaged or another one.
    """
    file = folder() / name
    if not file.is_file():
        raise FileNotFoundError(
            f"{file} is missing: the small networks that prepare photographs are fetched once with "
            f"`{COMMAND}` (36 MB from PyPI, Apache-2.0)"
        )
    if (found := _hash(file.read_bytes())) != FILES[name][1]:
        raise ValueError(
            f"{file} is not the published network (SHA-256 {found[:16]}...): delete it and run "
            f"`{COMMAND}`"
        )
    return file


def unpack(wheel: Path) -> list[Path]:
    """The networks of a wheel, written into `folder`.

    Raises:
        ValueError: the wheel lacks one, or holds another.
    """
    written = []
    try:
        members = zip_members(wheel, [member for member, _ in FILES.values()])
    except (FileError, FileNotFoundError) as error:
        raise FileError(f"{wheel} is no wheel of {WHEEL} ({reason_of(error)})") from None
    contents = {name: members[member] for name, (member, _) in FILES.items()}
    for name, data in contents.items():
        if _hash(data) != FILES[name][1]:
            raise ValueError(
                f"{name} in {wheel} is not the published file (SHA-256 {_hash(data)}): nothing was "
                "written"
            )
    folder().mkdir(parents=True, exist_ok=True)
    for name, data in contents.items():
        write_atomic(folder() / name, data)
        written.append(folder() / name)
    return written


def fetch() -> list[Path]:
    """Download the wheel with pip, without what it depends on, and unpack the networks.

    Raises:
        ConnectionError: pip could not get it; its last line says why.
        ValueError: as `unpack`.
    """
    with tempfile.TemporaryDirectory() as where:
        command = [sys.executable, "-m", "pip", "download", "--no-deps", "--quiet", *PLATFORM]
        command += ["--only-binary=:all:", "--disable-pip-version-check", "--dest", where, WHEEL]
        done = subprocess.run(  # noqa: S603 - constants alone, without a shell
            command, capture_output=True, text=True, timeout=900
        )
        wheels = sorted(Path(where).glob("*.whl"))
        if done.returncode or not wheels:
            said = [line for line in done.stderr.splitlines() if line.strip()] or ["no wheel came"]
            raise ConnectionError(
                f"pip could not download {WHEEL} ({said[-1].strip()}): download the wheel where "
                f"there is a network and run `{COMMAND} --wheel FILE`"
            )
        return unpack(wheels[0])


def _hash(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
