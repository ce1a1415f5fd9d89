"""The pages of a finished exam: report and small picture, written and put on record."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from bids_synthsr.derivatives.digests import describe_outputs
from bids_synthsr.derivatives.places import ExamDerivatives
from bids_synthsr.derivatives.records import Record
from bids_synthsr.reports.collect import collect_report
from bids_synthsr.reports.pages import write_report, write_thumbnail
from bids_synthsr.values.exam import Scan


def write_pages(place: ExamDerivatives, record: Record, scans: Iterable[Scan]) -> Record:
    """Write report and small picture of an exam from its outputs.

    Parameters
    ----------
    place
        Where the outputs of the exam lie.
    record
        Record of what was done.
    scans
        Its scans, judged by their headers.

    Returns
    -------
    record
        The same, with the content of the pages.
    """
    report = collect_report(place, record, scans)
    pages = [write_report(report, place.report), write_thumbnail(report, place.thumbnail)]
    return replace(record, pages=describe_outputs(pages, place.dataset))
