"""What files tell: compression, checksums, what follows the voxels, formats, voxel sizes."""

import gzip
import os
import stat
import struct
import sys

import nibabel as nb
import numpy as np
import pytest
from phantoms import AXIAL, centred, head, write_description, write_scan

from bids_synthsr.cli.bids_app import main
from bids_synthsr.cli.exam import with_word
from bids_synthsr.cli.synthsr import main as synthsr
from bids_synthsr.dataset.fetching import fetch, find_absent
from bids_synthsr.dataset.file_content import FileContent
from bids_synthsr.dataset.images import image_of
from bids_synthsr.dataset.query import find_exams
from bids_synthsr.dataset.scans import load_scan, read_scan
from bids_synthsr.imaging.geometry import output_grid
from bids_synthsr.imaging.resampling import resample

GRID = centred((28, 30, 16), AXIAL)


@pytest.fixture
def content():
    """The content of a file of NIfTI."""
    return image_of(head(GRID), GRID).to_bytes()


@pytest.fixture
def read(tmp_path):
    """Write a file and judge it as a scan."""

    def read_(content, name='scan.nii.gz'):
        path = tmp_path / name
        path.write_bytes(content)
        return load_scan(read_scan(path, 'T1w'))

    return read_


def told(scan):
    """List the warnings but that of phantoms, which is on their slices of 12 mm."""
    return [line for line in scan.warnings if not line.startswith('Its slices lie 12 mm apart')]


# compression


@pytest.mark.parametrize(
    ('name', 'is_packed', 'words'),
    [
        ('a.nii.gz', False, ('ends in .nii.gz, but it is not compressed: it was read as it is; '
         'rename it to a.nii.')),
        ('a.nii', True, ('ends in .nii, but it is compressed: it was read as it is; rename it to '
         'a.nii.gz.')),
        ('a.NII.GZ', True, ''),
        ('a.NII', False, ''),
        ('a.nii', False, ''),
    ],
)  # fmt: skip
def test_content_tells_compression_and_false_names_are_told(read, content, name, is_packed, words):
    scan, voxels = read(gzip.compress(content) if is_packed else content, name)
    np.testing.assert_array_equal(voxels, head(GRID))
    assert len(told(scan)) == bool(words) and words in ' '.join(told(scan))


def test_changed_voxels_are_told_by_the_checksum(read, content):
    packed = bytearray(gzip.compress(content, compresslevel=0))
    middle = len(packed) // 2
    packed[middle : middle + 16] = b'\x7f' * 16
    scan, voxels = read(packed)
    assert voxels is None
    assert scan.problems == (
        (
            'Its voxels cannot be read (its checksum says that they were changed): copy or '
            'convert it again.'
        ),
    )


@pytest.mark.parametrize('lost', [4, 8, 300])
def test_stream_that_lacks_its_end_is_refused(read, content, lost):
    scan, voxels = read(gzip.compress(content)[:-lost])
    assert voxels is None and 'ended before the end-of-stream marker' in scan.problems[0]


@pytest.mark.parametrize('extra', [b'\0' * 512, b'garbage'])
def test_bytes_after_the_stream_are_told(read, content, extra):
    scan, voxels = read(gzip.compress(content) + extra)
    np.testing.assert_array_equal(voxels, head(GRID))
    assert told(scan)[0].startswith(f'{len(extra)} bytes follow the end of its compressed content')


@pytest.mark.parametrize('pack', [gzip.compress, bytes])
def test_bytes_after_the_voxels_are_told(read, content, pack):
    scan, voxels = read(
        pack(content + b'x' * 1000), 'scan.nii.gz' if pack is not bytes else 'a.nii'
    )
    np.testing.assert_array_equal(voxels, head(GRID))
    assert told(scan)[0].startswith('1000 bytes follow its voxels')


def test_streams_one_after_the_other_are_one_file(read, content):
    parts = [content[:5000], content[5000:20001], content[20001:]]
    scan, voxels = read(b''.join(map(gzip.compress, parts)))
    np.testing.assert_array_equal(voxels, head(GRID))
    assert told(scan) == []


def test_content_is_read_forwards_in_parts_of_any_size(tmp_path):
    whole = np.random.default_rng(0).bytes(3_000_000)
    path = tmp_path / 'file'
    path.write_bytes(gzip.compress(whole[:1_500_001], 1) + gzip.compress(whole[1_500_001:], 1))
    with FileContent(path) as file:
        assert file.peek(10) == whole[:10] and file.read(7) == whole[:7]
        assert file.seek(2_000_000) == file.tell() == 2_000_000
        assert file.read(5) == whole[2_000_000:2_000_005]
        assert file.count_rest() == 999_995
        with pytest.raises(OSError, match='read forwards'):
            file.seek(0)


