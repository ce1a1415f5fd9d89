"""Thickness of the cortex without surfaces: how far white matter travels to its outside.

A smooth velocity field pushes white matter onto white matter and cortex together (DiReCT, Das et
al. 2009). A voxel of cortex then lies on the path of one point of the inner border, which passes
it and goes on to the outer one; the length of that path is the thickness there. So the banks of a
sulcus share what lies between them, also where no fluid is seen.

An experiment, which did not pass its gate (lab/thickness.md), so that the program has no such
option. ``python lab/thickness.py phantoms`` measures shells, a slab and a buried sulcus of known
thickness; ``python lab/thickness.py exam FOLDER`` the exam whose outputs lie in a folder ``anat``.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor
from torch.nn import functional

from bids_synthsr.dataset.images import load_volume
from bids_synthsr.imaging.displacements import exponential, lattice, pull, pull_at, smooth
from bids_synthsr.imaging.geometry import bounding_box
from bids_synthsr.values.structures import CSF, STRUCTURES

SMOOTH_MM = 1.5  # of the velocity
NEAR_VOX = 2  # around the cortex, where the velocity is not 0
LEAST_CORTEX = 0.05  # probability of cortex from which on a voxel counts as near
ROUGHNESS = 0.02  # weight of the squared gradient of the velocity
SIZE = 0.001  # weight of the squared velocity: opposite banks share what is between them
TOO_FAR = 0.1  # weight of displacements beyond the longest
LEARNING_RATE_MM = 0.3
SQUARINGS, PATH_SQUARINGS = 5, 3
INNER = 0.5  # probability at the border of white matter

ELSEWHERE = 'Cerebellum'  # in the names of what no cerebral cortex encloses
MIDLINE = ('3rd-Ventricle', 'WM-hypointensities')  # enclosed by whichever hemisphere is near
BESIDE_VOX = 2  # around what is labelled cortex, where some probability of it is left
SIDES = ('Left', 'Right')
SIDE = 48  # voxels of a phantom


@dataclass(frozen=True)
class ThicknessSettings:
    """How the thickness is measured.

    Parameters
    ----------
    iterations
        Steps of the descent.
    longest_mm
        Length of a displacement beyond which it is held back, mm.
    path_steps
        Parts of the way in which the arrival of the border is looked for.
    """

    iterations: int = 60
    longest_mm: float = 10.0
    path_steps: int = 10


DEFAULT = ThicknessSettings()


def measure_thickness(
    cortex: np.ndarray,
    white: np.ndarray,
    spacing_mm: float,
    settings: ThicknessSettings = DEFAULT,
) -> np.ndarray:
    """Measure the thickness of the cortex in each of its voxels.

    Parameters
    ----------
    cortex
        Probability of cortex, ``(I, J, K)``.
    white
        Probability of what the cortex lies around: white matter, and all that it encloses.
    spacing_mm
        Size of a voxel, the same along all axes, mm.
    settings
        How it is done.

    Returns
    -------
    thickness
        ``(I, J, K)`` float32, mm; NaN far from the cortex.

    Raises
    ------
    ValueError
        If there is no cortex, or nothing that it lies around.
    """
    if not (cortex > INNER).any() or not (white > INNER).any():
        raise ValueError(
            'There is no cortex, or no white matter, whose thickness could be measured: look at '
            'the segmentation'
        )
    margin = round(settings.longest_mm / spacing_mm)
    box = bounding_box(cortex > LEAST_CORTEX, margin)
    inside, around = (torch.from_numpy(np.ascontiguousarray(x[box])).float()[None]
                      for x in (white, cortex))  # fmt: skip
    velocity = _push(inside, around, spacing_mm, settings)
    thickness = np.full(cortex.shape, np.nan, np.float32)
    thickness[box] = (_path_lengths(inside, velocity, settings) * spacing_mm).numpy()
    thickness[cortex <= LEAST_CORTEX] = np.nan
    return thickness


def _push(white: Tensor, cortex: Tensor, spacing_mm: float, settings: ThicknessSettings) -> Tensor:
    """Find the velocity that carries white matter ``(1, i, j, k)`` to the outer border, voxels."""
    target = _between((white + cortex).clamp(0, 1))
    voxels = lattice(white.shape[1:], white)
    near = (_widened(cortex) > LEAST_CORTEX).float()
    change = white.new_zeros(3, *white.shape[1:]).requires_grad_()
    optimizer = torch.optim.Adam([change], lr=LEARNING_RATE_MM / spacing_mm, eps=1e-1)
    longest = settings.longest_mm / spacing_mm

    def current() -> Tensor:
        return smooth(change * near, SMOOTH_MM / spacing_mm)

    for _ in range(settings.iterations):
        velocity = current()
        displacement = exponential(velocity, SQUARINGS)
        too_far = (displacement.square().sum(0, keepdim=True) - longest**2).clamp(min=0) * near
        roughness = sum(velocity.diff(dim=axis).square().sum() for axis in (1, 2, 3))
        moved = pull_at(white, _between(voxels + displacement))
        misfit = (moved - target).square().sum()
        loss = (
            misfit
            + TOO_FAR * too_far.sum()
            + ROUGHNESS * roughness
            + SIZE * velocity.square().sum()
        )
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return current().detach()


def _between(values: Tensor) -> Tensor:
    """Average the eight voxels around each of their common corners, ``(C, i - 1, j - 1, k - 1)``.

    At voxels themselves the slope of what is interpolated would be that to the next one alone,
    and the field would drift there.
    """
    return functional.avg_pool3d(values[None], 2, 1)[0]


def _widened(image: Tensor) -> Tensor:
    """Take the largest of the voxels nearby, ``(1, i, j, k)``."""
    return functional.max_pool3d(image, 2 * NEAR_VOX + 1, 1, NEAR_VOX)


@torch.no_grad()
def _path_lengths(white: Tensor, velocity: Tensor, settings: ThicknessSettings) -> Tensor:
    """Measure the way from the inner border over each voxel to the outer one, ``(i, j, k)`` vox.

    The inner border comes to a voxel after a share of the whole time. Back from there it is as
    far to the inner border as the velocity carries in that share, and on to the outer one as it
    carries in the rest, against its sign.
    """
    steps = settings.path_steps
    arrival = _arrival(white, velocity / steps, steps)
    inward = _distance_after(velocity / steps, arrival, steps)
    return inward + _distance_after(-velocity / steps, 1 - arrival, steps)


def _arrival(white: Tensor, velocity: Tensor, steps: int) -> Tensor:
    """Share of the way after which the border of white matter passes each voxel, ``(i, j, k)``.

    It is linear between the steps; 0 within white matter, 1 where the border never comes.
    """
    step = exponential(velocity, PATH_SQUARINGS)
    way, before = torch.zeros_like(step), white[0]
    arrival = torch.where(before >= INNER, 0.0, 1.0)
    is_passed = before >= INNER
    for number in range(steps):
        way = way + pull(step, way)
        now = pull(white, way)[0]
        share = ((INNER - before) / (now - before).clamp(min=1e-6)).clamp(0, 1)
        passes = ~is_passed & (now >= INNER)
        arrival = torch.where(passes, (number + share) / steps, arrival)
        is_passed |= passes
        before = now
    return arrival


def _distance_after(velocity: Tensor, share: Tensor, steps: int) -> Tensor:
    """How far the velocity of a step carries each voxel in a share of all steps, ``(i, j, k)``."""
    step = exponential(velocity, PATH_SQUARINGS)
    number = share * steps
    way, reached = torch.zeros_like(step), torch.zeros_like(step)
    for before in range(steps):
        after = way + pull(step, way)
        part = (number - before).clamp(0, 1)
        reached = torch.where(number > before, way + (after - way) * part, reached)
        way = after
    return reached.norm(dim=0)


def cortex_of(
    side: str, labels: np.ndarray, grey: np.ndarray, white: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Find the cortex of a hemisphere and what it lies around.

    Parameters
    ----------
    side
        ``Left`` or ``Right``.
    labels
        Segmentation, ``(I, J, K)`` in FreeSurfer's numbers.
    grey, white
        Probabilities of grey and of white matter, ``(I, J, K)``.

    Returns
    -------
    cortex
        Probability of cortex, ``(I, J, K)`` float32: that of grey matter at the cortex, without
        what is labelled as another structure.
    inside
        Probability of white matter and of all else that the cortex encloses: nuclei, ventricles,
        hippocampus and amygdala.
    is_cortex
        Which voxels are labelled cortex, bool.
    """
    names = {index: structure.name for index, structure in STRUCTURES.items()}
    own = {index for index, name in names.items() if name.startswith(side)}
    at = {index: names[index] for index in own if ELSEWHERE not in names[index]}
    cortical = [index for index, name in at.items() if name.endswith('Cerebral-Cortex')]
    matter = [index for index, name in at.items() if name.endswith('Cerebral-White-Matter')]
    enclosed = [index for index in at if index not in (*cortical, *matter)]
    is_cortex = np.isin(labels, cortical)
    open_labels = [index for index in names if not STRUCTURES[index].is_brain]
    is_open = np.isin(labels, [*cortical, *matter, *open_labels, CSF])
    nearby = ndimage.binary_dilation(is_cortex, iterations=BESIDE_VOX) & is_open
    is_enclosed = np.isin(labels, enclosed)
    by_name = {name: index for index, name in names.items()}
    reach = ndimage.binary_dilation(np.isin(labels, matter) | is_enclosed, iterations=BESIDE_VOX)
    is_enclosed |= np.isin(labels, [by_name[name] for name in MIDLINE]) & reach
    cortex = np.where(nearby, grey, 0).astype(np.float32)
    inside = np.where(nearby | np.isin(labels, matter), white, 0).astype(np.float32)
    inside[is_enclosed] = 1
    return cortex, inside, is_cortex


