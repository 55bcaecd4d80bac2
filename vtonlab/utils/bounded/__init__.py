"""The one reader of containers by strangers: JSON, YAML, npy, npz, zip, tar, safetensors, .pth.

What a file claims is checked before memory is taken, nothing is executed, and whatever is wrong is
a `FileError` that names the file. Pictures are `vtonlab.utils.images`'; their error is one too.
"""

from vtonlab.utils.bounded.archives import tar_members, zip_members
from vtonlab.utils.bounded.arrays import read_npy, read_npz
from vtonlab.utils.bounded.form import NUMBER, WORD, check_form
from vtonlab.utils.bounded.source import (
    MAX_BYTES,
    FileError,
    MemoryFile,
    Source,
    naming,
    reason_of,
)
from vtonlab.utils.bounded.tensors import (
    PickledClassesError,
    read_tensors,
    read_torch,
    tensor_metadata,
)
from vtonlab.utils.bounded.text import parse_json, read_json, read_json_lines, read_yaml

__all__ = [
    "MAX_BYTES",
    "NUMBER",
    "WORD",
    "FileError",
    "MemoryFile",
    "PickledClassesError",
    "Source",
    "check_form",
    "naming",
    "parse_json",
    "read_json",
    "read_json_lines",
    "read_npy",
    "read_npz",
    "read_tensors",
    "read_torch",
    "read_yaml",
    "reason_of",
    "tar_members",
    "tensor_metadata",
    "zip_members",
]
