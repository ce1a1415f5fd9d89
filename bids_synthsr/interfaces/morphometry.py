"""Steps of tensor-based morphometry: brains to an atlas, and their shapes compared."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from nipype.interfaces.base import File, InputMultiObject, traits

from bids_synthsr.interfaces.step import InputFields, OutputFields, Results, Step


class AlignBrain(Step):
    """Align the brain of an exam with a template, in pose, size and proportions."""

    class Inputs(InputFields):
        """The exam and the template."""

        exam = traits.Dict(mandatory=True, desc='fields of TbmExam')
        template = traits.Dict(mandatory=True, desc='fields of TemplateFiles')

    class Outputs(OutputFields):
        """How they belong together."""

        affine = File(desc='transform from the template to the T1w, text')

    def make(self, inputs: Any, folder: Path) -> Results:
        """Register the template to the T1w."""
        import numpy as np

        from bids_synthsr.dataset.templates import TemplateFiles, load_template
        from bids_synthsr.derivatives.morphometry import TbmExam
        from bids_synthsr.imaging.resampling import resample
        from bids_synthsr.registration.atlas import align_brain
        from bids_synthsr.registration.standard import bright_as_one, registration_grid

        template = load_template(TemplateFiles(**inputs.template))
        grid = registration_grid(template.t1w, template.grid)
        brain = bright_as_one(resample(template.t1w, template.grid, grid))
        affine = align_brain(TbmExam(**inputs.exam).load(), brain, grid)
        np.savetxt(folder / 'to-t1w.txt', affine)
        return {'affine': folder / 'to-t1w.txt'}


class CenterAffines(Step):
    """Take the mean size and proportions of all brains off."""

    class Inputs(InputFields):
        """Transforms of all exams."""

        affines = InputMultiObject(File(exists=True), mandatory=True, desc='from the template')

    class Outputs(OutputFields):
        """Transforms of all exams."""

        affines = traits.List(File, desc='transforms from the space of the atlas')

    def make(self, inputs: Any, folder: Path) -> Results:
        """Read all, and write them anew."""
        import numpy as np

        from bids_synthsr.registration.atlas import center_affines

        affines = center_affines([np.loadtxt(path) for path in inputs.affines])
        paths = [folder / f'affine-{number}.txt' for number in range(len(affines))]
        for path, affine in zip(paths, affines, strict=True):
            np.savetxt(path, affine)
        return {'affines': paths}


class BringToAtlas(Step):
    """Bring the brain of an exam to the grid of the atlas."""

    class Inputs(InputFields):
        """The exam, its transform, and the template whose grid the atlas has."""

        exam = traits.Dict(mandatory=True, desc='fields of TbmExam')
        affine = File(exists=True, mandatory=True, desc='transform from the atlas to the T1w')
        template = traits.Dict(mandatory=True, desc='fields of TemplateFiles')

    class Outputs(OutputFields):
        """The brain."""

        image = File(desc='brain on the grid of the atlas')

    def make(self, inputs: Any, folder: Path) -> Results:
        """Interpolate it once."""
        import numpy as np

        from bids_synthsr.dataset.images import save_volume
        from bids_synthsr.dataset.templates import TemplateFiles, load_template
        from bids_synthsr.derivatives.morphometry import TbmExam
        from bids_synthsr.registration.atlas import bring_to_atlas
        from bids_synthsr.registration.standard import registration_grid

        template = load_template(TemplateFiles(**inputs.template))
        grid = registration_grid(template.t1w, template.grid)
        image = bring_to_atlas(TbmExam(**inputs.exam).load(), np.loadtxt(inputs.affine), grid)
        return {'image': save_volume(folder / 'brain.nii', image, grid)}


class AverageShapes(Step):
    """Average brains along their deformations."""

    class Inputs(InputFields):
        """Brains of the exams that make the atlas, and how they are deformed."""

        images = InputMultiObject(File(exists=True), mandatory=True, desc='brains of all exams')
        velocities = InputMultiObject(File(exists=True), desc='of the chosen; none at first')
        chosen = traits.List(traits.Int, mandatory=True, desc='exams that make the atlas')

    class Outputs(OutputFields):
        """The atlas."""

        atlas = File(desc='mean brain')
        images = traits.List(File, desc='brains that make it')

    def make(self, inputs: Any, folder: Path) -> Results:
        """Average the chosen."""
        import numpy as np
        import torch
        from nipype.interfaces.base import isdefined

        from bids_synthsr.dataset.images import load_volume, save_volume
        from bids_synthsr.registration.atlas import average_shapes

        paths = [inputs.images[number] for number in inputs.chosen]
        grid = load_volume(Path(paths[0]))[1]
        velocities = inputs.velocities if isdefined(inputs.velocities) else []
        fields = [torch.from_numpy(np.load(path)) for path in velocities]
        images = [load_volume(Path(path))[0].astype(np.float32) for path in paths]
        atlas = average_shapes(images, fields, float(grid.spacing[0]))
        return {'atlas': save_volume(folder / 'atlas.nii', atlas, grid), 'images': paths}


class DeformToAtlas(Step):
    """Find how the shape of a brain differs from the atlas."""

    class Inputs(InputFields):
        """Atlas and brain."""

        atlas = File(exists=True, mandatory=True, desc='mean brain')
        image = File(exists=True, mandatory=True, desc='brain on its grid')
        turn = traits.Int(mandatory=True, desc='which of ROUNDS of the registration')

    class Outputs(OutputFields):
        """The deformation."""

        velocity = File(desc='velocity from the atlas to the brain, NumPy')

    def make(self, inputs: Any, folder: Path) -> Results:
        """Register the brain to the atlas."""
        import numpy as np
        import torch

        from bids_synthsr.dataset.files import written_atomically
        from bids_synthsr.dataset.images import load_volume
        from bids_synthsr.registration.atlas import ROUNDS, deform_to_atlas

        torch.set_num_threads(1)  # more of them cost more than they bring
        atlas, grid = load_volume(Path(inputs.atlas))
        image = load_volume(Path(inputs.image))[0]
        velocity = deform_to_atlas(
            atlas.astype(np.float32),
            image.astype(np.float32),
            float(grid.spacing[0]),
            ROUNDS[inputs.turn],
        )
        with written_atomically(folder / 'velocity.npy') as temporary:
            np.save(temporary, velocity.numpy())
        return {'velocity': folder / 'velocity.npy'}


class PlaceAtlas(Step):
    """Register the mean brain to the template, so that results can be told in its space."""

    class Inputs(InputFields):
        """Atlas and template."""

        atlas = File(exists=True, mandatory=True, desc='mean brain')
        template = traits.Dict(mandatory=True, desc='fields of TemplateFiles')

    class Outputs(OutputFields):
        """How they belong together."""

        transform = File(desc='a StandardTransform, NumPy archive')

    def make(self, inputs: Any, folder: Path) -> Results:
        """Register the template to the atlas as to the T1w of an exam."""
        import torch

        from bids_synthsr.dataset.images import load_volume
        from bids_synthsr.dataset.templates import TemplateFiles, load_template
        from bids_synthsr.derivatives.shape_maps import keep_transform
        from bids_synthsr.morphometry.growth_maps import BRAIN
        from bids_synthsr.registration.standard import fit_template

        torch.set_num_threads(1)
        atlas, grid = load_volume(Path(inputs.atlas))
        template = load_template(TemplateFiles(**inputs.template))
        transform = fit_template(atlas, grid, atlas > BRAIN, template.t1w, template.grid)
        return {'transform': keep_transform(transform, folder / 'to-template.npz')}


class CompareShapes(Step):
    """Compare the shapes of two groups at each voxel, and write what came out."""

    class Inputs(InputFields):
        """Atlas, brains and deformations of all exams, and the design."""

        atlas = File(exists=True, mandatory=True, desc='mean brain')
        images = InputMultiObject(File(exists=True), mandatory=True, desc='brains of all exams')
        velocities = InputMultiObject(File(exists=True), mandatory=True, desc='of all exams')
        transform = File(
            exists=True, mandatory=True, desc='where the atlas lies, StandardTransform'
        )
        template = traits.Dict(mandatory=True, desc='fields of TemplateFiles, of its space')
        design = traits.Dict(mandatory=True, desc='levels, is_second, covariates')
        settings = traits.Dict(mandatory=True, desc='fields of TbmSettings')
        fingerprint = traits.Dict(mandatory=True, desc='all that the maps depend on')
        output_dir = traits.Str(mandatory=True, desc='output folder')
        run_uuid = traits.Str(mandatory=True, nohash=True, desc='name of the run')

    class Outputs(OutputFields):
        """What counts from now on."""

        record = File(desc='the record in the output folder')

    def make(self, inputs: Any, folder: Path) -> Results:  # noqa: ARG002
        """Test all voxels, and publish the maps."""
        import numpy as np

        from bids_synthsr.dataset.files import flushed_beside
        from bids_synthsr.dataset.images import load_volume
        from bids_synthsr.dataset.templates import TemplateFiles, load_template
        from bids_synthsr.derivatives.digests import describe_outputs
        from bids_synthsr.derivatives.morphometry import LABEL
        from bids_synthsr.derivatives.places import Derivatives
        from bids_synthsr.derivatives.records import Record, write_record
        from bids_synthsr.derivatives.shape_maps import (
            ShapeMaps,
            StandardPlace,
            kept_transform,
            save_maps,
        )
        from bids_synthsr.morphometry.growth_maps import common_mask, smoothed_growths
        from bids_synthsr.morphometry.voxelwise import compare_voxels
        from bids_synthsr.settings import TbmSettings

        settings = TbmSettings(**inputs.settings)
        derivatives = Derivatives(Path(inputs.output_dir))
        atlas, grid = load_volume(Path(inputs.atlas))
        brains = (load_volume(Path(path))[0] for path in inputs.images)
        growths = smoothed_growths(
            (np.load(path) for path in inputs.velocities),
            atlas.shape,
            float(grid.spacing[0]),
            settings.fwhm_mm,
        )
        maps = np.stack([*growths])
        mask = common_mask(atlas, brains, maps)
        is_second = np.array(inputs.design['is_second'], bool)
        covariates = np.array(inputs.design['covariates'], float).reshape(len(is_second), -1)
        effects = compare_voxels(
            maps[:, mask], is_second, covariates, mask, settings.permutations, settings.seed
        )
        first, second = inputs.design['levels']
        shapes = ShapeMaps(effects, mask, atlas, grid, (first, second))
        files = TemplateFiles(**inputs.template)
        transform = kept_transform(Path(inputs.transform))
        place = StandardPlace(transform, files, load_template(files).target)
        with flushed_beside():
            written = save_maps(shapes, place, derivatives)
        record = Record(
            LABEL,
            'finished',
            fingerprint=dict(inputs.fingerprint),
            outputs=describe_outputs(written, derivatives),
            run_uuid=inputs.run_uuid,
        )
        return {'record': write_record(derivatives.tbm_record, record)}
