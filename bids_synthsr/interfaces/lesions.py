"""Lesions of the scans of an exam: filled before a method gets them, or kept after it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nipype.interfaces.base import File, OutputMultiObject, traits

from bids_synthsr.interfaces.methods import ScanFields, load_observations
from bids_synthsr.interfaces.step import InputFields, OutputFields, Results, Step

if TYPE_CHECKING:
    import numpy as np

    from bids_synthsr.values.grid import Grid
    from bids_synthsr.values.method import Observation

MASS_ML = 5.0  # of one lesion: a mass of 7 ml was filled badly (lab/lesions.md)


class FillLesions(Step):
    """Fill what lesion masks mark in every scan, by what all scans show around it."""

    class Inputs(ScanFields):
        """Aligned scans and lesion masks."""

        masks = traits.List(traits.Dict, desc='file, name and sha256 of each lesion mask')

    class Outputs(OutputFields):
        """The same scans, filled, and what was done."""

        scans = OutputMultiObject(File, desc='scans without lesions, reference first')
        lesions = traits.Dict(desc='what the sidecars state of the lesions')
        warnings = traits.List(traits.Str, desc='what a reader must know')

    def make(self, inputs: Any, folder: Path) -> Results:
        """Fill the lesions; scans in which none is marked stay as they are."""
        from bids_synthsr.dataset.images import save_volume
        from bids_synthsr.dataset.lesion_masks import NO_MASK
        from bids_synthsr.imaging.filling import fill_lesions

        if not inputs.masks:
            return {'scans': inputs.scans, 'lesions': {}, 'warnings': [NO_MASK]}
        observations = load_observations(inputs)
        names = inputs.names or inputs.contrasts
        marked = _mark_lesions(inputs.masks, observations, names)
        lesions, scans = marked.on_scans, list(inputs.scans)
        for index, voxels in enumerate(fill_lesions(observations, lesions)):
            if lesions[index].any():
                file = folder / f'filled-{Path(scans[index]).name}'
                scans[index] = save_volume(file, voxels, observations[index].grid)
        volumes_ml = {
            name: round(float(part.sum() * scan.grid.voxel_volume / 1000), 2)
            for name, part, scan in zip(names, lesions, observations, strict=True)
            if part.any()
        }
        filled, masks = [*volumes_ml], [mask['name'] for mask in inputs.masks]
        facts = {'Done': 'filled', 'Scans': filled, 'Masks': masks, 'VolumesMl': volumes_ml}
        warning = (
            f'Lesions of {max(volumes_ml.values()):g} ml were filled in {", ".join(filled)} '
            f'before all else, by {", ".join(masks)}: the volumes show healthy tissue there, '
            'which is invented.'
        )
        warnings = [warning, *marked.doubts, *describe_masses(marked.largest_ml)]
        return {'scans': scans, 'lesions': facts, 'warnings': warnings}


def describe_masses(largest_ml: float) -> list[str]:
    """Say in a sentence that a lesion is larger than those that were filled well; empty if not.

    Parameters
    ----------
    largest_ml
        Volume of the largest lesion in one piece, ml.
    """
    if largest_ml <= MASS_ML:
        return []
    sentence = (
        f'One of the lesions has {largest_ml:.0f} ml: in masses, above all at the surface of the '
        'brain, bone and CSF may have grown. Look at it, or take its mask out.'
    )
    return [sentence]


@dataclass(frozen=True, eq=False)
class MarkedLesions:
    """What the lesion masks of an exam mark.

    Parameters
    ----------
    on_scans
        What is lesion in each scan, ``(I, J, K)`` bool on its own grid.
    on_output
        ``(I, J, K)`` bool on the output grid; on that of the reference where none was given.
    largest_ml
        Volume of the largest lesion in one piece, ml.
    doubts
        What a reader must know, a sentence each.
    """

    on_scans: list[np.ndarray]
    on_output: np.ndarray
    largest_ml: float
    doubts: list[str]


def _mark_lesions(
    masks: list[dict[str, str]],
    observations: list[Observation],
    names: list[str],
    output: Grid | None = None,
) -> MarkedLesions:
    """Mark what any mask marks on each scan, and on an output grid in the reference's space.

    Raises
    ------
    FailedExamError
        If a mask cannot be one of lesions of these scans.
    """
    import numpy as np
    from scipy import ndimage

    from bids_synthsr.dataset.errors import FailedExamError
    from bids_synthsr.dataset.files import sha256
    from bids_synthsr.dataset.lesion_masks import find_frame, load_lesion_mask
    from bids_synthsr.imaging.filling import find_lesion_fault, mark_lesion

    grids = [scan.grid for scan in observations]
    lesions, largest, doubts = [np.zeros(grid.shape, bool) for grid in grids], 0.0, list[str]()
    output = output or grids[0]
    on_output = np.zeros(output.shape, bool)
    for path, digest in ((Path(mask['file']), mask['sha256']) for mask in masks):
        mask, grid = load_lesion_mask(path)
        if sha256(path) != digest:
            raise FailedExamError(f'{path} has changed since the run began: start it again')
        index, doubt = find_frame(path, grid, grids, names)
        doubts += filter(None, [doubt])
        mask2ref = observations[index].scan2ref
        marked = [
            mark_lesion(mask, grid, scan.grid, np.linalg.inv(scan.scan2ref) @ mask2ref)
            for scan in observations
        ]
        faults = [
            find_lesion_fault(part, scan)
            for part, scan in zip(marked, observations, strict=True)
            if part.any()
        ]
        nowhere = '' if faults else 'it lies outside of all scans, or is too small for them'
        fault = next(filter(None, faults), nowhere)
        if fault:
            raise FailedExamError(
                f'{path} is no mask of lesions of this exam, for {fault}: correct it, or take it '
                'out'
            )
        lesions = [one | other for one, other in zip(lesions, marked, strict=True)]
        on_this = mark_lesion(mask, grid, output, mask2ref)
        if not on_this.any():
            raise FailedExamError(
                f'{path} marks less than a voxel of the output: correct it, or take it out'
            )
        on_output |= on_this
        sizes = np.bincount(ndimage.label(mask)[0].ravel())[1:]
        largest = max(largest, float(sizes.max() * grid.voxel_volume / 1000))
    return MarkedLesions(lesions, on_output, largest, doubts)


class KeepLesions(Step):
    """Put what lesion masks mark into the T1w that a network predicted, and its segmentation."""

    class Inputs(ScanFields):
        """Aligned scans, lesion masks, and what the method made."""

        masks = traits.List(traits.Dict, desc='file, name and sha256 of each lesion mask')
        products = traits.List(traits.Dict, mandatory=True, desc='fields of ProductFile')

    class Outputs(OutputFields):
        """The products with lesions, and what was done."""

        products = traits.List(traits.Dict, desc='fields of ProductFile')
        warnings = traits.List(traits.Str, desc='what a reader must know')

    def make(self, inputs: Any, folder: Path) -> Results:
        """Keep the lesions; an exam without masks stays as it is."""
        from bids_synthsr.dataset.images import load_grid
        from bids_synthsr.dataset.lesion_masks import NO_MASK
        from bids_synthsr.derivatives.kept_lesions import keep_in_products
        from bids_synthsr.derivatives.products import ProductFile

        if not inputs.masks:
            return {'products': inputs.products, 'warnings': [NO_MASK]}
        products = [ProductFile(**product) for product in inputs.products]
        observations = load_observations(inputs)
        names = inputs.names or inputs.contrasts
        grid = load_grid(Path(products[0].file))
        marked = _mark_lesions(inputs.masks, observations, names, grid)
        masks = [mask['name'] for mask in inputs.masks]
        kept, warning = keep_in_products(products, observations, marked.on_output, masks, folder)
        return {
            'products': [product.as_plain() for product in kept],
            'warnings': [warning, *marked.doubts],
        }


class NoteLesions(Step):
    """State in the sidecars of what a method made what became of the lesions."""

    class Inputs(InputFields):
        """What the method made, and what was done before."""

        products = traits.List(traits.Dict, mandatory=True, desc='fields of ProductFile')
        lesions = traits.Dict(mandatory=True, desc='what the sidecars state of the lesions')

    class Outputs(OutputFields):
        """The same products."""

        products = traits.List(traits.Dict, desc='fields of ProductFile')

    def make(self, inputs: Any, folder: Path) -> Results:  # noqa: ARG002
        """Add the field ``Lesions`` where there is a sidecar and were lesions."""
        facts = {'Lesions': inputs.lesions} if inputs.lesions else {}
        return {
            'products': [
                {**product, 'sidecar': product['sidecar'] and {**product['sidecar'], **facts}}
                for product in inputs.products
            ]
        }
