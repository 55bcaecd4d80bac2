"""Where the weights of metric networks come from: a folder, torch hub's cache, or a download.

Every file has its official name, whose last part is the start of its SHA-256 where it was published
so; a file of that name with another hash is used and reported as not official.
"""

import hashlib
import os
import re
import socket
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit
from urllib.request import getproxies

import torch

from vtonlab.evaluation.base import NotComputableError

FOLDER_VARIABLE = "VTONLAB_METRIC_WEIGHTS"
_TIMEOUT_S = 20
_ANSWER_S = 3
_HUB = "https://huggingface.co"
FILES = {  # name -> where it is published
    "alexnet-owt-7be5be79.pth": "https://download.pytorch.org/models/alexnet-owt-7be5be79.pth",
    "vgg16-397923af.pth": "https://download.pytorch.org/models/vgg16-397923af.pth",
    "squeezenet1_1-b8a52dc0.pth": (
        "https://download.pytorch.org/models/squeezenet1_1-b8a52dc0.pth"
    ),
    "inception-2015-12-05.pt": (
        "https://nvlabs-fi-cdn.nvidia.com/stylegan2-ada-pytorch/pretrained/metrics/"
        "inception-2015-12-05.pt"
    ),
    "pt_inception-2015-12-05-6726825d.pth": (
        "https://github.com/mseitzer/pytorch-fid/releases/download/fid_weights/"
        "pt_inception-2015-12-05-6726825d.pth"
    ),
}
_SHA256 = {  # where the name does not say it
    "inception-2015-12-05.pt": "f58cb9b6ec323ed63459aa4fb441fe750cfe39fafad6da5cb504a16f19e958f4"
}


class Weights(NamedTuple):
    """A file of weights that was found."""

    name: str
    path: Path
    sha256: str
    official: bool | None  # None: nobody published a hash

    def facts(self) -> dict:
        return {"sha256": self.sha256, "official": self.official}


def set_weights_folder(folder: str | Path | None) -> None:
    """Look for weights in ``folder`` first, from now on (``--weights`` of the tools).

    Raises:
        FileNotFoundError: there is no such folder.
    """
    if folder is not None and not Path(folder).is_dir():
        raise FileNotFoundError(f"--weights {folder} is no folder: it would hold {_names()}")
    os.environ[FOLDER_VARIABLE] = "" if folder is None else str(folder)


def weights_folder() -> Path | None:
    """The folder that was set, or None."""
    return Path(os.environ[FOLDER_VARIABLE]) if os.environ.get(FOLDER_VARIABLE) else None


def find_weights(name: str) -> Weights:
    """The weights file ``name``: from the folder that was set, from torch hub's cache, or
    downloaded into that cache (not with ``HF_HUB_OFFLINE=1``).

    Raises:
        NotComputableError: it cannot be had; the sentence names the places and the address.
    """
    folder, cache = weights_folder(), Path(torch.hub.get_dir()) / "checkpoints"
    for place in (folder, cache):
        if place is not None and (place / name).is_file():
            return _describe(place / name)
    return _describe(_download(name, cache, folder))


def _download(name: str, cache: Path, folder: Path | None) -> Path:
    where = f"{folder} or {cache}" if folder else f"{cache}; --weights names another folder"
    way_out = f"{name} is neither in {where}; it is published at {FILES[name]}"
    if os.environ.get("HF_HUB_OFFLINE", "0") not in ("", "0"):
        raise NotComputableError(f"{way_out} (HF_HUB_OFFLINE is set: nothing is downloaded)")
    if not reachable(FILES[name]):
        raise NotComputableError(f"{way_out}, which cannot be reached")
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(_TIMEOUT_S)
    try:
        cache.mkdir(parents=True, exist_ok=True)
        prefix = _published_hash(name)
        torch.hub.download_url_to_file(FILES[name], str(cache / name), prefix, progress=False)
    except (OSError, RuntimeError) as error:
        raise NotComputableError(f"{way_out}, which cannot be reached ({error})") from None
    finally:
        socket.setdefaulttimeout(before)
    return cache / name


@lru_cache(maxsize=16)
def reachable(address: str) -> bool:
    """Whether a server answers within seconds (the proxy, where one is set): libraries that ask it
    anyway try for minutes.
    """
    proxy = getproxies().get("https")
    place = urlsplit(proxy or address)
    port = place.port or (443 if place.scheme == "https" else 80)
    try:
        socket.create_connection((place.hostname, port), _ANSWER_S).close()
    except OSError:
        return False
    return True


def _published_hash(name: str) -> str | None:
    found = re.search(r"-([0-9a-f]{8})\.pth$", name)
    return found.group(1) if found else _SHA256.get(name)


@lru_cache(maxsize=32)
def _describe(path: Path) -> Weights:
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    published = _published_hash(path.name)
    official = None if published is None else digest.hexdigest().startswith(published)
    return Weights(path.name, path, digest.hexdigest(), official)


def find_model(name: str) -> str:
    """A transformers model: its folder below the weights folder where there is one, else ``name``.

    ``openai/clip-vit-base-patch32`` is looked for as ``<folder>/clip-vit-base-patch32``.
    """
    folder = weights_folder()
    if folder is not None and (folder / name.rsplit("/", 1)[-1] / "config.json").is_file():
        return str(folder / name.rsplit("/", 1)[-1])
    return name


def only_local(place: str) -> bool:
    """Whether a model can come from this machine alone: a folder, or the hub cannot be reached."""
    offline = os.environ.get("HF_HUB_OFFLINE", "0") not in ("", "0")
    return offline or Path(place).is_dir() or not reachable(os.environ.get("HF_ENDPOINT", _HUB))


def _names() -> str:
    return ", ".join(FILES)
