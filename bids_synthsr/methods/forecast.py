"""What an exam will take, told from the headers of its scans.

Each formula is what the arrays of a step are known to take, with a constant for what the process
holds anyway; the constants are fitted to measured runs (benchmarks/speed/forecast.py).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from bids_synthsr.imaging.geometry import output_grid, union_grid
from bids_synthsr.methods.choice import Geometry, find_obstacle
from bids_synthsr.values.forecast import Forecast
from bids_synthsr.values.grid import Grid

IDLE_GB = 0.35  # a process with its libraries
TORCH_GB = 0.45  # one in which PyTorch has run
REACH_FWHM = 3.0  # how far the profile of a slice reaches, both sides together


def forecast(
    contrasts: Sequence[str],
    geometries: Sequence[Geometry],
    *,
    method: str,
    mm: float = 1.0,
    fov: str = 'reference',
    num_threads: int = 1,
    in_16_bits: bool = True,
) -> Forecast:
    """Tell what an exam will take on a CPU.

    Parameters
    ----------
    contrasts, geometries
        Of the scans that are to be used, the reference's first.
    method
        One of `bids_synthsr.settings.METHODS`.
    mm, fov
        Voxels and field of view of the output.
    num_threads
        Of the method.
    in_16_bits
        Whether networks compute in 16 bits, or in 32: that takes up to three times as much, but
        for synthsr, whose probabilities take most.
    """
    out = millions(_grid_of(geometries, mm, fov))
    own = [millions(grid) for grid, _ in geometries]
    largest, others = max(own), own[1:]
    if method == 'auto':
        method = 'tv' if find_obstacle(contrasts[0], geometries[0][1], mm) else 'sr-t1'
    memory = {
        'tv': _variation_gb(contrasts, geometries, mm, out, num_threads),
        'sr-t1': TORCH_GB + (0.41 if in_16_bits else 0.6) * out,
        'synthsr': TORCH_GB + 3.5 + 0.08 * out,
        'published': TORCH_GB + (0.26 if in_16_bits else 0.72) * out,
        'cubic': IDLE_GB + 0.03 * out + 0.012 * own[0],
    }
    seconds = {
        'tv': 7.0 * out * len(set(contrasts)),
        'sr-t1': 4.0 * out,
        'synthsr': (5 + 15 * len(own)) * (1 if in_16_bits else 2),
        'published': 2.5 * out,
        'cubic': 0.5 * out,
    }
    aligning = [7.0 + 0.6 * scan for scan in others]
    return Forecast(
        select_gb=IDLE_GB + 0.006 * largest,
        align_gb=IDLE_GB + 0.02 * (own[0] + max(others, default=0.0)),
        # scans other than the reference lie across the output grid, which takes more
        resample_gb=IDLE_GB + (0.045 if others else 0.029) * out + 0.012 * largest,
        synthesize_gb=memory[method],
        outputs_gb=IDLE_GB + 0.1 + (0.055 if others else 0.018) * out + 0.011 * largest,
        cpu_s=seconds[method] + sum(aligning) + 8 + 0.4 * out * len(own),
    )


def _grid_of(geometries: Sequence[Geometry], mm: float, fov: str) -> Grid:
    """Give the output grid, the scans lying as their headers say."""
    grids = [grid for grid, _ in geometries]
    grid = output_grid(grids[0], mm)
    return union_grid(grid, [(own, np.eye(4)) for own in grids]) if fov == 'union' else grid


def _variation_gb(
    contrasts: Sequence[str],
    geometries: Sequence[Geometry],
    mm: float,
    out: float,
    num_threads: int,
) -> float:
    """Memory of total variation: arrays of the output's size, and a sampler for every scan."""
    channels = len(set(contrasts))
    at_work = min(num_threads, channels)
    arrays = 9 * channels + 1.25 * len(contrasts) + 12 * at_work
    points = [
        sampling_points(geometry, mm) for geometry in geometries[1:]
    ]  # none for the reference
    samplers = [64e-3 * count for count in points]  # eight voxels and weights a point
    joining = samplers[-1] if samplers else 0.0  # of the last one's slabs, before there are arrays
    return TORCH_GB + sum(samplers) + max(4e-3 * arrays * out, joining)


def sampling_points(geometry: Geometry, mm: float) -> float:
    """Millions of points at which the output is looked up to simulate a scan."""
    grid, acquisition = geometry
    extent = np.asarray(grid.shape) * grid.spacing
    extent[acquisition.slice_axis] += REACH_FWHM * acquisition.slice_thickness
    return float(np.prod(extent / mm) / 1e6)


def millions(grid: Grid) -> float:
    """Count the voxels of a grid, in millions."""
    return float(np.prod(grid.shape, dtype=float)) / 1e6
