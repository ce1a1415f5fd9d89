"""A stack of thick slices as a super-resolution network sees it.

The slice axis is the last one. Every output voxel gets the slices around it as channels, each as
its difference from the cubic interpolation, together with the interpolation itself, the position
between the slices, and what is known of the acquisition. All are linear in the slices, so the
whole encoding is one small matrix per channel and no image is searched.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from bids_synthsr.imaging.resampling import spline_matrix

NEIGHBOURS = (-2, -1, 0, 1, 2, 3)  # slices around an output voxel, counted from the one below it
CHANNELS = len(NEIGHBOURS) + 4
DIFFERENCE_SCALE = 2.0  # brings neighbours minus interpolation to about the size of the image
TYPICAL_MM = 5.0  # spacing and thickness are given as their ratio to this, minus 1


def encode_slices(slices: Tensor, index: np.ndarray, spacing: float, thickness: float) -> Tensor:
    """Describe every output voxel by the slices around it.

    Parameters
    ----------
    slices
        ``(I, J, S)`` intensities, of order 1.
    index
        ``(K,)`` position of the output voxels in slices; beyond the ends the stack is mirrored.
    spacing, thickness
        Distance between the centres of the slices, and their thickness, mm.

    Returns
    -------
    channels
        ``(CHANNELS, I, J, K)``: cubic interpolation, neighbours minus interpolation, position
        between the slices (-1/2 to 1/2), spacing, thickness.
    """
    matrices = torch.from_numpy(_matrices(slices.shape[-1], index)).to(slices)
    images = torch.einsum('nks,ijs->nijk', matrices, slices)
    facts = torch.from_numpy(_facts(index, spacing, thickness)).to(slices)
    return torch.cat([images, facts[:, None, None].expand(-1, *images.shape[1:])])


def _matrices(size: int, index: np.ndarray) -> np.ndarray:
    """Weights of the slices in each image channel, ``(1 + len(NEIGHBOURS), K, S)`` float32."""
    cubic = spline_matrix(size, index)
    below = np.floor(index).astype(int)
    steps = [_choice(size, below + step) for step in NEIGHBOURS]
    return np.stack([cubic, *(DIFFERENCE_SCALE * (chosen - cubic) for chosen in steps)])


def _choice(size: int, index: np.ndarray) -> np.ndarray:
    """Rows that pick whole slices out of ``size``, mirrored at both ends: ``(K, S)`` float32."""
    last = max(size - 1, 1)
    mirrored = np.abs(np.mod(index + last, 2 * last) - last)
    return np.eye(size, dtype=np.float32)[np.minimum(mirrored, size - 1)]


def _facts(index: np.ndarray, spacing: float, thickness: float) -> np.ndarray:
    """Phase, spacing and thickness at every position, ``(3, K)`` float32."""
    phase = index - np.floor(index) - 0.5
    acquisition = [np.full(len(index), mm / TYPICAL_MM - 1) for mm in (spacing, thickness)]
    return np.stack([phase, *acquisition]).astype(np.float32)
