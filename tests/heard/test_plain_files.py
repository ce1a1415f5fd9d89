"""Plain files tell what they were taken for, by what, and what became of each of them."""

import json

import nibabel as nb
import numpy as np
import pytest
from doors import sub_command
from phantoms import AXIAL, centred, head, write_scan

from bids_synthsr.api import guess_contrast, synthesize
from bids_synthsr.dataset.guessing import BY_SUFFIX, BY_WORDS, name_entities, recognize
from bids_synthsr.dataset.images import image_of, save_volume
from bids_synthsr.dataset.plain import plain_exam, take_files
from bids_synthsr.settings import MethodSettings

main = sub_command('exam')
QUICK = ['--method', 'cubic', '--output-resolution', '4', '--threads', '1']
CUBIC = MethodSettings(method='cubic', output_resolution=4.0)
GRID = centred((28, 30, 16), AXIAL)


@pytest.mark.parametrize(
    ('name', 'suffix', 'origin'),
    [
        ('sub-01_ses-T1_T2w', 'T2w', BY_SUFFIX),
        ('sub-01_acq-gre_T1w', 'T1w', BY_SUFFIX),
        ('sub-01_acq-t1_FLAIR', 'FLAIR', BY_SUFFIX),
        ('sub-01_inplaneT2', 'inplaneT2', BY_SUFFIX),
        ('gre_T1w', 'T1w', BY_SUFFIX),
        ('AX_T1_FLAIR', 'T1w', BY_WORDS),
        ('sag_t1flair', 'T1w', BY_WORDS),
        ('t1_tirm_dark-fluid_tra', 'T1w', BY_WORDS),
        ('t2_tirm_dark-fluid', 'FLAIR', BY_WORDS),
        ('T2_FLAIR', 'FLAIR', BY_WORDS),
        ('flair_in_t1', 'FLAIR', BY_WORDS),
        ('FLAIR_to_T1w', 'FLAIR', BY_WORDS),
        ('MPRAGE', 'T1w', BY_WORDS),
        ('3D_BRAVO', 'T1w', BY_WORDS),
        ('T1post', 'T1w', BY_WORDS),
        ('BraTS-GLI-00000-000-t1n', 'T1w', BY_WORDS),
        ('BraTS-GLI-00000-000-t2f', 'FLAIR', BY_WORDS),
        ('t2_fl2d_tra_hemo', 'T2starw', BY_WORDS),
        ('IXI002-Guys-0828-PD', 'PDw', BY_WORDS),
        ('sub-01_UNIT1', 'UNIT1', BY_SUFFIX),
        ('GdT1', 'T1w', BY_WORDS),
        ('AX_PROTON_DENSITY', 'PDw', BY_WORDS),
        ('sT1W_3D_TFE_C', 'T1w', BY_WORDS),
        ('eT1W', 'T1w', BY_WORDS),
        ('sT2W_FLAIR', 'FLAIR', BY_WORDS),
        ('T1_GRE_2mm', 'T1w', BY_WORDS),
        ('AX_GRE', 'T2starw', BY_WORDS),
        ('AX_T2_GRE', 'T2starw', BY_WORDS),
        ('sub_01_T1', 'T1w', BY_WORDS),
    ],
)
def test_suffix_comes_first_and_whole_words_after_it(name, suffix, origin):
    assert recognize(f'{name}.nii.gz') == (suffix, origin)
    assert guess_contrast(f'{name}.nii') == suffix


