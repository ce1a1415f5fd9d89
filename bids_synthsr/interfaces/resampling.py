"""The output grid and the scans on it."""

from __future__ import annotations

from pathlib import Path

from nipype.interfaces.base import (
    BaseInterfaceInputSpec,
    File,
    InputMultiObject,
    SimpleInterface,
    TraitedSpec,
    traits,
)

from bids_synthsr.settings import FIELDS_OF_VIEW


class _DefineGridInputSpec(BaseInterfaceInputSpec):
    scans = InputMultiObject(File(exists=True), mandatory=True, desc='scans, reference first')
    scan2ref = InputMultiObject(File(exists=True), mandatory=True, desc='their transforms')
    spacing = traits.Float(1.0, usedefault=True, desc='voxel size of the output, mm')
    fov = traits.Enum(*FIELDS_OF_VIEW, usedefault=True, desc='field of view of the output')


class _DefineGridOutputSpec(TraitedSpec):
    grid = File(desc='empty volume on the output grid')


class DefineGrid(SimpleInterface):
    """Cover the field of view of the reference, or of all scans, with isotropic voxels."""

    input_spec = _DefineGridInputSpec
    output_spec = _DefineGridOutputSpec

    def _run_interface(self, runtime):  # type: ignore[no-untyped-def]
        import numpy as np

        from bids_synthsr.dataset.images import load_grid, load_rigid, save_volume
        from bids_synthsr.imaging.geometry import output_grid, union_grid

        scans = [load_grid(Path(scan)) for scan in self.inputs.scans]
        grid = output_grid(scans[0], self.inputs.spacing)
        if self.inputs.fov == 'union':
            transforms = [load_rigid(Path(file)) for file in self.inputs.scan2ref]
            grid = union_grid(grid, zip(scans, transforms, strict=True))
        empty = np.zeros(grid.shape, np.uint8)
        self._results['grid'] = str(save_volume(Path(runtime.cwd) / 'grid.nii.gz', empty, grid))
        return runtime


class _ResampleScanInputSpec(BaseInterfaceInputSpec):
    scan = File(exists=True, mandatory=True, desc='scan on its own grid')
    scan2ref = File(exists=True, mandatory=True, desc='its transform to the reference')
    grid = File(exists=True, mandatory=True, desc='volume on the output grid')


class _ResampleScanOutputSpec(TraitedSpec):
    resampled = File(desc='scan on the output grid')
    reliability = File(desc='where the scan measured what the output grid shows')


class ResampleScan(SimpleInterface):
    """Bring a scan to the output grid by one linear interpolation, with its reliability map."""

    input_spec = _ResampleScanInputSpec
    output_spec = _ResampleScanOutputSpec

    def _run_interface(self, runtime):  # type: ignore[no-untyped-def]
        from bids_synthsr.dataset.images import load_grid, load_rigid, load_volume, save_volume
        from bids_synthsr.imaging.resampling import reliability, resample

        voxels, source = load_volume(Path(self.inputs.scan))
        target = load_grid(Path(self.inputs.grid))
        scan2ref = load_rigid(Path(self.inputs.scan2ref))
        made = {
            'resampled': resample(voxels, source, target, scan2ref),
            'reliability': reliability(source, target, scan2ref),
        }
        for name, volume in made.items():
            path = save_volume(Path(runtime.cwd) / f'{name}.nii', volume, target)
            self._results[name] = str(path)
        return runtime
