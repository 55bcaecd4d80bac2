"""Geometry behind ``make_body_asset.py``: cut into front and back, flat layout, hanging cloth,
DensePose-like parts.
"""

import numpy as np
from scipy import sparse
from scipy.sparse import csgraph
from scipy.sparse.linalg import splu


def vertex_normals(vertices: np.ndarray, faces: np.ndarray, smooth: int = 0) -> np.ndarray:
    """Area-weighted unit normals, averaged ``smooth`` times over the neighbours."""
    a, b, c = (vertices[faces[:, i]] for i in range(3))
    face = np.cross(b - a, c - a)
    normals = np.zeros_like(vertices)
    for i in range(3):
        np.add.at(normals, faces[:, i], face)
    normals /= np.linalg.norm(normals, axis=1, keepdims=True) + 1e-12
    average = _neighbour_average(faces, len(vertices))
    for _ in range(smooth):
        normals = average @ normals
        normals /= np.linalg.norm(normals, axis=1, keepdims=True) + 1e-12
    return normals


def _neighbour_average(faces: np.ndarray, count: int) -> sparse.csr_matrix:
    i = faces[:, [0, 1, 2, 1, 2, 0]].reshape(-1)
    j = faces[:, [1, 2, 0, 0, 1, 2]].reshape(-1)
    a = sparse.coo_matrix((np.ones(len(i)), (i, j)), (count, count)).tocsr()
    a.data[:] = 1
    a = a + sparse.eye(count)
    return sparse.diags(1 / np.asarray(a.sum(1)).ravel()) @ a


def cut_front_back(fields: np.ndarray, faces: np.ndarray, joints: np.ndarray) -> tuple:
    """Cut a mesh along its side seams, where it passes the mid line of the trunk or of a limb.

    Args:
        fields: (V, C), the first three columns are the positions; all are interpolated along cut
            edges.

    Returns:
        fields (V', C), faces (F', 3) and front (V',) bool; front and back share no vertex.
    """
    side = _depth_before_mid_line(fields[:, :3], joints)
    average = _neighbour_average(faces, len(fields))
    for _ in range(4):
        side = average @ side
    side = np.where(np.abs(side) < 0.002, 0.002, side)  # no sliver at a vertex
    halves = []
    for sign in (1.0, -1.0):
        halves.append(_largest_piece(*clip_mesh(fields, faces, sign * side)))
    (front_fields, front_faces), (back_fields, back_faces) = halves
    front = np.zeros(len(front_fields) + len(back_fields), bool)
    front[: len(front_fields)] = True
    faces = np.concatenate([front_faces, back_faces + len(front_fields)])
    return np.concatenate([front_fields, back_fields]), faces, front


def _depth_before_mid_line(vertices: np.ndarray, joints: np.ndarray) -> np.ndarray:
    """(V,) metres in front of the bent mid line of the trunk, the legs (by height) and the arms (by
    length).
    """
    mirrored = np.stack([np.abs(vertices[:, 0]), vertices[:, 1], vertices[:, 2]], 1)
    shoulder, elbow, wrist = joints[16], joints[18], joints[20]
    bent, axis = _bent_arm(mirrored, shoulder, elbow, wrist)
    forward = np.array([0.0, 0, 1]) - axis[:, 2:] * axis
    forward /= np.linalg.norm(forward, axis=1, keepdims=True)
    arm = ((mirrored - bent) * forward).sum(1)
    # Trunk, neck and legs: half way between front and back at each height, smoothed over 12 cm.
    in_trunk = ~_is_arm(mirrored, shoulder, elbow, wrist)
    heights = np.linspace(vertices[:, 1].min(), vertices[:, 1].max(), 120)
    middle = np.zeros(len(heights))
    for i, y in enumerate(heights):
        z = vertices[in_trunk & (np.abs(vertices[:, 1] - y) < 0.05), 2]
        middle[i] = (z.min() + z.max()) / 2 if len(z) else np.nan
    known = ~np.isnan(middle)
    middle = np.interp(heights, heights[known], middle[known])
    for _ in range(3):
        middle = np.convolve(np.pad(middle, 5, mode="edge"), np.ones(11) / 11, mode="valid")
    trunk = vertices[:, 2] - np.interp(vertices[:, 1], heights, middle)
    blend = np.clip((mirrored[:, 0] - (shoulder[0] - 0.02)) / 0.06, 0, 1)
    blend = np.where(in_trunk & (mirrored[:, 1] < shoulder[1] - 0.12), 0, blend)
    return blend * arm + (1 - blend) * trunk


