"""Surfaces of an exam: a tool of others is run, and what it made is read and written."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from nipype.interfaces.base import traits

from bids_synthsr.interfaces.step import InputFields, OutputFields, Results, Step

LAST_LINES = 3  # of what a tool prints, in a message


class ReconstructSurfaces(Step):
    """Run a tool on the T1w of an exam, or go on where it was interrupted."""

    class Inputs(InputFields):
        """The T1w, and the tool."""

        subject = traits.Str(mandatory=True, desc='label of the exam, which names the folder')
        subjects_dir = traits.Str(mandatory=True, desc='folder of all subjects')
        volume = traits.Str(mandatory=True, desc='what the tool gets')
        sha256 = traits.Str(mandatory=True, desc='digest of it')
        mask = traits.Str(mandatory=True, desc='brain mask of the exam; empty for a native scan')
        tool = traits.Dict(mandatory=True, desc='fields of FoundTool')
        overwrites = traits.Bool(False, usedefault=True, nohash=True, desc='start again')
        resumes = traits.Bool(True, usedefault=True, nohash=True, desc='go on with what is begun')
        num_threads = traits.Int(1, usedefault=True, nohash=True, desc='threads')
        device = traits.Str('cpu', usedefault=True, nohash=True, desc='of networks')

    class Outputs(OutputFields):
        """Where the results are."""

        folder = traits.Str(desc='folder of the subject, all of whose files are there')
        version = traits.Str(desc='of the tool that has made it, now or earlier')

    def make(self, inputs: Any, folder: Path) -> Results:
        """Judge the folder, run the tool, and check by its files that it is done."""
        from bids_synthsr.surfaces.reconstruction import Reconstruction, reconstruct
        from bids_synthsr.surfaces.subjects import SubjectFolder, read_note
        from bids_synthsr.surfaces.tools import FoundTool

        task = Reconstruction(
            tool=FoundTool(**inputs.tool),
            subject=inputs.subject,
            subjects_dir=Path(inputs.subjects_dir),
            volume=Path(inputs.volume),
            sha256=inputs.sha256,
            mask=Path(inputs.mask) if inputs.mask else None,
            num_threads=inputs.num_threads,
            device=inputs.device,
        )
        done = reconstruct(
            task, _run_command, folder, overwrites=inputs.overwrites, resumes=inputs.resumes
        )
        made_by = read_note(SubjectFolder(task.subjects_dir, task.subject).mark)
        return {'folder': str(done), 'version': made_by.version if made_by else ''}


def _run_command(name: str, executable: str, environment: dict[str, str], **inputs: Any) -> None:
    """Run a command by its interface; what it prints stays in the folder of the step.

    Raises
    ------
    RuntimeError
        If it ends with an error.
    """
    from bids_synthsr.interfaces import surface_commands as commands

    kinds = {
        'recon-all': commands.ReconAll,
        'recon-all-clinical': commands.ReconAllClinical,
        'fastsurfer': commands.FastSurfer,
        'samseg': commands.Samseg,
    }
    command = commands.command_of(kinds[name], executable, **inputs)
    command.inputs.environ.update(environment)
    runtime = command.run(ignore_exception=True).runtime
    if runtime.returncode != 0:
        said = (runtime.stderr or runtime.stdout or '').strip().splitlines()[-LAST_LINES:]
        raise RuntimeError(f'{name} ended with code {runtime.returncode}: {" ".join(said)}')


class SaveSurfaces(Step):
    """Write tables, segmentations and surfaces of an exam, its page, and last the record."""

    class Inputs(InputFields):
        """The folder of the subject."""

        exam = traits.Str(mandatory=True, desc='label of the exam')
        folder = traits.Str(mandatory=True, desc='folder of the subject')
        version = traits.Str(mandatory=True, desc='of the tool that has made it')
        tool = traits.Dict(mandatory=True, desc='fields of FoundTool')
        source = traits.Dict(mandatory=True, desc='fields of SurfaceInput')
        output_dir = traits.Str(mandatory=True, desc='output folder')
        run_uuid = traits.Str(mandatory=True, nohash=True, desc='name of the run')

    class Outputs(OutputFields):
        """What counts from now on."""

        record = traits.Str(desc='the record in the output folder')

    def make(self, inputs: Any, folder: Path) -> Results:
        """Read what the tool made, and write it all."""
        from dataclasses import replace

        from bids_synthsr.dataset.files import flushed_beside
        from bids_synthsr.derivatives.further import begin_outputs, publish_outputs
        from bids_synthsr.derivatives.places import Derivatives
        from bids_synthsr.derivatives.saving import list_outputs, save_product
        from bids_synthsr.derivatives.surfaces import SurfaceInput, surface_products
        from bids_synthsr.reports.surface_page import write_surface_page
        from bids_synthsr.surfaces.tools import FoundTool

        derivatives = Derivatives(Path(inputs.output_dir))
        place = derivatives.exam_of(inputs.exam)
        source, found = SurfaceInput(**inputs.source), FoundTool(**inputs.tool)
        tool = replace(found, version=inputs.version or found.version)
        try:
            products = [*surface_products(Path(inputs.folder), source, tool, folder)]
        except (ValueError, OSError, EOFError) as error:
            raise ValueError(
                f'{error}. Move {inputs.folder} away, and the tool works on the exam anew.'
            ) from error
        record = derivatives.surface_record(inputs.exam)
        names = list_outputs(products, place)
        begin_outputs(record, inputs.exam, names, derivatives, inputs.run_uuid)
        frame = derivatives.uri(Path(source.t1w))
        with flushed_beside():
            outputs = [
                path
                for product in products
                for path in save_product(product, place, {'volume': source.uri}, frame)
            ]
            page = write_surface_page(place, source, tool, Path(inputs.folder))
        published = publish_outputs(
            record, inputs.exam, source.fingerprint(found), outputs, [page], derivatives,
            inputs.run_uuid,
        )  # fmt: skip
        return {'record': str(published)}
