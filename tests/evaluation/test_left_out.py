"""Evaluation on real exams: what is left out, how agreement is measured, table and page."""

import csv
import json
import shutil

import numpy as np
import pytest
from label_phantoms import grid_of
from phantoms import write_scan

from bids_synthsr.cli.evaluate import main
from bids_synthsr.dataset.images import load_volume, save_rigid, save_volume
from bids_synthsr.dataset.query import find_exams
from bids_synthsr.evaluation.left_out_page import summarise_agreement
from bids_synthsr.evaluation.results import Result
from bids_synthsr.imaging.head import head_mask
from bids_synthsr.imaging.similarity import agreement, fit_monotone
from bids_synthsr.interfaces.left_out import CompareLeftOut
from bids_synthsr.run.left_out import list_cases


def cases_of(bids_dir, methods=('cubic',), takes_subsets=False):
    exam = find_exams(bids_dir)[0]
    return [*list_cases(exam, bids_dir, methods, takes_subsets)]


def test_every_scan_is_left_out_once(bids_dir):
    cases = cases_of(bids_dir)
    told = {case.facts['left_out']: case.facts['contrasts'] for case in cases}
    assert told == {'T1w': 'FLAIR+T2w', 'T2w': 'FLAIR+T1w', 'FLAIR': 'T1w+T2w'}
    for case in cases:
        assert case.name.isidentifier()
        assert [scan['suffix'] for scan in case.left_out['scans']] == [case.facts['left_out']]
        assert case.facts['left_out'] not in [scan['suffix'] for scan in case.given['scans']]
    single = find_exams(bids_dir)[1]
    assert not [*list_cases(single, bids_dir, ['cubic'], takes_subsets=True)]


def test_subsets_of_the_others_and_methods_that_can_take_them(bids_dir):
    cases = cases_of(bids_dir, ('cubic', 'sr-t1'), takes_subsets=True)
    assert len({case.name for case in cases}) == 9
    for case in cases:
        has_t1w = 'T1w' in case.facts['contrasts']
        assert [*case.methods] == (['cubic', 'sr-t1'] if has_t1w else ['cubic'])


@pytest.mark.parametrize('sign', [1, -1])
def test_any_monotone_curve_is_fitted(sign):
    image = np.random.default_rng(1).uniform(-2, 2, 20_000)
    other = sign * np.exp(image)
    assert np.corrcoef(fit_monotone(image, other), other)[0, 1] > 0.995
    assert np.corrcoef(fit_monotone(image, image**2), image**2)[0, 1] < 0.8  # no monotone curve


def test_agreement_sees_shared_anatomy_only():
    rng = np.random.default_rng(1)
    anatomy, mask = rng.random((30, 30, 30)), np.ones((30, 30, 30), bool)
    mask[:3] = False
    scan = 1000 - 300 * anatomy**2
    same = agreement(np.where(mask, anatomy, 9), scan, mask)
    assert same['correlation'] > 0.99 and same['l1'] < 0.01
    other = agreement(rng.random(anatomy.shape), scan, mask)
    assert abs(other['correlation']) < 0.1 and other['nmi'] < 0.1 * same['nmi']
    flat = agreement(np.zeros(anatomy.shape), scan, mask)
    assert flat['correlation'] == 0 and np.isfinite(list(flat.values())).all()


def test_head_mask_takes_what_is_dark_inside_but_no_background():
    index = np.indices((40, 40, 12)) - np.array([20, 20, 6])[:, None, None, None]
    radius = np.hypot(index[0], index[1])
    voxels = np.where((radius < 15) & (radius > 8), 100.0, 0.0)  # a ring in every slice
    voxels[0, 0] = 100  # a speck outside
    np.testing.assert_array_equal(head_mask(voxels, 2), radius < 15)


