"""Lesions that masks mark are filled or kept, and all that is written says so."""

import gzip
import hashlib
import json
from pathlib import Path

import nibabel as nb
import numpy as np
import pytest
from phantoms import write_description, write_scan

from bids_synthsr.api import check_settings
from bids_synthsr.cli.bids_app import main
from bids_synthsr.dataset.errors import DatasetError
from bids_synthsr.dataset.images import load_volume, save_volume
from bids_synthsr.dataset.lesion_masks import (
    describe_lesion_masks,
    find_frame,
    find_lesion_masks,
    load_lesion_mask,
)
from bids_synthsr.interfaces.lesions import MASS_ML, describe_masses
from bids_synthsr.settings import MethodSettings
from bids_synthsr.values.grid import Grid

SICK = 200.0
ANY_EXAM = ['--method', 'any-exam', '--output-resolution', '1']
IDENTITY = Grid((2, 2, 2), np.eye(4))


@pytest.fixture
def bids(tmp_path):
    root = tmp_path / 'bids'
    write_description(root)
    for label in ('sub-01', 'sub-02'):
        path = write_scan(root / label / 'anat', label, 'T1w')
    voxels, grid = load_volume(root / 'sub-01/anat/sub-01_T1w.nii.gz')
    voxels[blob(grid)] = SICK
    save_volume(root / 'sub-01/anat/sub-01_T1w.nii.gz', voxels, grid)
    assert path.is_file()
    return root


def blob(grid):
    mask = np.zeros(grid.shape, bool)
    mask[18:20, 14:17, 8:10] = True
    return mask


def write_mask(folder, name='sub-01_label-lesion_mask', mask=None, grid=None):
    if grid is None:
        _, grid = load_volume(folder.parent / 'bids/sub-01/anat/sub-01_T1w.nii.gz')
    mask = blob(grid) if mask is None else mask
    folder.mkdir(exist_ok=True)
    return save_volume(folder / f'{name}.nii.gz', mask.astype(np.uint8), grid)


def run(tmp_path, *more, out='out'):
    plugin = tmp_path / 'plugin.json'
    plugin.write_text('{"plugin": "Linear"}')
    folders = [tmp_path / 'bids', tmp_path / out, 'participant', '-w', tmp_path / f'work-{out}']
    quick = ['--method', 'cubic', '--output-resolution', '4', '--skip-bids-validation']
    return main([*map(str, folders), *quick, '--nipype-plugin-file', str(plugin), *more])


def fill(tmp_path, *more, out='out'):
    masks = ('--lesion-masks', str(tmp_path / 'masks'))
    return run(tmp_path, '--lesions', 'fill', *masks, *more, out=out)


def main_volume(out, label='sub-01'):
    return out / label / 'anat' / f'{label}_desc-cubic_T1w.nii.gz'


def contents(out):
    return {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest()
        for path in out.glob('sub-*/anat/*')
    }


def test_filling_is_done_said_and_done_again_when_the_mask_changes(bids, tmp_path, capsys):
    mask = write_mask(tmp_path / 'masks')
    assert run(tmp_path) == 0
    capsys.readouterr()
    plain = contents(tmp_path / 'out')
    assert load_volume(main_volume(tmp_path / 'out'))[0].max() > 150
    described = (tmp_path / 'out/descriptions.tsv').read_text()
    assert 'Lesions' not in described
    sidecar = json.loads(
        main_volume(tmp_path / 'out').with_suffix('').with_suffix('.json').read_text()
    )
    assert 'Lesions' not in sidecar

    assert fill(tmp_path) == 0
    assert 'sub-02: No lesion mask of this exam was found' in capsys.readouterr().err
    out = tmp_path / 'out'
    assert load_volume(main_volume(out))[0].max() < 130
    sidecar = json.loads(main_volume(out).with_suffix('').with_suffix('.json').read_text())
    voxels = int(blob(load_volume(mask)[1]).sum())
    assert sidecar['Lesions'] == {
        'Done': 'filled',
        'Scans': ['T1w'],
        'Masks': [mask.name],
        'VolumesMl': {'T1w': round(voxels * 8 * 8 * 12 / 1000, 2)},
    }
    same = {name for name, digest in contents(out).items() if plain.get(name) == digest}
    assert 'sub-02_desc-cubic_T1w.nii.gz' in same  # nothing was marked in it
    assert 'sub-01_space-T1w_desc-resampled_T1w.nii.gz' in same
    report = (out / 'sub-01.html').read_text()
    assert 'which is invented' in report and 'Prados' in report
    other = (out / 'sub-02.html').read_text()
    assert 'as the method leaves them' in other and 'Prados' not in other
    assert 'field Lesions' in (out / 'descriptions.tsv').read_text()

    assert fill(tmp_path, '--dry-run') == 0
    assert 'sub-01: finished, nothing to do' in capsys.readouterr().err
    grown = load_volume(mask)[0] > 0
    grown[17:20] |= grown[18:19]
    write_mask(tmp_path / 'masks', mask=grown)
    assert fill(tmp_path, '--dry-run') == 0
    said = capsys.readouterr().err
    assert 'sub-01: changed since: lesion_masks' in said
    assert 'sub-02: finished, nothing to do' in said

    assert run(tmp_path) == 0  # as they were, and as if nothing had been
    again = contents(tmp_path / 'out')
    assert {name: again[name] for name in plain} == plain
    assert 'Lesions' in (out / 'descriptions.tsv').read_text()


