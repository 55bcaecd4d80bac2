"""Fewer triangles for a mirror-symmetric mesh: quadric error collapses (Garland and Heckbert 1997)
onto old vertices.

Every collapse moves one vertex onto a neighbour and is done on both sides at once, so the result is
a subset of the old vertices (weights and morph targets need no change) and stays symmetric.
"""

import heapq

import numpy as np


def decimate_symmetric(
    vertices: np.ndarray, faces: np.ndarray, mirror: np.ndarray, weight: np.ndarray, keep: int
) -> np.ndarray:
    """Faces over the old vertex numbers, about ``keep`` of them.

    Args:
        vertices: (V, 3), x = 0 is the mirror plane.
        faces: (F, 3), each in one half.
        mirror: (V,) index of the mirrored vertex, itself on the plane.
        weight: (V,) importance: errors here count so much more.
        keep: wanted number of faces.
    """
    middle = mirror == np.arange(len(vertices))
    left = faces[(vertices[faces, 0].mean(1) > 0)]
    half = _Half(vertices, left, middle, weight)
    half.collapse(keep // 2)
    kept = half.faces()
    return np.concatenate([kept, mirror[kept][:, [0, 2, 1]]])


class _Half:
    def __init__(self, vertices, faces, middle, weight) -> None:
        self.v, self.middle = vertices, middle
        self.f = {i: tuple(int(a) for a in f) for i, f in enumerate(faces)}
        self.around = {}
        for i, face in self.f.items():
            for a in face:
                self.around.setdefault(a, set()).add(i)
        self.q = np.zeros((len(vertices), 4, 4))
        edges = {}
        for a, b, c in self.f.values():
            n = np.cross(vertices[b] - vertices[a], vertices[c] - vertices[a])
            area = np.linalg.norm(n)
            if area < 1e-14:
                continue
            n = n / area
            plane = np.append(n, -n @ vertices[a])
            for k in (a, b, c):
                self.q[k] += np.outer(plane, plane) * area * weight[k]
            for e in ((a, b), (b, c), (c, a)):
                edges.setdefault((min(e), max(e)), []).append(n)
        for (a, b), normals in edges.items():
            if len(normals) == 1:  # a border, or the mirror plane: hold its line
                d = vertices[b] - vertices[a]
                n = np.cross(d, normals[0])
                length = np.linalg.norm(n)
                if length > 1e-12:
                    n /= length
                    plane = np.append(n, -n @ vertices[a])
                    for k in (a, b):
                        self.q[k] += 4 * np.outer(plane, plane) * (d @ d) * weight[k]
        self.border = {k for (a, b), n in edges.items() if len(n) == 1 for k in (a, b)}

    def neighbours(self, a: int) -> set[int]:
        return {k for i in self.around[a] for k in self.f[i]} - {a}

    def cost(self, a: int, b: int) -> float:
        point = np.append(self.v[b], 1.0)
        length = ((self.v[a] - self.v[b]) ** 2).sum()
        return float(point @ (self.q[a] + self.q[b]) @ point) + 1e-6 * length**2

    def allowed(self, a: int, b: int) -> bool:
        """Whether a may move onto b without folding or tearing."""
        if self.middle[a] and not self.middle[b]:
            return False
        if a in self.border and b not in self.border:
            return False
        shared = self.around[a] & self.around[b]
        common = self.neighbours(a) & self.neighbours(b)
        if len(common) != len(shared) or not shared:
            return False
        if a in self.border and len(shared) != 1:
            return False
        for i in self.around[a] - shared:
            old = [self.v[k] for k in self.f[i]]
            new = [self.v[b if k == a else k] for k in self.f[i]]
            n, m = (np.cross(p[1] - p[0], p[2] - p[0]) for p in (old, new))
            scale = np.linalg.norm(n) * np.linalg.norm(m)
            if scale < 1e-16 or n @ m < 0.3 * scale:
                return False
        return True

    def collapse(self, keep: int) -> None:
        heap = []
        for a in self.around:
            heap += [(self.cost(a, b), a, b) for b in self.neighbours(a)]
        heapq.heapify(heap)
        while len(self.f) > keep and heap:
            cost, a, b = heapq.heappop(heap)
            if a not in self.around or b not in self.around or b not in self.neighbours(a):
                continue
            now = self.cost(a, b)
            if now > cost * (1 + 1e-9) + 1e-18:
                heapq.heappush(heap, (now, a, b))
                continue
            if not self.allowed(a, b):
                continue
            for i in self.around.pop(a):
                if b in self.f[i]:
                    for k in self.f.pop(i):
                        if k != a:
                            self.around[k].discard(i)
                else:
                    self.f[i] = tuple(b if k == a else k for k in self.f[i])
                    self.around[b].add(i)
            self.q[b] += self.q[a]
            for k in self.neighbours(b):
                heapq.heappush(heap, (self.cost(b, k), b, k))
                heapq.heappush(heap, (self.cost(k, b), k, b))

    def faces(self) -> np.ndarray:
        return np.array(list(self.f.values()))
