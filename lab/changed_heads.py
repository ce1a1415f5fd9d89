"""Label maps of heads of which every structure has shrunk or grown, to train on beside the heads.

Run it as ``python lab/changed_heads.py LABEL_MAPS DIR [--copies 2]``. Structures are pushed by one
gradient field whose divergence lies in them. So the deformation does not fold, left and right
differ a little, and what a network learns of the size of one structure is not told by the others.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch

from bids_synthsr.dataset.images import load_volume, save_volume
from bids_synthsr.evaluation.shape_changes import growth_velocity
from bids_synthsr.imaging.displacements import exponential
from bids_synthsr.imaging.geometry import bounding_box

MARGIN = 8  # voxels of air around the head: the field is periodic
# factors of volume, at least and at most, of left and right structures and of those between
RANGES = {
    ((17,), (53,)): (0.5, 1.15),  # hippocampus
    ((18,), (54,)): (0.4, 1.15),  # amygdala
    ((4, 5), (43, 44)): (0.7, 3.0),  # lateral ventricles
    ((14,), ()): (0.7, 2.2),  # third ventricle
    ((10,), (49,)): (0.8, 1.2),  # thalamus
    ((11,), (50,)): (0.7, 1.2),  # caudate
    ((12,), (51,)): (0.8, 1.2),  # putamen
    ((13,), (52,)): (0.8, 1.2),  # pallidum
    ((3,), (42,)): (0.82, 1.05),  # cortex
    ((2,), (41,)): (0.92, 1.08),  # white matter
    ((8,), (47,)): (0.85, 1.1),  # cortex of the cerebellum
    ((7,), (46,)): (0.7, 1.1),  # its white matter
}
SIDES = 0.05  # sd of the logarithm of left over right


def draw_changes(labels: np.ndarray, draws: np.random.Generator) -> np.ndarray:
    """Draw the logarithm of the growth at every voxel of a label map."""
    wanted = np.zeros(labels.shape, np.float32)
    for sides, (least, most) in RANGES.items():
        both = draws.uniform(np.log(least), np.log(most))
        for values in sides:
            wanted[np.isin(labels, values)] = both + draws.normal(0, SIDES)
    return wanted


def change(labels: np.ndarray, draws: np.random.Generator) -> np.ndarray:
    """Change a label map, each voxel by the nearest label."""
    box = tuple(
        slice(max(part.start - MARGIN, 0), part.stop + MARGIN) for part in bounding_box(labels > 0)
    )
    part = labels[box]
    velocity = torch.from_numpy(growth_velocity(draw_changes(part, draws))).float()
    back = exponential(-velocity).numpy()
    places = [
        (at + shift).round().astype(int).clip(0, size - 1)
        for at, shift, size in zip(np.indices(part.shape), back, part.shape, strict=True)
    ]
    changed = labels.copy()
    changed[box] = part[tuple(places)]
    return changed


def main() -> None:
    """Write the changed label maps."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('maps', type=Path)
    parser.add_argument('folder', type=Path)
    parser.add_argument('--copies', type=int, default=2)
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    for number, path in enumerate(sorted(options.maps.glob('*.nii*'))):
        voxels, grid = load_volume(path)
        labels = voxels.astype(np.int16)
        for copy in range(1, options.copies + 1):
            target = options.folder / path.name.replace('.nii', f'_changed-{copy}.nii')
            if not target.exists():
                draws = np.random.default_rng([number, copy])
                save_volume(target, change(labels, draws), grid)
            print(target.name, flush=True)


if __name__ == '__main__':
    main()
