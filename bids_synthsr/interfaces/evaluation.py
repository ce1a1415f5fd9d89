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

from bids_synthsr.interfaces.registration import run_affine

if TYPE_CHECKING:
    import numpy as np

    from bids_synthsr.values.grid import Grid


MARGIN = 5  # voxels of air that stay around a head


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


class _PaintHeadInputSpec(BaseInterfaceInputSpec):
    labels = File(exists=True, mandatory=True, desc='label map, FreeSurfer numbers, 1 mm')
    image = traits.Str('', usedefault=True, desc='T1w of the same head; empty paints one')


class _PaintHeadOutputSpec(TraitedSpec):
    head = File(desc='T1w of 1 mm in RAS order')
    labels = File(desc='the labels on its grid')
    reference = File(desc='the labels by which segmentations call them')
    mask = File(desc='1 in the brain')


class PaintHead(SimpleInterface):
    """Make the truth of a label map: a T1w, painted where there is no real one, and the brain."""

    input_spec = _PaintHeadInputSpec
    output_spec = _PaintHeadOutputSpec

    def _run_interface(self, runtime):  # type: ignore[no-untyped-def]
        import numpy as np
        import torch

        from bids_synthsr.dataset.images import load_volume, save_volume
        from bids_synthsr.evaluation.painting import as_targets, paint_truth
        from bids_synthsr.imaging.geometry import output_grid
        from bids_synthsr.imaging.resampling import resample
        from bids_synthsr.synthesis.labels import freesurfer_table
        from bids_synthsr.synthesis.overlays import brain_mask

        table, folder = freesurfer_table(), Path(runtime.cwd)
        voxels, source = load_volume(Path(self.inputs.labels))
        labels, grid = labels_in_ras(voxels, source, Path(self.inputs.labels).name)
        table.check(torch.from_numpy(labels), Path(self.inputs.labels).name)
        if self.inputs.image:
            own, own_grid = load_volume(Path(self.inputs.image))
            grid, label_grid = output_grid(own_grid), grid
            head = resample(own, own_grid, grid, order=3).clip(0)
            labels = take_nearest(labels, label_grid, grid)
        else:
            head = 1000 * paint_truth(labels, table)
        brain = brain_mask(torch.from_numpy(labels), table).numpy()
        made = {
            'head': head,
            'labels': labels,
            'reference': as_targets(labels, table),
            'mask': brain.astype(np.uint8),
        }
        for name, volume in made.items():
            self._results[name] = str(save_volume(folder / f'{name}.nii', volume, grid))
        return runtime


def labels_in_ras(voxels: np.ndarray, grid: Grid, name: str) -> tuple[np.ndarray, Grid]:
    """Lay labels of 1 mm out in RAS order, int32, with little of the air around the head.

    Raises
    ------
    ValueError
        For voxels of another size, for values that are not whole numbers, and for nothing but 0.
    """
    import numpy as np
    from nibabel.affines import apply_affine
    from scipy.ndimage import find_objects

    from bids_synthsr.imaging.geometry import in_ras_order, voxels_in_ras_order
    from bids_synthsr.values.grid import Grid

    if np.abs(grid.spacing - 1).max() > 0.01:
        sizes = ' x '.join(f'{size:.3g}' for size in grid.spacing)
        raise ValueError(f'{name} has voxels of {sizes} mm; label maps must have 1 mm')
    if not np.array_equal(voxels, np.round(voxels)):
        raise ValueError(f'{name} holds values that are no whole numbers: it is no label map')
    turned, own = voxels_in_ras_order(voxels, grid).astype(np.int32), in_ras_order(grid)
    if not turned.any():
        raise ValueError(f'{name} is empty: all its labels are 0')
    shown = find_objects((turned > 0).astype(np.uint8))[0]
    first = np.maximum([part.start - MARGIN for part in shown], 0)
    last = np.minimum([part.stop + MARGIN for part in shown], turned.shape)
    box = tuple(slice(int(a), int(b)) for a, b in zip(first, last, strict=True))
    vox2ras = own.vox2ras.copy()
    vox2ras[:3, 3] = apply_affine(own.vox2ras, first)
    cropped = np.ascontiguousarray(turned[box])
    return cropped, Grid((cropped.shape[0], cropped.shape[1], cropped.shape[2]), vox2ras)


def take_nearest(labels: np.ndarray, source: Grid, target: Grid) -> np.ndarray:
    """Give every voxel of a grid the nearest label; 0 outside."""
    import numpy as np
    from scipy.ndimage import affine_transform

    from bids_synthsr.imaging.geometry import vox2vox

    target2source = np.linalg.inv(vox2vox(source, target))
    return affine_transform(labels, target2source, output_shape=target.shape, order=0)


