"""What a studio is told when it starts, and what it takes at most."""

from dataclasses import dataclass

MIB = 2**20


@dataclass(frozen=True)
class Settings:
    """Where it listens, and its limits.

    Args:
        host, port: where it listens; a host other than this machine's own needs a password.
        password: that visitors are asked for; None for none.
        upload_bytes: of one request, all its files together.
        store_bytes: of all files of all visitors.
        pixels: of one picture.
        side: longer side of a photograph in pixels, as it is worked with; larger ones are scaled.
        pairs: of one batch.
        files: of one upload or archive.
        sessions: visitors whose pictures are kept; the one who was away longest makes room.
        idle: seconds after which a visitor's files are removed.
        waiting: requests in the queue; further ones are told to come back.
    """

    host: str = "127.0.0.1"
    port: int = 7860
    password: str | None = None
    upload_bytes: int = 256 * MIB
    store_bytes: int = 2048 * MIB
    pixels: int = 100_000_000
    side: int = 2048
    pairs: int = 200
    files: int = 5000
    sessions: int = 32
    idle: float = 3600.0
    waiting: int = 16

    @property
    def local(self) -> bool:
        """Whether only this machine can reach it."""
        return self.host in LOCAL_HOSTS


LOCAL_HOSTS = ("127.0.0.1", "localhost", "::1")