@pytest.mark.parametrize(
    ('spoil', 'said'),
    [
        ('empty', 'marks no lesion (lesions are all but 0)'),
        ('elsewhere', 'it lies outside of all scans'),
        ('slice', 'it covers the whole head in slice 8 of the T1w'),
        ('air', 'most of it lies outside of the head'),
        ('damaged', 'cannot be read'),
        ('space', 'lies in the space MNI152NLin6Asym'),
    ],
)
def test_bad_masks_cost_their_exam_alone(bids, tmp_path, capsys, spoil, said):
    mask = write_mask(tmp_path / 'masks')
    voxels, grid = load_volume(mask)
    if spoil == 'empty':
        write_mask(tmp_path / 'masks', mask=voxels * 0)
    elif spoil == 'elsewhere':
        vox2ras = grid.vox2ras.copy()
        vox2ras[:3, 3] += 900
        write_mask(tmp_path / 'masks', mask=voxels, grid=Grid(grid.shape, vox2ras))
    elif spoil == 'slice':
        voxels[:, :, 8] = 1
        scan = load_volume(tmp_path / 'bids/sub-01/anat/sub-01_T1w.nii.gz')[0]
        write_mask(tmp_path / 'masks', mask=(voxels > 0) & (scan > 10))
    elif spoil == 'air':
        corner = np.zeros(grid.shape)
        corner[:3, :3] = 1
        write_mask(tmp_path / 'masks', mask=corner)
    elif spoil == 'damaged':
        mask.write_bytes(gzip.compress(b'no image'))
    else:
        mask.rename(mask.with_name('sub-01_space-MNI152NLin6Asym_label-lesion_mask.nii.gz'))
    assert fill(tmp_path, '--dry-run') == 0
    told = ' '.join(capsys.readouterr().err.split())
    assert (said in told) == (spoil == 'space')  # voxels are judged later
    assert fill(tmp_path) == 1
    printed = ' '.join(capsys.readouterr().err.split())
    assert said in printed
    assert main_volume(tmp_path / 'out', 'sub-02').is_file()
    assert not main_volume(tmp_path / 'out').exists()


def test_masks_of_no_exam_are_refused_unless_others_were_asked_for(bids, tmp_path, capsys):
    write_mask(tmp_path / 'masks', 'sub-01_label-lesion_mask')
    write_mask(tmp_path / 'masks', 'sub-07_label-lesion_mask')
    assert fill(tmp_path, '--dry-run') == 2
    assert 'sub-07_label-lesion_mask.nii.gz is of sub-07' in capsys.readouterr().err
    assert fill(tmp_path, '--dry-run', '--participant-label', '02') == 0


@pytest.mark.parametrize(
    ('options', 'said'),
    [
        (['--lesions', 'fill'], 'give --lesion-masks DIR'),
        (['--lesion-masks', '.'], 'give --lesions fill'),
        ([*ANY_EXAM, '--lesions', 'keep'], '--lesions keep needs the masks'),
        (['--lesions', 'fill', '--lesion-masks', 'nowhere'], 'is not a folder'),
        (['--lesions', 'fill', '--lesion-masks', '.'], 'holds no lesion mask'),
    ],
)
def test_wrong_use(bids, tmp_path, capsys, monkeypatch, options, said):
    (tmp_path / 'empty').mkdir()
    monkeypatch.chdir(tmp_path / 'empty')
    assert run(tmp_path, '--dry-run', *options) == 2
    assert said in capsys.readouterr().err


@pytest.mark.parametrize(
    ('method', 'said'),
    [
        ('tv', 'tv keeps lesions by itself, so leave the option out'),
        ('synthsr', 'synthsr makes no segmentation'),
    ],
)
def test_only_what_paints_over_and_segments_keeps_lesions(tmp_path, capsys, method, said):
    with pytest.raises(SystemExit, match='2'):
        run(tmp_path, '--method', method, '--output-resolution', '1', '--lesions', 'keep')
    assert said in capsys.readouterr().err


