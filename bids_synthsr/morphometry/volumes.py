"""Volumes of structures from the probabilities of a segmentation, and how sure they are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from bids_synthsr.values.structures import STRUCTURES

# structures that evaluations tell of, both sides together; the first four are those of Table 2 of
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
class Volume:
    """The size of one structure.

    Parameters
    ----------
    index, name
        Of the structure; 0 and ``Intracranial`` for all within the skull together.
    volume_mm3
        Sum of its probabilities.
    uncertainty_mm3
        How much of it lies in voxels that may as well be something else: the sum of ``p (1 - p)``.
        0 where every voxel is sure.
    """

    index: int
    name: str
    volume_mm3: float
    uncertainty_mm3: float


@dataclass(frozen=True)
class Overlap:
    """Sums over voxels, by class, from which volumes and expected overlaps follow.

    Parameters
    ----------
    likely
        Sum of the probabilities, ``(L,)``.
    doubtful
        Sum of ``p (1 - p)``, ``(L,)``.
    chosen
        Number of voxels in which the class is the likeliest, ``(L,)``.
    agreed
        Sum of the probabilities in these, ``(L,)``.
    within
        Sums of ``p`` and of ``p (1 - p)`` of being within the skull.
    """

    likely: np.ndarray
    doubtful: np.ndarray
    chosen: np.ndarray
    agreed: np.ndarray
    within: tuple[float, float]

    @property
    def dice(self) -> np.ndarray:
        """Dice that the labels can expect if the probabilities are right, ``(L,)``."""
        return 2 * self.agreed / np.maximum(self.chosen + self.likely, 1e-6)


def measure_overlap(probabilities: Tensor, labels: Tensor, indices: Sequence[int]) -> Overlap:
    """Sum up probabilities ``(I, J, K, L)`` and the classes ``(I, J, K)`` made of them.

    Parameters
    ----------
    indices
        Label value of each class, ``(L,)``.
    """
    classes = len(indices)
    is_within = torch.tensor([STRUCTURES[index].is_intracranial for index in indices])
    sums, within = (
        torch.zeros(4, classes, dtype=torch.float64),
        torch.zeros(2, dtype=torch.float64),
    )
    # plane by plane: a copy of all would double the memory
    for own, chosen in zip(probabilities, labels, strict=True):
        likely, choice = own.flatten(0, 1).float(), chosen.flatten()  # (V, L), (V,)
        inside = likely @ is_within.float()
        within += torch.stack([inside.sum(), (inside * (1 - inside)).sum()])
        sums[0] += likely.sum(0)
        sums[1] += (likely * (1 - likely)).sum(0)
        sums[2] += torch.bincount(choice, minlength=classes)
        sums[3].index_add_(0, choice, likely.gather(1, choice[:, None])[:, 0].double())
    likely, doubtful, chosen, agreed = sums.numpy()
    return Overlap(likely, doubtful, chosen, agreed, (float(within[0]), float(within[1])))


def volumes_of(overlap: Overlap, indices: Sequence[int], voxel_mm3: float) -> list[Volume]:
    """Tell the volume of every structure, and last that of all within the skull.

    Parameters
    ----------
    indices
        Label value of each class, ``(L,)``.
    voxel_mm3
        Of a voxel.
    """
    found = [
        Volume(index, STRUCTURES[index].name, float(likely), float(doubtful))
        for index, likely, doubtful in zip(
            indices, overlap.likely * voxel_mm3, overlap.doubtful * voxel_mm3, strict=True
        )
        if STRUCTURES[index].is_intracranial
    ]
    total, doubtful = (voxel_mm3 * value for value in overlap.within)
    return [*found, Volume(0, 'Intracranial', total, max(doubtful, 0.0))]


def expected_dice(overlap: Overlap, indices: Sequence[int]) -> float:
    """Average the expected Dice of the structures of the brain that were found; 0 for none."""
    counts = [
        STRUCTURES[index].is_brain and chosen > 0
        for index, chosen in zip(indices, overlap.chosen, strict=True)
    ]
    return float(overlap.dice[counts].mean()) if any(counts) else 0.0


def dice_between(first: np.ndarray, second: np.ndarray, indices: Sequence[int]) -> float:
    """Average the Dice of the structures of the brain that either segmentation shows.

    Parameters
    ----------
    first, second
        Label values, of one shape.
    indices
        Label values that may occur.
    """
    scores = []
    for index in indices:
        one, other = first == index, second == index
        size = int(one.sum()) + int(other.sum())
        if STRUCTURES[index].is_brain and size:
            scores.append(2 * int((one & other).sum()) / size)
    return float(np.mean(scores)) if scores else 0.0


def compare_structures(
    found: np.ndarray,
    truth: np.ndarray,
    voxel_mm3: float,
    found_volumes: Mapping[int, Volume] | None = None,
    true_volumes: Mapping[int, Volume] | None = None,
) -> dict[str, dict[str, float]]:
    """Compare the main structures of two segmentations.

    Parameters
    ----------
    found, truth
        Label values, of one shape.
    voxel_mm3
        Of a voxel.
    found_volumes, true_volumes
        By label value, where volumes are known better than by counting voxels: as sums of
        probabilities. None and empty count.

    Returns
    -------
    measures
        By structure: ``dice`` (mean of left and right), ``volume_mm3`` and ``reference_mm3`` (of
        both together), and ``uncertainty_mm3`` where ``found_volumes`` tell it. Structures that
        the truth does not show are left out.
    """
    measures = {}
    for name, indices in MAIN.items():
        counts = [(int((found == i).sum()), int((truth == i).sum())) for i in indices]
        if not all(true for _, true in counts):
            continue
        both = [int(((found == i) & (truth == i)).sum()) for i in indices]
        dices = [2 * shared / sum(count) for shared, count in zip(both, counts, strict=True)]
        made, true = (voxel_mm3 * sum(column) for column in zip(*counts, strict=True))
        measures[name] = {
            'dice': float(np.mean(dices)),
            'volume_mm3': _together(found_volumes, indices) if found_volumes else made,
            'reference_mm3': _together(true_volumes, indices) if true_volumes else true,
        }
        if found_volumes:
            doubts = (found_volumes[index].uncertainty_mm3 for index in indices)
            measures[name]['uncertainty_mm3'] = sum(doubts)
    return measures


def _together(volumes: Mapping[int, Volume], indices: Sequence[int]) -> float:
    return sum(volumes[index].volume_mm3 for index in indices)