def along_arm(vertices: np.ndarray, joints: np.ndarray) -> np.ndarray:
    """(V,) metres from the shoulder along the bent arm, -1 off the arms."""
    mirrored = np.stack([np.abs(vertices[:, 0]), vertices[:, 1], vertices[:, 2]], 1)
    shoulder, elbow, wrist = joints[16], joints[18], joints[20]
    point, _ = _bent_arm(mirrored, shoulder, elbow, wrist)
    upper, lower = elbow - shoulder, wrist - elbow
    beyond = ((point - elbow) @ lower) / np.linalg.norm(lower)
    length = np.where(
        beyond > 1e-6,
        np.linalg.norm(upper) + beyond,
        ((point - shoulder) @ upper) / np.linalg.norm(upper),
    )
    return np.where(_is_arm(mirrored, shoulder, elbow, wrist), length, -1)


def _is_arm(mirrored, shoulder, elbow, wrist) -> np.ndarray:
    bent, _ = _bent_arm(mirrored, shoulder, elbow, wrist)
    near = np.linalg.norm(mirrored - bent, axis=1) < 0.1
    return near & (mirrored[:, 0] > shoulder[0] + 0.02)


def _bent_arm(mirrored, shoulder, elbow, wrist) -> tuple[np.ndarray, np.ndarray]:
    """Nearest point of the line shoulder, elbow, wrist (and beyond) and the direction there, turned
    smoothly.
    """
    upper, lower = elbow - shoulder, wrist - elbow
    t = ((mirrored - shoulder) @ upper / (upper @ upper)).clip(-1, 1)
    s = ((mirrored - elbow) @ lower / (lower @ lower)).clip(0, 1.3)
    on_upper, on_lower = shoulder + t[:, None] * upper, elbow + s[:, None] * lower
    far = np.linalg.norm(mirrored - on_upper, axis=1) > np.linalg.norm(mirrored - on_lower, axis=1)
    point = np.where(far[:, None], on_lower, on_upper)
    turn = np.clip(0.5 + np.where(far, s * 2, (t - 1) * 2), 0, 1)[:, None]
    axis = (1 - turn) * upper / np.linalg.norm(upper) + turn * lower / np.linalg.norm(lower)
    return point, axis / np.linalg.norm(axis, axis=1, keepdims=True)


