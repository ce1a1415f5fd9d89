"""Files of others with any content: a sentence, and never a traceback or a wait without end.

``FUZZ_EXAMPLES=2000 python -m pytest tests/faults/test_fuzz.py`` tries more of them.
"""

import json
import os
import shutil
import struct
from datetime import timedelta
from pathlib import Path

import nibabel as nb
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bids_synthsr.cli.options import parse_options
from bids_synthsr.cli.resolve import _read_mapping
from bids_synthsr.cli.synthsr import main
from bids_synthsr.dataset.errors import DatasetError
from bids_synthsr.dataset.files import write_json
from bids_synthsr.dataset.filters import check_filters
from bids_synthsr.dataset.headers import UnusableScanError
from bids_synthsr.dataset.query import find_exams
from bids_synthsr.dataset.scans import read_scan
from bids_synthsr.dataset.selection import SelectionError, describe_exam, select_scans
from bids_synthsr.dataset.sidecars import Sidecars
from bids_synthsr.dataset.weights import load_network
from bids_synthsr.derivatives.places import Derivatives
from bids_synthsr.derivatives.provenance import write_dataset_description
from bids_synthsr.derivatives.records import (
    fingerprint_digest,
    read_record,
    reason_to_redo,
    take_fingerprint,
)
from bids_synthsr.derivatives.tables import table_text
from bids_synthsr.run.closing import write_data_set_index
from bids_synthsr.values.exam import Exam

EXAMPLES = int(os.environ.get('FUZZ_EXAMPLES', '25'))
fuzz = settings(
    max_examples=EXAMPLES,
    deadline=timedelta(seconds=30),  # nothing here is slow, but machines may be busy
    suppress_health_check=list(HealthCheck),
    print_blob=True,
)

text = st.text(st.characters(), max_size=20) | st.sampled_from(
    ['\ud800', '\x1b[2J', '../x', 'sub-01', '', 'NaN', 'a\tb\nc', '\u202e', '\x00', 'x' * 400]
)
numbers = (
    st.integers(-10, 10)
    | st.floats()
    | st.sampled_from([10**400, -(10**19), 1e308, 5e-324, 2**63, True])
)
values = st.recursive(
    st.none() | st.booleans() | numbers | text,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(text, inner, max_size=4),
    max_leaves=12,
)


