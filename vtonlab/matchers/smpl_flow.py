"""Dense correspondence from a body mesh posed twice (3D-GCL, METHODS.md 5.4)."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch

from vtonlab.matchers.base import Matcher, check_mask
from vtonlab.matchers.report import MatchReport
from vtonlab.matchers.smpl_body import SMPLBody, project
from vtonlab.ops.mesh_flow import BACKGROUND, FOUND, HIDDEN, mesh_flow
from vtonlab.ops.rasterize import rasterize
from vtonlab.registry import MATCHERS
from vtonlab.structures import FlowField
from vtonlab.utils.bounded import read_npy, read_npz

SYNTHETIC = Path(__file__).parents[1] / "synthetic" / "assets" / "body.npz"
PARAMETERS = ("shape", "pose", "camera")


@MATCHERS.register_module()
class SMPLFlowMatcher(Matcher):
    """Follows each pixel's place on the body from the person into the garment's picture.

    Works on any body with fixed faces. The sample's ``body`` map holds projected vertices or, where
    a ``model`` is given, parameters:

    =====================  ========  ==========================================================
    ``vertices``             (V, 3)  person: x, y in pixels, depth (or (V, 2) with visibility)
    ``garment_vertices``     (V, 3)  the same in the garment picture
    ``visibility``           (h, w)  optional: face seen at each pixel, -1 for none
    ``garment_visibility``   (h, w)  optional, of the garment picture
    ``shape``, ``pose``              (K,) and (24, 3), SMPL's, in camera axes (y down)
    ``camera``                 (4,)  focal length in pixels, shift: :func:`smpl_body.project`
    ``garment_shape`` ...            these three of the garment picture
    =====================  ========  ==========================================================

    It follows the skin: clothes lie off it, so that in a rendered pair of photographs (512x384) the
    median pixel lies 4 px from where its cloth is.

    Args:
        faces: ``.npy`` file or array ``(F, 3)`` (3D-GCL's ``smpl_faces.npy``), or ``"synthetic"``
            for the body of ``SyntheticTryOn``.
        mirror: ``.npy`` file or array ``(V,)`` of left-right partners
            (``vertices_symm_idxs.npy``), or ``"synthetic"``; None has no symmetric fallback.
        model: licensed SMPL model file for bodies given as parameters; brings its own faces.
        stride: one correspondence per this many pixels.
    """

    maps = ("body",)

    def __init__(
        self, *, faces=None, mirror=None, model: str | Path | None = None, stride: int = 4
    ) -> None:
        if (faces is None) == (model is None):
            raise ValueError(
                "SMPLFlowMatcher needs faces (of projected vertices) or model (an SMPL file, for "
                "bodies given as parameters), one of the two"
            )
        self.body = None if model is None else SMPLBody(model, "SMPLFlowMatcher")
        self.faces = _table("faces", faces) if self.body is None else self.body.faces
        self.mirror = None if mirror is None else _table("mirror", mirror)
        if self.faces.ndim != 2 or self.faces.shape[1] != 3:
            raise ValueError(f"SMPLFlowMatcher: faces must be (F, 3), not {self.faces.shape}")
        self.stride = stride

    @property
    def versions(self) -> dict[str, str]:
        """With a hash of the mesh: files may change under an unchanged path."""
        digest = hashlib.blake2b(self.faces.tobytes(), digest_size=8)
        if self.mirror is not None:
            digest.update(self.mirror.tobytes())
        if self.body is None:
            return {"SMPLFlowMatcher": "1", "mesh": digest.hexdigest()}
        digest.update(self.body.fingerprint())
        mesh = digest.hexdigest()
        return {"SMPLFlowMatcher": "1", "mesh": mesh, "smplx": version("smplx")}

    def _vertices(self, body: Mapping, side: str, size: tuple[int, int]) -> np.ndarray:
        """Projected vertices ``(V, 2 or 3)`` of one side: as given, or from its parameters."""
        if self.body is not None and f"{side}vertices" not in body:
            shape, pose, camera = (_entry(body, f"{side}{name}") for name in PARAMETERS)
            return project(self.body.vertices(shape, pose), camera, size)
        return _entry(body, f"{side}vertices")

    def flow(
        self,
        body: Mapping[str, np.ndarray],
        person_size: tuple[int, int],
        garment_size: tuple[int, int],
        garment_mask: np.ndarray | None = None,
    ) -> tuple[FlowField, np.ndarray]:
        """The flow over the person picture, and the status map of :func:`mesh_flow`.

        Args:
            garment_mask: keep only pixels that land wholly inside it (all four neighbours).
        """
        sides = []
        for name, size in (("", person_size), ("garment_", garment_size)):
            vertices = self._vertices(body, name, size)
            seen = body.get(f"{name}visibility")
            if seen is None:
                if vertices.shape[1] != 3:
                    raise ValueError(
                        f"SMPLFlowMatcher: body['{name}vertices'] needs depths (V, 3), or give "
                        f"body['{name}visibility']"
                    )
                seen = rasterize(vertices, self.faces, size).face
            if seen.shape != tuple(size):
                raise ValueError(
                    f"SMPLFlowMatcher: body['{name}visibility'] is {seen.shape}, its picture {size}"
                )
            sides.append((vertices, seen))
        (person, person_seen), (garment, garment_seen) = sides
        flow, status = mesh_flow(
            person, garment, self.faces, person_seen, garment_seen, self.mirror
        )
        visible = status == FOUND
        if garment_mask is not None:
            visible &= _wholly_inside(garment_mask, flow)
        flow = flow / np.array(garment_size[::-1], np.float32)
        visible &= ((flow >= 0) & (flow <= 1)).all(-1)
        return FlowField(torch.from_numpy(flow), torch.from_numpy(visible)), status

    def explain(
        self,
        person: np.ndarray,
        garment: np.ndarray,
        person_mask: np.ndarray | None = None,
        garment_mask: np.ndarray | None = None,
        *,
        body: Mapping[str, np.ndarray] | None = None,
    ) -> MatchReport:
        """Correspondences on a lattice; the report counts pixels."""
        if body is None:
            raise ValueError(
                "SMPLFlowMatcher needs the sample's `body` map (projected vertices); data sets "
                "give it with with_body=True"
            )
        check_mask("SMPLFlowMatcher", "person_mask", person_mask, person)
        check_mask("SMPLFlowMatcher", "garment_mask", garment_mask, garment)
        field, status = self.flow(body, person.shape[:2], garment.shape[:2], garment_mask)
        counts = {
            "candidates": int((status != BACKGROUND).sum()),
            "hidden": int((status == HIDDEN).sum()),
            "garment_mask": int((status == FOUND).sum() - field.visible.sum()),
        }
        if person_mask is not None:
            inside = field.visible & torch.from_numpy(person_mask.astype(bool))
            counts["person_mask"] = int(field.visible.sum() - inside.sum())
            field = FlowField(field.flow, inside)
        matches = field.to_correspondences(self.stride)
        counts["stride"] = int(field.visible.sum()) - len(matches)
        counts["matches"] = len(matches)
        return MatchReport(matches, counts)


def _table(name: str, value) -> np.ndarray:
    """Faces or partners, int64, from what the user gave."""
    if isinstance(value, (str, Path)):
        if value == "synthetic":
            return read_npz(SYNTHETIC)[f"body_{name}"].astype(np.int64)
        if not Path(value).is_file():
            raise FileNotFoundError(
                f"SMPLFlowMatcher: no {name} file at {value}; SMPL's come with its licensed model"
            )
        value = read_npy(value)
    return np.asarray(value).astype(np.int64)


def _entry(body: Mapping, name: str) -> np.ndarray:
    if name not in body:
        raise ValueError(f"SMPLFlowMatcher: the body map lacks {name!r}; it has {sorted(body)}")
    return np.asarray(body[name])


def _wholly_inside(mask: np.ndarray, flow: np.ndarray) -> np.ndarray:
    """Pixels ``(h, w)`` whose flow (pixels) has only mask around it: floor of a bilinear sample."""
    h, w = mask.shape
    x, y = flow[..., 0] - 0.5, flow[..., 1] - 0.5
    x0, y0 = np.floor(x).astype(int), np.floor(y).astype(int)
    inside = np.ones(flow.shape[:2], bool)
    for dy in (0, 1):
        for dx in (0, 1):
            # a neighbour with no weight does not count
            needed = ((x > x0) | (dx == 0)) & ((y > y0) | (dy == 0))
            column, row = x0 + dx, y0 + dy
            on = (column >= 0) & (row >= 0) & (column < w) & (row < h)
            on &= mask[row.clip(0, h - 1), column.clip(0, w - 1)] > 0
            inside &= on | ~needed
    return inside