class _SimulateExamInputSpec(BaseInterfaceInputSpec):
    head = File(exists=True, mandatory=True, desc='T1w of 1 mm')
    labels = traits.Str('', usedefault=True, desc='label map on its grid, to paint contrasts from')
    exam = traits.List(traits.Str, mandatory=True, desc='contrasts of the scans')
    orientation = traits.Str(mandatory=True, desc='plane of the slices of the first scan')
    spacing = traits.Float(mandatory=True, desc='between slice centres, mm')
    thickness = traits.Float(mandatory=True, desc='of the slices, mm')
    seed = traits.Int(mandatory=True, desc='of contrasts and motion')
    is_painted = traits.Bool(False, usedefault=True, desc='whether T1w scans are painted, too')


class _SimulateExamOutputSpec(TraitedSpec):
    scans = OutputMultiObject(File, desc='thick slices of the head')
    contrasts = traits.List(traits.Str, desc='their BIDS suffixes')
    acquisitions = traits.List(traits.Dict, desc='fields of their Acquisitions')
    scan2ref = OutputMultiObject(File, desc='how the head moved, ITK text')


class SimulateExam(SimpleInterface):
    """Acquire thick slices of a head: the T1w as it is, other contrasts painted from its labels.

    The first scan lies still; before each other one the head moves, which methods are told, and
    the slices take the next direction.
    """

    input_spec = _SimulateExamInputSpec
    output_spec = _SimulateExamOutputSpec

    def _run_interface(self, runtime):  # type: ignore[no-untyped-def]
        from dataclasses import asdict

        import numpy as np
        import torch

        from bids_synthsr.dataset.images import load_volume, save_rigid, save_volume
        from bids_synthsr.dataset.selection import PLANES
        from bids_synthsr.evaluation.painting import draw_motion, paint_contrast
        from bids_synthsr.imaging.forward_model import acquire
        from bids_synthsr.imaging.geometry import with_slices
        from bids_synthsr.synthesis.labels import freesurfer_table
        from bids_synthsr.values.acquisition import Acquisition

        inputs, folder, table = self.inputs, Path(runtime.cwd), freesurfer_table()
        head, grid = load_volume(Path(inputs.head))
        first = PLANES.index(inputs.orientation)
        generator = torch.Generator().manual_seed(inputs.seed)
        made: dict[str, list] = {'scans': [], 'acquisitions': [], 'scan2ref': []}
        for number, contrast in enumerate(inputs.exam):
            fine = head
            if contrast != 'T1w' or inputs.is_painted:
                labels = load_volume(Path(inputs.labels))[0]
                fine = paint_contrast(labels, contrast, table, generator)
            axis = (first - number) % 3
            slices = Acquisition(axis, inputs.spacing, inputs.thickness)
            moved = draw_motion(generator, grid.center) if number else np.eye(4)
            own = with_slices(grid, axis, inputs.spacing)
            scan = acquire(fine, grid, own, slices, np.linalg.inv(moved))
            made['scans'].append(str(save_volume(folder / f'scan-{number}.nii', scan, own)))
            made['acquisitions'].append(asdict(slices))
            xfm = save_rigid(folder / f'scan2ref-{number}.txt', moved)
            made['scan2ref'].append(str(xfm))
        self._results.update(made)
        self._results['contrasts'] = list(inputs.exam)
        return runtime


class _SegmentVolumeInputSpec(BaseInterfaceInputSpec):
    volumes = InputMultiObject(File(exists=True), mandatory=True, desc='main one first')
    entities = traits.List(traits.Dict, desc='their suffixes; none for a T1w alone')
    facts = traits.Str('', usedefault=True, desc='JSON of what a method told of them')
    weights = File(exists=True, mandatory=True, desc='of the exam network')
    device = traits.Str('cpu', usedefault=True, nohash=True, desc='where the network runs')
    num_threads = traits.Int(1, usedefault=True, nohash=True, desc='threads to use')


class _SegmentVolumeOutputSpec(TraitedSpec):
    segmentation = File(desc='label values on the grid of the main volume')
    sizes = traits.List(traits.Dict, desc='volumes of the structures, as the method tells them')


