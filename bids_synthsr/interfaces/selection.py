"""The scans of an exam, judged, and brought into the form that every later step expects."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

from nipype.interfaces.base import File, OutputMultiObject, traits

from bids_synthsr.interfaces.step import InputFields, OutputFields, Results, Step


class SelectScans(Step):
    """Read and judge every scan of an exam, and choose the reference."""

    class Inputs(InputFields):
        """An exam, and which of its scans are wanted."""

        exam = traits.Dict(
            mandatory=True, desc='subject, session, fingerprint and scans of the exam'
        )
        reference = traits.Str(desc='suffix or filter that names the reference')
        contrasts = traits.List(traits.Str, desc='suffixes that may be used')

        takes_ct = traits.Bool(usedefault=True, desc='whether scans may be CT')

    class Outputs(OutputFields):
        """The usable scans, the reference first."""

        scans = OutputMultiObject(File, desc='volumes: 3-D float32, one affine')
        contrasts = traits.List(traits.Str, desc='what they show, such as ce-gd_T1w')
        acquisitions = traits.List(traits.Dict, desc='fields of their Acquisition')
        names = traits.List(traits.Str, desc='what tells them apart, such as run-2_FLAIR')
        selection = File(desc='rows of every scan, used or not, and why; JSON')

    def make(self, inputs: Any, folder: Path) -> Results:
        """Select the scans."""
        from bids_synthsr.dataset.files import write_rows
        from bids_synthsr.dataset.images import save_volume
        from bids_synthsr.dataset.selection import load_exam, select_scans

        exam, voxels = load_exam(inputs.exam, inputs.takes_ct)
        selection = select_scans(exam, inputs.reference or None, inputs.contrasts, inputs.takes_ct)
        scans = selection.scans
        return {
            'scans': [
                save_volume(folder / f'{scan.name}.nii', voxels[scan.name], scan.geometry[0])
                for scan in scans
            ],
            'contrasts': [scan.contrast for scan in scans],
            'acquisitions': [asdict(scan.geometry[1]) for scan in scans],
            'names': [scan.name for scan in scans],
            'selection': write_rows(folder / 'selection.json', selection.rows),
        }