# voxel sizes


@pytest.mark.parametrize(
    ('pixdim', 'qform_code', 'words'),
    [
        ((4, 4, 6), 0, ['8 x 8 x 12 mm by its sform', '4 x 4 x 6 mm by pixdim']),
        ((8, 8, 6), 0, ['8 x 8 x 12 mm by its sform', '8 x 8 x 6 mm by pixdim']),
        ((1, 1, 1), 0, ['8 x 8 x 12 mm by its sform', '1 x 1 x 1 mm by pixdim']),
        ((4, 4, 6), 1, ['8 x 8 x 12 mm by its sform', '4 x 4 x 6 mm by pixdim']),
        ((8, 8, 12.01), 0, []),
    ],
)
def test_pixdim_that_contradicts_the_sform_is_told(tmp_path, pixdim, qform_code, words):
    image = image_of(head(GRID), GRID)
    image.set_qform(image.affine, qform_code)
    image.header['pixdim'][1:4] = pixdim
    path = tmp_path / 'scan.nii'
    path.write_bytes(nb.Nifti1Image(image.dataobj, None, image.header).to_bytes())
    scan = read_scan(path, 'T1w')
    assert all(any(part in line for line in told(scan)) for part in words)
    assert bool(told(scan)) == bool(words)


# formats


def write_pair(folder):
    nb.save(nb.Nifti1Pair(head(GRID), GRID.vox2ras), folder / 'pair_T1w.img')
    return folder


@pytest.mark.parametrize('name', ['pair_T1w.img', 'pair_T1w.hdr'])
def test_pair_of_header_and_image_is_read_by_either_name(tmp_path, name):
    scan, voxels = load_scan(read_scan(write_pair(tmp_path) / name, 'T1w'))
    np.testing.assert_array_equal(voxels, head(GRID))
    assert told(scan) == []


@pytest.mark.parametrize(('name', 'other'), [('pair_T1w.img', 'hdr'), ('pair_T1w.hdr', 'img')])
def test_half_of_a_pair_asks_for_the_other(tmp_path, name, other):
    (write_pair(tmp_path) / f'pair_T1w.{other}').unlink()
    (problem,) = read_scan(tmp_path / name, 'T1w').problems
    assert f'pair_T1w.{other} is not here, copy it into the same folder.' in problem


def test_analyze_is_refused_as_it_does_not_tell_sides(tmp_path):
    nb.save(nb.AnalyzeImage(head(GRID), GRID.vox2ras), tmp_path / 'old_T1w.img')
    scan = read_scan(tmp_path / 'old_T1w.img', 'T1w')
    assert 'without the mark of NIfTI, as Analyze files are' in scan.problems[0]


@pytest.mark.parametrize('name', ['T1w.mgz', 'T1w.mgh', 'T1w.MGZ'])
def test_mgh_is_read_where_it_says_where_it_lies(tmp_path, name):
    path = tmp_path / name
    image = nb.MGHImage(head(GRID), GRID.vox2ras)
    packed = gzip.compress(image.to_bytes()) if name.lower().endswith('z') else image.to_bytes()
    path.write_bytes(packed)
    scan, voxels = load_scan(read_scan(path, 'T1w'))
    np.testing.assert_array_equal(voxels, head(GRID))
    np.testing.assert_allclose(scan.grid.vox2ras, GRID.vox2ras, atol=1e-4)
    lost = bytearray(image.to_bytes())
    lost[28:30] = b'\0\0'
    path.write_bytes(lost)
    assert 'does not say where the image lies' in read_scan(path, 'T1w').problems[0]


def test_exam_takes_a_pair_and_writes_mgz(tmp_path, capsys):
    scan, out = write_pair(tmp_path) / 'pair_T1w.hdr', tmp_path / 'out/a.mgz'
    options = ['--method', 'cubic', '--output-resolution', '5', '--threads', '1']
    options += ['--fov', 'reference']
    assert synthsr(['exam', str(scan), '-o', str(out), *options]) == 0, capsys.readouterr().err
    made, grid = nb.load(out), output_grid(GRID, 5.0)
    assert isinstance(made, nb.MGHImage) and made.get_data_dtype().kind == 'f'
    np.testing.assert_allclose(made.affine, grid.vox2ras, atol=1e-4)
    expected = resample(head(GRID), GRID, grid, order=3)
    inside = (expected > 20) & (expected < 90)
    np.testing.assert_allclose(made.get_fdata()[inside], expected[inside], atol=1e-3)
    assert with_word(out, 'FLAIR').name == 'a_FLAIR.mgz'


