"""Methods texts that can be copied into a paper: one of a run, and one of an output folder."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from bids_synthsr.dataset.files import write_text
from bids_synthsr.derivatives.places import Derivatives
from bids_synthsr.derivatives.records import Record
from bids_synthsr.reports.boilerplate import facts_of_record, facts_of_settings, methods_text
from bids_synthsr.reports.collect import read_run

RUN = (
    '# Methods\n\nThis text may be copied into a paper as it is; it describes what one run does '
    'with its settings. What all finished exams of the output folder were made by stands in '
    '`logs/CITATION.md`.\n\n'
)
FOLDER = (
    '# Methods\n\nThis text may be copied into a paper as it is; it describes what the finished '
    'exams of this folder were made by.\n\n'
)
SEVERAL_WAYS = 'They were not all made alike: for each way there is a text of its own.\n\n'
NONE_FINISHED = '# Methods\n\nNo exam of this folder is finished.\n'
UNKNOWN = '## Not described: {}\n\nThis version does not know what they were made by.\n'


def write_run_citation(path: Path, run: Mapping[str, Any]) -> Path:
    """Write the methods text of a run.

    Parameters
    ----------
    path
        File that is written.
    run
        Settings and versions of the run, and the folders whose transforms it takes.
    """
    facts = facts_of_settings(run['settings'], run['versions'], bool(run['derivatives']))
    return write_text(path, RUN + methods_text(facts))


def write_folder_citation(derivatives: Derivatives, records: Iterable[Record]) -> Path:
    """Write the methods text of an output folder, from the records of its exams."""
    by_text: dict[str, list[str]] = {}
    runs: dict[str, Mapping[str, Any]] = {}
    for record in records:
        if record.state == 'finished':
            run = runs.setdefault(record.run_uuid, read_run(derivatives, record.run_uuid))
            by_text.setdefault(_text_of(record, run), []).append(record.exam)
    return write_text(derivatives.citation, _join_texts(by_text) if by_text else NONE_FINISHED)


def _text_of(record: Record, run: Mapping[str, Any]) -> str:
    """Describe how an exam was made; empty where its record is not one of this version."""
    try:
        return methods_text(facts_of_record(record, run))
    except (AttributeError, KeyError, TypeError, ValueError):
        return ''


def _join_texts(by_text: Mapping[str, list[str]]) -> str:
    """Join the texts of all ways in which exams were made, each with its exams."""
    texts = {text: exams for text, exams in by_text.items() if text}
    unknown = [UNKNOWN.format(', '.join(by_text['']))] if '' in by_text else []
    if len(by_text) == 1:
        return FOLDER + ''.join([*texts, *unknown])
    parts = [f'## {", ".join(exams)}\n\n{text}' for text, exams in texts.items()]
    return FOLDER + SEVERAL_WAYS + '\n'.join([*parts, *unknown])
