"""What others wrote is shown, and is neither code nor a command nor a forged line."""

import base64
import json
import logging
import re
import shlex
from hashlib import sha256
from pathlib import Path

import numpy as np
import pytest

from bids_synthsr.cli.status import command_for
from bids_synthsr.cli.synthsr import main
from bids_synthsr.dataset.scans import read_scan
from bids_synthsr.dataset.sidecars import Sidecars
from bids_synthsr.derivatives.digests import OutputFile
from bids_synthsr.derivatives.places import Derivatives
from bids_synthsr.derivatives.progress import write_plan
from bids_synthsr.derivatives.records import Record, read_record, write_record
from bids_synthsr.reports.content import ExamReport, FileRow, IndexRow
from bids_synthsr.reports.pages import local_address, write_index, write_report
from bids_synthsr.run.closing import Outcome, write_data_set_index, write_status
from bids_synthsr.run.messages import PlainFormatter

SHELL = '$(touch pwned);x'
RUN = '20260101-1_a'

OUTPUTS = {'a.nii.gz': OutputFile(0, '')}


def test_labels_in_a_command_are_one_word_each():
    words = ' '.join(command_for([SHELL, '02'], 'bids_synthsr a b participant'))
    assert shlex.split(words)[-2:] == [SHELL, '02'] and shlex.quote(SHELL) in words


@pytest.mark.parametrize(
    ('labels', 'command', 'words'),
    [
        (['sub-02'], 'bids_synthsr a b participant', '--participant-label 02'),
        (['sub-01~5Fold', 'sub-02'], 'bids_synthsr a b participant', '--participant-label 02\n'),
        (['sub-01~5Fold'], 'bids_synthsr a b participant', None),  # whose folder is to be renamed
        ([f'sub-{SHELL}', 'sub-02'], 'bids_synthsr a b', '--participant-label 02\n'),
        (['sub-02'], 'rm -rf /', None),
        (['sub-02'], "bids_synthsr 'never closed", None),
        (['sub-02'], 'bids_synthsr \x1b[2J', None),
        (['sub-02'], '', None),
    ],
)
def test_only_safe_commands_are_printed(tmp_path, capsys, labels, command, words):
    write_plan(Derivatives(tmp_path), RUN, dict.fromkeys(labels, ''), command, Path('/data'))
    assert main(['status', str(tmp_path)]) == 1
    shown = capsys.readouterr().out
    assert SHELL not in shown
    assert words in shown if words else 'To do only' not in shown


@pytest.mark.parametrize('content', ['', '[]', '{"exams": 1}', '{"exams": [1]}', '[' * 200_000])
def test_an_odd_plan_hides_no_exam(tmp_path, capsys, content):
    derivatives = Derivatives(tmp_path)
    write_plan(derivatives, RUN, {'sub-02': ''}, 'bids_synthsr a b participant', Path('/data'))
    derivatives.run_logs('20260102-1_b').mkdir()
    derivatives.run_plan('20260102-1_b').write_text(content)
    steps = [content, '{"exam": 1}', '{"exam": "sub-02", "step": "\x1b", "status": "odd"}']
    derivatives.steps(RUN).write_text('\n'.join(steps))
    assert main(['status', str(tmp_path)]) == 1
    assert 'sub-02  missing' in capsys.readouterr().out


def test_a_sidecar_is_plain_once_it_is_read(tmp_path):
    texts = {'SeriesDescription': 'scout\x1b[31m\n' + 'x' * 10**6, '\x1b': '\ud800', 'A': [['\t']]}
    (tmp_path / 'T1w.json').write_text(json.dumps(texts))
    metadata, faults = Sidecars(tmp_path, [tmp_path / 'T1w.json']).inherited(tmp_path / 'T1w.nii')
    assert not faults
    shown = json.dumps(metadata, ensure_ascii=False)
    assert shown.isprintable() and len(shown) < 1000
    problems = read_scan(tmp_path / 'T1w.nii', 'T1w', {}, metadata).problems
    assert problems[0].startswith('Its sidecar calls it a scout') and len(problems[0]) < 500


