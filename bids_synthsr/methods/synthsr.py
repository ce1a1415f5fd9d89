"""The published SynthSR networks, run as their authors' commands run them.

The general network takes one scan of any contrast (Iglesias et al. 2021, and Science Advances
2023), the two-channel one a T1w and a T2w of a portable low-field scanner (Iglesias et al.,
Radiology 2022). Intensities and grid are those that ``predict_command_line.py`` and
``predict_command_line_hyperfine.py`` of SynthSR write, so that studies stay comparable.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import numpy as np
import torch
from scipy.ndimage import affine_transform, gaussian_filter

from bids_synthsr.imaging.geometry import in_ras_order, vox2vox, voxels_in_ras_order
from bids_synthsr.imaging.inference import Inference, Tiling, predict
from bids_synthsr.imaging.intensity import intensity_range, rescale
from bids_synthsr.methods.exam_size import TORCH_GB, ExamSize
from bids_synthsr.networks.loaded import LoadedNetwork
from bids_synthsr.networks.unet import UNet
from bids_synthsr.values.exam import Acquisition, suffix_of
from bids_synthsr.values.grid import Grid
from bids_synthsr.values.method import Image, MethodForecast, Observation, Synthesis

MULTIPLE = 32  # of the sides that the network gets: 16 would do, but the zeros around a scan count
BRAIN_HU = (0, 80)  # what is kept of CT
NETWORK_MM = 1.0  # voxels of the output that it makes
UNIT = 255  # intensity that the general network calls 1
BRIGHTEST = 128  # intensity at which its volumes are cut
SWOOP_MM = np.array((1.5, 1.5, 5))  # voxels that the two-channel network was trained for
MAX_VOXELS = 256**3  # at once: 3.4 GB in 16 bits, 6.3 in float32 (benchmarks/speed/networks.py)
LOW_MEM_VOXELS = 224**3  # where memory is short, 2.4 GB: the least that the margin allows

Run = Callable[..., Inference]


def synthesize(
    observations: Sequence[Observation],
    grid: Grid,
    *,
    trained: LoadedNetwork[UNet],
    low_mem: bool = False,
    ct: bool = False,
    flip: bool = True,
    precision: str = 'float32',
) -> Synthesis:
    """Make a 1 mm T1w volume of the scan or scans that the network takes.

    A network of one input channel gets the reference, one of two the first T1w and the first T2w.

    Parameters
    ----------
    observations
        The exam, reference first.
    grid
        Output grid of the exam. The volume lies on the authors' own 1 mm grid all the same; a
        warning states where the two differ.
    trained
        The network with its weights, on the device that shall run it.
    low_mem
        Whether smaller volumes, too, go through the network in tiles, with the same result.
    ct
        Whether the scan is CT in Hounsfield units.
    flip
        Whether the general network's result is averaged with that of the flipped scan.
    precision
        See `predict`; in 32 bits the published numbers come out.
    """
    max_voxels = LOW_MEM_VOXELS if low_mem else MAX_VOXELS
    run = partial(_run, trained.network, precision=precision, max_voxels=max_voxels)
    is_general = trained.network.in_channels == 1
    index = (0,) if is_general else find_pair(observations, ct)
    scans = [observations[number] for number in index]
    if is_general:
        reason = 'the general network takes one scan: the reference'
        voxels, grid_1mm, inference = run_general(scans[0], run, ct=ct, flip=flip)
    else:
        reason = 'the network takes a T1w and a T2w'
        voxels, grid_1mm, inference = run_pair(scans[0], scans[1], run)
    facts = {
        'scans': [observation.contrast for observation in scans],
        'scans_reason': reason,
        'ct': ct,
        'flip_averaging': flip and len(scans) == 1,
        **inference.facts,
        **trained.file,
    }
    doubts = (*_doubts(scans, grid_1mm, grid), *inference.doubts)
    return Synthesis((Image('T1w', 'synthsr', voxels, grid_1mm),), facts, doubts, index)


def forecast(size: ExamSize) -> MethodForecast:
    """Forecast memory and time from the size of the output."""
    out = size.output_millions
    return MethodForecast(TORCH_GB + (0.26 if size.in_16_bits else 0.72) * out, 2.5 * out)


def find_obstacle(
    contrasts: Sequence[str],  # noqa: ARG001
    acquisitions: Sequence[Acquisition],  # noqa: ARG001
    spacing_mm: float,
) -> str:
    """Describe why the general network cannot process an exam, in a sentence; empty if it can.

    Parameters
    ----------
    contrasts, acquisitions
        BIDS suffixes and slices of the scans; the general network takes all.
    spacing_mm
        Voxel size of the output, mm.
    """
    if abs(spacing_mm - NETWORK_MM) > 0.01:
        return f'The network makes voxels of {NETWORK_MM:g} mm only.'
    return ''


def _run(
    network: UNet, channels: np.ndarray, *, flip: bool, precision: str, max_voxels: int
) -> Inference:
    """Predict ``(1, 1, I, J, K)`` from channels ``(C, I, J, K)``."""
    return predict(
        network,
        torch.from_numpy(channels)[None],
        multiple=MULTIPLE,
        flip=flip,
        precision=precision,
        tiling=Tiling(max_voxels, network.margin),
    )


def run_general(
    scan: Observation, run: Run, *, ct: bool, flip: bool
) -> tuple[np.ndarray, Grid, Inference]:
    """Apply the general network: intensities from 0 to 128."""
    voxels = scan.voxels.clip(*BRAIN_HU) if ct else scan.voxels
    image, grid_1mm = resample_1mm(voxels, scan.grid)
    inference = run(rescale(image)[None], flip=flip)
    voxels = (UNIT * inference.output[0, 0].numpy()).clip(0, BRIGHTEST)
    return voxels, moved(grid_1mm, scan.scan2ref), inference


def run_pair(t1w: Observation, t2w: Observation, run: Run) -> tuple[np.ndarray, Grid, Inference]:
    """Apply the two-channel network, which adds to the T1w: intensities in units of the T1w."""
    image, grid_1mm = resample_1mm(t1w.voxels, t1w.grid)
    t1w2t2w = np.linalg.inv(t2w.scan2ref) @ t1w.scan2ref
    other = affine_transform(
        t2w.voxels, vox2vox(grid_1mm, t2w.grid, t1w2t2w), output_shape=grid_1mm.shape, order=1
    )
    low, high = intensity_range(image)
    first, second = rescale(image, 3), rescale(other, 2)  # the factors are those of its training
    inference = run(np.stack([first, second]), flip=False)
    voxels = low + (high - low) / 3 * (inference.output[0, 0].numpy() + first)
    return voxels.clip(min=0).astype(np.float32), moved(grid_1mm, t1w.scan2ref), inference


def find_pair(observations: Sequence[Observation], ct: bool) -> tuple[int, ...]:
    """Find the first T1w and the first T2w of an exam, by their indices."""
    if ct:
        raise ValueError('The two-channel network takes MRI only; CT needs the general network')
    contrasts = [observation.contrast for observation in observations]
    pair = tuple(_first_of(suffix, contrasts) for suffix in ('T1w', 'T2w'))
    if not all(pair):
        raise ValueError(
            f'The two-channel network takes a T1w and a T2w, the exam has {", ".join(contrasts)}; '
            'give the weights of the general network'
        )
    return tuple(map(contrasts.index, pair))


def _first_of(suffix: str, contrasts: Sequence[str]) -> str:
    """Choose the plain contrast of a suffix, else its first, as with an agent; empty for none."""
    some = [contrast for contrast in contrasts if suffix_of(contrast) == suffix]
    return suffix if suffix in some else next(iter(some), '')


def resample_1mm(voxels: np.ndarray, grid: Grid) -> tuple[np.ndarray, Grid]:
    """Interpolate linearly to 1 mm along the scan's own axes, then put these in R, A, S order.

    Axes of 1 mm and less are smoothed by 0.25 mm (sd). The outer face of the first voxel stays;
    how many voxels follow depends on rounding, and is computed as the authors' code does: 15
    slices of 4.2 mm, a number that float32 stores as 4.1999998 or 4.2000003, make 63 or 64.

    Returns
    -------
    image, grid
        float32, and where it lies.
    """
    zoom = grid.spacing
    image = gaussian_filter(voxels.astype(np.float32), np.where(zoom > 1, 0, 0.25 / zoom))
    for axis, (size, factor) in enumerate(zip(voxels.shape, zoom, strict=True)):
        start, step = -(factor - 1) / (2 * factor), 1 / factor
        positions = np.arange(start, start + step * np.ceil(size * factor), step)
        image = interpolate_axis(image, positions.clip(0, size - 1), axis)
    vox2ras = grid.vox2ras.copy()
    vox2ras[:3, :3] /= zoom
    vox2ras[:3, 3] -= vox2ras[:3, :3] @ (0.5 * (zoom - 1))
    i, j, k = image.shape
    grid_1mm = Grid((i, j, k), vox2ras)
    return np.ascontiguousarray(voxels_in_ras_order(image, grid_1mm)), in_ras_order(grid_1mm)


def interpolate_axis(voxels: np.ndarray, positions: np.ndarray, axis: int) -> np.ndarray:
    """Interpolate linearly along one axis at ``positions`` from 0 to its last index."""
    below = np.floor(positions).astype(int)
    above = np.minimum(below + 1, voxels.shape[axis] - 1)
    weight = np.expand_dims(positions - below, tuple({0, 1, 2} - {axis})).astype(voxels.dtype)
    return voxels.take(below, axis) * (1 - weight) + voxels.take(above, axis) * weight


def moved(grid: Grid, scan2ref: np.ndarray) -> Grid:
    """Carry a grid from a scan's RAS+ mm to the reference's."""
    return Grid(grid.shape, scan2ref @ grid.vox2ras)


def _doubts(scans: Sequence[Observation], grid_1mm: Grid, grid: Grid) -> tuple[str, ...]:
    """List what a reader of the result should know."""
    doubts = []
    if not _covers_the_same(grid_1mm, grid):
        doubts.append(
            'The volume lies on the 1 mm grid of the published command, not on the output grid '
            'that was asked for.'
        )
    sizes = np.array([scan.grid.spacing for scan in scans])
    if len(scans) == 2 and not np.allclose(np.sort(sizes, axis=1), SWOOP_MM, rtol=0.2):
        voxels = ' and '.join(' x '.join(f'{size:.1f}' for size in scan) for scan in sizes)
        doubts.append(
            'The two-channel network was trained for scans of 1.5 x 1.5 x 5 mm; these have '
            f'{voxels} mm.'
        )
    return tuple(doubts)


def _covers_the_same(grid_1mm: Grid, grid: Grid) -> bool:
    """Whether two grids differ by rounding of their size at most."""
    is_parallel = np.allclose(grid_1mm.vox2ras[:3, :3], grid.vox2ras[:3, :3], atol=1e-3)
    return is_parallel and np.allclose(grid_1mm.shape, grid.shape, rtol=0, atol=1)
