"""The whole command on phantoms: what it makes, what it refuses, what its exit code says."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import sys
from pathlib import Path

import nibabel as nb
import numpy as np
import pytest
from phantoms import centred, head, write_scan
from PIL import Image
from scipy import ndimage

from bids_synthsr.cli.bids_app import main
from bids_synthsr.dataset.images import load_volume, save_volume


def run(bids: Path, out: Path, *arguments: str) -> int:
    work = ['--work-dir', str(out.parent / 'work'), '--nprocs', '2', '--skip-bids-validation']
    quick = ['--method', 'cubic', '--output-resolution', '4']
    return main([str(bids), str(out), 'participant', *quick, *work, *arguments])


def digests(folder: Path) -> dict[str, str]:
    """Content of every file of a folder."""
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob('*'))
        if path.is_file()
    }


def volumes(out: Path) -> dict[str, str]:
    """Content of every image, transform and table of the outputs."""
    return {name: value for name, value in digests(out).items() if '/anat/' in name}


@pytest.fixture
def out(tmp_path):
    return tmp_path / 'out'


def test_whole_run_then_nothing_then_only_what_changed(bids_dir, out, capsys):
    before = digests(bids_dir)
    assert run(bids_dir, out) == 0
    assert digests(bids_dir) == before  # the input is never written to
    anat = out / 'sub-01/anat'
    made = nb.load(anat / 'sub-01_desc-cubic_T1w.nii.gz')
    assert np.allclose(made.header.get_zooms(), 4)
    assert np.allclose(made.get_qform(), made.get_sform(), atol=1e-4)
    assert nb.aff2axcodes(made.affine) == ('R', 'A', 'S')
    for scan in ('T1w', 'T2w', 'FLAIR'):
        assert (anat / f'sub-01_space-T1w_desc-resampled_{scan}.nii.gz').is_file()
        reliability = nb.load(
            anat / f'sub-01_space-T1w_desc-{scan}_reliability.nii.gz'
        ).get_fdata()
        assert reliability.min() >= 0 and reliability.max() <= 1 + 1e-6
    assert (anat / 'sub-01_from-T2w_to-T1w_mode-image_xfm.txt').is_file()
    assert (out / 'sub-02/anat/sub-02_desc-cubic_FLAIR.nii.gz').is_file()
    sidecar = json.loads((anat / 'sub-01_desc-cubic_T1w.json').read_text())
    assert sidecar['Synthetic'] is True
    assert sidecar['Sources'] == ['bids:raw:sub-01/anat/sub-01_T1w.nii.gz']  # cubic uses no other
    index = (out / 'index.html').read_text()
    for exam in ('sub-01', 'sub-02'):
        thumbnail = out / exam / f'figures/{exam}_thumbnail.jpg'
        assert f'src="./{thumbnail.relative_to(out)}"' in index
        with Image.open(thumbnail) as picture:
            assert picture.height == 96 and 96 < picture.width < 500
        assert thumbnail.stat().st_size < 20_000
    assert '<html' in (out / 'sub-01.html').read_text()
    assert 'greedy' in (out / 'logs/CITATION.md').read_text()
    assert not list(out.rglob('.tmp-*'))

    first = volumes(out)
    times = {path: path.stat().st_mtime_ns for path in out.rglob('*.nii.gz')}
    assert run(bids_dir, out) == 0
    assert {path: path.stat().st_mtime_ns for path in out.rglob('*.nii.gz')} == times

    write_scan(
        bids_dir / 'sub-02/anat',
        'sub-02',
        'FLAIR',
        centred((30, 30, 16), np.diag([8.0, 8, 12, 1])),
    )
    (out / 'sub-01/anat/sub-01_desc-cubic_T1w.nii.gz').unlink()
    assert run(bids_dir, out, '-v') == 0
    told = capsys.readouterr().err
    assert 'sub-01: outputs are gone: sub-01/anat/sub-01_desc-cubic_T1w.nii.gz' in told
    assert 'sub-02: changed since: sub-02/anat/sub-02_FLAIR.nii.gz' in told
    again = volumes(out)
    assert {n: d for n, d in again.items() if 'sub-01' in n} == {
        n: d for n, d in first.items() if 'sub-01' in n
    }


def test_another_method_takes_nothing_of_the_first_from_the_work_folder(bids_dir, out):
    only = ('--participant-label', '01')
    volume = out / 'sub-01/anat/sub-01_desc-cubic_T1w.nii.gz'
    assert run(bids_dir, out, *only) == 0
    cubic = nb.load(volume).get_fdata()
    assert run(bids_dir, out, *only, '--method', 'tv') == 0
    tv = nb.load(out / 'sub-01/anat/sub-01_desc-tv_T1w.nii.gz').get_fdata()
    assert np.abs(cubic - tv).max() > 1
    assert not volume.exists()
    report = (out / 'sub-01.html').read_text()
    assert 'otal variation' in report


def test_output_is_valid_bids(bids_dir, out):
    assert run(bids_dir, out, '--participant-label', '01') == 0
    done = subprocess.run(
        [Path(sys.executable).with_name('bids-validator-deno'), '--json', out],
        capture_output=True,
        text=True,
        check=False,
    )
    issues = json.loads(done.stdout)['issues']['issues']
    errors = [issue for issue in issues if issue.get('severity') == 'error']
    assert not errors


def test_one_failing_exam_does_not_stop_the_others(bids_dir, out, capsys):
    broken = bids_dir / 'sub-02/anat/sub-02_FLAIR.nii.gz'
    grid = centred((28, 30, 16), np.diag([8.0, 8, 12, 1]))
    save_volume(broken, np.full(grid.shape, np.nan, np.float32), grid)
    assert run(bids_dir, out) == 1
    assert (out / 'sub-01/anat/sub-01_desc-cubic_T1w.nii.gz').is_file()
    assert not (out / 'sub-02').exists()
    told = capsys.readouterr().err
    assert (
        'No usable anatomical scan in sub-02: sub-02_FLAIR.nii.gz: 100.0% of its voxels are NaN'
        in told
    )
    assert '1 of 2 exams finished, 1 failed' in told
    record = json.loads((out / 'logs/exams/sub-02.json').read_text())
    assert record['state'] == 'failed'
    page = (out / 'sub-02.html').read_text()
    assert 'NaN' in page and 'Its voxels cannot be used' in page and 'Mend the scan' in page
    assert 'It is the scan that has the smallest voxels' not in page
    # mended and started again, only the broken exam is done
    save_volume(broken, head(grid, 'FLAIR'), grid)
    assert run(bids_dir, out) == 0


def test_failures_are_on_record_however_the_run_ends(bids_dir, out, monkeypatch):
    for path in bids_dir.glob('sub-01/anat/*.nii.gz'):  # fails when its voxels are read
        image = nb.load(path)
        nb.save(nb.Nifti1Image(np.full(image.shape, np.nan, np.float32), image.affine), path)
    write_scan(bids_dir / 'sub-03/anat', 'sub-03', 'T1w').write_bytes(b'')  # by its header

    def stop(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr('bids_synthsr.run.participant._close_run', stop)
    assert run(bids_dir, out) == 130
    for exam, reason in (('sub-01', 'are NaN'), ('sub-03', 'is empty')):
        record = json.loads((out / f'logs/exams/{exam}.json').read_text())
        assert record['state'] == 'failed' and reason in record['reason']
        assert reason in (out / f'{exam}.html').read_text()
    assert 'are NaN' in (out / 'index.html').read_text()


def test_an_exam_that_its_headers_exclude_is_told_without_a_crash(bids_dir, out, capsys):
    (bids_dir / 'sub-02/anat/sub-02_FLAIR.nii.gz').write_bytes(b'not an image')
    assert run(bids_dir, out, '--participant-label', 'sub-02') == 1
    assert 'is not a readable NIfTI file' in capsys.readouterr().err
    assert not list(out.glob('logs/*/crash/*'))


def test_results_do_not_depend_on_the_number_of_processes(bids_dir, out):
    assert run(bids_dir, out, '--nprocs', '1') == 0
    other = out.parent / 'other'
    shutil.rmtree(out.parent / 'work')
    assert run(bids_dir, other, '--nprocs', '2', '--omp-nthreads', '2') == 0
    assert volumes(other) == volumes(out)


def test_exams_are_finished_one_after_the_other(bids_dir, out):
    assert run(bids_dir, out, '--nprocs', '1') == 0
    (log,) = out.glob('logs/*/steps.jsonl')
    events = [json.loads(line) for line in log.read_text().splitlines()]
    order = [(event['exam'], event['step'], event['status']) for event in events]
    # nipype by itself synthesises all exams before it saves the first
    assert order.index(('sub-01', 'record', 'end')) < order.index(
        ('sub-02', 'synthesize', 'start')
    )


def several_volumes(path: Path) -> None:
    image = nb.load(path)
    voxels = np.repeat(image.get_fdata(dtype=np.float32)[..., None], 3, axis=3)
    nb.save(nb.Nifti1Image(voxels, image.affine), path)


def without_a_third_axis(path: Path) -> None:
    image = nb.load(path)
    image.header['srow_z'] = 0
    image.header['sform_code'], image.header['qform_code'] = 1, 0
    nb.save(nb.Nifti1Image(np.asanyarray(image.dataobj), None, image.header), path)


def of_nothing_but_noise(path: Path) -> None:
    voxels, grid = load_volume(path)
    noise = np.random.default_rng(1).normal(50, 20, voxels.shape).clip(0)
    inside = ndimage.binary_dilation(voxels > 20, iterations=2)
    save_volume(path, (noise * inside).astype(np.float32), grid)


@pytest.mark.parametrize(
    ('spoil', 'reason'),
    [
        (several_volumes, 'It holds 3 volumes'),
        (without_a_third_axis, 'affine (sform) is singular'),
        (of_nothing_but_noise, 'It could not be aligned'),
    ],
)
def test_scan_that_cannot_be_used_is_left_out_with_its_reason(bids_dir, out, spoil, reason):
    spoil(bids_dir / 'sub-01/anat/sub-01_T2w.nii.gz')
    assert run(bids_dir, out, '--participant-label', '01') == 0
    anat = out / 'sub-01/anat'
    rows = (anat / 'sub-01_desc-scans_selection.tsv').read_text().splitlines()
    (row,) = [row for row in rows if 'T2w' in row.split('\t')[0]]
    assert reason in row
    assert reason in (out / 'sub-01.html').read_text()
    assert not list(anat.glob('*T2w*.nii.gz')) and not list(anat.glob('*from-T2w*'))
    assert (anat / 'sub-01_space-T1w_desc-resampled_FLAIR.nii.gz').is_file()
    sidecar = json.loads((anat / 'sub-01_desc-cubic_T1w.json').read_text())
    assert not any('T2w' in source for source in sidecar['Sources'])


def test_dry_run_tells_and_writes_nothing(bids_dir, out, capsys):
    assert run(bids_dir, out, '--dry-run') == 0
    told = capsys.readouterr().err
    assert 'reference  sub-01_T1w.nii.gz (8 x 8 x 12, axial)' in told
    assert '2 exams: 2 to process' in told and 'main T1w' not in told
    options = ('--method', 'auto', '--output-resolution', '1')
    assert run(bids_dir, out, '--dry-run', *options) == 0
    assert 'main T1w   Predicted from all scans by a network.' in capsys.readouterr().err
    assert not out.exists()


def test_resources_are_recorded_where_asked_for(bids_dir, out, tmp_path, monkeypatch):
    (started_in := tmp_path / 'here').mkdir()
    monkeypatch.chdir(started_in)
    assert run(bids_dir, out, '--participant-label', '02', '--resource-monitor') == 0
    assert not list(started_in.iterdir())
    (recorded,) = out.glob('logs/*/resources-sub-02.json')
    usage = json.loads(recorded.read_text())
    steps = {name.split('.')[-1] for name in usage['name']}
    assert {'select', 'synthesize', 'report'} <= steps
    assert len(usage['time']) == len(usage['rss_GiB']) and max(usage['rss_GiB']) > 0.01


def test_boilerplate_and_reports_can_be_had_alone(bids_dir, out):
    assert run(bids_dir, out, '--boilerplate-only') == 0
    (text,) = out.glob('logs/*/CITATION.md')
    assert 'by cubic splines' in text.read_text() and not (out / 'sub-01').exists()
    assert not (out / 'logs/CITATION.md').exists()
    assert run(bids_dir, out, '--participant-label', '02') == 0
    before = (out / 'logs/CITATION.md').read_text()
    assert run(bids_dir, out, '--boilerplate-only', '--method', 'tv') == 0
    assert (out / 'logs/CITATION.md').read_text() == before, 'nothing was made by it'
    (out / 'sub-02.html').unlink()
    assert run(bids_dir, out, '--reports-only') == 1  # sub-01 is not finished
    assert (out / 'sub-02.html').is_file() and not (out / 'sub-01.html').exists()


def test_space_and_accents_in_paths_work(bids_dir, tmp_path):
    moved = tmp_path / 'Kopf Bilder é' / 'bids'
    shutil.copytree(bids_dir, moved)
    place = tmp_path / 'Aus gabe ü' / 'out'
    assert run(moved, place, '--participant-label', '02') == 0
    assert (place / 'sub-02/anat/sub-02_desc-cubic_FLAIR.nii.gz').is_file()


@pytest.mark.parametrize('orientation', ['oblique', 'left-handed'])
def test_any_orientation_works(bids_dir, out, orientation):
    turned = np.diag([-8.0, 8, 12, 1])
    if orientation == 'oblique':
        angle = np.radians(20)
        turned = np.eye(4)
        turned[1:3, 1:3] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
        turned = turned @ np.diag([8.0, 8, 12, 1])
    write_scan(bids_dir / 'sub-02/anat', 'sub-02', 'FLAIR', centred((28, 30, 16), turned))
    assert run(bids_dir, out, '--participant-label', '02') == 0
    made = nb.load(out / 'sub-02/anat/sub-02_desc-cubic_FLAIR.nii.gz')
    middle = np.linalg.inv(made.affine) @ [0, 0, 0, 1]
    # ventricles (21.5) are at the origin in every orientation; thick slices mix in brain (71.5)
    assert made.get_fdata()[tuple(middle[:3].round().astype(int))] < 40


def test_union_covers_all_scans_and_reference_can_be_named(bids_dir, out):
    tall = centred((28, 30, 20), np.diag([8.0, 8, 12, 1]))
    write_scan(bids_dir / 'sub-01/anat', 'sub-01', 'T2w', tall)
    assert (
        run(bids_dir, out, '--participant-label', '01', '--fov', 'union', '--reference', 'FLAIR')
        == 0
    )
    made = nb.load(out / 'sub-01/anat/sub-01_desc-cubic_FLAIR.nii.gz')
    assert made.shape[2] * 4 >= 238
    rows = (out / 'sub-01/anat/sub-01_desc-scans_selection.tsv').read_text().splitlines()
    assert any('FLAIR' in row and 'reference' in row and 'asked for' in row for row in rows)


def test_output_resolution_is_that_of_the_volumes(bids_dir, out):
    assert run(bids_dir, out, '--participant-label', '02', '--output-resolution', '2') == 0
    made = nb.load(out / 'sub-02/anat/sub-02_desc-cubic_FLAIR.nii.gz')
    assert np.allclose(made.header.get_zooms(), 2)


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        (['--participant-label', '03'], '03'),
        (['--session-label', '1'], 'no sessions'),
        (['--device', 'cuda:99'], 'PyTorch finds no such GPU'),
        (['--reference', 'XYZ'], 'cannot be understood'),
        (
            ['--method', 'synthsr', '--output-resolution', '1', '--weights', 'nowhere.h5'],
            'nowhere.h5',
        ),
        (['--bids-filter-file', 'nowhere.json'], 'nowhere.json'),
        (['--nipype-plugin-file', 'nowhere.yml'], 'nowhere.yml'),
    ],
)
def test_wrong_use_writes_nothing(bids_dir, out, capsys, arguments, message):
    assert run(bids_dir, out, *arguments) == 2
    assert message in capsys.readouterr().err
    assert not out.exists()


def test_empty_filter_result_names_the_filter_and_what_exists(bids_dir, out, tmp_path, capsys):
    filters = tmp_path / 'filters.json'
    filters.write_text('{"anat": {"acquisition": "sag"}}')
    assert run(bids_dir, out, '--bids-filter-file', str(filters)) == 2
    told = capsys.readouterr().err
    assert 'acquisition' in told and 'FLAIR' in told


@pytest.mark.parametrize('place', ['', 'sub-01', 'code/out'])
def test_output_in_the_input_is_refused(bids_dir, place, capsys):
    assert run(bids_dir, bids_dir / place, '--work-dir', '/tmp/elsewhere') == 2
    assert 'lies in the input data set' in capsys.readouterr().err


def test_a_folder_that_is_no_data_set_is_refused(tmp_path, out, capsys):
    (tmp_path / 'sub-01').mkdir()
    assert run(tmp_path / 'sub-01', out) == 2
    assert 'dataset_description.json' in capsys.readouterr().err


def test_a_filter_that_excludes_a_used_scan_does_the_exam_again(bids_dir, out, tmp_path):
    """Without a sidecar, too, by which the scan would be another."""
    for sidecar in bids_dir.rglob('sub-*/**/*.json'):
        sidecar.unlink()
    only = ('--participant-label', '01', '--skip-bids-validation')
    assert run(bids_dir, out, *only) == 0
    table = out / 'sub-01/anat/sub-01_desc-scans_selection.tsv'
    assert 'Excluded' not in table.read_text()
    filters = tmp_path / 'filters.json'
    filters.write_text('{"flair": {"acquisition": "none"}, "t2w": {"acquisition": "none"}}')
    assert run(bids_dir, out, *only, '--bids-filter-file', str(filters)) == 0
    assert 'Excluded by --bids-filter-file' in table.read_text()
