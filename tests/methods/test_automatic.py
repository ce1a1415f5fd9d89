"""The default method: the network where it was trained for, total variation elsewhere."""

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
from phantoms import centred, write_description, write_scan
from slice_scans import ARGUMENTS, network, scan, trained

from bids_synthsr.cli.bids_app import main
from bids_synthsr.dataset.weights import save_weights
from bids_synthsr.imaging.geometry import output_grid, rigid, with_spacing
from bids_synthsr.methods.automatic import find_crossing, reason_against_network, synthesize


def obstacle(scan, grid):
    return reason_against_network([scan.contrast], [scan.acquisition], float(grid.spacing[0]))


def test_t1w_of_thick_slices_goes_to_the_network():
    observation = scan(spacing=5.0)
    made = synthesize([observation], output_grid(observation.grid), trained=trained())
    assert made.facts['method'] == 'sr-t1' and made.products[0].desc == 'sr'
    assert 'T1w of thick slices' in made.facts['method_reason']


def test_other_exams_go_to_total_variation():
    observation = scan(contrast='FLAIR')
    made = synthesize([observation], output_grid(observation.grid), trained=trained())
    assert made.facts['method'] == 'tv' and made.products[0].desc == 'tv'
    assert 'the reference is a FLAIR' in made.facts['method_reason']


@pytest.mark.parametrize(
    ('contrasts', 'axes', 'crosses'),
    [
        (['T1w', 'T1w', 'T1w'], [2, 1, 0], True),
        (['T1w', 'T1w', 'T1w'], [2, 2, 0], True),
        (['T1w', 'T1w'], [2, 2], False),
        (['T1w'], [2], False),
        (['T1w', 'T2w', 'T2w'], [2, 1, 0], False),
        (['T1w', 'ce-gd_T1w', 'ce-gd_T1w'], [2, 1, 0], False),
        (['T1w', 'FLAIR', 'T1w', 'T1w'], [0, 1, 1, 2], True),
    ],
)
def test_scans_of_one_contrast_that_cross_are_joined(contrasts, axes, crosses):
    turned = rigid((0.1, 0.0, 0.2), np.zeros(3))[:3, :3]
    normals = [turned @ np.eye(3)[axis] for axis in axes]
    assert bool(find_crossing(contrasts, normals)) == crosses


def test_an_exam_of_three_planes_goes_to_total_variation():
    first = scan(spacing=5.0)
    turns = (np.eye(4), *(rigid(np.eye(3)[axis] * np.pi / 2, np.zeros(3)) for axis in (0, 1)))
    planes = [replace(first, scan2ref=turn @ first.scan2ref) for turn in turns]
    made = synthesize(planes, output_grid(first.grid), trained=trained())
    assert made.facts['method'] == 'tv'
    assert 'lie in 3 planes, which are joined' in made.facts['method_reason']


@pytest.mark.parametrize(
    ('spacing', 'output_mm', 'words'),
    [(1.2, 1, 'lie 1.2 mm apart'), (10, 1, 'lie 10 mm apart'), (4, 2, 'voxels of 1 mm only')],
)
def test_what_the_network_did_not_learn_is_told(spacing, output_mm, words):
    observation = scan(spacing=spacing)
    grid = with_spacing(observation.grid, output_mm)
    assert words in obstacle(observation, grid)
    assert not obstacle(scan(spacing=4.0), with_spacing(observation.grid, 1))


def test_whole_app_tells_which_method_it_chose(bids_dir, tmp_path):
    weights = save_weights(
        tmp_path / 'w.safetensors',
        network(is_silent=False).state_dict(),
        {'network': 'slice_unet', 'arguments': ARGUMENTS},
    )
    shutil.rmtree(bids_dir)
    write_description(bids_dir)
    thick = centred((26, 32, 24), np.diag([6.0, 6.0, 7.0, 1.0]))
    write_scan(bids_dir / 'sub-01/anat', 'sub-01', 'T1w', thick)
    write_scan(bids_dir / 'sub-02/anat', 'sub-02', 'FLAIR', thick)
    out = tmp_path / 'out'
    arguments = ['--work-dir', tmp_path / 'work', '--nprocs', '1', '--skip-bids-validation']
    command = [bids_dir, out, 'participant', '--method', 'auto', '--weights', weights, *arguments]
    assert main([*map(str, command)]) == 0
    made = json.loads((out / 'sub-01/anat/sub-01_desc-sr_T1w.json').read_text())
    assert made['Method'] == 'sr-t1' and made['MethodDetails']['weights'] == 'w.safetensors'
    assert 'convolutional network' in (out / 'sub-01.html').read_text()
    other = json.loads((out / 'sub-02/anat/sub-02_space-T1w_desc-tv_FLAIR.json').read_text())
    assert other['Method'] == 'tv' and 'FLAIR' in other['MethodDetails']['method_reason']
    assert 'multi-channel total variation' in (out / 'logs/CITATION.md').read_text()
