"""The commands of evaluations: what they refuse, and what they write."""

import csv
import json
import shutil

import numpy as np
import pytest
from doors import sub_command
from label_phantoms import draw_labels, grid_of, paint_t1w
from nilearn.datasets import load_mni152_template
from phantoms import centred, write_scan
from PIL import Image

from bids_synthsr.cli import evaluate
from bids_synthsr.cli.synthsr import build_parser
from bids_synthsr.dataset import selection, templates
from bids_synthsr.dataset import weights as files
from bids_synthsr.dataset.images import load_volume, save_volume, volume_of
from bids_synthsr.evaluation.painting import CONTRASTS
from bids_synthsr.imaging import forward_model

main = sub_command('evaluate')

MEASURES = {'psnr', 'ssim', 'l1', 'correlation'}


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        (['--weights', 'published=x'], 'with a method of --methods'),
        (['--methods', 'sr-t1', '--weights', 'sr-t1=no.safetensors'], 'there is no such file'),
        (['--participant-label', '07'], 'holds no T1w images of 07'),
        (['--spacing', '3', '--thickness', '5'], 'give a --thickness of at most the --spacing'),
        (['--work-dir', 'in/work'], 'lies in the input data set'),
    ],
)
def test_wrong_use_is_refused_and_writes_nothing(
    tmp_path, monkeypatch, capsys, arguments, message
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / 'in').mkdir()
    (tmp_path / 'in/a_T1w.nii.gz').touch()
    assert main(['simulate', str(tmp_path / 'in'), str(tmp_path / 'out'), *arguments]) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / 'out').exists()


def test_painted_exams_need_labels(tmp_path, capsys):
    save_volume(tmp_path / 'in/a_T1w.nii.gz', np.ones((4, 4, 4)), grid_of((4, 4, 4)))
    command = ['simulate', str(tmp_path / 'in'), str(tmp_path / 'out'), '--methods', 'cubic']
    assert main([*command, '--exams', 'T2w+T1w']) == 2
    assert '--exams T2w+T1w is painted from labels: give --labels' in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main([*command, '--exams', 'T9w'])
    assert 'contrast T9w is unknown; did you mean' in capsys.readouterr().err


def test_command_line_offers_every_contrast_plane_and_profile():
    assert tuple(CONTRASTS) == evaluate.PAINTED and selection.PLANES == evaluate.PLANES
    assert forward_model.PROFILES == evaluate.PROFILES


def test_weights_of_a_method_are_looked_up_once(tmp_path, monkeypatch):
    searches = []
    monkeypatch.setattr(files, 'find_weights', lambda method, *_: searches.append(method.name))
    options = build_parser().parse_args(
        [
            'evaluate',
            'simulate',
            str(tmp_path),
            'out',
            '--methods',
            'any-exam,cubic',
            '--structures',
        ]
    )
    weights = evaluate._find_weights(options, {}, structures=True)
    assert searches == [*weights] == ['any-exam', 'cubic']


def test_whole_command_then_again_from_what_is_done(tmp_path, capsys):
    heads = tmp_path / 'heads'
    head = save_volume(heads / 'sub-01_T1w.nii.gz', *volume_of(load_mni152_template(1)))
    # its header is fine, its voxels are not
    (heads / 'sub-02_T1w.nii.gz').write_bytes(head.read_bytes()[:-2000])
    thick = centred((28, 30, 16), np.diag([6.0, 6.0, 12.0, 1.0]))
    write_scan(heads, 'sub-03', 'T1w', thick)
    out = tmp_path / 'out'
    command = ['simulate', str(heads), str(out), '--methods', 'cubic', '--spacing', '6',
               '--thickness', 'equal', '--planes', 'axial', '--nprocs', '1']  # fmt: skip
    assert main(command) == 1  # the other head went on
    rows = list(csv.DictReader((out / 'simulate.tsv').open(), delimiter='\t'))
    values = {row['measure']: float(row['value']) for row in rows}
    assert {row['subject'] for row in rows} == {'01'} and set(values) == MEASURES
    assert 15 < values['psnr'] < 40 and 0.5 < values['ssim'] < 1
    page = (out / 'simulate.html').read_text()
    assert 'sub-02_T1w, conform' in page and 'sub-03_T1w.nii.gz: Its coarsest axis has 12' in page
    printed = capsys.readouterr().err
    assert 'failed: sub_03_T1w is no truth: ' in printed
    assert 'Its coarsest axis has 12 mm' in (out / 'logs/evaluate.log').read_text()
    assert 'failed: sub-02_T1w, conform: ' in printed
    assert '2 comparisons, 1 at once; their methods are forecast to take about ' in printed
    assert 'sub_01_T1w, T1w_axial_6_6, cubic: compared; 1 of 2 done' in printed
    assert 'sub_02_T1w, truth: failed at conform' in printed
    written = next(out.rglob('synthesize/volume-0.nii')).stat().st_mtime_ns
    (out / 'results' / 'sub_01_T1w_T1w_axial_6_6_cubic.json').unlink()
    assert main(command) == 1
    assert next(out.rglob('synthesize/volume-0.nii')).stat().st_mtime_ns == written
    results = json.loads((out / 'results' / 'sub_01_T1w_T1w_axial_6_6_cubic.json').read_text())
    assert results['measures']['psnr'] == pytest.approx(values['psnr'], rel=1e-4)