def test_summary_puts_t1w_first_and_takes_medians(tmp_path):
    def found(left_out, value, **parts):
        measures = {'correlation': value, 'l1': 0.1, 'nmi': value / 2}
        return Result('01', '', 'tv', 'x', 'axial', 3, 3, measures, tmp_path, left_out, parts)

    t1w = [found('acq-a_T1w', v, brain={'correlation': v / 10}) for v in (1, 2, 6)]
    rows = summarise_agreement([found('FLAIR', 0.1), *t1w, found('T1w', 2)])
    assert [(row.contrast, row.count) for row in rows] == [('T1w', 4), ('FLAIR', 1)]
    assert (rows[0].correlation, rows[0].least, rows[0].nmi) == (2, 1, 1)
    assert (rows[0].brain, rows[1].brain) == (0.2, None)


def test_the_brain_is_compared_alone_where_it_is_known(tmp_path):
    shape = (30, 30, 30)
    grid, rng = grid_of(shape), np.random.default_rng(1)
    brain = np.zeros(shape, np.uint8)
    brain[8:22, 8:22, 8:22] = 1
    anatomy = 50 + 50 * rng.random(shape).astype(np.float32)
    noise = 50 + 50 * rng.random(shape).astype(np.float32)
    files = {
        'volume': anatomy,
        'scan': np.where(brain, anatomy, noise),  # the rest of the head is another one
        'mask': brain,
    }
    for name, voxels in files.items():
        save_volume(tmp_path / f'{name}.nii', voxels, grid)
    save_rigid(tmp_path / 'scan2ref.txt', np.eye(4))
    CompareLeftOut(
        volumes=[str(tmp_path / 'volume.nii')],
        scans=[str(tmp_path / 'scan.nii')],
        acquisitions=[{'slice_axis': 2, 'slice_spacing': 1.0, 'slice_thickness': 1.0}],
        scan2ref=str(tmp_path / 'scan2ref.txt'),
        fit={'status': 'good'},
        facts={'left_out': 'T1w'},
        place=str(tmp_path / 'compared'),
        segmented=[str(tmp_path / 'volume.nii'), str(tmp_path / 'mask.nii')],
        entities=[{'suffix': 'T1w'}, {'suffix': 'mask'}],
    ).run()
    told = json.loads((tmp_path / 'compared.json').read_text())
    assert told['structures']['brain']['correlation'] > 0.99
    assert told['measures']['correlation'] < 0.5


def test_whole_command_and_what_fails_is_told(bids_dir, tmp_path, capsys):
    shutil.rmtree(bids_dir / 'sub-02')
    again = write_scan(bids_dir / 'sub-01/anat', 'sub-01_run-2', 'T1w')
    voxels, grid = load_volume(again)
    save_volume(again, 2 * voxels, grid)
    flair = bids_dir / 'sub-01/anat/sub-01_FLAIR.nii.gz'
    flair.write_bytes(flair.read_bytes()[:-2000])  # its header is fine, its voxels are not
    out = tmp_path / 'out'
    command = ['leave-one-out', str(bids_dir), str(out), '--methods', 'cubic', '--nprocs', '1']
    assert main(command) == 1
    rows = list(csv.DictReader((out / 'leave-one-out.tsv').open(), delimiter='\t'))
    values = {
        row['left_out']: float(row['value']) for row in rows if row['measure'] == 'correlation'
    }
    assert set(values) == {'T1w', 'T2w', 'run-2_T1w'}
    assert 0.9 < values['T1w'] <= 1 and 0.9 < values['run-2_T1w'] <= 1
    assert values['T2w'] < values['T1w']  # its contrast is no monotone function of a T1w
    assert rows[0]['structure'] == 'head' and rows[0]['session'] == 'n/a'
    assert 'failed: sub-01, load: ' in (told := capsys.readouterr().err) and 'FLAIR' in told
    page = (out / 'leave-one-out.html').read_text()
    assert 'src="http' not in page and 'sub-01, load' in page


def test_exams_of_one_scan_have_nothing_to_leave_out(bids_dir, tmp_path, capsys):
    shutil.rmtree(bids_dir / 'sub-01')
    assert main(['leave-one-out', str(bids_dir), str(tmp_path / 'out')]) == 2
    assert 'No exam' in capsys.readouterr().err and not (tmp_path / 'out').exists()
