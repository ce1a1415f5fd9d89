"""Whatever is wrong with one exam, the others are done, and what is wrong is said."""

import gzip
import json
import os
import shutil
import struct
from functools import partial

import pytest
from phantoms import write_description, write_scan

from bids_synthsr.cli.bids_app import main
from bids_synthsr.cli.synthsr import main as synthsr
from bids_synthsr.derivatives.digests import OutputFile
from bids_synthsr.derivatives.places import Derivatives
from bids_synthsr.derivatives.records import Record, read_record, write_record
from bids_synthsr.registration.alignment import align_scan
from bids_synthsr.run import closing as module
from bids_synthsr.run.closing import Closing, write_data_set_index
from bids_synthsr.run.guard import guarded
from bids_synthsr.run.plan import Plan, plan_exams
from bids_synthsr.settings import InputSettings, MethodSettings
from bids_synthsr.values.exam import Exam

ODD = 'a\ud800\x1b[2Jb\tc\nsub-99\tfinished'
GB = 1 << 30


def rename(bids, label, name):
    """Give the T1w of a participant another name."""
    folder = bids / f'sub-{label}/anat'
    path = folder / os.fsdecode(name)
    (folder / f'sub-{label}_T1w.nii.gz').rename(path)
    return path


def spoil_with_text(bids):
    sidecar = {'SeriesDescription': ODD, 'SliceThickness': 9**400, 'Name': 'x' * 10**6}
    (bids / 'sub-01/anat/sub-01_T1w.json').write_text(json.dumps(sidecar))
    os.mkfifo(bids / 'sub-01/sub-01_T1w.json')


def put_pipe(bids, label):
    path = bids / f'sub-{label}/anat/sub-{label}_T1w.nii.gz'
    path.unlink()
    os.mkfifo(path)


def link_to_zero(bids, label):
    path = bids / f'sub-{label}/anat/sub-{label}_T1w.nii.gz'
    path.unlink()
    path.symlink_to('/dev/zero')


def claim_extension(bids, label, claimed=2 * GB - 16, offset=352.0):
    """Let a header claim an extension of 2 GB, as a small file can."""
    path = bids / f'sub-{label}/anat/sub-{label}_T1w.nii.gz'
    content = bytearray(gzip.decompress(path.read_bytes()))
    content[108:112] = struct.pack('<f', offset)
    content[348:352] = b'\1\0\0\0'
    content[352:360] = struct.pack('<ii', claimed, 6)
    path.write_bytes(gzip.compress(bytes(content)))


# what is done to the only scan of a participant, and what is said of it
SPOILT = {
    '02': (partial(rename, label='02', name='sub-02_acq-0.8mm_T1w.nii.gz'), '"acq-0.8mm"'),
    '03': (partial(put_pipe, label='03'), 'It is no regular file'),
    '04': (partial(rename, label='04', name='sub-04_T1w.NII.GZ'), 'ends in ".NII.GZ"'),
    '05': (partial(link_to_zero, label='05'), 'It is no regular file'),
    '06': (partial(rename, label='06', name=b'sub-06_T1w\xff.nii.gz'), r'sub-06_T1w\xff.nii.gz'),
    '07': (partial(claim_extension, label='07', offset=1e9), 'more than 16 MB before the voxels'),
    '3~2E1': (lambda bids: (bids / 'sub-x').rename(bids / 'sub-3.1'), 'Its folder sub-3.1 is not'),
    '01~5Fold': (lambda bids: (bids / 'sub-y').rename(bids / 'sub-01_old'), 'sub-01_old is not'),
    '09': (lambda _: None, 'sub-09 cannot be planned (ZeroDivisionError: of sub-09)'),
    '~': (lambda bids: (bids / 'sub-z').rename(bids / 'sub-'), 'Its folder sub- is not named'),
}


@pytest.fixture(scope='module')
def data_set(tmp_path_factory):
    """One good exam among all kinds of bad ones, and a participant without a scan."""
    bids = tmp_path_factory.mktemp('faults') / 'bids'
    write_description(bids)
    description = {'Name': ODD, 'BIDSVersion': '1.9.0'}
    (bids / 'dataset_description.json').write_text(json.dumps(description))
    write_scan(bids / 'sub-01/anat', 'sub-01', 'T1w')
    scan = bids / 'sub-01/anat/sub-01_T1w.nii.gz'
    for label in ('02', '03', '04', '05', '06', '07', '09', 'x', 'y', 'z'):
        folder = bids / f'sub-{label}/anat'
        folder.mkdir(parents=True)
        shutil.copy(scan, folder / f'sub-{label}_T1w.nii.gz')
    shutil.copy(scan, bids / 'sub-01/anat/sub-01_space-x_desc-preproc_T1w.nii.gz')
    for spoil, _ in SPOILT.values():
        spoil(bids)
    spoil_with_text(bids)
    (bids / 'sub-08/func').mkdir(parents=True)
    return bids


