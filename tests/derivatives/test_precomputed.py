"""Transforms of earlier runs: used where they fit the same two scans, and told."""

import csv
import json
import shutil

import numpy as np
import pytest

from bids_synthsr.cli.bids_app import main
from bids_synthsr.dataset.images import load_rigid, save_rigid
from bids_synthsr.imaging.geometry import rigid

ITK = (
    '#Insight Transform File V1.0\n#Transform 0\nTransform: AffineTransform_double_3_3\n'
    'Parameters: {} 0 0 0\nFixedParameters: 0 0 0\n'
)
NAME = 'sub-01_from-T2w_to-T1w_mode-image_xfm'


def run(bids, out, *arguments):
    quick = ['--method', 'cubic', '--output-resolution', '4', '--skip-bids-validation']
    only = ['--participant-label', '01', '-w', str(out.parent / f'{out.name}-work')]
    return main([str(bids), str(out), 'participant', *quick, *only, *map(str, arguments)])


def transform(out):
    return load_rigid(out / f'sub-01/anat/{NAME}.txt')


def told(out):
    fit = json.loads((out / f'sub-01/anat/{NAME}.json').read_text())['Fit']
    return fit['reason']


@pytest.fixture(scope='module')
def first(tmp_path_factory):
    """A data set, and what was made of it."""
    from phantoms import write_description, write_scan

    folder = tmp_path_factory.mktemp('first')
    write_description(folder / 'bids')
    for contrast in ('T1w', 'T2w'):
        write_scan(folder / 'bids/sub-01/anat', 'sub-01', contrast)
    assert run(folder / 'bids', folder / 'out') == 0
    return folder


@pytest.fixture
def earlier(first, tmp_path):
    """A copy of the outputs, to be changed."""
    return shutil.copytree(first / 'out', tmp_path / 'earlier')


def nudged(earlier, shift):
    """Move a transform of an earlier run, as a person may who corrects it."""
    moved = rigid(np.zeros(3), np.array([shift, 0, 0])) @ transform(earlier)
    save_rigid(earlier / f'sub-01/anat/{NAME}.txt', moved)
    return moved


def test_sidecar_names_scan_and_reference(first):
    told_ = json.loads((first / f'out/sub-01/anat/{NAME}.json').read_text())
    assert told_['Sources'] == [
        'bids:raw:sub-01/anat/sub-01_T2w.nii.gz',
        'bids:raw:sub-01/anat/sub-01_T1w.nii.gz',
    ]


def test_transform_is_used_and_told(first, earlier, tmp_path):
    moved = nudged(earlier, 0.5)
    out = tmp_path / 'out'
    assert run(first / 'bids', out, '-d', earlier) == 0
    np.testing.assert_allclose(transform(out), moved, atol=1e-5)
    assert f'Its transform was given by {earlier}' in told(out)
    page = (out / 'sub-01.html').read_text()
    assert 'The transform of the T2w to the reference was given' in page
    assert 'greedy' not in page.split('The transform of the T2w to the reference')[1]
    assert 'Transforms to the reference that were given' in (out / 'logs/CITATION.md').read_text()
    times = {path: path.stat().st_mtime_ns for path in out.rglob('*.nii.gz')}
    assert run(first / 'bids', out, '-d', earlier) == 0
    assert {path: path.stat().st_mtime_ns for path in out.rglob('*.nii.gz')} == times
    nudged(earlier, 0.25)  # another transform: the exam is done again
    assert run(first / 'bids', out, '-d', earlier) == 0
    np.testing.assert_allclose(transform(out), transform(earlier), atol=1e-5)


def test_transform_that_does_not_fit_is_not_used(first, earlier, tmp_path):
    nudged(earlier, 40)
    assert run(first / 'bids', tmp_path / 'out', '-d', earlier) == 0
    assert 'was given by' not in told(tmp_path / 'out')
    assert 'The other scans were aligned' in (tmp_path / 'out/sub-01.html').read_text()
    np.testing.assert_allclose(transform(tmp_path / 'out'), transform(first / 'out'), atol=1e-6)


@pytest.mark.parametrize('sources', [['bids:raw:sub-01/anat/sub-01_T2w.nii.gz'], 'x', None])
def test_transform_of_other_scans_is_not_used(first, earlier, tmp_path, sources):
    nudged(earlier, 0.5)
    sidecar = earlier / f'sub-01/anat/{NAME}.json'
    sidecar.unlink() if sources is None else sidecar.write_text(json.dumps({'Sources': sources}))
    assert run(first / 'bids', tmp_path / 'out', '-d', earlier) == 0
    assert 'was given by' not in told(tmp_path / 'out')


def test_another_reference_takes_no_transform(first, earlier, tmp_path):
    out = tmp_path / 'out'
    assert run(first / 'bids', out, '-d', earlier, '--reference', 'T2w') == 0
    with (out / 'sub-01/anat/sub-01_desc-scans_selection.tsv').open() as table:
        roles = {row['scan']: row['role'] for row in csv.DictReader(table, delimiter='\t')}
    assert roles['T2w'] == 'reference'
    (sidecar,) = out.glob('sub-01/anat/*from-T1w_to-T2w_mode-image_xfm.json')
    assert 'was given by' not in sidecar.read_text()


def test_a_folder_that_is_not_there_is_wrong_use(first, tmp_path, capsys):
    assert run(first / 'bids', tmp_path / 'out', '-d', tmp_path / 'nowhere') == 2
    assert 'nowhere is not a folder' in capsys.readouterr().err


@pytest.mark.parametrize(
    ('text', 'fault'),
    [
        ('hello', 'is no affine transform'),
        ('#Insight Transform File V1.0', 'is no affine transform'),
        (ITK.format('2 0 0 0 2 0 0 0 2'), 'scales, shears or mirrors'),
        (ITK.format('-1 0 0 0 1 0 0 0 1'), 'scales, shears or mirrors'),
        (ITK.format('0 0 0 0 0 0 0 0 0'), 'is no affine transform'),
    ],
)
def test_file_that_is_no_rigid_transform_is_told_and_not_used(
    first, earlier, tmp_path, text, fault
):
    (earlier / f'sub-01/anat/{NAME}.txt').write_text(text)
    out = tmp_path / 'out'
    assert run(first / 'bids', out, '-d', earlier) == 0
    np.testing.assert_allclose(transform(out), transform(first / 'out'), atol=1e-6)
    (log,) = out.glob('logs/*/bids_synthsr.log')
    assert fault in log.read_text() and 'is aligned anew' in log.read_text()
