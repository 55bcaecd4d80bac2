"""A licensed SMPL model file, read without running code, posed by ``smplx``."""

from __future__ import annotations

import hashlib
from math import prod
from pathlib import Path

import numpy as np
import torch

from vtonlab.utils.array_pickles import ArrayUnpickler, unpickled
from vtonlab.utils.bounded import FileError, read_npz, reason_of

ARRAYS = ("v_template", "shapedirs", "posedirs", "J_regressor", "weights", "kintree_table", "f")
_MOST = 10**7  # numbers of a sparse matrix; SMPL's has 24 x 6890


class SMPLBody:
    """Vertices from shape and pose, by linear blend skinning with SMPL's blend shapes.

    Args:
        path: the model file as downloaded (``SMPL_NEUTRAL.pkl``), or an ``.npz`` of its arrays.
        owner: who asks, for error messages.

    Raises:
        FileNotFoundError: no such file.
        ValueError: it is no SMPL model.
        ImportError: smplx is missing; names the pip line.
    """

    def __init__(self, path: str | Path, owner: str = "SMPLBody") -> None:
        try:
            from smplx.lbs import lbs
        except ImportError:
            raise ImportError(
                f"{owner}: bodies from parameters need smplx: pip install smplx"
            ) from None
        arrays = read_smpl(Path(path), owner)
        self._lbs = lbs
        self.faces = arrays["f"].astype(np.int64)
        parents = arrays["kintree_table"][0].astype(np.int64)
        parents[0] = -1
        posedirs = arrays["posedirs"]
        floats = {name: _tensor(arrays[name]) for name in ("v_template", "shapedirs")}
        self._model = dict(
            **floats,
            posedirs=_tensor(posedirs.reshape(-1, posedirs.shape[-1]).T),
            J_regressor=_tensor(arrays["J_regressor"]),
            parents=torch.from_numpy(parents),
            lbs_weights=_tensor(arrays["weights"]),
        )

    def fingerprint(self) -> bytes:
        """Changes with the model's arrays."""
        digest = hashlib.blake2b(digest_size=16)
        for name in sorted(self._model):
            digest.update(self._model[name].numpy().tobytes())
        return digest.digest()

    def vertices(self, shape: np.ndarray, pose: np.ndarray) -> np.ndarray:
        """``(V, 3)`` float64, metres.

        Args:
            shape: ``(K,)`` shape coefficients, K at most the file's.
            pose: ``(24, 3)`` or ``(72,)`` axis times angle, the whole body's first.
        """
        shape = _tensor(np.ravel(shape))[None]
        model = dict(self._model)
        if shape.shape[1] > model["shapedirs"].shape[-1]:
            raise ValueError(
                f"the SMPL model has {model['shapedirs'].shape[-1]} shape coefficients, the body "
                f"{shape.shape[1]}"
            )
        model["shapedirs"] = model["shapedirs"][..., : shape.shape[1]]
        with torch.no_grad():
            posed, _ = self._lbs(betas=shape, pose=_tensor(np.ravel(pose))[None], **model)
        return posed[0].numpy()


def project(vertices: np.ndarray, camera: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """``(V, 3)``: x, y in pixels and depth, of a pinhole whose axis meets the picture's centre.

    Args:
        vertices: ``(V, 3)`` in camera axes: x right, y down, z away.
        camera: ``(4,)``: focal length in pixels, then the shift added to the vertices. A
            weak-perspective ``(s, tx, ty)`` over a square of side ``r`` pixels is
            ``(focal, tx, ty, 2 * focal / (r * s))``.
        size: ``(height, width)``.
    """
    focal, shift = float(camera[0]), np.asarray(camera[1:4], np.float64)
    seen = np.asarray(vertices, np.float64) + shift
    centre = np.array([size[1] / 2, size[0] / 2])
    return np.concatenate([focal * seen[:, :2] / seen[:, 2:] + centre, seen[:, 2:]], 1)


def read_smpl(path: Path, owner: str) -> dict[str, np.ndarray]:
    """The arrays of a model file; a pickle may hold NumPy, SciPy and chumpy arrays only."""
    if not path.is_file():
        raise FileNotFoundError(
            f"{owner}: no SMPL model at {path}; register at https://smpl.is.tue.mpg.de, accept the "
            "licence, and give the path of the file you download"
        )
    try:
        if path.suffix == ".npz":
            found = read_npz(path)
        else:
            found = unpickled(path, _Unpickler)
        return {name: _array(found[name]) for name in ARRAYS}
    except (LookupError, ValueError, TypeError, AttributeError) as error:
        raise FileError(
            f"{owner}: {path} is no SMPL model file ({reason_of(error)}); it needs "
            f"{', '.join(ARRAYS)}"
        ) from None


class _Chumpy:
    """What a pickled chumpy array holds; chumpy itself no longer imports."""

    def array(self) -> np.ndarray:
        if "x" in self.__dict__:  # chumpy.ch.Ch
            return np.asarray(self.x)
        return _array(self.a).ravel()[self.idxs].reshape(self.preferred_shape)  # Select


class _Unpickler(ArrayUnpickler):
    """Beside NumPy's, arrays of chumpy and SciPy."""

    def find_class(self, module: str, name: str):
        if module.startswith("chumpy."):
            return _Chumpy
        if module.split(".")[0] == "scipy" and name in ("csc_matrix", "csr_matrix", "coo_matrix"):
            import scipy.sparse

            return getattr(scipy.sparse, name)
        return super().find_class(module, name)


def _array(value) -> np.ndarray:
    if isinstance(value, _Chumpy):
        return value.array()
    if hasattr(value, "toarray"):
        if prod(value.shape) > _MOST:
            raise ValueError(f"a sparse matrix of {value.shape}")
        return value.toarray()
    return np.asarray(value)


def _tensor(array: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(np.ascontiguousarray(array, dtype=np.float64))