@pytest.mark.parametrize(
    ('name', 'fault'),
    [
        ('pd_t2', 'may be PDw or T2w'),
        ('FLAIR_T1', 'may be FLAIR or T1w'),
        ('sub-01_acq-t1_T1map', 'says T1map, which is no contrast'),
        ('t1_mp2rage_sag_INV1', 'says "inv1", which is no scan'),
        ('t1_brain_mask', 'says "mask", which is no scan'),
        ('mwp1T1', 'says "mwp1", which is no scan'),
        ('c1T1', 'says "c1", which is no scan'),
        ('T1T2_ratio', 'says "t1t2", which is no scan'),
        ('subtraction_T1', 'says "subtraction", which is no scan'),
        ('T1_SUB', 'says "sub", which is no scan'),
        ('MIP_T1', 'says "mip", which is no scan'),
        ('T1_minIP', 'says "minip", which is no scan'),
        ('ADC_T2', 'says "adc", which is no scan'),
        ('T1_brain_pve', 'says "pve", which is no scan'),
        ('T1_brain_pve_0', 'says "pve", which is no scan'),
        ('DWI_T2', 'says "dwi", which is no scan'),
        ('phase_T1w', 'says "phase", which is no scan'),
        ('mip_T1w', 'says "mip", which is no scan'),
        ('T1_GRE_T2star', 'may be T1w or T2starw'),
        ('cat1w_set2', 'does not tell the contrast'),
    ],
)
def test_what_is_not_certain_is_asked_for(name, fault):
    with pytest.raises(ValueError, match=f'{name}.nii {fault}.*name the contrasts'):
        guess_contrast(f'{name}.nii')


@pytest.mark.parametrize(
    'name',
    ['T1_Gd', 't1_km', 'T1post', 'AX_T1_+C', 'FLAIR+C', 't1c', 'T1_post_contrast', 'sub-01_T1_Gd',
     'sub-01_ce-gd_T1w', 'T1_mit_KM', 'ax_t1_se_gadovist', 'GdT1', 'T1_Gd_no_fatsat'],
)  # fmt: skip
def test_names_that_say_so_make_a_scan_one_with_contrast_agent(name, tmp_path):
    file = save_volume(tmp_path / f'{name}.nii', head(GRID, 'T1w'), GRID)
    (scan,) = plain_exam(take_files([file])).scans
    assert scan.agent and scan.contrast.startswith('ce-')


@pytest.mark.parametrize(
    'name',
    ['T1_precontrast', 'T1_without_contrast', 't1_wo_contrast', 'T1_w_o_contrast', 'T1_ohne_KM',
     'T1_nativ', 't1n', 'T1_postop', 'T1_post_op', 'low_contrast_T1', 'sub-gd01_T1w',
     'ses-post_T1w', 'T1_C'],
)  # fmt: skip
def test_contrast_agent_is_not_claimed_where_it_is_not_known(name):
    assert 'ce' not in name_entities(f'{name}.nii.gz')


def test_echoes_and_parts_that_a_converter_named_are_entities():
    assert name_entities('gre_e2_ph.nii') == {'echo': '2', 'part': 'phase'}
    assert name_entities('sub-01_part-imag_T2starw.nii') == {'part': 'imag'}
    assert name_entities('T1w_part-phase.nii') == {'part': 'phase'}


def test_scans_of_one_name_are_numbered_and_others_keep_theirs(tmp_path):
    names = ['a/sub-1_run-1_T1w', 'b/sub-1_run-1_T1w', 'b/sub-1_run-2_T1w', 'b/sub-1_acq-x_T2w']
    files = [save_volume(tmp_path / f'{x}.nii', head(GRID, 'T1w'), GRID) for x in names]
    scans = plain_exam(take_files(files)).scans
    assert [x.name for x in scans] == ['run-1_T1w', 'run-2_T1w', 'run-3_T1w', 'acq-x_T2w']


@pytest.fixture
def pair(tmp_path):
    """Write a T1w, and a FLAIR of several volumes."""
    t1w = write_scan(tmp_path, 'my', 'T1w')
    twice = np.repeat(head(GRID, 'FLAIR')[..., None], 2, axis=3)
    nb.save(nb.Nifti1Image(twice, GRID.vox2ras), tmp_path / 'flair_4d.nii.gz')
    return [str(t1w), str(tmp_path / 'flair_4d.nii.gz')]


def test_command_tells_each_scan_and_a_named_one_not_used_is_no_success(pair, tmp_path, capsys):
    out = tmp_path / 'out' / 'out.nii.gz'
    assert main([*pair, '-o', str(out), *QUICK]) == 1
    assert out.is_file()
    lines = capsys.readouterr().err.splitlines()
    assert lines[0].startswith('my_T1w.nii.gz: T1w by its BIDS suffix; reference: ')
    assert lines[1].startswith(
        'flair_4d.nii.gz: FLAIR by the words of its name; left out: It holds 2 volumes'
    )
    assert lines[-1].startswith('1 of 2 scans not used: flair_4d.nii.gz;')


