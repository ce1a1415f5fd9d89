"""Rigid alignment by greedy, checked."""

from __future__ import annotations

import ctypes
import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from itertools import compress
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from nipype.interfaces.base import (
    BaseInterfaceInputSpec,
    File,
    InputMultiObject,
    OutputMultiObject,
    SimpleInterface,
    TraitedSpec,
    traits,
)

if TYPE_CHECKING:
    import numpy as np

    from bids_synthsr.registration.fit import Comparison, Fit
    from bids_synthsr.values.grid import Grid

LOGGER = logging.getLogger('bids_synthsr')
SCAN_FIELDS = ('scans', 'contrasts', 'acquisitions', 'names')
# the next where a fit is poor; last the best of 300 random poses (sd 15 degrees and 30 mm)
STARTS = ('-ia-image-centers', '-ia-identity', '-ia-image-centers -search 300 15 30')
COARSE_MM = 2.0
COARSE_ITERATIONS, FINE_ITERATIONS = '100x40', '10'  # per level, coarsest first
AFFINE_ITERATIONS = '100x100'
SEED = 1  # greedy samples at random points; 0 would mean other points in every run
OF_REFERENCE = 'It is the reference.'
GIVEN = 'Its transform was given by {}. {}'


class _AlignScanInputSpec(BaseInterfaceInputSpec):
    reference = File(exists=True, mandatory=True, desc='scan that stays')
    scan = File(exists=True, mandatory=True, desc='scan that is moved')
    name = traits.Str(mandatory=True, desc='of the scan')
    reference_name = traits.Str(desc='of the reference')
    given = traits.Dict(usedefault=True, desc='transforms that are known already')


class _AlignScanOutputSpec(TraitedSpec):
    scan2ref = File(desc='rigid transform, ITK text')
    fit = traits.Dict(desc='name of the scan and how well it fits')


class AlignScan(SimpleInterface):
    """Align a scan to the reference, from another start where the fit is poor.

    The reference itself stays where it is, and a transform that is given is used if it fits. One
    thread and a fixed seed: the result depends on nothing but the scans.
    """

    input_spec = _AlignScanInputSpec
    output_spec = _AlignScanOutputSpec

    def _run_interface(self, runtime):  # type: ignore[no-untyped-def]
        import numpy as np

        from bids_synthsr.dataset.images import load_volume, save_rigid
        from bids_synthsr.registration.fit import Comparison

        reference, scan = Path(self.inputs.reference), Path(self.inputs.scan)
        comparison = Comparison(*load_volume(reference), *load_volume(scan))
        if reference == scan:
            scan2ref = np.eye(4)
            fit = replace(comparison.judge(scan2ref), status='good', reason=OF_REFERENCE)
        else:
            scan2ref, fit = self._given(comparison) or align(comparison, reference, scan)
        path = save_rigid(Path(runtime.cwd) / 'scan2ref.txt', scan2ref)
        self._results['scan2ref'] = str(path)
        self._results['fit'] = {'name': self.inputs.name, **asdict(fit)}
        return runtime

    def _given(self, comparison: Comparison) -> tuple[np.ndarray, Fit] | None:
        """Give the transform that is known already, and its fit; None without a good one."""
        from bids_synthsr.dataset.images import load_rigid

        known = self.inputs.given.get(self.inputs.name)
        if not known or known['reference'] != self.inputs.reference_name:
            return None
        try:
            scan2ref = load_rigid(Path(known['file']))
        except ValueError as error:
            LOGGER.warning('%s; %s is aligned anew', error, self.inputs.name)
            return None
        fit = comparison.judge(scan2ref)
        if fit.status != 'good':
            LOGGER.warning('%s does not fit; %s is aligned anew', known['file'], self.inputs.name)
            return None
        return scan2ref, replace(fit, reason=GIVEN.format(known['file'], fit.reason))


def align(comparison: Comparison, reference: Path, scan: Path) -> tuple[np.ndarray, Fit]:
    """Align a scan from each start until one fits; return the best transform and its fit."""
    found = []
    for start in STARTS:
        scan2ref = run_greedy(reference, scan, start)
        found.append((scan2ref, comparison.judge(scan2ref)))
        if found[-1][1].status == 'good':
            break
    return max(found, key=lambda made: made[1].peak)


def run_greedy(reference: Path, scan: Path, start: str) -> np.ndarray:
    """Find the rigid transform from ``scan`` to ``reference`` by normalised mutual information.

    First on isotropic voxels, on which thick slices do not lead astray, then on the scans' own.
    Intermediate files and what greedy prints stay in the current folder, by relative names, since
    greedy takes its command line apart at spaces.

    Parameters
    ----------
    start
        Option of greedy that says where to begin.
    """
    import numpy as np

    from bids_synthsr.dataset.images import load_volume, save_volume
    from bids_synthsr.registration.fit import clipped, sampled

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
    template: tuple[np.ndarray, Grid], head: tuple[np.ndarray, Grid], mask: np.ndarray
) -> np.ndarray:
    """Find the affine transform from a template to a head of the same contrast, ``(4, 4)``.

    By local correlation inside ``mask``, which lies on the grid of the template.
    """
    import numpy as np

    from bids_synthsr.dataset.images import save_volume
    from bids_synthsr.registration.fit import sampled

    voxels, grid = template
    save_volume(Path('template.nii'), voxels, grid)
    save_volume(Path('mask.nii'), mask, grid)
    save_volume(Path('head.nii'), *sampled(*head, COARSE_MM))
    _execute(
        f'-dof 12 -m NCC 4x4x4 -ia-image-centers -n {AFFINE_ITERATIONS} '
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


class _KeepAlignedInputSpec(BaseInterfaceInputSpec):
    scans = InputMultiObject(File(exists=True), mandatory=True, desc='scans, reference first')
    contrasts = traits.List(traits.Str, mandatory=True, desc='their BIDS suffixes')
    acquisitions = traits.List(traits.Dict, mandatory=True, desc='fields of their Acquisition')
    names = traits.List(traits.Str, mandatory=True, desc='what tells them apart')
    scan2ref = InputMultiObject(File(exists=True), mandatory=True, desc='their transforms')
    fits = traits.List(traits.Dict, mandatory=True, desc='how well each fits')


class _KeepAlignedOutputSpec(TraitedSpec):
    scans = OutputMultiObject(File, desc='scans that fit')
    contrasts = traits.List(traits.Str, desc='their BIDS suffixes')
    acquisitions = traits.List(traits.Dict, desc='fields of their Acquisition')
    names = traits.List(traits.Str, desc='what tells them apart')
    scan2ref = OutputMultiObject(File, desc='their transforms')


class KeepAligned(SimpleInterface):
    """Leave out the scans that could not be aligned."""

    input_spec = _KeepAlignedInputSpec
    output_spec = _KeepAlignedOutputSpec

    def _run_interface(self, runtime):  # type: ignore[no-untyped-def]
        is_kept = [fit['status'] == 'good' for fit in self.inputs.fits]
        for field in (*SCAN_FIELDS, 'scan2ref'):
            self._results[field] = list(compress(getattr(self.inputs, field), is_kept))
        return runtime
