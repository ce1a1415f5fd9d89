"""Heads are found by the names of their files."""

from zlib import crc32

import pytest

from bids_synthsr.evaluation.head_files import find_heads, find_maps, list_heads, read_groups


def touch(root, *names):
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()


def test_heads_of_folders_and_data_sets(tmp_path):
    touch(tmp_path, 'sub-01/ses-1/anat/sub-01_ses-1_T1w.nii.gz', 'plain_T1w.nii', 'T1w.nii.txt',
          'derivatives/x/sub-01/anat/sub-01_T1w.nii.gz', 'x_T2w.nii.gz')  # fmt: skip
    heads = find_heads(tmp_path, [])
    assert list(heads) == ['plain_T1w', 'sub_01_ses_1_T1w']
    head = heads['sub_01_ses_1_T1w']
    assert (head.name, head.subject, head.session) == ('sub_01_ses_1_T1w', '01', '1')
    assert head.image == (tmp_path / 'sub-01/ses-1/anat/sub-01_ses-1_T1w.nii.gz').resolve()
    assert head.labels is None
    assert list(find_heads(tmp_path, ['sub-01'])) == ['sub_01_ses_1_T1w']


def test_missing_heads_and_equal_names_are_refused(tmp_path):
    touch(tmp_path, 'plain_T1w.nii')
    with pytest.raises(FileNotFoundError, match='holds no T1w images of 07'):
        find_heads(tmp_path, ['07'])
    touch(tmp_path, 'other/plain_T1w.nii.gz')
    with pytest.raises(ValueError, match=r'has the name of .*plain_T1w.nii.*rename one of them'):
        find_heads(tmp_path, [])


def test_maps_are_paired_with_images(tmp_path):
    touch(tmp_path, 'maps/a_seg.nii.gz', 'maps/b_seg.nii.gz', 'images/a_T1w.nii.gz')
    heads = find_maps(tmp_path / 'maps', tmp_path / 'images', [])
    assert heads['a_seg'].image.name == 'a_T1w.nii.gz' and heads['b_seg'].image is None
    assert list(find_maps(tmp_path / 'maps', tmp_path / 'images', ['b'])) == ['b_seg']
    assert {head.subject for head in heads.values()} == {'a', 'b'}
    touch(tmp_path, 'maps/training_seg_18.nii.gz')
    again = find_maps(tmp_path / 'maps', tmp_path / 'images', ['training_seg_18'])
    assert again['training_seg_18'].subject == 'training_seg_18'
    with pytest.raises(FileNotFoundError, match='holds no label maps of c'):
        find_maps(tmp_path / 'maps', tmp_path / 'images', ['c'])


def test_people_have_the_groups_of_the_data_set(tmp_path):
    touch(tmp_path, 'a_T1w.nii', 'b_T1w.nii')
    (tmp_path / 'participants.tsv').write_text('participant_id\tgroup\nsub-a\tpatient\n')
    assert read_groups(tmp_path / 'participants.tsv') == {'a': 'patient'}
    assert read_groups(tmp_path / 'none.tsv') == {}
    heads = list_heads(tmp_path, None, [])
    assert [(head.subject, head.group) for head in heads] == [('a', 'patient'), ('b', '')]


def test_seeds_are_those_of_the_names(tmp_path):
    touch(tmp_path, 'a_T1w.nii', 'b_T1w.nii')
    seeds = [head.seed for head in list_heads(tmp_path, None, [])]
    assert seeds == [crc32(b'a_T1w'), crc32(b'b_T1w')]