def stumble(scans, _):
    """Find no obstacle, but in one exam an error that nobody foresaw."""
    if scans[0].entities['sub'] == '09':
        raise ZeroDivisionError('of sub-09')
    return ''


@pytest.fixture(scope='module')
def outcome(data_set):
    """Run over all of it, into an output folder in which odd things lie."""
    out, work = data_set.parent / 'out', data_set.parent / 'work'
    (out / 'sub-02.html').mkdir(parents=True)
    (out / 'logs/exams/sub-03.json').mkdir(parents=True)
    records = {'sub-77_old': {}, 'sub-88': {'fingerprint': [], 'durations_s': []}}
    records |= {'sub-66': {'durations_s': {'a': float('inf')}}, 'javascript:_sub-x': {}}
    for name, fields in records.items():
        outputs = {'a': {'size': 0, 'sha256': ''}}
        content = {'exam': name, 'state': 'finished', 'outputs': outputs, **fields}
        (out / f'logs/exams/{name}.json').write_text(json.dumps(content))
    (out / 'logs/exams/sub-55.json').write_text('[' * 200_000)
    (out / '.bidsignore').write_bytes('größe\n'.encode('latin-1'))
    plugin = data_set.parent / 'plugin.json'
    plugin.write_text('{"plugin": "Linear"}')
    options = ['--method', 'cubic', '--output-resolution', '4', '--skip-bids-validation']
    options += ['--work-dir', str(work), '--nprocs', '1', '--nipype-plugin-file', str(plugin)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr('bids_synthsr.run.plan.find_method_fault', stumble)
        code = main([str(data_set), str(out), 'participant', *options])
    status = next(out.glob('logs/*/status.tsv')).read_text()
    log = next(out.glob('logs/*/bids_synthsr.log')).read_text()
    rows = dict(line.split('\t', 1) for line in status.splitlines())
    return code, out, rows, log


def test_the_good_exam_is_finished_and_the_code_is_1(outcome):
    code, out, rows, _ = outcome
    assert code == 1
    assert rows['sub-01'].startswith('finished')
    assert (out / 'sub-01/anat/sub-01_desc-cubic_T1w.nii.gz').is_file()


@pytest.mark.parametrize('label', SPOILT)
def test_a_bad_exam_fails_with_its_reason(outcome, label):
    _, out, rows, _ = outcome
    state, note, _ = rows[f'sub-{label}'].split('\t')
    assert state == 'failed' and SPOILT[label][1] in note
    if label not in ('02', '03'):  # in whose way a folder lies
        assert read_record(out / f'logs/exams/sub-{label}.json').reason in note
        assert (out / f'sub-{label}.html').is_file()


def test_what_cannot_be_written_is_said_of_its_exam_alone(outcome):
    rows = outcome[2]
    assert all('could not be written: Is a directory' in rows[f'sub-{x}'] for x in ('02', '03'))


def test_scans_are_left_out_with_a_word(outcome):
    _, out, _, log = outcome
    name = 'sub-01_space-x_desc-preproc_T1w.nii.gz'
    assert f'sub-01: {name} is left out. Its name has the entity' in log
    table = (out / 'sub-01/anat/sub-01_desc-scans_selection.tsv').read_text().splitlines()
    row = next(line for line in table if line.startswith(name)).split('\t')
    assert row[3] == 'left out' and 'as derivatives have' in row[4]
    record = read_record(out / 'logs/exams/sub-01.json')
    assert any(text.startswith(f'{name} is left out: Its name has') for text in record.warnings)
    for page in ('index.html', 'sub-01.html'):
        assert name in (out / page).read_text()


def test_participants_without_a_scan_are_named(outcome, capsys):
    _, out, rows, log = outcome
    assert 'sub-08' not in rows
    assert 'sub-08: sub-08 has no anatomical scan' in log
    assert 'sub-08 has no anatomical scan' in (out / 'index.html').read_text()
    synthsr(['status', str(out)])
    assert 'sub-08 has nothing to process' in capsys.readouterr().out


def test_foreign_text_is_one_line_of_plain_letters(outcome):
    _, out, rows, log = outcome
    assert 'sub-99' not in rows and '\x1b' not in log
    for path in (*out.rglob('*.json'), *out.rglob('*.tsv'), *out.rglob('*.html')):
        if path.is_file() and path.parent != out / 'logs/exams':
            assert '\x1b' not in path.read_text(encoding='utf-8')
    name = json.loads((out / 'dataset_description.json').read_text())['Name']
    assert name == '1 mm volumes of a  [2Jb c sub-99 finished'


def test_a_list_of_ignored_files_in_another_encoding_stays(outcome):
    lines = (outcome[1] / '.bidsignore').read_bytes().splitlines()
    assert lines[0] == 'größe'.encode('latin-1') and b'*.html' in lines


def test_odd_records_are_none(outcome):
    page = (outcome[1] / 'index.html').read_text()
    assert 'sub-01' in page
    assert not any(name in page for name in ('sub-77', 'sub-88', 'sub-66', 'sub-55', 'javascript'))


def test_asked_for_and_not_there_is_a_failure(data_set, tmp_path, capsys):
    arguments = [str(data_set), str(tmp_path / 'out'), 'participant', '--method', 'cubic']
    options = ['--work-dir', str(tmp_path / 'work'), '--skip-bids-validation']
    assert main([*arguments, *options, '--participant-label', '08']) == 1
    assert 'sub-08 has no anatomical scan' in capsys.readouterr().err
    assert main([*arguments, *options, '--participant-label', '08', '--dry-run']) == 0


def test_an_error_in_planning_is_a_fault_of_its_exam(tmp_path, monkeypatch):
    def select(exam, *_):
        raise TypeError(f'of {exam}')

    monkeypatch.setattr('bids_synthsr.run.plan.select_scans', select)
    exams = [Exam('01', None, ()), Exam('02', None, ())]
    inputs = InputSettings(bids_dir=tmp_path)
    plans = plan_exams(exams, inputs, MethodSettings('cubic'), Derivatives(tmp_path / 'out'))
    assert [plan.fault.split('(')[1] for plan in plans] == [
        f'TypeError: of sub-0{number}). The log of a run with -vv tells more.' for number in (1, 2)
    ]


def test_an_error_in_closing_is_a_failure_of_its_exam(tmp_path, monkeypatch):
    def read(_):
        raise RecursionError('deep')

    monkeypatch.setattr(module, 'read_crashes', read)
    outcome = Closing(Derivatives(tmp_path), 'run').close(Plan(Exam('01', None, ()), (), {}, 'x'))
    assert outcome.state == 'failed' and 'RecursionError: deep' in outcome.note


def test_an_index_that_cannot_be_written_ends_no_run(tmp_path):
    derivatives = Derivatives(tmp_path)
    write_record(
        derivatives.exam('01').record,
        Record('sub-01', 'finished', outputs={'a': OutputFile(0, '')}),
    )
    assert write_data_set_index(derivatives)
    derivatives.index.unlink()
    derivatives.index.mkdir()
    assert not write_data_set_index(derivatives)


def test_an_error_of_any_type_in_a_part_costs_its_exam_whatever_the_engine(tmp_path, monkeypatch):
    bids, out = tmp_path / 'bids', tmp_path / 'out'
    write_description(bids)
    for label in ('sub-01', 'sub-02'):
        write_scan(bids / label / 'anat', label, 'T1w')

    def align(reference, scan, name, path):
        if 'sub_01' in str(scan):
            raise ZeroDivisionError('by whatever')
        return align_scan(reference, scan, name, path)

    monkeypatch.setattr('bids_synthsr.registration.alignment.align_scan', align)
    plugin = tmp_path / 'plugin.json'
    plugin.write_text('{"plugin": "Linear"}')
    options = ['--method', 'cubic', '--output-resolution', '4', '--skip-bids-validation']
    options += ['--work-dir', str(tmp_path / 'work'), '--nipype-plugin-file', str(plugin)]
    assert main([str(bids), str(out), 'participant', *options]) == 1
    records = {
        label: read_record(out / f'logs/exams/{label}.json') for label in ('sub-01', 'sub-02')
    }
    assert records['sub-02'].state == 'finished'
    assert (records['sub-01'].state, records['sub-01'].reason) == ('failed', 'by whatever')


def test_a_signal_is_no_error():
    def stop():
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        guarded(stop, str)