def odd_bytes(content):
    """JSON of a value, as it is or spoilt."""
    whole = json.dumps(content, ensure_ascii=True).encode()
    return st.sampled_from(
        [whole, b'\xef\xbb\xbf' + whole, whole[: len(whole) // 2], whole + b'\xff', b'[' * 10_000]
    )


def objects(*keys):
    """Bytes that may hold an object with these keys, their values of any type."""
    known = st.dictionaries(st.sampled_from(keys) | text, values, max_size=8)
    return (known | values).flatmap(odd_bytes) | st.binary(max_size=40)


@pytest.fixture(scope='module')
def root(tmp_path_factory):
    """A data set with one scan, which all examples share."""
    root = tmp_path_factory.mktemp('fuzz') / 'bids'
    (root / 'sub-01/anat').mkdir(parents=True)
    image = nb.Nifti1Image(np.ones((16, 16, 16), np.uint8), np.diag([8.0, 8, 8, 1]))
    image.to_filename(root / 'sub-01/anat/sub-01_T1w.nii')
    (root / 'dataset_description.json').write_text('{"Name": "x", "BIDSVersion": "1.9.0"}')
    return root


SIDECAR = (
    'SliceThickness', 'SpacingBetweenSlices', 'SeriesDescription', 'ProtocolName', 'ImageType',
    'BodyPart', 'ContrastBolusIngredient', 'SliceEncodingDirection', 'MRAcquisitionType',
)  # fmt: skip


@fuzz
@given(objects(*SIDECAR))
def test_sidecars(root, content):
    file = root / 'T1w.json'
    file.write_bytes(content)
    path = root / 'sub-01/anat/sub-01_T1w.nii'
    metadata, faults = Sidecars(root, [file]).inherited(path)
    file.unlink()
    exam = Exam('01', None, (read_scan(path, 'T1w', {}, metadata),))
    try:
        rows = select_scans(exam).rows
    except SelectionError as error:
        rows = error.rows
    assert len(table_text(rows).splitlines()) == 2
    fingerprint = take_fingerprint(exam, root, {}, '1')
    written = write_json(
        root.parent / 'exam.json', describe_exam(exam, fingerprint_digest(fingerprint))
    )
    assert written.read_bytes().decode('utf-8')
    shown = ' '.join([*faults, *(row['reason'] + row['warnings'] for row in rows)])
    assert shown.isprintable() and len(shown) < 10_000


@fuzz
@given(objects('Name', 'DatasetDOI', 'BIDSVersion', 'GeneratedBy'))
def test_descriptions(root, content):
    bids, derivatives = root.parent / 'other', Derivatives(root.parent / 'described')
    shutil.rmtree(bids, ignore_errors=True)
    bids.mkdir()
    (bids / 'sub-01').symlink_to(root / 'sub-01')
    (bids / 'dataset_description.json').write_bytes(content)
    try:
        assert find_exams(bids)[0].scans
    except DatasetError as error:
        assert 'dataset_description.json' in str(error)
        return
    write_dataset_description(derivatives, bids)
    assert derivatives.description.read_text(encoding='utf-8').replace('\n', '').isprintable()


parts = st.sampled_from(
    [
        b'sub-01',
        b'sub-02',
        b'acq-a',
        b'acq-0.8',
        b'desc-x',
        b'run-1',
        b'run-01',
        b'_',
        b'',
        b'\xff',
    ]
) | st.binary(max_size=6)
names = st.builds(
    lambda middle, end: b'_'.join(middle) + end,
    st.lists(parts, min_size=1, max_size=4),
    st.sampled_from(
        [b'_T1w.nii', b'_T1w.nii.gz', b'_t1w.nii', b'.NII', b'_FLAIR.nii.gz', b'.mgz']
    ),
).map(lambda name: name.replace(b'/', b'').replace(b'\0', b''))
folders = st.sampled_from([b'sub-01', b'sub-02', b'sub-', b'sub-\xff', b'Sub-03', b'sub-1.5'])
levels = st.sampled_from(
    [b'anat', b'ses-1/anat', b'ses-/anat', b'ses-\xe9/anat', b'x/anat', b'Anat']
)


@fuzz
@given(st.lists(st.tuples(folders, levels, names), min_size=1, max_size=4))
def test_names(root, files):
    bids = root.parent / 'named'
    shutil.rmtree(os.fsencode(bids), ignore_errors=True)
    (bids / 'sub-01/anat').mkdir(parents=True)
    (bids / 'dataset_description.json').write_text('{"Name": "x", "BIDSVersion": "1.9.0"}')
    paths = set()
    for folder, level, name in files:
        path = bids / os.fsdecode(b'/'.join((folder, level, name)))
        path.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(root / 'sub-01/anat/sub-01_T1w.nii', path)
        paths.add(path)
    (bids / 'sub-09').mkdir()
    try:
        exams = find_exams(bids)
    except DatasetError as error:
        assert all(path.name.startswith('.') for path in paths), error
        return
    scans = [scan for exam in exams for scan in exam.scans]
    assert len(scans) == sum(not path.name.startswith('.') for path in paths)
    assert len({exam.label for exam in exams}) == len(exams)
    for exam in exams:
        place = Derivatives(bids.parent / 'out').exam_of(exam.label)
        assert place.label == exam.label and place.report.parent == bids.parent / 'out'
        assert exam.absence or exam.scans
        write_json(root.parent / 'exam.json', describe_exam(exam, ''))
        fingerprint_digest(take_fingerprint(exam, bids, {}, '1'))
        used = [scan for scan in exam.scans if scan.is_usable]
        outputs = {place.resampled(scan.name, used[0].name) for scan in used}
        try:
            assert len(outputs) >= len(select_scans(exam).scans)
        except SelectionError as error:
            assert not used and str(error).isprintable()


RECORD = (
    'exam', 'state', 'fingerprint', 'reason', 'warnings', 'outputs', 'durations_s', 'run_uuid',
)  # fmt: skip
sound = {
    'exam': 'sub-01',
    'state': 'finished',
    'outputs': {'a.nii': {'size': 1, 'sha256': ''}},
    'durations_s': {'a': 1.0},
}
fields = st.dictionaries(st.sampled_from(RECORD), values, max_size=3)
fingerprints = st.fixed_dictionaries(
    {},
    optional={
        'version': values,
        'settings': values,
        'scans': values | st.just({'a': {'size': 1}}),
    },
)
changed = st.builds(
    lambda base, extra, print_: json.dumps({**base, 'fingerprint': print_, **extra}).encode(),
    st.sampled_from([sound, {**sound, 'state': 'failed', 'reason': 'x'}]), fields, fingerprints,
)  # fmt: skip


@fuzz
@given(changed | objects(*RECORD))
def test_records(tmp_path_factory, content):
    derivatives = Derivatives(tmp_path_factory.getbasetemp() / 'records')
    path = derivatives.exam('01').record
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    record = read_record(path)
    fingerprint = {'version': '1', 'settings': {'a': 1}, 'scans': {}}
    reason_to_redo(record, fingerprint, derivatives)
    assert write_data_set_index(derivatives)
    assert derivatives.index.read_text(encoding='utf-8')
    main(['status', str(derivatives.root), '--all'])


EVENT = ('time', 'exam', 'step', 'status', 'seconds', 'mem_peak_gb')
events = st.dictionaries(st.sampled_from(EVENT), values, max_size=6)
real = {'exam': 'sub-01', 'step': 'align', 'status': 'end', 'seconds': 1.0}
lines = st.lists(
    (events | events.map(lambda event: {**real, **event})).map(lambda x: json.dumps(x).encode())
    | st.binary(max_size=30),
    max_size=4,
).map(b'\n'.join)
plan = {'exams': ['sub-01'], 'command': 'bids_synthsr a b participant', 'started_in': '/'}
plans = fields.flatmap(
    lambda extra: st.dictionaries(st.sampled_from([*plan]), values, max_size=2).map(
        lambda change: json.dumps({**plan, **change, **extra}).encode()
    )
)


@fuzz
@given(objects(*plan) | plans, lines, objects('sub-03', 'x'))
def test_plans(tmp_path_factory, content, steps, absences):
    derivatives = Derivatives(tmp_path_factory.getbasetemp() / 'plans')
    derivatives.run_logs('20260101-1_a').mkdir(parents=True, exist_ok=True)
    derivatives.run_plan('20260101-1_a').write_bytes(content)
    derivatives.steps('20260101-1_a').write_bytes(steps)
    derivatives.absences.write_bytes(absences)
    main(['status', str(derivatives.root), '--all'])
    assert write_data_set_index(derivatives)


header_bytes = st.lists(
    st.tuples(st.integers(0, 363), st.binary(min_size=1, max_size=4)), max_size=6
)


@fuzz
@given(header_bytes, st.integers(0, 400), st.booleans())
def test_headers_of_scans(root, changes, length, is_cut):
    content = bytearray((root / 'sub-01/anat/sub-01_T1w.nii').read_bytes())
    for at, new in changes:
        content[at : at + len(new)] = new
    path = root.parent / 'scan.nii'
    path.write_bytes(content[:length] if is_cut else content)
    try:
        scan = read_scan(path, 'T1w')
    except UnusableScanError:
        return
    assert scan.is_usable == (not scan.problems) and ' '.join(scan.problems).isprintable()


@fuzz
@given(values.flatmap(odd_bytes) | st.binary(max_size=60), st.sampled_from(['.json', '.yml']))
def test_filters(tmp_path_factory, content, suffix):
    path = tmp_path_factory.getbasetemp() / f'filters{suffix}'
    path.write_bytes(content)
    try:
        check_filters(_read_mapping(path, '--bids-filter-file'))
    except ValueError as error:
        assert str(error)


@fuzz
@given(
    values
    | st.fixed_dictionaries(
        {'network': st.just('slice_unet')}, optional={'arguments': values, 'recipe': values}
    )
)
def test_headers_of_weights(tmp_path_factory, description):
    path = tmp_path_factory.getbasetemp() / 'weights.safetensors'
    metadata = {'bids_synthsr': json.dumps(description)}
    header = json.dumps({'__metadata__': metadata}).encode()
    path.write_bytes(struct.pack('<Q', len(header)) + header)
    for kind in ('slice_unet', 'exam_unet', 'published'):
        with pytest.raises((ValueError, FileNotFoundError)):
            load_network(kind, Path(path))


OPTIONS = (
    'verbose', 'method', 'nprocs', 'mem', 'reference', 'contrasts', 'device', 'stage', 'work-dir',
    'participant-label', 'output-resolution', 'min-quality', 'skip-bids-validation',
)  # fmt: skip
simple = st.booleans() | st.integers(-5, 5) | st.floats(allow_nan=True) | st.text(max_size=5)


@fuzz
@given(
    st.dictionaries(st.sampled_from(OPTIONS), simple | st.lists(simple, max_size=2), max_size=3)
)
def test_configuration_files(tmp_path_factory, options):
    import tomli_w

    path = tmp_path_factory.getbasetemp() / 'config.toml'
    path.write_bytes(tomli_w.dumps(options).encode())
    try:
        parsed = parse_options(['bids', 'out', 'participant', '--config-file', str(path)])
    except SystemExit as end:
        assert end.code == 2
        return
    assert isinstance(parsed.verbose, int) and isinstance(parsed.participant_label, list)
    assert isinstance(parsed.device, str) and isinstance(parsed.work_dir, Path)