@pytest.mark.parametrize('length', ['9' * 400, '-1', 'Infinity', 'NaN', 'true', '[1]', '{}', '""'])
def test_a_length_that_is_none_is_a_note(tmp_path, length):
    import nibabel as nb

    image = nb.Nifti1Image(np.ones((16, 16, 16), np.uint8), np.diag([8.0, 8, 8, 1]))
    image.to_filename(tmp_path / 'T1w.nii')
    (tmp_path / 'T1w.json').write_text(f'{{"SliceThickness": {length}}}')
    metadata, _ = Sidecars(tmp_path, [tmp_path / 'T1w.json']).inherited(tmp_path / 'T1w.nii')
    scan = read_scan(tmp_path / 'T1w.nii', 'T1w', {}, metadata)
    assert scan.is_usable and 'which is no length: it was ignored' in scan.warnings[0]


def test_messages_are_lines_without_control_characters():
    record = logging.LogRecord('x', 1, '', 1, 'a\x1b[2Jb %s\nsecond', ('\ud800',), None)
    assert PlainFormatter('%(message)s').format(record) == 'a [2Jb  \nsecond'


def test_a_note_forges_no_line_of_the_table(tmp_path):
    note = 'bad\nsub-99\tfinished\tn/a\tx.html'
    write_status(tmp_path / 'status.tsv', [Outcome('sub-01', 'failed', note, Path('x.html'))])
    assert len((tmp_path / 'status.tsv').read_text().splitlines()) == 2


def test_a_record_that_is_not_of_its_file_is_none(tmp_path):
    place = Derivatives(tmp_path).exam('01')
    write_record(place.record, Record('sub-02', 'finished', outputs=OUTPUTS))
    assert read_record(place.record) is None
    for output in ('../../etc/passwd', '/etc/passwd', 'javascript:\x1b', 'a' * 256, ''):
        write_record(
            place.record, Record('sub-01', 'finished', outputs={output: OutputFile(0, '')})
        )
        assert read_record(place.record) is None
    write_record(place.record, Record('sub-01', 'failed', reason='a\x1b\nb'))
    assert read_record(place.record).reason == 'a  b'


def test_links_lead_to_files_beside_the_page_alone(tmp_path):
    evil = 'javascript:alert(1)//'
    assert local_address(evil) == './javascript%3Aalert%281%29//'
    row = IndexRow('sub-01', 'complete', '', evil, None, evil)
    index = write_index([row], tmp_path / 'index.html').read_text()
    report = ExamReport('sub-01', 'complete', files=(FileRow(evil),))
    page = write_report(report, tmp_path / 'exam.html').read_text()
    links = re.findall(r'(?:href|src)="([^"]+)"', index + page)
    assert all(link.startswith(('./', '#', 'data:')) for link in links)


def test_a_planted_record_is_no_link(tmp_path):
    derivatives = Derivatives(tmp_path)
    name = 'javascript:alert(1)'
    write_record(derivatives.records / f'{name}.json', Record(name, 'finished', outputs=OUTPUTS))
    write_record(derivatives.exam('01').record, Record('sub-01', 'finished', outputs=OUTPUTS))
    assert write_data_set_index(derivatives)
    page = derivatives.index.read_text()
    assert 'href="./sub-01.html"' in page and 'javascript' not in page


def test_a_page_runs_its_own_script_alone(tmp_path):
    page = write_index([], tmp_path / 'index.html').read_text()
    (script,) = re.findall(r'<script>(.*?)</script>', page, re.S)
    digest = base64.b64encode(sha256(script.encode()).digest()).decode()
    policy = re.search(r'Content-Security-Policy" content="([^"]+)"', page)[1]
    assert f"script-src 'sha256-{digest}'" in policy
    assert "script-src 'unsafe-inline'" not in policy
    assert not re.search(r'\son\w+=', page)
