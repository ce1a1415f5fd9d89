"""That a file exists is not enough: what is in it counts, and what is of no use is not saved."""

import json
import os
import shutil
from dataclasses import replace

import numpy as np
import pytest
from doors import sub_command
from phantoms import PATTERN, centred, write_description, write_scan

from bids_synthsr.cli.bids_app import main as app
from bids_synthsr.dataset.files import read_json, write_json, write_rows
from bids_synthsr.dataset.images import save_volume
from bids_synthsr.derivatives.places import Derivatives
from bids_synthsr.derivatives.products import ProductFile, write_synthesis
from bids_synthsr.derivatives.records import load_record, write_record
from bids_synthsr.derivatives.saving import check_products
from bids_synthsr.methods import cubic
from bids_synthsr.values.method import Image, Synthesis, Table

status, exam = sub_command('status'), sub_command('exam')
GRID = centred((4, 5, 6), np.eye(4))
SOUND = np.arange(120, dtype=np.float32).reshape(GRID.shape)
MAIN = 'sub-01/anat/sub-01_desc-cubic_T1w.nii.gz'


def run(folder, *arguments, method='cubic'):
    return app([
        str(folder / 'bids'), str(folder / 'out'), 'participant', '--method', method,
        '--output-resolution', '5', '--work-dir', str(folder / 'work'), '--nprocs', '1',
        '--skip-bids-validation', *arguments,
    ])  # fmt: skip


@pytest.fixture(scope='module')
def finished(tmp_path_factory):
    """Two exams that are finished, of three scans and of one."""
    folder = tmp_path_factory.mktemp('finished')
    write_description(folder / 'bids')
    for contrast in PATTERN:
        write_scan(folder / 'bids/sub-01/anat', 'sub-01', contrast)
    write_scan(folder / 'bids/sub-02/anat', 'sub-02', 'FLAIR')
    assert run(folder) == 0
    return folder


@pytest.fixture
def folder(finished, tmp_path):
    """A copy of them, without a work folder."""
    for name in ('bids', 'out'):
        shutil.copytree(finished / name, tmp_path / name)
    return tmp_path


@pytest.fixture
def out(folder):
    return folder / 'out'


def plan_of(folder, capsys, *arguments):
    """What a dry run says would be done."""
    assert run(folder, '--dry-run', *arguments) == 0
    return capsys.readouterr().err


# what is found of an output that came to harm


def emptied(path):
    path.write_bytes(b'')


def cut(path):
    path.write_bytes(path.read_bytes()[:-1])


def gone(path):
    path.unlink()


def a_folder(path):
    path.unlink()
    path.mkdir()


@pytest.mark.parametrize('harm', [emptied, cut, gone, a_folder])
def test_harmed_output_is_seen_by_status_and_by_the_next_run(folder, out, capsys, harm):
    harm(out / MAIN)
    assert status([str(out)]) == 1
    told = capsys.readouterr().out
    words = 'outputs are gone' if harm in (gone, a_folder) else 'damaged or were changed'
    assert f'{words}: {MAIN}' in told and '1 finished, 0 failed, 1 missing' in told
    told = plan_of(folder, capsys)
    assert f'{words}: {MAIN}' in told and '1 to process, 1 finished' in told


def test_emptied_output_is_made_again(folder, out):
    volume = out / 'sub-02/anat/sub-02_desc-cubic_FLAIR.nii.gz'
    size = volume.stat().st_size
    emptied(volume)
    assert run(folder, '--participant-label', '02') == 0
    assert volume.stat().st_size == size
    assert status([str(out), '--check']) == 0


