"""The transform of a scan to the reference: none is needed, one is known, or greedy finds it."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path

import numpy as np

from bids_synthsr.dataset.images import load_rigid, load_volume
from bids_synthsr.registration.fit import Comparison, Fit
from bids_synthsr.registration.greedy import align

LOGGER = logging.getLogger('bids_synthsr')
OF_REFERENCE = 'It is the reference.'
GIVEN = 'Its transform was given by {}. {}'


def align_scan(
    reference: Path, scan: Path, name: str, known: Path | None = None
) -> tuple[np.ndarray, Fit]:
    """Find the rigid transform from a scan to the reference, and how well it fits.

    The reference itself stays where it is. A transform that is known already is used if it fits.

    Parameters
    ----------
    reference, scan
        Files of the scan that stays and of the scan that is moved.
    name
        What messages call the scan, such as ``run-2_FLAIR``.
    known
        File of the transform, where an earlier run has found one (ITK text).

    Returns
    -------
    scan2ref, fit
        The transform, ``(4, 4)`` RAS+ mm, and how well it fits.
    """
    comparison = Comparison(*load_volume(reference), *load_volume(scan))
    if reference == scan:
        scan2ref = np.eye(4)
        return scan2ref, replace(comparison.judge(scan2ref), status='good', reason=OF_REFERENCE)
    alignment = _read_known(comparison, known, name) if known else None
    return alignment or align(comparison, reference, scan)


def _read_known(comparison: Comparison, known: Path, name: str) -> tuple[np.ndarray, Fit] | None:
    """Read a known transform and judge it; None, with a warning, where it is not a good one."""
    try:
        scan2ref = load_rigid(known)
    except ValueError as error:
        LOGGER.warning('%s; %s is aligned anew', error, name)
        return None
    fit = comparison.judge(scan2ref)
    if fit.status != 'good':
        LOGGER.warning('%s does not fit; %s is aligned anew', known, name)
        return None
    return scan2ref, replace(fit, reason=GIVEN.format(known, fit.reason), is_given=True)
