"""Volumes of structures from the probabilities of a segmentation, with their uncertainty."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from bids_synthsr.values.structures import STRUCTURES

# structures that evaluations report, both sides together; the first four are those of Table 2 of
# Iglesias et al. 2021
MAIN = {
    'hippocampus': (17, 53),
    'ventricles': (4, 43),
    'cortex': (3, 42),
    'white-matter': (2, 41),
    'thalamus': (10, 49),
    'caudate': (11, 50),
    'putamen': (12, 51),
    'pallidum': (13, 52),
    'amygdala': (18, 54),
    'ventral-dc': (28, 60),
    'cerebellum-cortex': (8, 47),
    'cerebellum-white-matter': (7, 46),
    'brain-stem': (16,),
    'third-ventricle': (14,),
    'fourth-ventricle': (15,),
}


@dataclass(frozen=True)
class StructureVolume:
    """The size of one structure.

    Parameters
    ----------
    index, name
        Label value and name of the structure; 0 and ``Intracranial`` for all within the skull
        together.
    volume_mm3
        Sum of its probabilities over the voxels, mm3.
    uncertainty_mm3
        How much of it lies in voxels that may as well be something else, mm3: the sum of
        ``p (1 - p)``. 0 where every voxel is certain.
    """

    index: int
    name: str
    volume_mm3: float
    uncertainty_mm3: float


def rows_of(volumes: Iterable[StructureVolume]) -> list[dict[str, Any]]:
    """Write volumes as rows of a table; what is no single structure has no index."""
    return [{**asdict(volume), 'index': volume.index or None} for volume in volumes]


def volumes_from_rows(rows: Iterable[Mapping[str, Any]]) -> list[StructureVolume]:
    """Read volumes from rows that `rows_of` wrote."""
    return [StructureVolume(**{**row, 'index': row['index'] or 0}) for row in rows]


@dataclass(frozen=True)
class ProbabilitySums:
    """Sums over voxels, by class, from which volumes and expected overlaps follow.

    Parameters
    ----------
    probability
        Sum of the probabilities ``p``, ``(L,)``.
    variance
        Sum of ``p (1 - p)``, ``(L,)``.
    voxels
        Number of voxels in which the class is the likeliest, ``(L,)``.
    overlap
        Sum of the probabilities in these voxels, ``(L,)``.
    intracranial
        Sums of ``p`` and of ``p (1 - p)`` for the probability of being within the skull.
    """

    probability: np.ndarray
    variance: np.ndarray
    voxels: np.ndarray
    overlap: np.ndarray
    intracranial: tuple[float, float]

    @property
    def dice(self) -> np.ndarray:
        """Dice that the labels can expect if the probabilities are right, ``(L,)``."""
        return 2 * self.overlap / np.maximum(self.voxels + self.probability, 1e-6)


def sum_probabilities(
    probabilities: Tensor, classes: Tensor, labels: Sequence[int]
) -> ProbabilitySums:
    """Sum up the probabilities of a segmentation over all voxels.

    Parameters
    ----------
    probabilities
        Probabilities of the classes, ``(I, J, K, L)``.
    classes
        Class of every voxel, ``(I, J, K)``.
    labels
        Label value of each class, ``(L,)``.
    """
    count = len(labels)
    is_within = torch.tensor([STRUCTURES[label].is_intracranial for label in labels])
    sums = torch.zeros(4, count, dtype=torch.float64)
    intracranial = torch.zeros(2, dtype=torch.float64)
    # plane by plane: a copy of all would double the memory
    for plane, chosen in zip(probabilities, classes, strict=True):
        p, choice = plane.flatten(0, 1).float(), chosen.flatten()  # (V, L), (V,)
        within = p @ is_within.float()
        intracranial += torch.stack([within.sum(), (within * (1 - within)).sum()])
        sums[0] += p.sum(0)
        sums[1] += (p * (1 - p)).sum(0)
        sums[2] += torch.bincount(choice, minlength=count)
        sums[3].index_add_(0, choice, p.gather(1, choice[:, None])[:, 0].double())
    probability, variance, voxels, overlap = sums.numpy()
    within_skull = (float(intracranial[0]), float(intracranial[1]))
    return ProbabilitySums(probability, variance, voxels, overlap, within_skull)


def volumes_of(
    sums: ProbabilitySums, labels: Sequence[int], voxel_mm3: float
) -> list[StructureVolume]:
    """Compute the volume of every structure, and last that of all within the skull.

    Parameters
    ----------
    sums
        Sums of the probabilities, by class.
    labels
        Label value of each class, ``(L,)``.
    voxel_mm3
        Volume of a voxel, mm3.
    """
    volumes = [
        StructureVolume(label, STRUCTURES[label].name, float(volume), float(uncertainty))
        for label, volume, uncertainty in zip(
            labels, sums.probability * voxel_mm3, sums.variance * voxel_mm3, strict=True
        )
        if STRUCTURES[label].is_intracranial
    ]
    total, uncertainty = (voxel_mm3 * value for value in sums.intracranial)
    return [*volumes, StructureVolume(0, 'Intracranial', total, max(uncertainty, 0.0))]


def compare_structures(
    segmentation: np.ndarray,
    truth: np.ndarray,
    voxel_mm3: float,
    volumes: Mapping[int, StructureVolume] | None = None,
    true_volumes: Mapping[int, StructureVolume] | None = None,
) -> dict[str, dict[str, float]]:
    """Compare the main structures of two segmentations.

    Parameters
    ----------
    segmentation, truth
        Label values of the two segmentations, of one shape.
    voxel_mm3
        Volume of a voxel, mm3.
    volumes, true_volumes
        Volumes of the structures by label value, where they are known better than by counting
        voxels: as sums of probabilities. None and empty count voxels.

    Returns
    -------
    measures
        By structure: ``dice`` (mean of left and right), ``volume_mm3`` and ``reference_mm3`` (of
        both sides together), and ``uncertainty_mm3`` where ``volumes`` hold it. Structures that
        the truth does not show are left out.
    """
    measures = {}
    for name, labels in MAIN.items():
        counts = [(int((segmentation == i).sum()), int((truth == i).sum())) for i in labels]
        if not all(true for _, true in counts):
            continue
        both = [int(((segmentation == i) & (truth == i)).sum()) for i in labels]
        dices = [2 * shared / sum(count) for shared, count in zip(both, counts, strict=True)]
        size, true_size = (voxel_mm3 * sum(column) for column in zip(*counts, strict=True))
        measures[name] = {
            'dice': float(np.mean(dices)),
            'volume_mm3': _both_sides(volumes, labels) if volumes else size,
            'reference_mm3': _both_sides(true_volumes, labels) if true_volumes else true_size,
        }
        if volumes:
            uncertainties = (volumes[label].uncertainty_mm3 for label in labels)
            measures[name]['uncertainty_mm3'] = sum(uncertainties)
    return measures


def _both_sides(volumes: Mapping[int, StructureVolume], labels: Sequence[int]) -> float:
    """Add the volumes of the left and the right structure, mm3."""
    return sum(volumes[label].volume_mm3 for label in labels)
