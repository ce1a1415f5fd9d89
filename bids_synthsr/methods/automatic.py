"""The default: one T1w of every exam under one name, and the same files beside it.

The main volume is the T1w as it was acquired where its voxels are fine (`acquired`), and that
which a network makes of all scans of every other exam (`any_exam`). Mask, segmentations and
volumes are always of that network. A T1w of thick slices lies beside the main volume with its own
contrast: sharpened by a network (`sr_t1`), or joined where its planes cross (`total_variation`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import torch

from bids_synthsr.imaging.memory import give_back_memory
from bids_synthsr.methods import acquired, any_exam, sr_t1, total_variation
from bids_synthsr.methods.exam_size import ExamSize
from bids_synthsr.networks.exam_unet import TrainedExamUNet
from bids_synthsr.networks.loaded import LoadedNetwork
from bids_synthsr.networks.slice_unet import SliceUNet
from bids_synthsr.settings import LEAST_QUALITY
from bids_synthsr.values.exam import Acquisition, suffix_of
from bids_synthsr.values.grid import Grid
from bids_synthsr.values.method import (
    Image,
    MethodForecast,
    Observation,
    Origin,
    Product,
    Synthesis,
)

METHOD, DESC = 'auto', 'preproc'
CROSSING_PLANES = 2  # then total variation is better (lab/crossing.py)
ACROSS = 0.7  # cosine of the angle, some 45 degrees, from which on slices cross
FINE_T1W = 'The T1w was acquired with fine voxels: no network touched it.'


def synthesize(
    observations: Sequence[Observation],
    grid: Grid,
    *,
    trained: TrainedExamUNet,
    beside: LoadedNetwork[SliceUNet],
    low_mem: bool = False,
    least_quality: float = LEAST_QUALITY,
    sharpen_others: bool = False,
    precision: str = 'auto',
) -> Synthesis:
    """Make the T1w of an exam, with uncertainty, brain mask, segmentations and volumes.

    Parameters
    ----------
    observations
        Scans of the exam, the reference first; of any contrasts.
    grid
        The output grid: 1 mm, axes in RAS order.
    trained
        The network of `any_exam`, on the device that shall run it.
    beside
        The network of `sr_t1`, on the same device.
    low_mem, least_quality
        See `any_exam.synthesize`.
    sharpen_others
        Whether total variation makes a volume of each other contrast, too.
    precision
        See `predict`; ``auto`` is bfloat16 where 16 bits are faster.

    Raises
    ------
    ValueError
        Where no brain is found.
    """
    how: dict[str, Any] = {'low_mem': low_mem, 'precision': precision}
    made = any_exam.synthesize(
        observations, grid, trained=trained, least_quality=least_quality, **how
    )
    give_back_memory()  # or what follows takes its own on top
    by_name = {(image.suffix, image.desc): image.voxels for image in made.images}
    mask, labels = by_name['mask', 'brain'], by_name['dseg', any_exam.DESC]
    products = [_renamed(product) for product in made.products]
    fine, reason = find_fine_t1w(observations, grid, mask)
    if fine is not None:
        t1w, error, of_scan = acquired.prepare_t1w(
            observations[fine], grid, labels, mask, torch.get_num_threads()
        )
        origin = Origin(acquired.METHOD, of_scan, (fine,), is_acquired=True)
        products[:2] = [
            Image('T1w', DESC, t1w, grid, origin=origin),
            Image('uncertainty', DESC, error, grid, origin=origin),
        ]
    further = [*_sharpened(observations, grid, beside, how)]
    if sharpen_others:
        further.append(_others(observations, grid))
    beside_main = [image for part in further for image in part.images]
    facts: dict[str, Any] = {
        **made.facts,
        'method': METHOD,
        'main': any_exam.METHOD if fine is None else acquired.METHOD,
        'main_reason': reason,
        'beside': [image.desc for image in beside_main],
    }
    warnings = [*made.warnings, *(warning for part in further for warning in part.warnings)]
    return Synthesis((*products, *beside_main), facts, tuple(dict.fromkeys(warnings)))


def find_fine_t1w(
    observations: Sequence[Observation], grid: Grid, mask: np.ndarray
) -> tuple[int | None, str]:
    """Find the T1w that is taken as it was acquired, and say why, or why there is none.

    Parameters
    ----------
    observations
        Scans of the exam, the reference first.
    grid, mask
        Output grid, and where the brain is on it.

    Returns
    -------
    index, reason
        Which scan it is, None for none, and a sentence.
    """
    doubts = [
        acquired.find_difference(scan.contrast, acquired.coarsest_mm(scan.grid, scan.acquisition))
        or acquired.find_part(scan, grid, mask)
        for scan in observations
    ]
    index, reason = _choose_fine_t1w([scan.contrast for scan in observations], doubts)
    return index, reason or FINE_T1W


def describe_main(contrasts: Sequence[str], sizes_mm: Sequence[float]) -> str:
    """Describe which T1w would be the main one, as far as headers tell, in a sentence.

    Parameters
    ----------
    contrasts
        What the scans show, such as ``FLAIR``, the reference first.
    sizes_mm
        Coarsest axis of each scan, mm; see `acquired.coarsest_mm`.
    """
    doubts = [*map(acquired.find_difference, contrasts, sizes_mm)]
    index, reason = _choose_fine_t1w(contrasts, doubts)
    if index is None:
        return f'Predicted from all scans by a network. {reason}'
    return (
        f'As it was acquired, with {sizes_mm[index]:.3g} mm at most, if it shows all of the brain.'
    )


def _choose_fine_t1w(contrasts: Sequence[str], doubts: Sequence[str]) -> tuple[int | None, str]:
    """Choose the first scan without doubt; where there is none, say why."""
    if '' in doubts:
        return doubts.index(''), ''
    of_t1w = [
        doubt
        for contrast, doubt in zip(contrasts, doubts, strict=True)
        if suffix_of(contrast) == acquired.CONTRAST
    ]
    return None, ' '.join(of_t1w) or 'No T1w is used.'


def _renamed(product: Product) -> Product:
    """Give T1w and uncertainty the name that they have whichever way they were made."""
    is_main = product.suffix in ('T1w', 'uncertainty')
    return replace(product, desc=DESC) if is_main else product


def _sharpened(
    observations: Sequence[Observation],
    grid: Grid,
    beside: LoadedNetwork[SliceUNet],
    how: Mapping[str, Any],
) -> Iterator[Synthesis]:
    """Sharpen a T1w of thick slices with its own contrast, as what measured best for it."""
    scan = observations[0]
    method = method_beside(
        [x.contrast for x in observations],
        [x.acquisition for x in observations],
        [
            x.scan2ref[:3, :3] @ x.grid.directions[:, x.acquisition.slice_axis]
            for x in observations
        ],
        acquired.coarsest_mm(scan.grid, scan.acquisition),
    )
    if method == 'sr-t1':
        # its flip average takes as long again, for .02 to .05 dB (lab/benchmarks.md)
        sharpened = sr_t1.synthesize(observations, grid, trained=beside, flip=False, **how)
        yield _with_origin(sharpened, method, (0,))
    elif method == 'tv':
        of_one = [at for at, x in enumerate(observations) if x.contrast == scan.contrast]
        joined = total_variation.synthesize([observations[at] for at in of_one], grid)
        yield _with_origin(joined, method, of_one)


def _others(observations: Sequence[Observation], grid: Grid) -> Synthesis:
    """Sharpen all contrasts but a T1w of the reference, with the edges that all scans show."""
    made = total_variation.synthesize(observations, grid)
    others = made.images[suffix_of(observations[0].contrast) == acquired.CONTRAST :]
    return _with_origin(replace(made, products=tuple(others)), 'tv', range(len(observations)))


def _with_origin(made: Synthesis, method: str, used: Sequence[int]) -> Synthesis:
    """State with every image how it was made."""
    origin = Origin(method, made.facts, tuple(used))
    images: list[Image] = [replace(image, origin=origin) for image in made.images]
    return replace(made, products=tuple(images))


def forecast(size: ExamSize) -> MethodForecast:
    """Forecast memory and time of the network, and of what is made beside its T1w."""
    main = any_exam.forecast(size)
    normals = [grid.directions[:, slices.slice_axis] for grid, slices in size.geometries]
    coarsest = acquired.coarsest_mm(*size.geometries[0])
    method = method_beside(size.contrasts, size.acquisitions, normals, coarsest)
    parts = [main, *(x(size) for x in filter(None, [_FORECASTS.get(method)]))]
    memory_gb = max(part.memory_gb for part in parts)
    return MethodForecast(memory_gb, sum(part.cpu_s for part in parts) + acquired.CPU_S)


_FORECASTS: Mapping[str, Callable[[ExamSize], MethodForecast]] = {
    'sr-t1': partial(sr_t1.forecast, flip=False),
    'tv': total_variation.forecast,
}


def find_obstacle(
    contrasts: Sequence[str], acquisitions: Sequence[Acquisition], spacing_mm: float
) -> str:
    """Describe why an exam cannot be processed, in a sentence; empty if it can.

    Parameters
    ----------
    contrasts, acquisitions, spacing_mm
        See `any_exam.find_obstacle`.
    """
    return any_exam.find_obstacle(contrasts, acquisitions, spacing_mm)


def method_beside(
    contrasts: Sequence[str],
    acquisitions: Sequence[Acquisition],
    normals: Sequence[np.ndarray],
    coarsest_mm: float,
) -> str:
    """Name the method that sharpens the reference with its own contrast; empty for none.

    Parameters
    ----------
    contrasts, acquisitions
        What the scans show, and their slices, the reference first.
    normals
        Direction across the slices of each, ``(3,)``, in one frame.
    coarsest_mm
        Coarsest axis of the reference, mm.
    """
    is_fine = round(coarsest_mm, 2) <= acquired.COARSEST_MM
    if suffix_of(contrasts[0]) != acquired.CONTRAST or is_fine:
        return ''
    is_for_tv = crosses(contrasts, normals) or sr_t1.find_doubt(acquisitions[0])
    return 'tv' if is_for_tv else 'sr-t1'


def crosses(contrasts: Sequence[str], normals: Sequence[np.ndarray]) -> bool:
    """Whether slices of the reference's contrast lie in several planes.

    Then all of them together hold more than a network can add to one of them.

    Parameters
    ----------
    contrasts, normals
        See `method_beside`.
    """
    planes: list[np.ndarray] = []
    for contrast, normal in zip(contrasts, normals, strict=True):
        if contrast == contrasts[0] and all(abs(normal @ plane) < ACROSS for plane in planes):
            planes.append(normal)
    return len(planes) >= CROSSING_PLANES