class SegmentVolume(SimpleInterface):
    """Segment the main volume, a T1w of 1 mm, where the method has not segmented the exam."""

    input_spec = _SegmentVolumeInputSpec
    output_spec = _SegmentVolumeOutputSpec

    def _run_interface(self, runtime):  # type: ignore[no-untyped-def]
        import json

        import numpy as np
        import torch

        from bids_synthsr.dataset.images import load_volume, save_volume
        from bids_synthsr.dataset.weights import load_exam_unet
        from bids_synthsr.imaging.memory import reusing_memory
        from bids_synthsr.methods.any_exam import synthesize
        from bids_synthsr.values.acquisition import Acquisition
        from bids_synthsr.values.observation import Observation

        suffixes = [entities['suffix'] for entities in self.inputs.entities or []]
        if 'dseg' in suffixes:
            self._results['segmentation'] = self.inputs.volumes[suffixes.index('dseg')]
            self._results['sizes'] = json.loads(Path(self.inputs.facts).read_text())['volumes']
            return runtime
        torch.set_num_threads(self.inputs.num_threads)
        trained = load_exam_unet(Path(self.inputs.weights))
        trained.network.to(self.inputs.device)
        voxels, grid = load_volume(Path(self.inputs.volumes[0]))
        scan = Observation('T1w', voxels, grid, Acquisition(2, 1.0, 1.0), np.eye(4))
        with reusing_memory():
            made = synthesize([scan], grid, trained=trained, low_mem=True)
        found = next(product for product in made.products if product.suffix == 'dseg')
        path = Path(runtime.cwd) / 'dseg.nii'
        self._results['segmentation'] = str(save_volume(path, found.voxels, grid))
        self._results['sizes'] = made.facts['volumes']
        return runtime


class _CompareVolumeInputSpec(BaseInterfaceInputSpec):
    volumes = InputMultiObject(File(exists=True), mandatory=True, desc='main one first')
    entities = traits.List(traits.Dict, [], usedefault=True, desc='their descriptions')
    head = File(exists=True, mandatory=True, desc='the truth')
    mask = File(exists=True, mandatory=True, desc='where they are compared')
    segmentation = traits.Str('', usedefault=True, desc='of the volume')
    sizes = traits.List(traits.Dict, [], usedefault=True, desc='volumes of the structures in it')
    reference = traits.Str('', usedefault=True, desc='segmentation that is taken for the truth')
    reference_sizes = traits.List(traits.Dict, [], usedefault=True, desc='empty counts voxels')
    facts = traits.Dict(mandatory=True, desc='head, method and setting')
    place = traits.Str(mandatory=True, desc='file to write, without its ending')


class _CompareVolumeOutputSpec(TraitedSpec):
    measures = File(desc='JSON of the facts and of how close the volume comes')


class CompareVolume(SimpleInterface):
    """Compare a volume with the truth, in numbers and in a picture."""

    input_spec = _CompareVolumeInputSpec
    output_spec = _CompareVolumeOutputSpec

    def _run_interface(self, runtime):  # type: ignore[no-untyped-def]
        import numpy as np

        from bids_synthsr.dataset.images import load_volume
        from bids_synthsr.dataset.selection import PLANES
        from bids_synthsr.derivatives.places import write_json
        from bids_synthsr.evaluation.simulated_page import save_comparison
        from bids_synthsr.imaging.similarity import closeness, fit_line

        place = Path(self.inputs.place)
        truth, grid = load_volume(Path(self.inputs.head))
        brain = load_volume(Path(self.inputs.mask))[0] > 0
        made = _on_grid(self.inputs.volumes[0], grid)
        slope, offset = fit_line(made, truth, brain)
        volume = slope * made + offset
        measures = closeness(volume, truth, brain)
        descriptions = [entities['desc'] for entities in self.inputs.entities]
        if 'uncertainty' in descriptions:
            scale = _on_grid(self.inputs.volumes[descriptions.index('uncertainty')], grid)
            expected = scale[brain].mean() / np.ptp(truth[brain])
            measures['expected_l1'] = float(abs(slope) * expected)
        path = place.with_name(place.name + '.json')
        told = {**self.inputs.facts, 'measures': measures}
        write_json(path, {**told, 'structures': self._structures(grid)})
        picture = place.with_name(place.name + '.jpg')
        in_plane = (PLANES.index(self.inputs.facts['orientation']) + 1) % 3
        save_comparison([truth, volume], grid, in_plane, picture)
        self._results['measures'] = str(path)
        return runtime

    def _structures(self, grid: Grid) -> dict[str, dict[str, float]]:
        """Compare the segmentations, where they are given."""
        import numpy as np

        from bids_synthsr.dataset.images import load_volume
        from bids_synthsr.morphometry.volumes import StructureVolume, compare_structures

        if not self.inputs.segmentation:
            return {}
        found, own = load_volume(Path(self.inputs.segmentation))
        found = found if own == grid else take_nearest(found, own, grid)
        truth = load_volume(Path(self.inputs.reference))[0]
        sizes, true_sizes = (
            {row['index']: StructureVolume(**row) for row in rows}
            for rows in (self.inputs.sizes, self.inputs.reference_sizes)
        )
        return compare_structures(found, truth, float(np.prod(grid.spacing)), sizes, true_sizes)


def _on_grid(path: str, grid: Grid) -> np.ndarray:
    """Load a volume, resampled where it lies on another grid."""
    from bids_synthsr.dataset.images import load_volume
    from bids_synthsr.imaging.resampling import resample

    volume, own = load_volume(Path(path))
    return volume if own == grid else resample(volume, own, grid)