def _largest_piece(fields: np.ndarray, faces: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    graph = _neighbour_average(faces, len(fields))
    _, label = csgraph.connected_components(graph, directed=False)
    keep = label[faces[:, 0]] == np.bincount(label).argmax()
    used, local = np.unique(faces[keep], return_inverse=True)
    return fields[used], local.reshape(-1, 3)


def clip_mesh(fields: np.ndarray, faces: np.ndarray, keep: np.ndarray):
    """Part of a mesh where the scalar ``keep`` (V,) is positive, cut linearly along edges."""
    inside = keep > 0
    number = inside[faces].sum(1)
    out = [faces[number == 3]]
    new_fields, new_index = [fields], {}
    total = len(fields)

    def crossing(i: int, j: int) -> int:
        nonlocal total
        key = (min(i, j), max(i, j))
        if key not in new_index:
            t = keep[i] / (keep[i] - keep[j])
            new_fields.append(((1 - t) * fields[i] + t * fields[j])[None])
            new_index[key] = total
            total += 1
        return new_index[key]

    extra = []
    for face in faces[(number == 1) | (number == 2)]:
        lone = inside[face].sum() == 1
        k = int(np.flatnonzero(inside[face] == lone)[0])
        a, b, c = face[k], face[(k + 1) % 3], face[(k + 2) % 3]
        ab, ac = crossing(a, b), crossing(a, c)
        if lone:
            extra.append([a, ab, ac])
        else:
            extra += [[ab, b, c], [ab, c, ac]]
    out = np.concatenate([*out, np.array(extra, dtype=int).reshape(-1, 3)])
    used, local = np.unique(out, return_inverse=True)
    return np.concatenate(new_fields)[used], local.reshape(-1, 3)


def flatten_halves(
    vertices: np.ndarray, faces: np.ndarray, front: np.ndarray, arm: np.ndarray | None
) -> np.ndarray:
    """(V, 2) flat layout in metres, x to the picture's right and y down; the back is laid out as
    seen from the front.
    """
    flat = np.zeros((len(vertices), 2))
    for half in (front, ~front):
        keep = half[faces[:, 0]]
        used, local = np.unique(faces[keep], return_inverse=True)
        local = local.reshape(-1, 3)
        laid = _as_rigid_as_possible(vertices[used], local)
        if arm is not None:
            laid = _smooth_outline(laid, local)
            laid = _straight_sides(laid, local, arm[used] > 0)
        flat[used] = _part_legs(laid, vertices[used])
        print(f"laid out: {_folded(flat[used], local)} folded")
    return flat


def _as_rigid_as_possible(vertices: np.ndarray, faces: np.ndarray, rounds: int = 60) -> np.ndarray:
    """As-rigid-as-possible parametrisation (Liu et al. 2008), started from the front projection.

    The picture's x is +x of the body (its left hand is at the picture's right), y is down.
    """
    start = vertices[:, :2] * np.array([1.0, -1.0])
    a, b, c = (vertices[faces[:, i]] for i in range(3))
    lengths = np.linalg.norm(b - a, axis=1)
    unit = (b - a) / lengths[:, None]
    x = ((c - a) * unit).sum(1)
    y = np.linalg.norm((c - a) - x[:, None] * unit, axis=1)
    projected = start[faces]
    u, v = projected[:, 1] - projected[:, 0], projected[:, 2] - projected[:, 0]
    turn = np.where(u[:, 0] * v[:, 1] - u[:, 1] * v[:, 0] < 0, -1.0, 1.0)
    major = np.sign(np.median(turn))  # one orientation for the whole sheet
    zero = np.zeros_like(x)
    local = np.stack(
        [np.stack([zero, zero], 1), np.stack([lengths, zero], 1), np.stack([x, major * y], 1)], 1
    )
    rows, cols, cots = [], [], []
    count = len(vertices)
    for i in range(3):
        j, k = (i + 1) % 3, (i + 2) % 3
        p, q = local[:, i] - local[:, k], local[:, j] - local[:, k]
        cot = (p * q).sum(1) / (np.abs(p[:, 0] * q[:, 1] - p[:, 1] * q[:, 0]) + 1e-12)
        cot = np.clip(cot, 0.02, 50) / 2
        rows.append(faces[:, i]), cols.append(faces[:, j]), cots.append(cot)
    r, s, w = np.concatenate(rows), np.concatenate(cols), np.concatenate(cots)
    lap = sparse.coo_matrix(
        (np.r_[w, w, -w, -w], (np.r_[r, s, r, s], np.r_[r, s, s, r])), (count, count)
    )
    pins = sparse.coo_matrix(([1e-3], ([0], [0])), (count, count))
    solve = splu((lap + pins).tocsc())
    flat = start.copy()
    for _ in range(rounds):
        edges = flat[faces]
        rotations = np.zeros((len(faces), 2, 2))
        for i in range(3):
            j = (i + 1) % 3
            rotations += cots[i][:, None, None] * np.einsum(
                "fa,fb->fab", edges[:, i] - edges[:, j], local[:, i] - local[:, j]
            )
        m, n = rotations[:, 0, 0] + rotations[:, 1, 1], rotations[:, 1, 0] - rotations[:, 0, 1]
        norm = np.sqrt(m * m + n * n) + 1e-12
        cos, sin = m / norm, n / norm
        right = np.zeros((count, 2))
        for i in range(3):
            j = (i + 1) % 3
            d = local[:, i] - local[:, j]
            g = cots[i][:, None] * np.stack(
                [cos * d[:, 0] - sin * d[:, 1], sin * d[:, 0] + cos * d[:, 1]], 1
            )
            np.add.at(right, faces[:, i], g)
            np.add.at(right, faces[:, j], -g)
        right[0] += 1e-3 * start[0]
        flat = solve.solve(right)
    shift = (start - flat).mean(0)
    flat = flat + shift
    # Take out the free rotation.
    p, q = flat - flat.mean(0), start - start.mean(0)
    angle = np.arctan2((p[:, 0] * q[:, 1] - p[:, 1] * q[:, 0]).sum(), (p * q).sum())
    rotation = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    flat = p @ rotation.T + flat.mean(0)
    area = 2 * _signed_area(flat, faces)
    flips = (np.sign(area) != major).sum()
    flat = _unflip(flat, faces, major)
    left = (np.sign(_signed_area(flat, faces)) != major).sum()
    stretch = np.abs(area).sum() / (lengths * y).sum()
    print(
        f"flat layout: {len(faces)} faces, {flips} were folded, {left} are, "
        f"area ratio {stretch:.3f}"
    )
    return flat


def _border(faces: np.ndarray) -> np.ndarray:
    """(E, 2) edges of one face only."""
    edges = np.sort(faces[:, [0, 1, 1, 2, 2, 0]].reshape(-1, 2), axis=1)
    unique, number = np.unique(edges, axis=0, return_counts=True)
    return unique[number == 1]


def _folded(flat: np.ndarray, faces: np.ndarray) -> int:
    area = _signed_area(flat, faces)
    return int((area * np.sign(np.median(area)) <= 0).sum())


def _straight_sides(flat: np.ndarray, faces: np.ndarray, arm: np.ndarray) -> np.ndarray:
    """Iron the waves out of the side seams: widths are scaled, height by height, to their running
    mean.
    """
    out = flat.copy()
    border = np.unique(_border(faces))
    border = border[~arm[border]]
    heights = np.arange(flat[:, 1].min(), flat[:, 1].max(), 0.004)
    top = flat[arm, 1].min() + 0.33 if arm.any() else -np.inf  # below the armpits
    top = max(top, -0.29)
    for side in (-1, 1):
        chosen = border[(flat[border, 0] * side > 0.08) & (flat[border, 1] > top - 0.05)]
        # the outermost border point near each height
        width = np.array(
            [
                max(
                    (flat[chosen, 0] * side)[np.abs(flat[chosen, 1] - y) < 0.012],
                    default=np.nan,
                )
                for y in heights
            ]
        )
        nearby = [np.nanmax(width[max(i - 12, 0) : i + 13], initial=0) for i in range(len(width))]
        known = width > 0.85 * np.array(nearby)  # not the inside of a leg
        width = np.interp(heights, heights[known], width[known])
        kernel = np.exp(-0.5 * (np.arange(-40, 41) * 0.004 / 0.045) ** 2)
        smooth = np.convolve(np.pad(width, 40, mode="edge"), kernel / kernel.sum(), mode="valid")
        scale = np.interp(flat[:, 1], heights, np.clip(smooth / width, 0.88, 1.12))
        blend = np.clip((flat[:, 1] - top) / 0.08, 0, 1)
        rows = (flat[:, 0] * side > 0) & ~arm
        out[rows, 0] *= (1 + blend * (scale - 1))[rows]
    return out


def _part_legs(flat: np.ndarray, vertices: np.ndarray, width: float = 0.012) -> np.ndarray:
    """Bend the insides of the two thighs apart where they were laid over each other, without a
    fold.
    """
    side = np.sign(np.where(np.abs(vertices[:, 0]) < 1e-4, 0, vertices[:, 0]))
    below = np.clip((0.05 - vertices[:, 1]) / 0.05, 0, 1)  # from the pubis downwards
    x = flat[:, 0] * side
    apart = (x + np.sqrt(x * x + (width * below) ** 2)) / 2
    out = flat.copy()
    bend = (side != 0) & (below > 0)
    out[bend, 0] = (apart * side)[bend]
    return out


def _smooth_outline(flat: np.ndarray, faces: np.ndarray, rounds: int = 8) -> np.ndarray:
    """Straighten the side seams: smooth the outline and carry the inside along."""
    outline = _border(faces)
    border = np.unique(outline)
    i, j = outline.T
    a = sparse.coo_matrix(
        (np.ones(2 * len(i)), (np.r_[i, j], np.r_[j, i])), (len(flat),) * 2
    ).tocsr()
    moved = flat.copy()
    for _ in range(rounds):
        mean = (a @ moved)[border] / np.asarray(a.sum(1))[border]
        moved[border] += 0.5 * (mean - moved[border])
    shift = moved - flat
    lap = sparse.eye(len(flat)) - _neighbour_average(faces, len(flat))
    inside = np.setdiff1d(np.arange(len(flat)), border)
    lap = lap.tocsr()[inside]
    shift[inside] = splu(lap[:, inside].tocsc()).solve(-(lap[:, border] @ shift[border]))
    area = _signed_area(flat + shift, faces)
    sign = np.sign(np.median(area))
    flat = _unflip(flat + shift, faces, sign)
    print(f"outline smoothed: {(_signed_area(flat, faces) * sign <= 0).sum()} folded")
    return flat


def _signed_area(flat: np.ndarray, faces: np.ndarray) -> np.ndarray:
    e = flat[faces]
    p, q = e[:, 1] - e[:, 0], e[:, 2] - e[:, 0]
    return (p[:, 0] * q[:, 1] - p[:, 1] * q[:, 0]) / 2


def _unflip(flat: np.ndarray, faces: np.ndarray, sign: float) -> np.ndarray:
    """Relax the neighbourhoods of folded faces until none is left; an average of neighbours unfolds
    them.
    """
    average = _neighbour_average(faces, len(flat))
    for step in range(400):
        folded = sign * _signed_area(flat, faces) < 2e-8
        if not folded.any():
            break
        loose = np.zeros(len(flat), bool)
        loose[faces[folded]] = True
        for _ in range(1 + step // 50):
            loose = (average @ loose) > 0
        flat = np.where(loose[:, None], average @ flat, flat)
    return flat


def hanging_offsets(
    vertices: np.ndarray, faces: np.ndarray, joints: np.ndarray, name: str
) -> np.ndarray:
    """(V, 3) offsets that turn tights into straight-cut clothes: no limb or trunk gets narrower on
    the way down.
    """
    if name == "skirt":
        return np.zeros_like(vertices)
    hang = np.zeros_like(vertices)
    x, y = np.abs(vertices[:, 0]), vertices[:, 1]
    shoulder, elbow, wrist = joints[16], joints[18], joints[20]
    hip, ankle, pelvis = joints[1], joints[7], joints[0]
    arm_axis = (wrist - shoulder) / np.linalg.norm(wrist - shoulder)
    mirrored = np.stack([x, y, vertices[:, 2]], 1)
    along_arm = (mirrored - shoulder) @ arm_axis
    radial_arm = mirrored - (shoulder + along_arm[:, None] * arm_axis)
    # the elbow is off the straight axis: measure from a bent line
    is_arm = (
        (along_arm > 0.06)
        & (np.linalg.norm(radial_arm, axis=1) < 0.13)
        & (y > elbow[1] - 0.35)
        & (x > 0.2)
    )
    crotch = hip[1] - 0.09
    is_leg = (y < crotch) & ~is_arm
    is_trunk = ~is_arm & ~is_leg & (y < shoulder[1] - 0.05)
    hang += _straight(
        mirrored, is_trunk, shoulder[1] - y, np.stack([np.zeros_like(y), y, 0 * y], 1), 40
    )
    t = np.clip((hip[1] - y) / (hip[1] - ankle[1]), 0, 1)[:, None]
    leg_axis = hip + t * (ankle - hip)
    leg_axis[:, 1] = y
    hang += _straight(mirrored, is_leg, hip[1] - y, leg_axis, 36)
    upper = np.clip((along_arm / 0.27), 0, 2)[:, None]
    bent = np.where(
        upper < 1, shoulder + upper * (elbow - shoulder), elbow + (upper - 1) * (wrist - elbow)
    )
    hang += _straight(mirrored, is_arm, along_arm, bent, 24)
    hang[:, 0] *= np.sign(vertices[:, 0])
    average = _neighbour_average(faces, len(vertices))
    for _ in range(16):
        hang = average @ hang
    del pelvis
    return hang


def _straight(points, chosen, along, axis, bins) -> np.ndarray:
    """Offsets out to the largest radius met so far along the limb, per direction, with a slow
    decay.
    """
    out = np.zeros_like(points)
    radial = (points - axis)[chosen]
    radius = np.linalg.norm(radial, axis=1)
    direction = radial / (radius[:, None] + 1e-9)
    order = np.argsort(along[chosen])
    result = radius.copy()
    for i, k in enumerate(order):
        before = order[:i]
        near = before[(direction[before] @ direction[k]) > np.cos(2 * np.pi / bins * 1.5)]
        if len(near):
            drop = along[chosen][k] - along[chosen][near]
            result[k] = max(radius[k], (radius[near] - 0.03 * drop).max())
    out[chosen] = direction * (result - radius)[:, None]
    return out


TORSO, HEAD = (0, 3, 6, 9, 13, 14), (12, 15)
# (joints, body side) -> (front part, back part) of DensePose
LIMBS = {
    (1,): (10, 8), (2,): (9, 7), (4,): (14, 12), (5,): (13, 11),
    (16,): (15, 17), (17,): (16, 18), (18,): (19, 21), (19,): (20, 22),
    (20, 22): (4, 4), (21, 23): (3, 3), (7, 10): (5, 5), (8, 11): (6, 6),
}  # fmt: skip
AXES = {
    1: (1, 4),
    2: (2, 5),
    4: (4, 7),
    5: (5, 8),
    16: (16, 18),
    17: (17, 19),
    18: (18, 20),
    19: (19, 21),
}


def dense_parts(vertices, faces, vertex_joints, joints) -> dict[str, np.ndarray]:
    """DensePose-like charts: part 1..24 of each face, and (u, v) in 0..255 of each of its
    corners.
    """
    faces = faces.astype(int)
    dominant = vertex_joints[:, 0].astype(int)[faces]  # (F, 3)
    joint = np.where(dominant[:, 1] == dominant[:, 2], dominant[:, 1], dominant[:, 0])
    normals = vertex_normals(vertices, faces, smooth=2)
    front = normals[faces].mean(1)[:, 2] > 0
    center = vertices[faces].mean(1)
    part = np.zeros(len(faces), np.uint8)
    part[np.isin(joint, TORSO)] = np.where(front, 2, 1)[np.isin(joint, TORSO)]
    part[np.isin(joint, HEAD)] = np.where(center[:, 0] < 0, 23, 24)[np.isin(joint, HEAD)]
    for group, (front_part, back_part) in LIMBS.items():
        mask = np.isin(joint, group)
        part[mask] = np.where(front, front_part, back_part)[mask]
    uv = np.zeros((len(faces), 3, 2))
    for p in range(1, 25):
        mask = part == p
        points = vertices[faces[mask]].astype(float)  # (f, 3 corners, 3)
        axis = np.array([0.0, 1, 0])
        which = int(np.bincount(joint[mask]).argmax())
        if which in AXES:
            start, end = AXES[which]
            axis = joints[start] - joints[end]
        elif p in (3, 4):
            axis = joints[which] - vertices[faces[mask]].reshape(-1, 3).mean(0)
        elif p in (5, 6):
            axis = np.array([0.0, 0.0, -1.0])
        axis = axis / np.linalg.norm(axis)
        origin = points.reshape(-1, 3).mean(0) if which not in AXES else joints[AXES[which][0]]
        if p in (1, 2, 23, 24):
            origin = np.array([0.0, 0, points[..., 2].mean()])
        relative = points - origin
        along = relative @ axis
        depth_axis = np.array([0.0, 0, 1]) if p not in (5, 6) else np.array([0.0, 1, 0])
        side_axis = np.cross(axis, depth_axis)
        side_axis /= np.linalg.norm(side_axis)
        depth_axis = np.cross(side_axis, axis)
        side, depth = relative @ side_axis, np.abs(relative @ depth_axis)
        if p in (23, 24):
            angle = np.arctan2(relative[..., 2], np.abs(relative[..., 0]))
        else:
            angle = np.arctan2(side, depth)
        uv[mask, :, 0] = np.clip(angle / np.pi + 0.5, 0, 1)
        uv[mask, :, 1] = (along - along.min()) / (np.ptp(along) + 1e-9)
    return {"body_parts": part, "body_uv": np.rint(uv * 255).astype(np.uint8)}
