"""Steps of evaluations: truth, simulated scans, segmentations and comparisons."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

from nipype.interfaces.base import File, InputMultiObject, OutputMultiObject, traits

from bids_synthsr.interfaces.step import InputFields, OutputFields, Results, Step


class ConformHead(Step):
    """Bring a T1w to 1 mm by cubic interpolation: it serves as the truth."""

    class Inputs(InputFields):
        """A T1w."""

        image = File(exists=True, mandatory=True, desc='T1w of about 1 mm')

    class Outputs(OutputFields):
        """The truth."""

        head = File(desc='the T1w on voxels of 1 mm in RAS order, not negative')

    def make(self, inputs: Any, folder: Path) -> Results:
        """Conform the T1w."""
        from bids_synthsr.dataset.images import save_volume
        from bids_synthsr.evaluation.refusals import load_truth
        from bids_synthsr.evaluation.truth import conform_head

        head, grid = conform_head(*load_truth(Path(inputs.image)))
        return {'head': save_volume(folder / 'head.nii', head, grid)}


class MaskBrain(Step):
    """Mark the brain: the mask of MNI152 through an affine registration of its template."""

    class Inputs(InputFields):
        """A T1w."""

        head = File(exists=True, mandatory=True, desc='T1w of 1 mm')

    class Outputs(OutputFields):
        """The brain."""

        mask = File(desc='1 in the brain')

    def make(self, inputs: Any, folder: Path) -> Results:
        """Find the brain."""
        import numpy as np

        from bids_synthsr.dataset.images import load_volume, save_volume
        from bids_synthsr.registration.brain import find_brain

        voxels, grid = load_volume(Path(inputs.head))
        brain = find_brain(voxels, grid).astype(np.uint8)
        return {'mask': save_volume(folder / 'mask.nii', brain, grid)}


class PaintHead(Step):
    """Make the truth of a label map: a T1w, painted where there is no real one, and the brain."""

    class Inputs(InputFields):
        """A label map, and the T1w of the same head."""

        labels = File(exists=True, mandatory=True, desc='label map, FreeSurfer numbers, 1 mm')
        image = traits.Str('', usedefault=True, desc='T1w of the same head; empty paints one')

    class Outputs(OutputFields):
        """Volumes on one grid."""

        head = File(desc='T1w of 1 mm in RAS order')
        labels = File(desc='the labels on its grid')
        reference = File(desc='the labels by which segmentations call them')
        mask = File(desc='1 in the brain')

    def make(self, inputs: Any, folder: Path) -> Results:
        """Make the truth."""
        from bids_synthsr.dataset.images import load_volume, save_volume
        from bids_synthsr.evaluation.truth import make_truth
        from bids_synthsr.synthesis.labels import freesurfer_table

        path = Path(inputs.labels)
        image = load_volume(Path(inputs.image)) if inputs.image else None
        truth = make_truth(*load_volume(path), path.name, freesurfer_table(), image)
        return {
            name: save_volume(folder / f'{name}.nii', getattr(truth, name), truth.grid)
            for name in ('head', 'labels', 'reference', 'mask')
        }


class SimulateExam(Step):
    """Acquire thick slices of a head: the T1w as it is, other contrasts painted from its labels.

    The first scan lies still; before each other one the head moves, by transforms that methods
    get, and the slices take the next direction.
    """

    class Inputs(InputFields):
        """A head, and the scans to be simulated."""

        head = File(exists=True, mandatory=True, desc='T1w of 1 mm')
        labels = traits.Str(
            '', usedefault=True, desc='label map on its grid, to paint contrasts from'
        )
        exam = traits.List(traits.Str, mandatory=True, desc='contrasts of the scans')
        orientation = traits.Str(mandatory=True, desc='plane of the slices of the first scan')
        spacing = traits.Float(mandatory=True, desc='distance between slice centres, mm')
        thickness = traits.Float(mandatory=True, desc='thickness of the slices, mm')
        seed = traits.Int(mandatory=True, desc='seed of contrasts and motion')
        is_painted = traits.Bool(False, usedefault=True, desc='whether T1w scans are painted, too')
        profile = traits.Str('gaussian', usedefault=True, desc='profile of the slices')
        noise_percent = traits.Float(0.0, usedefault=True, desc='noise, % of bright tissue')

    class Outputs(OutputFields):
        """Thick-slice scans of the head."""

        scans = OutputMultiObject(File, desc='thick slices of the head')
        contrasts = traits.List(traits.Str, desc='their BIDS suffixes')
        acquisitions = traits.List(traits.Dict, desc='fields of their Acquisitions')
        scan2ref = OutputMultiObject(File, desc='how the head moved, ITK text')
        truth = File(desc='the first scan at 1 mm without noise; the head where that is its T1w')

    def make(self, inputs: Any, folder: Path) -> Results:
        """Simulate the scans."""
        import torch

        from bids_synthsr.dataset.images import load_volume, save_rigid, save_volume
        from bids_synthsr.dataset.selection import PLANES
        from bids_synthsr.evaluation.painting import (
            ScanProtocol,
            paint_contrast,
            simulate_exam,
        )
        from bids_synthsr.synthesis.labels import freesurfer_table
        from bids_synthsr.values.exam import Acquisition

        axis = PLANES.index(inputs.orientation)
        slices = Acquisition(axis, inputs.spacing, inputs.thickness)
        protocol = ScanProtocol(slices, inputs.profile, inputs.noise_percent)
        generator = torch.Generator().manual_seed(inputs.seed)
        labels = load_volume(Path(inputs.labels))[0] if inputs.labels else None
        painted = None if labels is None else (labels, freesurfer_table())
        head, grid = load_volume(Path(inputs.head))
        files: dict[str, list] = {'scans': [], 'acquisitions': [], 'scan2ref': []}
        for number, scan in enumerate(
            simulate_exam(head, grid, inputs.exam, protocol, generator, painted, inputs.is_painted)
        ):
            path = folder / f'scan-{number}.nii'
            files['scans'].append(save_volume(path, scan.voxels, scan.grid))
            files['acquisitions'].append(asdict(scan.acquisition))
            path = folder / f'scan2ref-{number}.txt'
            files['scan2ref'].append(save_rigid(path, scan.scan2ref))
        truth = Path(inputs.head)
        if painted and (inputs.exam[0] != 'T1w' or inputs.is_painted):
            again = torch.Generator().manual_seed(inputs.seed)
            voxels = paint_contrast(painted[0], inputs.exam[0], painted[1], again, is_noisy=False)
            truth = save_volume(folder / 'truth.nii', voxels, grid)
        return {**files, 'contrasts': list(inputs.exam), 'truth': truth}


class SegmentVolume(Step):
    """Segment a T1w of 1 mm, where the method that made it has not segmented the exam."""

    class Inputs(InputFields):
        """A T1w or what a method made, and the network."""

        head = File(exists=True, desc='T1w; without it the main volume of the products')
        products = traits.List(traits.Dict, [], usedefault=True, desc='what a method made')
        weights = File(exists=True, mandatory=True, desc='weights of the exam network')
        device = traits.Str('cpu', usedefault=True, nohash=True, desc='where the network runs')
        num_threads = traits.Int(1, usedefault=True, nohash=True, desc='threads to use')

    class Outputs(OutputFields):
        """The segmentation."""

        segmentation = File(desc='label values on the grid of the T1w')
        sizes = traits.List(traits.Dict, desc='volumes of the structures, rows of their table')

    def make(self, inputs: Any, folder: Path) -> Results:
        """Segment the volume, or take the segmentation of the method."""
        from bids_synthsr.dataset.files import read_json
        from bids_synthsr.dataset.images import load_volume, save_volume

        file_of = _files_by_suffix(inputs.products)
        if 'dseg' in file_of:
            return {'segmentation': file_of['dseg'], 'sizes': read_json(Path(file_of['volumes']))}
        voxels, grid = load_volume(Path(inputs.head or inputs.products[0]['file']))
        synthesis = _segment(voxels, grid, inputs)
        labels = next(image for image in synthesis.images if image.suffix == 'dseg')
        table = next(item for item in synthesis.products if item.suffix == 'volumes')
        path = save_volume(folder / 'dseg.nii', labels.voxels, grid)
        return {'segmentation': path, 'sizes': list(table.rows)}


def _files_by_suffix(products: list[dict[str, Any]]) -> dict[str, str]:
    """Return the files of products by their BIDS suffix, the first of each."""
    return {product['suffix']: product['file'] for product in reversed(products)}


def _segment(voxels: Any, grid: Any, inputs: Any) -> Any:
    """Run any-exam on a T1w alone."""
    import numpy as np
    import torch

    from bids_synthsr.dataset.weights import load_exam_unet
    from bids_synthsr.imaging.memory import reusing_memory
    from bids_synthsr.methods.any_exam import synthesize
    from bids_synthsr.values.exam import Acquisition
    from bids_synthsr.values.method import Observation

    torch.set_num_threads(inputs.num_threads)
    trained = load_exam_unet(Path(inputs.weights))
    trained.network.to(inputs.device)
    scan = Observation('T1w', voxels, grid, Acquisition(2, 1.0, 1.0), np.eye(4))
    with reusing_memory():
        return synthesize([scan], grid, trained=trained, low_mem=True)


class CompareVolume(Step):
    """Compare a volume with the truth, in numbers and in a picture."""

    class Inputs(InputFields):
        """What a method made, and the truth."""

        products = traits.List(traits.Dict, mandatory=True, desc='main volume first')
        truth = File(exists=True, mandatory=True, desc='T1w, or the scan itself at 1 mm')
        mask = File(exists=True, mandatory=True, desc='where they are compared')
        segmentation = traits.Str('', usedefault=True, desc='segmentation of the volume')
        sizes = traits.List(traits.Dict, [], usedefault=True, desc='volumes of its structures')
        reference = traits.Str('', usedefault=True, desc='segmentation that is the truth')
        reference_sizes = traits.List(
            traits.Dict, [], usedefault=True, desc='volumes in it; empty counts voxels'
        )
        scans = InputMultiObject(
            File(exists=True), mandatory=True, desc='what the method got; the first lies still'
        )
        facts = traits.Dict(mandatory=True, desc='head, method and setting')
        stem = traits.Str(mandatory=True, desc='file to write, without its ending')

    class Outputs(OutputFields):
        """The comparison."""

        measures = File(desc='JSON of the facts and of how close the volume comes')

    def make(self, inputs: Any, folder: Path) -> Results:  # noqa: ARG002
        """Compare the volume with the truth."""
        from bids_synthsr.dataset.files import write_json
        from bids_synthsr.dataset.images import load_volume
        from bids_synthsr.dataset.selection import PLANES
        from bids_synthsr.evaluation.comparisons import (
            compare_with_truth,
            on_grid,
            save_comparison,
        )
        from bids_synthsr.imaging.resampling import take_nearest

        truth, grid = load_volume(Path(inputs.truth))
        brain = load_volume(Path(inputs.mask))[0] > 0
        volume = on_grid(*load_volume(Path(inputs.products[0]['file'])), grid)
        error_map = _file_of_error(inputs.products)
        scale = on_grid(*load_volume(Path(error_map)), grid) if error_map else None
        fitted, measures = compare_with_truth(volume, truth, brain, scale)
        in_plane = (PLANES.index(inputs.facts['orientation']) + 1) % 3
        scan = take_nearest(*load_volume(Path(inputs.scans[0])), grid)
        save_comparison([truth, fitted], grid, in_plane, Path(f'{inputs.stem}.jpg'), scan)
        structures = _structures(inputs, grid, volume, truth)
        results = {**inputs.facts, 'measures': measures, 'structures': structures}
        return {'measures': write_json(Path(f'{inputs.stem}.json'), results)}


def _file_of_error(products: list[dict[str, Any]]) -> str | None:
    """Find the expected error of the main volume among the products."""
    files = [x['file'] for x in products if x['suffix'] == 'uncertainty']
    return files[0] if files else None


def _structures(inputs: Any, grid: Any, volume: Any, truth: Any) -> dict[str, dict[str, float]]:
    """Compare the segmentations, where they are given, and the borders that the volume shows."""
    from bids_synthsr.dataset.images import load_volume
    from bids_synthsr.evaluation.borders import measure_borders
    from bids_synthsr.evaluation.comparisons import compare_segmentations
    from bids_synthsr.morphometry.volumes import volumes_from_rows

    if not inputs.segmentation:
        return {}
    labels = load_volume(Path(inputs.reference))[0]
    structures = compare_segmentations(
        load_volume(Path(inputs.segmentation)),
        (labels, grid),
        volumes_from_rows(inputs.sizes),
        volumes_from_rows(inputs.reference_sizes),
    )
    for name, border in measure_borders(volume, truth, labels, grid.spacing).items():
        if name in structures:
            structures[name] |= {
                'border_shift_mm': border.shift_mm,
                'border_blur_mm': border.blur_mm,
            }
    return structures


class CompareLeftOut(Step):
    """Acquire a volume again as the scan that was left out was acquired, and compare the two."""

    class Inputs(InputFields):
        """What a method made of the other scans, and the scan that was left out."""

        products = traits.List(traits.Dict, mandatory=True, desc='main volume first')
        scans = InputMultiObject(
            File(exists=True), mandatory=True, desc='the scan that was left out'
        )
        acquisitions = traits.List(traits.Dict, mandatory=True, desc='fields of its Acquisition')
        scan2ref = File(exists=True, mandatory=True, desc='its transform to the volumes')
        fit = traits.Dict(mandatory=True, desc='how well it fits')
        facts = traits.Dict(mandatory=True, desc='exam, method and scans')
        stem = traits.Str(mandatory=True, desc='file to write, without its ending')
        segmented = traits.List(
            traits.Dict, [], usedefault=True, desc='products with a brain mask, if any'
        )

    class Outputs(OutputFields):
        """The comparison."""

        measures = File(desc='JSON of the facts and of how well the volume explains the scan')

    def make(self, inputs: Any, folder: Path) -> Results:  # noqa: ARG002
        """Compare the volume with the scan."""
        from bids_synthsr.dataset.files import write_json
        from bids_synthsr.dataset.images import load_rigid, load_volume
        from bids_synthsr.evaluation.comparisons import axis_across, explain_scan, save_comparison
        from bids_synthsr.values.exam import Acquisition
        from bids_synthsr.values.method import Observation

        name, acquisition = inputs.facts['left_out'], Acquisition(**inputs.acquisitions[0])
        if inputs.fit['status'] != 'good':
            raise ValueError(f'{name} cannot be aligned to the others: {inputs.fit["reason"]}')
        brain = None
        if inputs.segmented:
            brain = load_volume(Path(_files_by_suffix(inputs.segmented)['mask']))[0]
        suffix = name.rpartition('_')[2]
        scan = Observation(
            suffix,
            *load_volume(Path(inputs.scans[0])),
            acquisition,
            load_rigid(Path(inputs.scan2ref)),
        )
        explanation = explain_scan(*load_volume(Path(inputs.products[0]['file'])), scan, brain)
        results = {**inputs.facts, 'measures': explanation.measures}
        if inputs.segmented:
            results['structures'] = explanation.structures
        axis = axis_across(explanation.grid, acquisition.slice_axis)
        volumes = [explanation.scan, explanation.fitted]
        save_comparison(volumes, explanation.grid, axis, Path(f'{inputs.stem}.jpg'))
        return {'measures': write_json(Path(f'{inputs.stem}.json'), results)}
