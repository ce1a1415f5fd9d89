"""What is kept of an exam: products of the registration, outputs, report and record."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nipype.interfaces.base import File, InputMultiObject, traits

from bids_synthsr.interfaces.step import InputFields, OutputFields, Results, Step

if TYPE_CHECKING:
    from bids_synthsr.derivatives.places import ExamDerivatives


class CollectRegistration(Step):
    """List what selection and registration of the scans make for keeps."""

    class Inputs(InputFields):
        """What became of the scans."""

        selection = File(exists=True, mandatory=True, desc='rows of every scan, JSON')
        names = traits.List(traits.Str, mandatory=True, desc='scans that could be aligned')
        scan2ref = InputMultiObject(File(exists=True), mandatory=True, desc='their transforms')
        resampled = InputMultiObject(File(exists=True), mandatory=True, desc='on the output grid')
        reliability = InputMultiObject(File(exists=True), mandatory=True, desc='their maps')
        fits = traits.List(traits.Dict, mandatory=True, desc='how well each scan fits')
        coverages = traits.List(traits.Dict, mandatory=True, desc='of scans and of the output')

    class Outputs(OutputFields):
        """What a stage hands on."""

        products = traits.List(traits.Dict, desc='fields of ProductFile')
        warnings = traits.List(traits.Str, desc='what a reader must know')

    def make(self, inputs: Any, folder: Path) -> Results:
        """Mark the scans that could not be aligned, and list the rest."""
        from bids_synthsr.dataset.files import read_json, write_rows
        from bids_synthsr.dataset.selection import (
            add_coverages,
            leave_out_failed,
            registration_warnings,
        )
        from bids_synthsr.derivatives.products import AlignedScans, registration_products
        from bids_synthsr.imaging.coverage import Coverage, describe_cut_head

        rows = leave_out_failed(read_json(Path(inputs.selection)), inputs.fits)
        *coverages, output = (
            Coverage(tuple(x['size_mm']), x['percent']) for x in inputs.coverages
        )
        shown = map(asdict, coverages)
        rows = add_coverages(rows, 'head', dict(zip(inputs.names, shown, strict=True)))
        table = write_rows(folder / 'selection.json', rows)
        alignment = AlignedScans(
            inputs.names, inputs.scan2ref, inputs.resampled, inputs.reliability
        )
        products = registration_products(str(table), alignment, inputs.fits, asdict(output))
        return {
            'products': [product.as_plain() for product in products],
            'warnings': [
                *registration_warnings(rows, inputs.fits),
                *describe_cut_head(output),
            ],
        }


class _ExamInputs(InputFields):
    """The exam whose outputs are written."""

    exam = traits.Dict(mandatory=True, desc='the exam in plain values')
    output_dir = traits.Str(mandatory=True, desc='output folder')
    run_uuid = traits.Str(mandatory=True, nohash=True, desc='name of the run')


def _place_of(inputs: Any) -> ExamDerivatives:
    """Where the outputs of the exam lie."""
    from bids_synthsr.derivatives.places import Derivatives

    derivatives = Derivatives(Path(inputs.output_dir))
    return derivatives.exam(inputs.exam['subject'], inputs.exam['session'])


class SaveOutputs(Step):
    """Write the outputs of an exam."""

    class Inputs(_ExamInputs):
        """Products of all stages."""

        bids_dir = traits.Str(mandatory=True, desc='input data set')
        products = traits.List(traits.Dict, mandatory=True, desc='fields of ProductFile')
        warnings = traits.List(traits.Str, mandatory=True, desc='what a reader must know')
        fingerprint = traits.Dict(nohash=True, desc='of scans, settings and version')

    class Outputs(OutputFields):
        """What is known of the exam so far."""

        draft = File(desc='record of the exam, not yet published')

    def make(self, inputs: Any, folder: Path) -> Results:
        """Write the products, all or none that is unsound, and a draft of the record."""
        from bids_synthsr.dataset.files import flushed_beside
        from bids_synthsr.dataset.selection import scans_of
        from bids_synthsr.derivatives.digests import describe_outputs
        from bids_synthsr.derivatives.products import ProductFile, coverage_of, name_of_main
        from bids_synthsr.derivatives.provenance import raw_uri
        from bids_synthsr.derivatives.records import (
            BROKEN_OFF,
            Record,
            write_record,
            write_unfinished_record,
        )
        from bids_synthsr.derivatives.saving import (
            check_products,
            list_outputs,
            save_products,
            with_fates,
        )

        place, bids_dir = _place_of(inputs), Path(inputs.bids_dir)
        sources = {
            scan.name: raw_uri(scan.path, bids_dir) for scan in reversed(scans_of(inputs.exam))
        }
        products = [ProductFile(**product) for product in inputs.products]
        check_products(products)
        products = with_fates(products, folder)
        # until the record is published, that of earlier work would describe files that are gone
        begun = Record(place.label, 'begun', reason=BROKEN_OFF, run_uuid=inputs.run_uuid)
        write_unfinished_record(place, begun, list_outputs(products, place))
        with flushed_beside():
            outputs = save_products(products, place, sources)
            digests = describe_outputs(outputs, place.dataset)
        record = Record(
            exam=place.label,
            state='finished',
            fingerprint=dict(inputs.fingerprint),
            warnings=tuple(inputs.warnings),
            outputs=digests,
            main=name_of_main(products),
            coverage=coverage_of(products),
            run_uuid=inputs.run_uuid,
        )
        return {'draft': write_record(folder / 'draft.json', record)}


class WriteReport(Step):
    """Write the report of an exam from its outputs."""

    class Inputs(_ExamInputs):
        """What was done."""

        draft = File(exists=True, mandatory=True, desc='record of the exam')

    class Outputs(OutputFields):
        """The same, once the report stands."""

        draft = File(desc='the record, with the pages of the exam')

    def make(self, inputs: Any, folder: Path) -> Results:
        """Gather what the report shows, and write it with its small picture."""
        from bids_synthsr.dataset.files import flushed_beside
        from bids_synthsr.dataset.selection import scans_of
        from bids_synthsr.derivatives.records import load_record, write_record
        from bids_synthsr.reports.exam_pages import write_pages

        record, place = load_record(Path(inputs.draft)), _place_of(inputs)
        with flushed_beside():
            record = write_pages(place, record, scans_of(inputs.exam))
        return {'draft': write_record(folder / 'draft.json', record)}


class RecordExam(Step):
    """Record that an exam is finished, after all else."""

    class Inputs(_ExamInputs):
        """What was done."""

        draft = File(exists=True, mandatory=True, desc='record of the exam')

    class Outputs(OutputFields):
        """What counts from now on."""

        record = File(desc='the record in the output folder')

    def make(self, inputs: Any, folder: Path) -> Results:  # noqa: ARG002
        """Publish the record, with the time that every step took."""
        from dataclasses import replace

        from bids_synthsr.derivatives.records import load_record, publish_record, read_durations

        record, place = load_record(Path(inputs.draft)), _place_of(inputs)
        durations = read_durations(place.dataset.steps(inputs.run_uuid), place.label)
        return {'record': publish_record(place, replace(record, durations_s=durations))}