def test_masks_are_found_by_name(tmp_path):
    grid = Grid((2, 2, 2), np.eye(4))
    names = (
        'sub-01_ses-a_label-lesion_mask',
        'sub-01_ses-a_space-FLAIR_desc-lesion_dseg',
        'sub-01_ses-b_label-L_desc-T1lesion_mask',
        'sub-01_ses-a_desc-brain_mask',
        'sub-01_ses-a_label-lesion_probseg',
    )
    for name in names:
        write_mask(tmp_path, name, np.ones(grid.shape), grid)
    found = find_lesion_masks(tmp_path, ['sub-01_ses-a', 'sub-01_ses-b'])
    assert [path.name.split('.')[0] for path in found['sub-01_ses-a']] == [*names[:2]]
    assert [path.name.split('.')[0] for path in found['sub-01_ses-b']] == [names[2]]
    with pytest.raises(DatasetError, match='is of sub-01_ses-b'):
        find_lesion_masks(tmp_path, ['sub-01_ses-a'])
    assert find_lesion_masks(tmp_path, ['sub-01_ses-a'], ['sub-01'], ['ses-a'])


def test_lesions_of_a_segmentation_have_label_77(tmp_path):
    grid = Grid((2, 2, 2), np.eye(4))
    labels = np.full(grid.shape, 2)
    path = write_mask(tmp_path, 'sub-01_desc-lesion_dseg', labels, grid)
    with pytest.raises(ValueError, match='have the label 77'):
        load_lesion_mask(path)
    labels[0] = 77
    write_mask(tmp_path, 'sub-01_desc-lesion_dseg', labels, grid)
    assert load_lesion_mask(path)[0].sum() == 4


def test_the_frame_is_that_of_the_scan_that_is_named_or_has_the_grid():
    grids = [Grid((2, 2, 2), np.diag([size, 1, 1, 1.0])) for size in (1.0, 2.0, 2.0)]
    contrasts = ['T1w', 'T2w', 'FLAIR']
    plain, named = Path('sub-1_label-lesion_mask.nii'), Path('sub-1_space-FLAIR_desc-L_mask.nii')
    other = Grid((3, 2, 2), np.eye(4))
    assert find_frame(plain, grids[1], grids, contrasts) == (1, '')
    assert find_frame(named, grids[1], grids, contrasts) == (2, '')
    assert find_frame(named, other, grids, contrasts) == (2, '')
    index, doubt = find_frame(plain, other, grids, contrasts)
    assert index == 0 and 'taken to lie in the space of the T1w' in doubt
    with pytest.raises(ValueError, match=r'not used \(FLAIR; used are T1w, T2w\)'):
        find_frame(named, other, grids[:2], contrasts[:2])
    runs = ['T1w', 'run-1_FLAIR', 'run-2_FLAIR']
    second = Path('sub-1_run-2_space-FLAIR_label-lesion_mask.nii')
    assert find_frame(second, other, grids, runs) == (2, '')
    bare = Path('sub-1_run-2_label-lesion_mask.nii')
    assert find_frame(bare, grids[0], grids, runs) == (2, '')
    with pytest.raises(ValueError, match='not used'):
        find_frame(second, other, grids[:2], runs[:2])
    with pytest.raises(ValueError, match='not used'):
        find_frame(bare, grids[1], grids[:2], runs[:2])
    with pytest.raises(ValueError, match='run-1_FLAIR or run-2_FLAIR'):
        find_frame(named, other, grids, runs)


def test_masks_of_two_raters_are_told_apart(tmp_path):
    for rater in ('r1', 'r2'):
        write_mask(tmp_path / rater, 'sub-01_label-lesion_mask', np.ones((2, 2, 2)), IDENTITY)
    (tmp_path / 'linked').mkdir()
    (tmp_path / 'linked/r3').symlink_to(tmp_path / 'r1')
    (tmp_path / 'linked/round').symlink_to(tmp_path / 'linked')
    paths = find_lesion_masks(tmp_path, ['sub-01'])['sub-01']
    names = [mask['name'] for mask in describe_lesion_masks(paths, tmp_path)]
    assert len(set(names)) == 2  # each folder once
    (linked,) = find_lesion_masks(tmp_path / 'linked', ['sub-01'])['sub-01']
    assert linked.parent.name == 'r3'


def test_a_mask_that_lies_nowhere_is_refused(tmp_path):
    path = tmp_path / 'sub-01_label-lesion_mask.nii'
    image = nb.Nifti1Image(np.ones((2, 2, 2), np.uint8), None)
    image.header['sform_code'] = image.header['qform_code'] = 0
    image.to_filename(path)
    with pytest.raises(ValueError, match='left and right would be a guess'):
        load_lesion_mask(path)


def test_python_users_are_sent_to_the_command():
    with pytest.raises(ValueError, match='run bids_synthsr with --lesions fill'):
        check_settings(MethodSettings('cubic', lesions='fill'))
    with pytest.raises(ValueError, match='--lesions fil is unknown'):
        check_settings(MethodSettings('cubic', lesions='fil'))


def test_a_large_lesion_is_warned_of():
    assert describe_masses(MASS_ML) == []
    (sentence,) = describe_masses(35.2)
    assert sentence.startswith('One of the lesions has 35 ml') and 'bone and CSF' in sentence
