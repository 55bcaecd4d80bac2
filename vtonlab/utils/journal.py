"""Files that grow by a line of JSON at a time, and that a kill may cut in the middle of one."""

import json
import os
from pathlib import Path
from typing import Any

from vtonlab.utils.bounded import FileError, parse_json
from vtonlab.utils.writing import saying


def append(path: Path, entry: Any) -> None:
    """Add one line; it is on the disk when this returns."""
    with saying(path), open(path, "ab") as file:
        file.write((json.dumps(entry) + "\n").encode())
        file.flush()
        os.fsync(file.fileno())


def mend(path: Path) -> None:
    """End the last line of a journal that was cut, so that it does not swallow the next one: what
    is whole gets its line break, what is half is taken away. Nothing else is touched.
    """
    if not path.is_file():
        return
    data = path.read_bytes()
    start = data.rfind(b"\n") + 1
    if start == len(data):
        return
    try:
        parse_json(data[start:], path)
    except FileError:
        os.truncate(path, start)
    else:
        with open(path, "ab") as file:
            file.write(b"\n")