@pytest.mark.parametrize('name', ['sub-01_T1w.mgz', 'sub-01_T1w.img', 'sub-01_T1w.NII.GZ'])
def test_other_endings_are_named_in_a_data_set(tmp_path, name):
    write_description(tmp_path)
    write_scan(tmp_path / 'sub-01/anat', 'sub-01', 'FLAIR')
    (tmp_path / 'sub-01/anat' / name).write_bytes(b'x')
    (exam,) = find_exams(tmp_path)
    (scan,) = [scan for scan in exam.scans if scan.path.name == name]
    assert 'rename it' in scan.problems[0] or 'convert it' in scan.problems[0]


# content that git-annex keeps elsewhere

DATALAD = """#!{python}
import json, os, sys
from pathlib import Path
log, store = Path({log!r}), Path({store!r})
log.write_text(json.dumps(sys.argv[1:]))
if sys.argv[1] != 'get':
    sys.exit(3)
for name in sys.argv[2:]:
    path = Path(name)
    target = path.parent / os.readlink(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    source = store / target.name
    if source.exists():
        target.write_bytes(source.read_bytes())
    else:
        print('get(error):', path.name, '[not available]')
        code = 1
sys.exit(globals().get('code', 0))
"""


@pytest.fixture
def annexed(tmp_path, monkeypatch):
    """A data set whose content is elsewhere, and a datalad that fetches it."""
    bids, store, programs = tmp_path / 'bids', tmp_path / 'store', tmp_path / 'bin'
    write_description(bids)
    store.mkdir()
    for label in ('01', '02'):
        path = write_scan(bids / f'sub-{label}/anat', f'sub-{label}', 'T1w')
        for file in (path, path.with_name(f'sub-{label}_T1w.json')):
            file.rename(store / file.name)
            file.symlink_to(f'../../.git/annex/objects/{file.name}')
    programs.mkdir()
    datalad = programs / 'datalad'
    log = tmp_path / 'log.json'
    datalad.write_text(DATALAD.format(python=sys.executable, log=str(log), store=str(store)))
    datalad.chmod(datalad.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv('PATH', f'{programs}{os.pathsep}{os.environ["PATH"]}')
    return bids, log


def run(bids, *options):
    folders = [str(bids), str(bids.parent / 'out'), 'participant', '--method', 'cubic']
    quick = ['--output-resolution', '5', '--nprocs', '1', '--skip-bids-validation']
    return main([*folders, '--work-dir', str(bids.parent / 'work'), *quick, *options])


def test_datalad_fetches_what_is_asked_for(annexed, capsys):
    bids, log = annexed
    assert run(bids, '--participant-label', '01', '--get') == 0
    assert 'datalad fetches 2 files' in capsys.readouterr().err
    names = log.read_text()
    assert 'sub-01_T1w.nii.gz' in names and 'sub-01_T1w.json' in names and 'sub-02' not in names
    assert not (bids / 'sub-02/anat/sub-02_T1w.nii.gz').exists()


def test_nothing_is_fetched_unasked_and_the_message_says_how(annexed, capsys):
    bids, log = annexed
    assert run(bids, '--participant-label', '01') == 1
    assert '--get' in capsys.readouterr().err and not log.exists()
    assert run(bids, '--get', '--dry-run') == 0
    assert 'planned before: 4' in capsys.readouterr().err and not log.exists()


def test_what_datalad_cannot_fetch_is_told_and_the_others_are_here(annexed):
    bids, _ = annexed
    (bids.parent / 'store/sub-02_T1w.nii.gz').unlink()
    files = find_absent(bids)
    assert len(files) == 4
    assert 'sub-02_T1w.nii.gz [not available]' in fetch(bids, files)
    assert [file.name for file in find_absent(bids)] == ['sub-02_T1w.nii.gz']


def test_datalad_that_is_not_installed_is_wrong_use(annexed, capsys, monkeypatch):
    bids, _ = annexed
    monkeypatch.setenv('PATH', '/usr/bin-without')
    assert run(bids, '--get') == run(bids, '--get', '--dry-run') == 2
    assert 'datalad, which is not installed' in capsys.readouterr().err


def test_header_that_is_not_that_of_an_image_is_refused(read):
    for start in (b'text ' * 200, struct.pack('<i', 348) + b'\0' * 600):
        assert 'It is not a readable NIfTI file' in read(start)[0].problems[0]
