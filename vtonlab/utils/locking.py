"""One process at a time fills a folder."""

import os
import socket
from pathlib import Path

from vtonlab.utils.writing import saying


class WorkDirLock:
    """One run per folder, for as long as the process lives.

    A record lock: the system frees it when the process ends, however it ends, and loader workers
    do not inherit it, so there are no stale locks.

    Args:
        folder: what the run fills; it is made.
        option: of the command line that names it.

    Raises:
        ValueError: on entering, when another process holds it; names that process.
        WriteError: the folder may not be written to.
    """

    def __init__(self, folder: str | Path, option: str = "--work-dir") -> None:
        self.path, self.option = Path(folder) / ".lock", option

    def __enter__(self) -> "WorkDirLock":
        import fcntl  # of Linux and macOS; what only reads folders does without

        with saying(self.path):
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._file = open(self.path, "a+", encoding="utf-8")
        try:
            fcntl.lockf(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            self._file.seek(0)
            owner = self._file.read().strip() or "another process"
            self._file.close()
            raise ValueError(
                f"{self.path.parent} is in use by {owner}: wait for it, or give this run another "
                f"{self.option}"
            ) from None
        self._file.truncate(0)
        self._file.write(f"process {os.getpid()} on {socket.gethostname()}")
        self._file.flush()
        return self

    def __exit__(self, *exception) -> None:
        self._file.truncate(0)
        self._file.close()
