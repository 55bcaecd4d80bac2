"""Counter-based seeds: every random draw is a function of where we are, not of the past.

A stream is named by its coordinates, for example ``seed_from(seed, "noise", sample_position,
step)``. Restarts, worker counts and batch sizes then cannot change what is drawn (reliability.md
3.1).
"""

import hashlib
import operator

_BITS = 63  # torch.Generator.manual_seed takes a signed 64-bit number


def seed_from(*parts: int | str | bytes) -> int:
    """Hash coordinates to a seed in ``[0, 2**63)``.

    Parts keep their type and order: ``seed_from(1, 2)``, ``seed_from(2, 1)``, ``seed_from(12)`` and
    ``seed_from("12")`` all differ. The same parts give the same seed on every machine and Python
    version.

    Raises:
        TypeError: a part is neither an integer, a string nor bytes (floats do not survive
            formatting unchanged).
    """
    digest = hashlib.blake2b(digest_size=8)
    for part in parts:
        kind, payload = _encode(part)
        digest.update(kind + len(payload).to_bytes(8, "little") + payload)
    return int.from_bytes(digest.digest(), "little") >> (64 - _BITS)


def _encode(part: int | str | bytes) -> tuple[bytes, bytes]:
    if isinstance(part, str):
        return b"s", part.encode()
    if isinstance(part, bytes):
        return b"b", part
    try:
        return b"i", str(operator.index(part)).encode()
    except TypeError:
        raise TypeError(
            f"seed_from takes integers, strings and bytes, not {type(part).__name__} ({part!r})"
        ) from None