def test_output_of_the_same_size_is_seen_where_asked_for(out, capsys):
    content = bytearray((out / MAIN).read_bytes())
    content[len(content) // 2] ^= 1
    (out / MAIN).write_bytes(content)
    assert status([str(out)]) == 0
    assert status([str(out), '--check']) == 1
    assert f'damaged or were changed: {MAIN}' in capsys.readouterr().out


@pytest.mark.parametrize('harm', [emptied, gone])
@pytest.mark.parametrize('page', ['sub-01.html', 'sub-01/figures/sub-01_thumbnail.jpg'])
def test_lost_page_is_written_anew_and_nothing_else(folder, out, capsys, harm, page):
    harm(out / page)
    volumes = {path: path.stat().st_mtime_ns for path in out.rglob('*.nii.gz')}
    assert status([str(out)]) == 1
    assert page in capsys.readouterr().out
    assert run(folder) == 0
    assert (out / page).stat().st_size
    assert status([str(out), '--check']) == 0
    assert {path: path.stat().st_mtime_ns for path in out.rglob('*.nii.gz')} == volumes


def test_record_of_an_older_version_is_done_again(folder, out, capsys):
    path = out / 'logs/exams/sub-01.json'
    record = read_json(path)
    write_json(path, {**record, 'outputs': list(record['outputs'])})
    assert 'sub-01: not done yet' in plan_of(folder, capsys)


# a scan that is replaced


def test_scan_of_the_same_size_and_time_is_seen(folder, capsys):
    """As cp -p and rsync -t leave it."""
    scan = folder / 'bids/sub-02/anat/sub-02_FLAIR.nii.gz'
    assert 'sub-02: finished' in plan_of(folder, capsys)
    times, content = scan.stat(), bytearray(scan.read_bytes())
    content[5] ^= 1  # of the time in the header of gzip
    other = folder / 'new.nii.gz'
    other.write_bytes(content)
    os.utime(other, ns=(times.st_atime_ns, times.st_mtime_ns))
    other.replace(scan)
    assert (scan.stat().st_size, scan.stat().st_mtime_ns) == (times.st_size, times.st_mtime_ns)
    told = plan_of(folder, capsys)
    assert 'sub-02: changed since: sub-02/anat/sub-02_FLAIR.nii.gz' in told
    assert 'sub-01: finished' in told


# files of an earlier method


def test_files_of_an_earlier_method_and_scan_go(folder, out):
    for path in (folder / 'bids/sub-01/anat').glob('*_T2w.*'):
        path.unlink()
    notes = out / 'sub-01/anat/sub-01_notes.txt'
    notes.write_text('of a user')
    assert run(folder, '--participant-label', '01', method='tv') == 0
    names = {path.name for path in (out / 'sub-01/anat').iterdir()}
    assert not [name for name in names if 'T2w' in name or 'desc-cubic' in name]
    assert {'sub-01_desc-tv_T1w.nii.gz', 'sub-01_space-T1w_desc-tv_FLAIR.nii.gz'} <= names
    assert notes.is_file()
    record = load_record(out / 'logs/exams/sub-01.json')
    assert {f'sub-01/anat/{name}' for name in names} == {
        *record.outputs,
        f'sub-01/anat/{notes.name}',
    }
    page = (out / 'sub-01.html').read_text(encoding='utf-8')
    assert 'desc-cubic' not in page and '_T2w' not in page


def test_files_of_an_earlier_method_stay_on_record_where_the_next_fails(folder, out):
    before = load_record(out / 'logs/exams/sub-01.json').outputs
    for path in (folder / 'bids/sub-01/anat').glob('*.nii.gz'):
        path.write_bytes(b'')
    assert run(folder) == 1
    record = load_record(out / 'logs/exams/sub-01.json')
    assert record.state == 'failed' and record.leftovers == tuple(before)
    assert all((out / name).is_file() for name in before)


def test_only_files_of_the_exam_are_removed(folder, out):
    """Whatever a record lists that somebody else has written."""
    path = out / 'logs/exams/sub-02.json'
    victim, other = folder / 'victim.txt', out / 'sub-01/anat/sub-01_desc-scans_selection.tsv'
    victim.write_text('mine')
    names = (str(victim), '../victim.txt', 'sub-02/anat/../../../victim.txt', 'index.html',
             'sub-02/anat/../../sub-01/anat/' + other.name, 'sub-02.html')  # fmt: skip
    write_record(path, replace(load_record(path), state='failed', leftovers=names))
    assert run(folder, '--participant-label', '02') == 0
    assert victim.is_file() and other.is_file()
    assert (out / 'index.html').is_file() and (out / 'sub-02.html').is_file()


def test_work_that_ends_while_outputs_are_written_is_not_finished(folder, out, capsys):
    path = out / 'logs/exams/sub-02.json'
    begun = replace(load_record(path), state='begun', reason='cut off', outputs={})
    write_record(path, begun)
    assert status([str(out)]) == 1
    assert 'sub-02  missing ' in capsys.readouterr().out
    assert 'sub-02: failed before: cut off' in plan_of(folder, capsys)


# products of no use


@pytest.mark.parametrize(
    ('product', 'fault'),
    [
        (Image('T1w', 'x', np.full(GRID.shape, np.nan, np.float32), GRID), '100.0% of its voxels'),
        (Image('T1w', 'x', np.where(SOUND == 7, np.inf, SOUND), GRID), '0.8% of its voxels'),
        (Image('T1w', 'x', np.zeros(GRID.shape, np.float32), GRID), 'have the value 0'),
        (Image('FLAIR', 'x', 7 + 0 * SOUND, GRID), 'all its voxels have the value 7'),
        (Image('uncertainty', 'x', SOUND * np.nan, GRID), '100.0% of its voxels'),
        (Image('dseg', 'x', SOUND * np.nan, GRID), '100.0% of its voxels'),
        (Image('mask', 'brain', SOUND[:0], GRID), 'it has no voxels'),
        (Table('volumes', 'x', [{'volume_mm3': float('nan')}]), 'it has nan under volume_mm3'),
    ],
)
def test_useless_product_is_not_saved(tmp_path, product, fault):
    products = (Image('T1w', 'main', SOUND, GRID), product)
    with pytest.raises(ValueError, match='is not saved') as error:
        write_synthesis(Synthesis(products), ['T1w'], tmp_path)
    assert fault in str(error.value)
    assert not list(tmp_path.iterdir())


def test_mask_and_expected_error_may_be_constant(tmp_path):
    products = [Image('T1w', 'x', SOUND, GRID), Image('mask', 'brain', 0 * SOUND, GRID)]
    products += [Image('uncertainty', 'x', 0 * SOUND, GRID), Image('dseg', 'x', SOUND * 0, GRID)]
    assert len(write_synthesis(Synthesis(tuple(products)), ['T1w'], tmp_path)) == 4


def zeroed(path):
    save_volume(path, 0 * SOUND, GRID)


@pytest.mark.parametrize('harm', [zeroed, emptied, cut, gone])
def test_product_that_came_to_harm_in_the_work_folder_replaces_no_output(tmp_path, harm):
    sound, harmed = (save_volume(tmp_path / f'{x}.nii', SOUND, GRID) for x in 'ab')
    products = [ProductFile(str(path), 'image', 'T1w', {'desc': 'x'}) for path in (sound, harmed)]
    check_products(products)
    harm(harmed)
    with pytest.raises(ValueError, match='Start again with --clean-workdir') as error:
        check_products(products)
    assert str(harmed) in str(error.value)


def test_table_and_transform_that_came_to_harm_are_seen(tmp_path):
    table = write_rows(tmp_path / 'a.json', [{'x': 1.0}])
    product = ProductFile(str(table), 'table', 'volumes', {'desc': 'x'})
    check_products([product])
    table.write_text('[{"x": NaN}]')
    with pytest.raises(ValueError, match='nan under x'):
        check_products([product])
    with pytest.raises(ValueError, match='cannot be read'):
        check_products([replace(product, kind='transform')])


def test_plain_files_get_no_useless_volume(tmp_path, capsys, monkeypatch):
    sound = cubic.synthesize

    def spoil(*arguments):
        synthesis = sound(*arguments)
        image = synthesis.images[0]
        return replace(synthesis, products=(replace(image, voxels=image.voxels * np.nan),))

    monkeypatch.setattr(cubic, 'synthesize', spoil)
    scan, made = write_scan(tmp_path, 'p', 'T1w'), tmp_path / 'made/o.nii'
    arguments = [str(scan), '-o', str(made), '--method', 'cubic', '--output-resolution', '5']
    assert exam(arguments) == 1
    told = capsys.readouterr().err
    assert 'The method made a useless T1w (desc-cubic)' in told and 'Traceback' not in told
    assert not made.exists()


# reports alone


@pytest.mark.parametrize('harm', [emptied, gone])
def test_report_that_cannot_be_written_costs_that_exam_alone(folder, out, capsys, harm):
    harm(out / MAIN)
    emptied(out / 'sub-02.html')
    assert run(folder, '--reports-only') == 1
    told = capsys.readouterr().err
    assert 'sub-01: no report, for outputs are' in told and 'Traceback' not in told
    assert (out / 'sub-02.html').stat().st_size
    assert Derivatives(out).index.is_file()


def test_reports_alone_stay_on_record(folder, out):
    assert run(folder, '--reports-only') == 0
    assert status([str(out), '--check']) == 0


def test_sidecar_that_cannot_be_read_costs_that_exam_alone(folder, out, capsys):
    path = out / MAIN.replace('.nii.gz', '.json')
    path.write_text(path.read_text()[:-3] + ',,\n')
    assert json.loads((out / 'logs/exams/sub-01.json').read_text())['outputs']
    assert run(folder, '--reports-only') == 1
    assert 'sub-01: its report cannot be written' in capsys.readouterr().err