def test_nothing_of_an_earlier_evaluation_stays_where_all_comparisons_fail(tmp_path, capsys):
    labels, maps, out = draw_labels(48), tmp_path / 'maps', tmp_path / 'out'
    save_volume(maps / 'a_seg.nii.gz', labels, grid_of(labels.shape))
    command = ['simulate', str(maps), str(out), '--labels', str(maps), '--methods', 'cubic',
               '--spacing', '4', '--thickness', 'equal', '--planes', 'axial', '--exams', 't2w',
               '--nprocs', '1']  # fmt: skip
    assert main(command) == 0
    (out / 'results/mine.json').write_text('{"of": "somebody else"}')
    assert Image.open(next((out / 'results').glob('*.jpg'))).height > 0
    page = (out / 'simulate.html').read_text()
    assert 'The truth of all is no scan but was painted from label maps' in page
    assert 'PSNR above cubic' not in page  # there is nothing to compare it with
    (maps / 'a_seg.nii.gz').write_bytes(b'no image')
    assert main(command) == 1
    assert not list(out.glob('simulate.*'))
    assert [path.name for path in (out / 'results').iterdir()] == ['mine.json']
    assert str(out / 'simulate.tsv') not in capsys.readouterr().err.rpartition('failed')[2]


def test_whole_command_on_label_maps(tmp_path):
    labels = draw_labels(64)
    save_volume(tmp_path / 'maps/a_seg.nii.gz', labels, grid_of(labels.shape))
    out = tmp_path / 'out'
    command = ['simulate', str(tmp_path / 'maps'), str(out), '--labels', str(tmp_path / 'maps'),
               '--methods', 'cubic,sr-t1', '--spacing', '4', '--thickness', 'equal', '--planes',
               'axial', '--exams', 'T2w+FLAIR', '--nprocs', '1']  # fmt: skip
    assert main(command) == 0
    results = json.loads((out / 'results' / 'a_seg_T2w_FLAIR_axial_4_4_cubic.json').read_text())
    assert results['contrasts'] == 'T2w+FLAIR' and results['structures'] == {}
    assert len(list((out / 'results').glob('*.json'))) == 1  # sr-t1 needs a T1w
    assert results['truth'] == 'T2w scan' and results['measures']['correlation'] > 0.5


def test_whole_command_with_profiles_noise_and_both_truths(tmp_path):
    labels = draw_labels(64)
    save_volume(tmp_path / 'maps/a_seg.nii.gz', labels, grid_of(labels.shape))
    save_volume(tmp_path / 'maps/b_seg.nii.gz', labels, grid_of(labels.shape))
    save_volume(tmp_path / 'maps/b_T1w.nii.gz', paint_t1w(labels), grid_of(labels.shape))
    out = tmp_path / 'out'
    command = ['simulate', str(tmp_path / 'maps'), str(out), '--labels', str(tmp_path / 'maps'),
               '--methods', 'cubic', '--spacing', '4', '--thickness', 'equal', '--planes', 'axial',
               '--exams', 'T1w', 'random', '--profile', 'gaussian', 'box', '--noise', '2',
               '--nprocs', '1']  # fmt: skip
    assert main(command) == 0
    rows = list(csv.DictReader((out / 'simulate.tsv').open(), delimiter='\t'))
    kinds = {(x['subject'], x['contrasts'], x['truth'], x['profile']) for x in rows}
    assert kinds == {
        (subject, contrast, truth, profile)
        for profile in ('gaussian', 'box')
        for subject, contrast, truth in (
            ('a', 'T1w', 'T1w scan'), ('b', 'T1w', 'T1w'),
            ('a', 'random', 'random scan'), ('b', 'random', 'random scan'),
        )
    }  # fmt: skip
    assert {row['noise_percent'] for row in rows} == {'2'}
    psnr = {
        (x['subject'], x['contrasts'], x['profile']): float(x['value'])
        for x in rows
        if x['measure'] == 'psnr'
    }
    for (subject, contrast, profile), value in psnr.items():  # a box blurs less
        assert profile == 'gaussian' or value > psnr[subject, contrast, 'gaussian']


def test_whole_command_on_real_exams_lists_what_fails(bids_dir, tmp_path, capsys):
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
    assert 'failed: sub-01, load: ' in (printed := capsys.readouterr().err) and 'FLAIR' in printed
    page = (out / 'leave-one-out.html').read_text()
    assert 'src="http' not in page and 'sub-01, load' in page


def test_exams_of_one_scan_have_nothing_to_leave_out(bids_dir, tmp_path, capsys):
    shutil.rmtree(bids_dir / 'sub-01')
    assert main(['leave-one-out', str(bids_dir), str(tmp_path / 'out')]) == 2
    assert 'No exam' in capsys.readouterr().err and not (tmp_path / 'out').exists()


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        (
            [],
            'in: 0 T1w of 1 mm can be taken, and 10 are the fewest, since half of them change',
        ),
        (['--permutations', '20'], 'fewer than 100 tell nothing'),
        (['--thickness', '6'], 'slices would overlap'),
        (['--splits', '-1'], 'cannot be negative'),
        (['--change', 'ventricles=2', 'ventricles=.5'], 'names a structure twice'),
    ],
)
def test_morphometry_of_too_few_heads_or_wrong_numbers_is_refused(
    tmp_path, monkeypatch, capsys, arguments, message
):
    monkeypatch.setattr(templates, '_fetch', lambda *_: 'no network in this test')
    save_volume(tmp_path / 'in/a_T1w.nii.gz', np.ones((40, 40, 40)), grid_of((40, 40, 40)))
    command = ['tbm', str(tmp_path / 'in'), str(tmp_path / 'out'), '--methods', 'cubic']
    assert main([*command, *arguments]) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / 'out').exists()


@pytest.mark.parametrize('change', ['nose=2', 'ventricles=9', 'ventricles', 'ventricles=1'])
def test_changes_that_no_head_has_are_refused(tmp_path, change):
    with pytest.raises(SystemExit) as stop:
        main(['tbm', str(tmp_path), str(tmp_path / 'out'), '--change', change])
    assert stop.value.code == 2
