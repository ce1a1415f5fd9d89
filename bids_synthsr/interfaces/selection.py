"""The scans of an exam, judged, and brought into the form that every later step expects."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

from nipype.interfaces.base import (
    BaseInterfaceInputSpec,
    File,
    OutputMultiObject,
    SimpleInterface,
    TraitedSpec,
    traits,
)


class _SelectScansInputSpec(BaseInterfaceInputSpec):
    exam = traits.Dict(mandatory=True, desc='subject, session, fingerprint and scans of the exam')
    reference = traits.Str(desc='suffix or filter that names the reference')
    contrasts = traits.List(traits.Str, desc='suffixes that may be used')


class _SelectScansOutputSpec(TraitedSpec):
    scans = OutputMultiObject(File, desc='usable scans, reference first: 3-D float32, one affine')
    contrasts = traits.List(traits.Str, desc='their BIDS suffixes')
    acquisitions = traits.List(traits.Dict, desc='fields of their Acquisition')
    names = traits.List(traits.Str, desc='what tells them apart, such as run-2_FLAIR')
    selection = File(desc='rows of every scan, used or not, and why; JSON')


class SelectScans(SimpleInterface):
    """Read and judge every scan of an exam, and choose the reference."""

    input_spec = _SelectScansInputSpec
    output_spec = _SelectScansOutputSpec

    def _run_interface(self, runtime):  # type: ignore[no-untyped-def]
        from bids_synthsr.dataset.files import write_rows
        from bids_synthsr.dataset.images import save_volume
        from bids_synthsr.dataset.selection import load_exam, select_scans

        exam, voxels = load_exam(self.inputs.exam)
        selection = select_scans(exam, self.inputs.reference or None, self.inputs.contrasts)
        folder, scans = Path(runtime.cwd), selection.scans
        geometry = [scan.geometry for scan in scans]
        self._results['scans'] = [
            str(save_volume(folder / f'{scan.name}.nii', voxels[scan.name], grid))
            for scan, (grid, _) in zip(scans, geometry, strict=True)
        ]
        self._results['contrasts'] = [scan.suffix for scan in scans]
        self._results['acquisitions'] = [asdict(acquisition) for _, acquisition in geometry]
        self._results['names'] = [scan.name for scan in scans]
        self._results['selection'] = str(write_rows(folder / 'selection.json', selection.rows))
        return runtime