def phantoms() -> Iterator[tuple[str, np.ndarray, np.ndarray, np.ndarray, np.ndarray]]:
    """Yield name, cortex, what it lies around, true thickness, and where it is compared."""
    x, y, z = np.meshgrid(*[np.arange(SIDE) - (SIDE - 1) / 2] * 3, indexing='ij')
    radius = np.sqrt(x**2 + y**2 + z**2)
    every = np.ones(radius.shape, bool)
    for mm in (2.0, 3.0, 4.0):
        inside = _soft(radius - 14)
        yield (
            f'shell of {mm:.0f} mm', _soft(radius - 14 - mm) - inside, inside,
            np.full_like(radius, mm), every,
        )  # fmt: skip
    true = 3 + z / radius.clip(1)
    inside = _soft(radius - 14)
    yield 'shell of 2 to 4 mm', _soft(radius - 14 - true) - inside, inside, true, every
    middle = (abs(y) < 14) & (abs(z) < 14)
    three = np.full_like(radius, 3.0)
    yield 'slab of 3 mm', _soft(x) - _soft(x + 3), _soft(x + 3), three, middle
    banks = _soft(3 - abs(x))
    yield 'buried sulcus, 3 mm each', 1 - banks, banks, three, middle


def _soft(distance: np.ndarray) -> np.ndarray:
    """Turn a signed distance in voxels into the share of a voxel that is inside."""
    return 1 / (1 + np.exp(distance / 0.35))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('what', choices=('phantoms', 'exam'))
    parser.add_argument('folder', nargs='?', type=Path, help='folder anat of the outputs')
    options = parser.parse_args()
    torch.set_num_threads(1)
    if options.what == 'phantoms':
        for name, cortex, inside, true, where in phantoms():
            begun = time.process_time()
            found = measure_thickness(cortex.clip(0, 1), inside, 1.0)
            where = where & (cortex > INNER)
            error = abs(found - true)[where].mean()
            print(
                f'{name}: true {true[where].mean():.2f}, measured {found[where].mean():.2f}, '
                f'mean error {error:.2f} mm, {time.process_time() - begun:.0f} CPU-s'
            )
        return
    labels, grey, white = (
        load_volume(next(options.folder.glob(pattern)))[0]
        for pattern in (
            '*_desc-anyexam_dseg.nii.gz',
            '*_label-GM_probseg.nii.gz',
            '*_label-WM_probseg.nii.gz',
        )
    )
    for side in SIDES:
        cortex, inside, is_cortex = cortex_of(side, labels, grey, white)
        values = measure_thickness(cortex, inside, 1.0)[is_cortex]
        spread = ', '.join(f'{x:.2f}' for x in np.nanpercentile(values, [5, 50, 95]))
        print(f'{side}: {is_cortex.sum()} voxels, mean {np.nanmean(values):.2f} mm ({spread})')


if __name__ == '__main__':
    main()