def test_python_logs_the_same_as_warnings(pair, caplog):
    with caplog.at_level('WARNING', logger='bids_synthsr'):
        volumes = synthesize(pair, ['T1w', 'flair'], settings=CUBIC)
    assert list(volumes) == ['T1w']
    lines = [record.getMessage() for record in caplog.records]
    assert lines[0].startswith('my_T1w.nii.gz: T1w as it was given; reference: ')
    assert 'flair_4d.nii.gz: FLAIR as it was given; left out: It holds 2' in lines[1]


def test_what_only_voxels_tell_is_told_in_the_end(tmp_path, capsys):
    t1w = write_scan(tmp_path, 'my', 'T1w')
    noise = np.random.default_rng(0).random(GRID.shape, np.float32)
    t2w = save_volume(tmp_path / 'T2w_noise.nii.gz', noise, GRID)
    assert main([str(t1w), str(t2w), '-o', str(tmp_path / 'out.nii'), *QUICK]) == 1
    told = capsys.readouterr().err
    assert 'T2w_noise.nii.gz: T2w by the words of its name; used: ' in told
    assert 'T2w_noise.nii.gz was left out: ' in told and '1 of 2 scans not used' in told


def test_scans_that_a_method_does_not_read_are_told_as_aligned(tmp_path, capsys):
    scans = [str(write_scan(tmp_path, 'my', contrast)) for contrast in ('T1w', 'FLAIR')]
    assert main([*scans, '-o', str(tmp_path / 'out.nii'), *QUICK]) == 0
    told = capsys.readouterr().err
    assert 'my_FLAIR.nii.gz: aligned: It was aligned and brought to the output grid' in told


def test_each_scan_is_told_where_none_can_be_used(pair, tmp_path, capsys):
    assert main([pair[1], '-o', str(tmp_path / 'out.nii'), *QUICK]) == 1
    told = capsys.readouterr().err
    assert 'flair_4d.nii.gz: FLAIR by the words of its name; left out: It holds 2' in told
    assert 'sub-plain' not in told and not (tmp_path / 'out.nii').exists()


def test_phase_images_are_known_by_the_sidecar_beside_them(tmp_path, capsys):
    scan = write_scan(tmp_path, 'scan', 'T1w')
    kind = {'ImageType': ['ORIGINAL', 'PRIMARY', 'P', 'PHASE']}
    (tmp_path / 'scan_T1w.json').write_text(json.dumps(kind))
    assert main([str(scan), '-o', str(tmp_path / 'out.nii'), *QUICK]) == 1
    assert 'calls it a phase image' in capsys.readouterr().err


def test_gaps_between_slices_are_known_by_the_sidecar_beside_them(tmp_path):
    scan = write_scan(tmp_path, 'v1.2', 'T1w')
    (tmp_path / 'v1.2_T1w.json').write_text('{"SliceThickness": 5.0}')
    (read,) = plain_exam(take_files([scan])).scans
    assert read.geometry[1].slice_thickness == 5.0


def test_sidecars_that_cannot_be_read_are_told(tmp_path):
    scan = write_scan(tmp_path, 'my', 'T1w')
    (tmp_path / 'my_T1w.json').write_text('{"SliceThickness": ')
    (read,) = plain_exam(take_files([scan])).scans
    assert 'my_T1w.json cannot be read as JSON' in read.warnings[0]


def test_images_in_memory_keep_the_names_of_their_files(tmp_path, caplog):
    scan = save_volume(tmp_path / 'ax_T2_tse.nii.gz', head(GRID, 'T2w'), GRID)
    with caplog.at_level('WARNING', logger='bids_synthsr'):
        assert list(synthesize(nb.load(scan), settings=CUBIC)) == ['T2w']
    assert caplog.records[0].getMessage().startswith('ax_T2_tse.nii: T2w by the words')
    with pytest.raises(ValueError, match=r'scan-0\.nii does not tell the contrast'):
        synthesize([image_of(head(GRID, 'T2w'), GRID)], settings=CUBIC)
