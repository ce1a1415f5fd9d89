"""Scans of a head whose labels are known, one contrast after the other, for evaluations."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch

from bids_synthsr.imaging.geometry import rigid
from bids_synthsr.synthesis.contrast import (
    draw_contrast,
    draw_intensities,
    paint,
    paint_statistics,
    t1w_means,
)
from bids_synthsr.synthesis.fields import draw_uniform
from bids_synthsr.synthesis.labels import LabelTable, look_up
from bids_synthsr.synthesis.priors import ContrastPrior
from bids_synthsr.synthesis.scanning import blur
from bids_synthsr.synthesis.worlds import FLAIR, PD_SPIN_ECHO, RANDOM, T1_INVERSION, T2_SPIN_ECHO

CONTRASTS: dict[str, ContrastPrior] = {
    'T1w': T1_INVERSION,
    'T2w': T2_SPIN_ECHO,
    'PDw': PD_SPIN_ECHO,
    'FLAIR': FLAIR,
    'random': RANDOM,  # every tissue as bright as chance wants it: no contrast that there is
}
MOTION_DEG, MOTION_MM = 6.0, 6.0  # between scans, about and along each axis, at most
TRUTH_BLUR_SD = 0.5  # mm, of a painted T1w (Iglesias et al. 2021, 2.4)


def paint_contrast(
    labels: np.ndarray, contrast: str, table: LabelTable, generator: torch.Generator
) -> np.ndarray:
    """Paint a contrast with its noise at full resolution.

    Parameters
    ----------
    labels
        ``(I, J, K)`` label values.
    contrast
        One of `CONTRASTS`.
    """
    values = torch.from_numpy(labels.astype(np.int64))
    prior = replace(CONTRASTS[contrast], texture=(0.3, 0.3))
    draw = draw_contrast(prior, table.classes, False, generator)
    return draw_intensities(paint_statistics(values, draw, table), draw).numpy()


def paint_truth(labels: np.ndarray, table: LabelTable) -> np.ndarray:
    """Paint the T1w that the exam network aims for, white matter 1."""
    values = torch.from_numpy(labels.astype(np.int64))
    return blur(paint(values, t1w_means(table.classes), table), TRUTH_BLUR_SD).numpy()


def draw_motion(generator: torch.Generator, center: np.ndarray) -> np.ndarray:
    """Draw by how much a head moved from one scan to the next, ``(4, 4)`` RAS+ mm."""
    angles = [draw_uniform((-MOTION_DEG, MOTION_DEG), generator) for _ in range(3)]
    shift = [draw_uniform((-MOTION_MM, MOTION_MM), generator) for _ in range(3)]
    return rigid(np.radians(angles), np.array(shift), center)


def as_targets(labels: np.ndarray, table: LabelTable) -> np.ndarray:
    """Call every label by the class that stands for it in segmentations: int16."""
    targets = torch.tensor(table.targets, dtype=torch.int16)
    return targets[look_up(table.target_of, torch.from_numpy(labels.astype(np.int64)))].numpy()
