"""Outputs, report and record of an exam."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from nipype.interfaces.base import (
    BaseInterfaceInputSpec,
    File,
    InputMultiObject,
    SimpleInterface,
    TraitedSpec,
    traits,
)

if TYPE_CHECKING:
    from bids_synthsr.derivatives.places import ExamDerivatives


class _PlaceInputSpec(BaseInterfaceInputSpec):
    exam = traits.Dict(mandatory=True, desc='the exam in plain values')
    output_dir = traits.Str(mandatory=True, desc='output folder')
    run_uuid = traits.Str(mandatory=True, nohash=True, desc='name of the run')


class _Placed(SimpleInterface):
    """Know where the outputs of the exam lie."""

    input_spec = _PlaceInputSpec

    def _place(self) -> ExamDerivatives:
        from bids_synthsr.derivatives.places import Derivatives

        derivatives = Derivatives(Path(self.inputs.output_dir))
        return derivatives.exam(self.inputs.exam['subject'], self.inputs.exam['session'])


class _SaveOutputsInputSpec(_PlaceInputSpec):
    bids_dir = traits.Str(mandatory=True, desc='input data set')
    selection = File(exists=True, mandatory=True, desc='table of every scan')
    names = traits.List(traits.Str, mandatory=True, desc='scans that were used')
    scan2ref = InputMultiObject(File(exists=True), mandatory=True, desc='their transforms')
    fits = traits.List(traits.Dict, mandatory=True, desc='how well each scan fits')
    resampled = InputMultiObject(File(exists=True), mandatory=True, desc='on the output grid')
    reliability = InputMultiObject(File(exists=True), mandatory=True, desc='their reliability')
    volumes = InputMultiObject(File(exists=True), mandatory=True, desc='products of the method')
    entities = traits.List(traits.Dict, mandatory=True, desc='their suffix and desc')
    facts = File(exists=True, mandatory=True, desc='what the method tells')
    fingerprint = traits.Dict(nohash=True, desc='of scans, settings and version')


class _SaveOutputsOutputSpec(TraitedSpec):
    draft = File(desc='record of the exam, not yet published')


class SaveOutputs(_Placed):
    """Write the derivatives of an exam."""

    input_spec = _SaveOutputsInputSpec
    output_spec = _SaveOutputsOutputSpec

    def _run_interface(self, runtime):  # type: ignore[no-untyped-def]
        from bids_synthsr.dataset.selection import scans_of
        from bids_synthsr.derivatives.records import Record, write_record
        from bids_synthsr.derivatives.saving import MadeFiles, save_outputs

        place, inputs = self._place(), self.inputs
        made = MadeFiles(
            selection=Path(inputs.selection),
            names=inputs.names,
            scan2ref=[Path(file) for file in inputs.scan2ref],
            resampled=[Path(file) for file in inputs.resampled],
            reliability=[Path(file) for file in inputs.reliability],
            fits=inputs.fits,
            volumes=[Path(file) for file in inputs.volumes],
            entities=inputs.entities,
            facts=Path(inputs.facts),
        )
        sources = {scan.name: scan.path for scan in reversed(scans_of(inputs.exam))}
        outputs, warnings = save_outputs(made, place, sources, Path(inputs.bids_dir))
        record = Record(
            exam=place.label,
            state='finished',
            fingerprint=dict(inputs.fingerprint),
            warnings=tuple(warnings),
            outputs=tuple(path.relative_to(place.dataset.root).as_posix() for path in outputs),
            run_uuid=inputs.run_uuid,
        )
        self._results['draft'] = str(write_record(Path(runtime.cwd) / 'draft.json', record))
        return runtime


class _WriteReportInputSpec(_PlaceInputSpec):
    draft = File(exists=True, mandatory=True, desc='record of the exam')


class _WriteReportOutputSpec(TraitedSpec):
    draft = File(desc='the same record, once the report stands')


class WriteReport(_Placed):
    """Write the report of an exam from its outputs."""

    input_spec = _WriteReportInputSpec
    output_spec = _WriteReportOutputSpec

    def _run_interface(self, runtime):  # type: ignore[no-untyped-def]
        from bids_synthsr.dataset.selection import scans_of
        from bids_synthsr.derivatives.records import load_record
        from bids_synthsr.reports.collect import collect_report
        from bids_synthsr.reports.pages import write_report, write_thumbnail

        record, place = load_record(Path(self.inputs.draft)), self._place()
        report = collect_report(place, record, scans_of(self.inputs.exam))
        write_report(report, place.report)
        write_thumbnail(report, place.thumbnail)
        self._results['draft'] = self.inputs.draft
        return runtime


class _RecordExamInputSpec(_PlaceInputSpec):
    draft = File(exists=True, mandatory=True, desc='record of the exam')


class _RecordExamOutputSpec(TraitedSpec):
    record = File(desc='the record in the output folder')


class RecordExam(_Placed):
    """Record that an exam is finished, after all else."""

    input_spec = _RecordExamInputSpec
    output_spec = _RecordExamOutputSpec

    def _run_interface(self, runtime):  # type: ignore[no-untyped-def]
        from dataclasses import replace

        from bids_synthsr.derivatives.records import load_record, read_steps, write_record

        record, place = load_record(Path(self.inputs.draft)), self._place()
        steps = read_steps(place.dataset.steps(self.inputs.run_uuid), place.label)
        durations = {step.name: step.seconds for step in steps}
        path = write_record(place.record, replace(record, durations_s=durations))
        self._results['record'] = str(path)
        return runtime
