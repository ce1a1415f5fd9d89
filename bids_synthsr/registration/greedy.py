"""Transforms that greedy finds between two images."""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

import numpy as np

from bids_synthsr.dataset.images import load_volume, save_volume
from bids_synthsr.registration.fit import Comparison, Fit, clipped, sampled
from bids_synthsr.values.grid import Grid

# the next where a fit is poor; last the best of 300 random poses (sd 15 degrees and 30 mm)
STARTS = ('-ia-image-centers', '-ia-identity', '-ia-image-centers -search 300 15 30')
COARSE_MM = 2.0
COARSE_ITERATIONS, FINE_ITERATIONS = '100x15', '10'  # per level, coarsest first
AFFINE_ITERATIONS = '100x100'
SEED = 1  # greedy samples at random points; 0 would mean other points in every run


def align(comparison: Comparison, reference: Path, scan: Path) -> tuple[np.ndarray, Fit]:
    """Align a scan from each start until one fits.

    Parameters
    ----------
    comparison
        The two scans, prepared to compare alignments of them.
    reference, scan
        Files of the scan that stays and of the scan that is moved.

    Returns
    -------
    scan2ref, fit
        The best transform, ``(4, 4)`` RAS+ mm, and how well it fits.
    """
    attempts = []
    for start in STARTS:
        scan2ref = run_greedy(reference, scan, start)
        attempts.append((scan2ref, comparison.judge(scan2ref)))
        if attempts[-1][1].status == 'good':
            break
    return max(attempts, key=lambda attempt: attempt[1].peak)


def run_greedy(reference: Path, scan: Path, start: str) -> np.ndarray:
    """Find the rigid transform from ``scan`` to ``reference`` by normalised mutual information.

    First on isotropic voxels, on which thick slices do not lead astray, then on the scans' own.
    Intermediate files and what greedy prints stay in the current folder, by relative names, since
    greedy takes its command line apart at spaces.

    Parameters
    ----------
    reference, scan
        Files of the scan that stays and of the scan that is moved.
    start
        Option of greedy that says where to begin.

    Returns
    -------
    scan2ref
        ``(4, 4)`` rigid transform, RAS+ mm.
    """
    for name, file in (('fixed', reference), ('moving', scan)):
        voxels, grid = load_volume(file)
        save_volume(Path(f'{name}-coarse.nii'), *sampled(voxels, grid, COARSE_MM))
        save_volume(Path(f'{name}-own.nii'), clipped(voxels), grid)
    _execute(
        f'-dof 6 -m NMI {start} -n {COARSE_ITERATIONS} '
        '-i fixed-coarse.nii moving-coarse.nii -o rough.mat'
    )
    _execute(
        f'-dof 6 -m NMI -ia rough.mat -n {FINE_ITERATIONS} '
        '-i fixed-own.nii moving-own.nii -o fine.mat'
    )
    return np.linalg.inv(np.loadtxt('fine.mat'))


def run_affine(
    template: tuple[np.ndarray, Grid],
    head: tuple[np.ndarray, Grid],
    mask: np.ndarray,
    degrees_of_freedom: int = 12,
) -> np.ndarray:
    """Find the affine transform from a template to a head of the same contrast.

    By local correlation, at the voxels of the template; files stay in the current folder.

    Parameters
    ----------
    template, head
        Voxels ``(I, J, K)`` and grid of the template and of the head.
    mask
        Where they are compared, on the grid of the template.
    degrees_of_freedom
        12 for any affine transform, 6 for a rigid one.

    Returns
    -------
    template2head
        ``(4, 4)`` affine transform, RAS+ mm.
    """
    voxels, grid = template
    save_volume(Path('template.nii'), voxels, grid)
    save_volume(Path('mask.nii'), mask, grid)
    save_volume(Path('head.nii'), *sampled(*head, COARSE_MM))
    _execute(
        f'-dof {degrees_of_freedom} -m NCC 4x4x4 -ia-image-centers -n {AFFINE_ITERATIONS} '
        '-i template.nii head.nii -gm mask.nii -o affine.mat'
    )
    return np.loadtxt('affine.mat')


def _execute(arguments: str) -> None:
    """Run greedy; what it and the libraries inside it print goes to ``greedy.log``.

    It ends with "line search failed" at convergence, which is harmless.
    """
    from picsl_greedy import Greedy3D

    command = f'-d 3 -threads 1 -seed {SEED} -a {arguments}'
    with Path('greedy.log').open('a', encoding='utf-8') as log, _stdout_to(log):
        log.write(f'greedy {command}\n')
        Greedy3D().execute(command, out=log, err=log)


@contextmanager
def _stdout_to(log: TextIO) -> Iterator[None]:
    """Send what compiled code prints to a file: Python's own redirection does not reach it."""
    sys.stdout.flush()
    terminal = os.dup(1)
    os.dup2(log.fileno(), 1)
    try:
        yield
    finally:
        ctypes.CDLL(None).fflush(None)
        os.dup2(terminal, 1)
        os.close(terminal)
