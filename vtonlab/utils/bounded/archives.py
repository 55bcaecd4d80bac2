"""Zip and tar archives: what is inside is counted unpacked before any of it is."""

import io
import tarfile
import zipfile
from collections.abc import Collection

from vtonlab.utils.bounded.source import MAX_BYTES, Source, content, naming

MAX_MEMBERS = 100_000
_KINDS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)  # the others take memory by their own claims
_ZIP_ENTRY = b"PK\1\2"  # begins each line of a zip's directory


def zip_members(
    source: Source, names: Collection[str] | None = None, max_bytes: int = MAX_BYTES
) -> dict[str, bytes]:
    """Name -> content of a zip archive's files, stored or deflated.

    Args:
        source: the archive.
        names: these alone, all of them; None takes every file.
        max_bytes: of the archive, and of the files together, unpacked.

    Raises:
        FileNotFoundError: no such archive.
        FileError: damaged, too large, encrypted, two files of one name, or one of ``names`` is not
            in it.
    """
    data = content(source, max_bytes)
    with naming(source):
        if data.count(_ZIP_ENTRY) > MAX_MEMBERS:
            raise ValueError(f"it has more than {MAX_MEMBERS} members")
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            members = archive.infolist()
            found = {member.filename: member for member in members}
            if len(found) < len(members):
                raise ValueError("two members of one name")
            missing = sorted(set(names or ()) - set(found))
            if missing:
                raise ValueError(f"it holds no {missing[0]}")
            chosen = {name: found[name] for name in (found if names is None else names)}
            check_claims(list(chosen.values()), max_bytes)
            return {name: archive.read(member) for name, member in chosen.items()}


def check_claims(members: list[zipfile.ZipInfo], max_bytes: int) -> None:
    """``ValueError`` where members of a zip claim too much, or are packed in other ways."""
    if sum(member.file_size for member in members) > max_bytes:
        total = sum(member.file_size for member in members)
        raise ValueError(f"it claims {total} bytes, the limit is {max_bytes}")
    other = next((member for member in members if member.compress_type not in _KINDS), None)
    if other is not None:
        raise ValueError(f"{other.filename} is packed in a way that is not read")


def tar_members(source: Source, max_bytes: int = MAX_BYTES) -> list[tuple[str, bytes]]:
    """Name and content of each file of an unpacked tar archive; folders and links are passed over.

    Raises:
        FileNotFoundError: no such archive.
        FileError: damaged, too large, or a member that is larger than the archive.
    """
    data = content(source, max_bytes)
    found: list[tuple[str, bytes]] = []
    with naming(source), tarfile.open(fileobj=io.BytesIO(data), mode="r:") as archive:
        for number, member in enumerate(archive):
            if number >= MAX_MEMBERS:
                raise ValueError(f"it has more than {MAX_MEMBERS} members")
            # a negative size would lead back to where the archive was read already, for ever
            if member.issparse() or not 0 <= member.size <= len(data):
                raise ValueError(f"{member.name} claims {member.size} bytes that are not there")
            if member.isreg():
                found.append((member.name, archive.extractfile(member).read()))
                if len(found[-1][1]) != member.size:
                    raise ValueError(f"{member.name} is cut short")
    return found
