"""How well a T1w explains a scan that it was not made of."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from nipype.interfaces.base import (
    BaseInterfaceInputSpec,
    File,
    InputMultiObject,
    SimpleInterface,
    TraitedSpec,
    traits,
)

if TYPE_CHECKING:
    import numpy as np


class _CompareLeftOutInputSpec(BaseInterfaceInputSpec):
    volumes = InputMultiObject(File(exists=True), mandatory=True, desc='main one first')
    scans = InputMultiObject(File(exists=True), mandatory=True, desc='the scan that was left out')
    acquisitions = traits.List(traits.Dict, mandatory=True, desc='fields of its Acquisition')
    scan2ref = File(exists=True, mandatory=True, desc='its transform to the volumes')
    fit = traits.Dict(mandatory=True, desc='how well it fits')
    facts = traits.Dict(mandatory=True, desc='exam, method and scans')
    place = traits.Str(mandatory=True, desc='file to write, without its ending')
    segmented = traits.List(File(exists=True), desc='volumes with a brain mask; none if not given')
    entities = traits.List(traits.Dict, desc='their suffixes')


class _CompareLeftOutOutputSpec(TraitedSpec):
    measures = File(desc='JSON of the facts and of how well the volume explains the scan')


class CompareLeftOut(SimpleInterface):
    """Acquire a volume again as the scan that was left out was acquired, and compare the two."""

    input_spec = _CompareLeftOutInputSpec
    output_spec = _CompareLeftOutOutputSpec

    def _run_interface(self, runtime):  # type: ignore[no-untyped-def]
        import numpy as np

        from bids_synthsr.dataset.images import load_rigid, load_volume
        from bids_synthsr.derivatives.places import write_json
        from bids_synthsr.evaluation.simulated_page import save_comparison
        from bids_synthsr.imaging.forward_model import AcquisitionOperator, average_fine_axes
        from bids_synthsr.imaging.head import head_mask
        from bids_synthsr.imaging.similarity import agreement, fit_monotone
        from bids_synthsr.values.acquisition import Acquisition

        if self.inputs.fit['status'] != 'good':
            name, reason = self.inputs.facts['left_out'], self.inputs.fit['reason']
            raise ValueError(f'{name} cannot be aligned to the others: {reason}')
        place, acquisition = Path(self.inputs.place), Acquisition(**self.inputs.acquisitions[0])
        volume, grid = load_volume(Path(self.inputs.volumes[0]))
        scan, own = load_volume(Path(self.inputs.scans[0]))
        scan, own = average_fine_axes(scan, own, float(grid.spacing.max()))
        volume2scan = np.linalg.inv(load_rigid(Path(self.inputs.scan2ref)))
        operator = AcquisitionOperator(grid, own, acquisition, volume2scan)
        again = operator.forward(volume)
        head = head_mask(scan, acquisition.slice_axis) & operator.is_seen
        if not head.any():
            raise ValueError(f'{self.inputs.facts["left_out"]} shows nothing of the volume')
        told = {**self.inputs.facts, 'measures': agreement(again, scan, head)}
        if self.inputs.segmented:
            brain = head & (operator.forward(self._brain()) > 0.5)
            told['structures'] = {'brain': agreement(again, scan, brain)} if brain.any() else {}
        path = place.with_name(place.name + '.json')
        write_json(path, told)
        fitted = np.zeros_like(scan)
        fitted[head] = fit_monotone(again[head], scan[head])
        across = int(np.abs(own.directions[:, acquisition.slice_axis]).argmax())
        picture = place.with_name(place.name + '.jpg')
        save_comparison([np.where(head, scan, 0), fitted], own, across, picture)
        self._results['measures'] = str(path)
        return runtime

    def _brain(self) -> np.ndarray:
        """Load the brain mask: float32 on the grid of the volumes."""
        from bids_synthsr.dataset.images import load_volume

        suffixes = [entities['suffix'] for entities in self.inputs.entities]
        return load_volume(Path(self.inputs.segmented[suffixes.index('mask')]))[0]
