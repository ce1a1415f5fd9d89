"""Labels and images of one person are never those of another: which it is is not guessed."""

import pytest
from label_phantoms import draw_labels, grid_of, paint_t1w

from bids_synthsr.dataset.images import save_volume
from bids_synthsr.evaluation.head_files import find_maps, list_heads
from bids_synthsr.evaluation.results import Result
from bids_synthsr.evaluation.simulated_page import gains_over_baseline
from bids_synthsr.training.cohort import read_heads


def touch(root, *names):
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()


@pytest.mark.parametrize(
    'names',
    [
        ['maps/a/sub-1_dseg.nii.gz', 'maps/b/sub-1_dseg.nii.gz'],
        ['maps/sub-1_dseg.nii.gz', 'maps/sub_1_dseg.nii.gz'],
        ['maps/sub-1_dseg.nii.gz', 'maps/sub-1_dseg.nii'],
    ],
)
def test_label_maps_of_one_name_are_refused(tmp_path, names):
    touch(tmp_path, *names, 't1/a/sub-1_T1w.nii.gz')
    with pytest.raises(ValueError, match=r'has the name of .*rename one of them'):
        list_heads(tmp_path / 't1', tmp_path / 'maps', [])


def test_a_label_map_with_two_images_is_refused(tmp_path):
    touch(tmp_path, 'maps/sub-1_dseg.nii.gz', 't1/a/sub-1_T1w.nii.gz', 't1/b/sub-1_T1w.nii')
    with pytest.raises(ValueError, match=r'sub-1_dseg\.nii\.gz could belong to .* and '):
        find_maps(tmp_path / 'maps', tmp_path / 't1', [])


def test_images_that_no_label_map_asks_for_may_share_a_name(tmp_path):
    touch(tmp_path, 'maps/x_dseg.nii.gz', 't1/a/y_T1w.nii', 't1/b/y_T1w.nii',
          't1/derivatives/z/x_T1w.nii', 't1/x_T1w.nii')  # fmt: skip
    (head,) = list_heads(tmp_path / 't1', tmp_path / 'maps', [])
    assert head.image == (tmp_path / 't1/x_T1w.nii').resolve()


def write_pair(folder, label_map, *images):
    labels = draw_labels()
    save_volume(folder / 'maps' / label_map, labels, grid_of(labels.shape))
    for number, image in enumerate(images):
        save_volume(folder / image, paint_t1w(labels, number), grid_of(labels.shape))


@pytest.mark.parametrize(
    'images',
    [
        ['a/sub-1_T1w.nii.gz', 'b/sub-1_T1w.nii.gz'],
        ['a/sub-1_T1w.nii.gz', 'a/sub-1_T2w.nii.gz'],
        ['a/sub-1_T1w.nii.gz', 'a/sub-1_T1w.nii'],
    ],
)
def test_training_refuses_a_label_map_with_two_images(tmp_path, images):
    write_pair(tmp_path, 'sub-1_dseg.nii.gz', *images)
    folders = sorted({(tmp_path / image).parent for image in images})
    with pytest.raises(ValueError, match=r'sub-1_dseg\.nii\.gz could belong to .* and '):
        read_heads(tmp_path / 'maps', folders)


def test_training_refuses_an_image_with_two_label_maps(tmp_path):
    write_pair(tmp_path, 'sub-1_dseg.nii.gz', 'a/sub-1_T1w.nii.gz')
    write_pair(tmp_path, 'sub-1_aseg.nii.gz')
    with pytest.raises(ValueError, match=r'sub-1_T1w\.nii\.gz could belong to .* and '):
        read_heads(tmp_path / 'maps', [tmp_path / 'a'])


def test_names_without_a_part_in_common_are_no_pair(tmp_path):
    write_pair(tmp_path, 'anna.nii.gz', 'a/bert.nii.gz')
    with pytest.raises(ValueError, match='No image is named like the label maps anna'):
        read_heads(tmp_path / 'maps', [tmp_path / 'a'])


def test_gains_are_over_cubic_of_the_same_image_of_a_person(tmp_path):
    results = [
        Result('1', '', method, 'T1w', 'axial', 5.0, 5.0, {'psnr': base + gain},
               tmp_path / f'sub_1_{run}_T1w_axial_5_5_{method}.jpg')
        for run, base in (('run_1', 20.0), ('run_2', 30.0))
        for method, gain in (('cubic', 0.0), ('tv', 1.0))
    ]  # fmt: skip
    assert [*gains_over_baseline(results).values()] == [1.0, 1.0]
