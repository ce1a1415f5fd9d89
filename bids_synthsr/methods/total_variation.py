"""Multi-channel total variation super-resolution (Brudfors et al., MIUA 2018).

The volumes ``x`` of all contrasts are the ones that explain the scans ``y`` best while their edges
lie in the same places:

    sum_n |A_n x_c(n) - y_n|² / (2 sd_n²) + sum_v sqrt(sum_c lambda_c² |grad x_c(v)|²)

``A_n`` is how scan ``n`` was acquired, ``sd_n`` its noise, ``c(n)`` its contrast. No training, no
atlas: detail comes from the scans, whose slices run in different directions, and from the edges
that other contrasts show.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from bids_synthsr.data.acquisition import Acquisition
from bids_synthsr.data.grid import Grid
from bids_synthsr.data.observation import Observation
from bids_synthsr.data.synthesis import Product, Synthesis
from bids_synthsr.imaging.acquisition import AcquisitionOperator
from bids_synthsr.imaging.head import otsu_threshold
from bids_synthsr.imaging.resampling import resample, within
from bids_synthsr.imaging.geometry import vox2vox


class DataTerm:
    """How far volumes of one contrast are from its scans: ``sum_n |A_n x - y_n|² / (2 sd_n²)``."""

    def __init__(self, operators, scans, sds):
        self.operators = operators
        self.scans = scans
        self.weights = [1 / sd**2 for sd in sds]

    def value(self, x: Tensor) -> float:
        return sum(
            0.5 * w * float(np.square((A.forward(x.numpy()) - y) * A.is_seen, dtype=np.float64).sum())
            for A, y, w in zip(self.operators, self.scans, self.weights, strict=True)
        )

    def normal(self, x: Tensor) -> Tensor:
        return sum(
            w * torch.from_numpy(A.adjoint(A.forward(x.numpy())))
            for A, w in zip(self.operators, self.weights, strict=True)
        )

    def pull(self) -> Tensor:
        return sum(
            w * torch.from_numpy(A.adjoint(y))
            for A, y, w in zip(self.operators, self.scans, self.weights, strict=True)
        )


def gradient(x: Tensor, spacing: float = 1) -> Tensor:
    """Forward differences, 0 at the far border; ``(..., I, J, K)`` to ``(..., 3, I, J, K)``."""
    g = torch.zeros(*x.shape[:-3], 3, *x.shape[-3:])
    for a in range(3):
        n = x.shape[a - 3]
        torch.sub(x.narrow(a - 3, 1, n - 1), x.narrow(a - 3, 0, n - 1),
            out=g.select(-4, a).narrow(a - 3, 0, n - 1))
    return g


def gradient_adjoint(g: Tensor) -> Tensor:
    x = torch.zeros(*g.shape[:-4], *g.shape[-3:])
    for a in range(3):
        n = x.shape[a - 3]
        p = g.select(-4, a).narrow(a - 3, 0, n - 1)
        x.narrow(a - 3, 1, n - 1).add_(p)
        x.narrow(a - 3, 0, n - 1).sub_(p)
    return x


def conjugate_gradients(H, b, x, M, n, tol=0.0):
    r = b - H(x)
    z = r / M
    p = z.clone()
    rz = torch.dot(r.ravel(), z.ravel())
    r0 = rz
    for i in range(n):
        Hp = H(p)
        a = rz / torch.dot(p.ravel(), Hp.ravel())
        x = x + a * p
        r = r - a * Hp
        z = r / M
        new = torch.dot(r.ravel(), z.ravel())
        if new < tol**2 * r0:
            break
        p = z + (new / rz) * p
        rz = new
    return x
