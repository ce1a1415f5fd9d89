"""Heads whose truth is known, thick-slice scans of them, and how close a method comes."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from nipype.interfaces.base import (
    BaseInterfaceInputSpec,
    File,
    InputMultiObject,
    OutputMultiObject,
    SimpleInterface,
    TraitedSpec,
    traits,
)

from bids_synthsr.interfaces.alignment import run_affine

if TYPE_CHECKING:
    import numpy as np

    from bids_synthsr.data.grid import Grid


class _ConformHeadInputSpec(BaseInterfaceInputSpec):
    image = File(exists=True, mandatory=True, desc='T1w of about 1 mm')


class _ConformHeadOutputSpec(TraitedSpec):
    head = File(desc='the same on voxels of 1 mm in RAS order, not negative')


class ConformHead(SimpleInterface):
    """Bring a T1w to 1 mm by cubic interpolation: it serves as the truth."""

    input_spec = _ConformHeadInputSpec
    output_spec = _ConformHeadOutputSpec

    def _run_interface(self, runtime):  # type: ignore[no-untyped-def]
        from bids_synthsr.dataset.images import load_volume, save_volume
        from bids_synthsr.imaging.geometry import output_grid
        from bids_synthsr.imaging.resampling import resample

        voxels, source = load_volume(Path(self.inputs.image))
        grid = output_grid(source)
        head = resample(voxels, source, grid, order=3).clip(0)
        self._results['head'] = str(save_volume(Path(runtime.cwd) / 'head.nii', head, grid))
        return runtime


class _MaskBrainInputSpec(BaseInterfaceInputSpec):
    head = File(exists=True, mandatory=True, desc='T1w of 1 mm')


class _MaskBrainOutputSpec(TraitedSpec):
    mask = File(desc='1 in the brain')


class MaskBrain(SimpleInterface):
    """Mark the brain: the mask of MNI152 through an affine registration of its template."""

    input_spec = _MaskBrainInputSpec
    output_spec = _MaskBrainOutputSpec

    def _run_interface(self, runtime):  # type: ignore[no-untyped-def]
        import numpy as np

        from bids_synthsr.dataset.images import load_volume, save_volume

        voxels, grid = load_volume(Path(self.inputs.head))
        brain = find_brain(voxels, grid).astype(np.uint8)
        path = Path(runtime.cwd) / 'mask.nii'
        self._results['mask'] = str(save_volume(path, brain, grid))
        return runtime


def find_brain(voxels: np.ndarray, grid: Grid) -> np.ndarray:
    """Mark the brain in a T1w, with or without skull, ``(I, J, K)`` bool.

    Files of the registration stay in the current folder.
    """
    from nilearn.datasets import load_mni152_brain_mask, load_mni152_template

    from bids_synthsr.dataset.images import volume_of
    from bids_synthsr.imaging.resampling import resample

    mask, template_grid = volume_of(load_mni152_brain_mask(2))
    template = volume_of(load_mni152_template(2))[0]
    mni2head = run_affine((template, template_grid), (voxels, grid), mask)
    return resample(mask, template_grid, grid, mni2head) > 0.5


class _SimulateScanInputSpec(BaseInterfaceInputSpec):
    head = File(exists=True, mandatory=True, desc='T1w of 1 mm')
    orientation = traits.Str(mandatory=True, desc='plane of the slices')
    spacing = traits.Float(mandatory=True, desc='between slice centres, mm')
    thickness = traits.Float(mandatory=True, desc='of the slices, mm')


class _SimulateScanOutputSpec(TraitedSpec):
    scans = OutputMultiObject(File, desc='thick slices of the head')
    contrasts = traits.List(traits.Str, desc='its BIDS suffix')
    acquisitions = traits.List(traits.Dict, desc='fields of its Acquisition')
    scan2ref = OutputMultiObject(File, desc='identity, ITK text')


class SimulateScan(SimpleInterface):
    """Acquire thick slices of a head, which does not move and has no noise but its own.

    The outputs are an exam of one scan, as methods take it.
    """

    input_spec = _SimulateScanInputSpec
    output_spec = _SimulateScanOutputSpec

    def _run_interface(self, runtime):  # type: ignore[no-untyped-def]
        from dataclasses import asdict

        import numpy as np

        from bids_synthsr.data.acquisition import Acquisition
        from bids_synthsr.dataset.images import load_volume, save_rigid, save_volume
        from bids_synthsr.dataset.selection import PLANES
        from bids_synthsr.imaging.acquisition import acquire
        from bids_synthsr.imaging.geometry import with_slices

        inputs, folder = self.inputs, Path(runtime.cwd)
        voxels, grid = load_volume(Path(inputs.head))
        axis = PLANES.index(inputs.orientation)
        slices = Acquisition(axis, inputs.spacing, inputs.thickness)
        own = with_slices(grid, axis, inputs.spacing)
        scan = acquire(voxels, grid, own, slices)
        self._results['scans'] = [str(save_volume(folder / 'scan.nii', scan, own))]
        self._results['contrasts'] = ['T1w']
        self._results['acquisitions'] = [asdict(slices)]
        self._results['scan2ref'] = [str(save_rigid(folder / 'scan2ref.txt', np.eye(4)))]
        return runtime


class _CompareVolumeInputSpec(BaseInterfaceInputSpec):
    volumes = InputMultiObject(File(exists=True), mandatory=True, desc='main one first')
    head = File(exists=True, mandatory=True, desc='the truth')
    mask = File(exists=True, mandatory=True, desc='where they are compared')
    facts = traits.Dict(mandatory=True, desc='head, method and setting')
    place = traits.Str(mandatory=True, desc='file to write, without its ending')


class _CompareVolumeOutputSpec(TraitedSpec):
    measures = File(desc='JSON of the facts and of how close the volume comes')


class CompareVolume(SimpleInterface):
    """Compare a volume with the truth, in numbers and in a picture."""

    input_spec = _CompareVolumeInputSpec
    output_spec = _CompareVolumeOutputSpec

    def _run_interface(self, runtime):  # type: ignore[no-untyped-def]
        from bids_synthsr.dataset.derivatives import write_json
        from bids_synthsr.dataset.images import load_volume
        from bids_synthsr.dataset.selection import PLANES
        from bids_synthsr.imaging.resampling import resample
        from bids_synthsr.imaging.similarity import closeness, scale_to
        from bids_synthsr.reports.evaluation import save_comparison

        place = Path(self.inputs.place)
        truth, grid = load_volume(Path(self.inputs.head))
        brain = load_volume(Path(self.inputs.mask))[0] > 0
        volume, own = load_volume(Path(self.inputs.volumes[0]))
        volume = volume if own == grid else resample(volume, own, grid)
        volume = scale_to(volume, truth, brain)
        path = place.with_name(place.name + '.json')
        write_json(path, {**self.inputs.facts, 'measures': closeness(volume, truth, brain)})
        picture = place.with_name(place.name + '.jpg')
        in_plane = (PLANES.index(self.inputs.facts['orientation']) + 1) % 3
        save_comparison([truth, volume], grid, in_plane, picture)
        self._results['measures'] = str(path)
        return runtime
