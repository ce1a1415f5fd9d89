"""Steps of the evaluation of morphometry: heads changed, kept as exams, and what was found."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from nipype.interfaces.base import File, InputMultiObject, traits

from bids_synthsr.interfaces.step import InputFields, OutputFields, Results, Step


class ChangeHead(Step):
    """Let structures of a head shrink or grow by known factors."""

    class Inputs(InputFields):
        """A head of 1 mm and its structures."""

        head = File(exists=True, mandatory=True, desc='T1w of 1 mm')
        reference = File(exists=True, mandatory=True, desc='label values of FreeSurfer')
        factors = traits.Dict(mandatory=True, desc='by which the volume of structures changes')
        is_changed = traits.Bool(mandatory=True, desc='false only interpolates')

    class Outputs(OutputFields):
        """The changed head, on the same grid."""

        head = File(desc='T1w of 1 mm')
        mask = File(desc='1 in the brain')
        structures = File(desc='numbers of the structures, from 1')
        growth = traits.Dict(desc='logarithm of the growth, by structure')

    def make(self, inputs: Any, folder: Path) -> Results:
        """Change it."""
        import torch

        from bids_synthsr.dataset.images import load_volume, save_volume
        from bids_synthsr.evaluation.shape_changes import change_head

        torch.set_num_threads(1)
        head, grid = load_volume(Path(inputs.head))
        labels = load_volume(Path(inputs.reference))[0]
        changed = change_head(head, labels, dict(inputs.factors), inputs.is_changed)
        files = {
            name: save_volume(folder / f'{name}.nii', getattr(changed, name), grid)
            for name in ('head', 'mask', 'structures')
        }
        return {**files, 'growth': dict(changed.growth)}


class KeepBrain(Step):
    """Take a T1w and its brain mask as an exam whose shape is compared."""

    class Inputs(InputFields):
        """A T1w, or what a method made."""

        label = traits.Str(mandatory=True, desc='label of the exam')
        mask = File(exists=True, mandatory=True, desc='1 in the brain')
        head = File(exists=True, desc='T1w; without it the main volume of the products')
        products = traits.List(traits.Dict, [], usedefault=True, desc='what a method made')

    class Outputs(OutputFields):
        """The exam."""

        exam = traits.Dict(desc='fields of TbmExam')

    def make(self, inputs: Any, folder: Path) -> Results:
        """Check that they belong together, and take their digests."""
        from dataclasses import asdict

        from bids_synthsr.dataset.files import sha256
        from bids_synthsr.dataset.images import load_volume, save_volume
        from bids_synthsr.derivatives.morphometry import TbmExam
        from bids_synthsr.evaluation.comparisons import on_grid

        mask, grid = load_volume(Path(inputs.mask))
        t1w = Path(inputs.head or inputs.products[0]['file'])
        volume = on_grid(*load_volume(t1w), grid)
        files = (
            save_volume(folder / 't1w.nii', volume, grid),
            save_volume(folder / 'mask.nii', mask, grid),
        )
        digests = sha256(files[0]), sha256(files[1])
        exam = TbmExam(inputs.label, str(files[0]), str(files[1]), digests)
        return {'exam': asdict(exam)}


class DeformAnew(Step):
    """Find how a brain that is not among the exams differs from their atlas."""

    class Inputs(InputFields):
        """The brain, the atlas, and what the exams of the atlas tell of its space."""

        exam = traits.Dict(mandatory=True, desc='fields of TbmExam')
        template = traits.Dict(mandatory=True, desc='fields of TemplateFiles')
        atlas = File(exists=True, mandatory=True, desc='mean brain')
        aligned = InputMultiObject(File(exists=True), mandatory=True, desc='from the template')
        affines = InputMultiObject(File(exists=True), mandatory=True, desc='from the atlas')

    class Outputs(OutputFields):
        """The deformation."""

        velocity = File(desc='velocity from the atlas to the brain, NumPy')

    def make(self, inputs: Any, folder: Path) -> Results:
        """Align the brain with the template, bring it to the atlas, and deform it."""
        import numpy as np
        import torch

        from bids_synthsr.dataset.files import written_atomically
        from bids_synthsr.dataset.images import load_volume
        from bids_synthsr.dataset.templates import TemplateFiles, load_template
        from bids_synthsr.derivatives.morphometry import TbmExam
        from bids_synthsr.imaging.resampling import resample
        from bids_synthsr.registration.atlas import (
            ROUNDS,
            align_brain,
            bring_to_atlas,
            deform_to_atlas,
        )
        from bids_synthsr.registration.standard import bright_as_one

        torch.set_num_threads(1)
        brain = TbmExam(**inputs.exam).load()
        atlas, grid = load_volume(Path(inputs.atlas))
        template = load_template(TemplateFiles(**inputs.template))
        target = bright_as_one(resample(template.t1w, template.grid, grid))
        # what was taken off all exams, which is the same for each of them
        mean = np.linalg.inv(np.loadtxt(inputs.aligned[0])) @ np.loadtxt(inputs.affines[0])
        image = bring_to_atlas(brain, align_brain(brain, target, grid) @ mean, grid)
        velocity = deform_to_atlas(
            atlas.astype(np.float32), image, float(grid.spacing[0]), ROUNDS[-1]
        )
        with written_atomically(folder / 'velocity.npy') as temporary:
            np.save(temporary, velocity.numpy())
        return {'velocity': folder / 'velocity.npy'}


class MeasureChanges(Step):
    """Compare what morphometry found with how structures have truly changed."""

    class Inputs(InputFields):
        """What morphometry of one method found, and the truth."""

        method = traits.Str(mandatory=True, desc='name of the method')
        record = File(exists=True, mandatory=True, desc='record of the morphometry')
        affines = InputMultiObject(File(exists=True), mandatory=True, desc='of all exams')
        velocities = InputMultiObject(File(exists=True), mandatory=True, desc='of all exams')
        before = InputMultiObject(
            File(exists=True), mandatory=True, desc='velocities of those who change, before that'
        )
        structures = InputMultiObject(File(exists=True), mandatory=True, desc='of all exams')
        growths = traits.List(traits.Dict, mandatory=True, desc='of all exams, true')
        is_second = traits.List(traits.Bool, mandatory=True, desc='which have changed')
        settings = traits.Dict(mandatory=True, desc='fields of TbmSettings')
        splits = traits.Int(0, usedefault=True, desc='random splits that are tested, too')
        maps_dir = traits.Str(mandatory=True, desc='folder of the maps')
        stem = traits.Str(mandatory=True, desc='file to write, without its ending')

    class Outputs(OutputFields):
        """What was found."""

        measures = File(desc='JSON of what was found')

    def make(self, inputs: Any, folder: Path) -> Results:  # noqa: ARG002
        """Measure it."""
        import numpy as np
        import torch

        from bids_synthsr.dataset.files import write_json
        from bids_synthsr.dataset.images import load_volume
        from bids_synthsr.derivatives.places import Derivatives
        from bids_synthsr.evaluation.shape_changes import BrainInAtlas
        from bids_synthsr.evaluation.shape_findings import (
            compare_changes,
            count_false_positives,
            save_picture,
        )
        from bids_synthsr.settings import TbmSettings

        torch.set_num_threads(1)
        derivatives = Derivatives(Path(inputs.maps_dir))
        files = zip(inputs.velocities, inputs.affines, inputs.structures, strict=True)
        brains = (
            BrainInAtlas(np.load(velocity), np.loadtxt(affine), *load_volume(Path(structures)))
            for velocity, affine, structures in files
        )
        before = (np.load(path) for path in inputs.before)
        found = compare_changes(brains, before, inputs.growths, inputs.is_second, derivatives)
        velocities = [Path(path) for path in inputs.velocities]
        settings = TbmSettings(**inputs.settings)
        found['splits'] = inputs.splits
        found['positive_splits'] = count_false_positives(
            velocities, inputs.is_second, inputs.splits, settings, derivatives
        )
        save_picture(derivatives, Path(f'{inputs.stem}.jpg'))
        content = {'method': inputs.method, 'maps': str(derivatives.group_tbm), **found}
        return {'measures': write_json(Path(f'{inputs.stem}.json'), content)}
