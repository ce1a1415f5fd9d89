"""What is simulated, and what is left out."""

import pytest

from bids_synthsr.dataset.query import find_exams
from bids_synthsr.evaluation.cases import (
    can_take,
    list_left_out_cases,
    list_simulated_cases,
    list_slices,
    name_truth,
    result_name,
)
from bids_synthsr.values.exam import Acquisition


def cases_of(bids_dir, methods=('cubic',), takes_subsets=False):
    exam = find_exams(bids_dir)[0]
    return [*list_left_out_cases(exam, bids_dir, methods, takes_subsets)]


def test_slices_are_all_that_make_sense():
    assert [*list_slices([2, 5.5], [None, 3.0], ['axial', 'coronal'])] == [
        ('axial', 2, 2), ('coronal', 2, 2), ('axial', 5.5, 5.5), ('coronal', 5.5, 5.5),
        ('axial', 5.5, 3.0), ('coronal', 5.5, 3.0),
    ]  # fmt: skip
    assert len([*list_slices([3], [None, 3.0], ['axial'])]) == 1


def test_every_exam_is_simulated_with_all_slices():
    slices = [('axial', 5.5, 3.0), ('coronal', 5.0, 5.0)]
    cases = list_simulated_cases([('T1w',), ('T2w', 'T1w')], slices, ['sr-t1', 'tv'])
    assert [case.name for case in cases] == [
        'T1w_axial_5p5_3', 'T1w_coronal_5_5', 'T2w_T1w_axial_5p5_3', 'T2w_T1w_coronal_5_5'
    ]  # fmt: skip
    assert all(case.name.isidentifier() for case in cases)
    assert cases[2].contrasts == ('T2w', 'T1w')
    assert [case.methods for case in cases[1:3]] == [('sr-t1', 'tv'), ('tv',)]


def test_every_profile_is_simulated_of_all_slices():
    slices = [('axial', 5.0, 5.0), ('axial', 5.0, 3.0)]
    cases = list_simulated_cases([('FLAIR',)], slices, ['tv'], ['gaussian', 'box'], 2.0)
    assert [(case.name, case.profile) for case in cases] == [
        ('FLAIR_axial_5_5', 'gaussian'), ('FLAIR_axial_5_5_box', 'box'),
        ('FLAIR_axial_5_3', 'gaussian'), ('FLAIR_axial_5_3_box', 'box'),
    ]  # fmt: skip
    assert {case.noise_percent for case in cases} == {2.0}


@pytest.mark.parametrize(
    ('method', 'truth'),
    [
        *dict.fromkeys(('cubic', 'cubic-dc', 'tv', 'self', 'sr-t1'), 'FLAIR scan').items(),
        *dict.fromkeys(('any-exam', 'synthsr', 'auto'), 'T1w').items(),
    ],
)
def test_methods_that_keep_the_contrast_are_compared_with_the_scan_itself(method, truth):
    assert name_truth(method, 'FLAIR', is_painted=True) == truth
    assert name_truth(method, 'T1w', is_painted=False) == 'T1w'  # a real one is both


def test_sharpening_needs_a_t1w_reference():
    slices = [Acquisition(2, 5.0, 5.0)] * 2
    assert can_take('tv', ['T2w'], slices) and can_take('sr-t1', ['T1w', 'T2w'], slices)
    assert not can_take('sr-t1', ['T2w', 'T1w'], slices)


def test_results_are_named_by_what_they_are_of():
    assert result_name('sub_01', 'T1w_axial_5_5', 'sr-t1') == 'sub_01_T1w_axial_5_5_sr_t1'


def test_every_scan_is_left_out_once(bids_dir):
    cases = cases_of(bids_dir)
    explained_from = {case.facts['left_out']: case.facts['contrasts'] for case in cases}
    assert explained_from == {'T1w': 'FLAIR+T2w', 'T2w': 'FLAIR+T1w', 'FLAIR': 'T1w+T2w'}
    for case in cases:
        assert case.name.isidentifier()
        assert [scan['suffix'] for scan in case.left_out['scans']] == [case.facts['left_out']]
        assert case.facts['left_out'] not in [scan['suffix'] for scan in case.others['scans']]


def test_nothing_can_be_left_out_of_a_single_scan(bids_dir):
    single = find_exams(bids_dir)[1]
    assert not [*list_left_out_cases(single, bids_dir, ['cubic'], takes_subsets=True)]


def test_subsets_of_the_others_and_methods_that_can_take_them(bids_dir):
    cases = cases_of(bids_dir, ('cubic', 'sr-t1'), takes_subsets=True)
    assert len({case.name for case in cases}) == 9
    for case in cases:
        has_t1w = 'T1w' in case.facts['contrasts']
        assert case.methods == (('cubic', 'sr-t1') if has_t1w else ('cubic',))
