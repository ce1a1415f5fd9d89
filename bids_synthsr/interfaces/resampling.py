"""The output grid and the scans on it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from nipype.interfaces.base import File, InputMultiObject, traits

from bids_synthsr.interfaces.step import InputFields, OutputFields, Results, Step
from bids_synthsr.settings import FIELDS_OF_VIEW


class DefineGrid(Step):
    """Cover the head, or fields of view, with isotropic voxels parallel to the reference."""

    class Inputs(InputFields):
        """Aligned scans, and what the grid is to cover."""

        scans = InputMultiObject(File(exists=True), mandatory=True, desc='scans, reference first')
        acquisitions = traits.List(traits.Dict, mandatory=True, desc='their slices')
        scan2ref = InputMultiObject(File(exists=True), mandatory=True, desc='their transforms')
        spacing = traits.Float(1.0, usedefault=True, desc='voxel size of the output, mm')
        fov = traits.Enum(*FIELDS_OF_VIEW, usedefault=True, desc='field of view of the output')

    class Outputs(OutputFields):
        """The output grid."""

        grid = File(desc='empty volume on the output grid')
        coverages = traits.List(traits.Dict, desc='of every scan and last of the grid')

    def make(self, inputs: Any, folder: Path) -> Results:
        """Define the grid, and measure how much of the head scans and grid show."""
        from dataclasses import asdict

        import numpy as np

        from bids_synthsr.dataset.images import load_grid, load_rigid, load_volume, save_volume
        from bids_synthsr.imaging.coverage import head_grid, head_points, measure_coverage
        from bids_synthsr.imaging.geometry import apply_affine, output_grid, union_grid

        scans = [load_grid(Path(scan)) for scan in inputs.scans]
        transforms = [load_rigid(Path(file)) for file in inputs.scan2ref]
        grid = output_grid(scans[0], inputs.spacing)
        views = [*zip(scans, transforms, strict=True)]
        heads = [
            apply_affine(scan2ref, head_points(*load_volume(Path(scan)), slices['slice_axis']))
            for scan, scan2ref, slices in zip(
                inputs.scans, transforms, inputs.acquisitions, strict=True
            )
        ]
        if inputs.fov == 'union':
            grid = union_grid(grid, views)
        elif inputs.fov == 'head':
            grid = head_grid(grid, heads, views)
        coverages = measure_coverage(heads, [*views, (grid, np.eye(4))], grid.directions)
        file = save_volume(folder / 'grid.nii.gz', np.zeros(grid.shape, np.uint8), grid)
        return {'grid': file, 'coverages': [asdict(coverage) for coverage in coverages]}


class ResampleScan(Step):
    """Bring a scan to the output grid by one linear interpolation, with its reliability map."""

    class Inputs(InputFields):
        """A scan and where it goes."""

        scan = File(exists=True, mandatory=True, desc='scan on the grid of its acquisition')
        acquisition = traits.Dict(usedefault=True, desc='fields of its Acquisition')
        scan2ref = File(exists=True, mandatory=True, desc='its transform to the reference')
        grid = File(exists=True, mandatory=True, desc='volume on the output grid')

    class Outputs(OutputFields):
        """Both volumes on the output grid."""

        resampled = File(desc='scan on the output grid')
        reliability = File(desc='where the scan measured what the output grid shows')

    def make(self, inputs: Any, folder: Path) -> Results:
        """Resample the scan."""
        from bids_synthsr.dataset.images import load_grid, load_rigid, load_volume, save_volume
        from bids_synthsr.imaging.resampling import reliability, resample
        from bids_synthsr.values.exam import Acquisition

        voxels, source = load_volume(Path(inputs.scan))
        target, scan2ref = load_grid(Path(inputs.grid)), load_rigid(Path(inputs.scan2ref))
        acquisition = Acquisition(**inputs.acquisition) if inputs.acquisition else None
        volumes = {
            'resampled': resample(voxels, source, target, scan2ref),
            'reliability': reliability(source, target, scan2ref, acquisition),
        }
        return {
            name: save_volume(folder / f'{name}.nii', volume, target)
            for name, volume in volumes.items()
        }
