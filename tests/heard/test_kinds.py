"""What name and sidecar say of a scan is heard: agent, kind of image, template, chunk."""

from pathlib import Path

import nibabel as nb
import numpy as np
import pytest
from phantoms import write_scan

from bids_synthsr.dataset.agents import names_agent
from bids_synthsr.dataset.kinds import find_agent, is_motion_corrected
from bids_synthsr.dataset.scans import read_scan
from bids_synthsr.dataset.selection import SelectionError, choose_reference, select_scans
from bids_synthsr.values.exam import Exam, Scan, entities_of, suffix_of


@pytest.fixture(scope='module')
def image(tmp_path_factory):
    return write_scan(tmp_path_factory.mktemp('kinds') / 'anat', 'sub-01', 'T1w')


@pytest.mark.parametrize(
    'text',
    [
        'AX T1 POST', 't1_mprage_sag_postGd', 'T1 MPR +C', 't1_tse_tra_KM', 'SAG T1 GAD',
        'T1 with contrast', 'T1C', 't1ce', 'T1 FSPGR w/ contrast', 'Ax T1 post gadolinium',
        '3D T1 nach KM', 'T1 SE INJ', 'postcontrast', 'mprageGd', 'T1 Gadavist', 't1+c', 'acq-CE',
        'AX T1 C+', 'T1 W/C', 'T1 enhanced', 'T1 CM', 'T1 c.m.', 'T1 injecté', 'T1 Primovist',
        'T1 Vueway', 'T1 Elucirem', 'T1 Kontrastm.', 'T1 nach Kontrastmittelgabe', 'mpragegd',
        'MPRAGEGD', 'spacepost', 'tse2Dpost', 'sagpostC', 'SAGpost', 'gdt1',
        'AX T1 3.0 POST GD', 'T1 5.0 +C', 'SAG T1 1.0 POST', 'T1 post injection',
        'T1 W CON', 'T1 IV CON', 'T1 GBCA', 'T1 z kontrastem', 'wcontrast', 'T1 Injection',
        'T1 contrast enhanced', 'T1 CONTRAST', 'T1 CONTRAST AX FS', 'T1 IV contrast',
    ],
)  # fmt: skip
def test_words_of_agents_are_heard(text):
    assert names_agent(text)


@pytest.mark.parametrize(
    'text',
    [
        'T1 no fatsat post Gd', 'SAG 3D T1 POST NO FS', 'T1 Gd no motion', 'MPRAGE_postGd_NoAngle',
        'T1 pre-op Gd', 'PRE-OP NAVIGATION T1 + GD', 'before surgery T1 Gd', 'T1 pre and post Gd',
        'T1 W/ & W/O CONTRAST', 'T1 W/WO CONTRAST', 'T1 with and without contrast', 'T1 pre post',
        'T1 mit und ohne KM', 'Pre Gd, post Gd', 'T1 post op with contrast', 'no FS KM',
    ],
)  # fmt: skip
def test_a_denial_of_something_else_denies_no_agent(text):
    assert names_agent(text)


@pytest.mark.parametrize(
    'text',
    [
        'AX T1 PRE', 't1_mprage_sag', 'T1 w/o contrast', 'T1 pre gad', 'ohne KM', 'nativ', 'T1 -C',
        'T2 post op', 'postop T1', 'multi contrast', 'high contrast T1', 'noncontrast', 'T1 COR',
        'precontrast', 'POST RT T1', 'ADNI MPRAGE', 'T1 without gadolinium', 'gadget', 'brace',
        'contrast: none', 'contrast none', 'contrast agent: none', 'Gd: no', 'non-contrast',
        'T1 CONTRAST OPTIMIZED', 'T1 contrast (grey/white)', 'T1w contrast optimized', 'AX SPACE',
        'T1 no Gd', 'T1 W/O IV CONTRAST', 'prior to contrast', 'T1 vor Kontrastmittelgabe',
        'T1 KM-', 'stealth post',
        'sans injection', 'ohne c.m.', 'T1 5 cm', 'FOV 24cm', 'trace', 'T1 not enhanced',
        'image enhanced', 'T1 post radiation', '6 months post', 'grey white contrast', 'kein KM',
        'T1 POST OP W/O CONTRAST', 'T1 POST W/O CONTRAST', 'T1 no post contrast',
        'no gadolinium contrast', 'Brain Injury', 'HEAD INJURY PROTOCOL', 'T1 KM nativ', 'o. KM',
        'un-enhanced', 'MPRAGE DL enhanced', 'T1 MT contrast', 'zonder contrast',
        'post COVID', 'post TMS', 'follow-up post 6 months', 'TBI injury T1',
    ],
)  # fmt: skip
def test_what_is_not_known_of_agents_is_not_claimed(text):
    assert not names_agent(text)


@pytest.mark.parametrize(
    ('entities', 'metadata', 'agent'),
    [
        ({'ce': 'gadovist'}, {}, 'ce-gadovist'),
        ({'ce': 'none'}, {}, ''),
        ({'acq': 'mpragegd'}, {}, 'acq: mpragegd'),
        ({}, {'ContrastBolusAgent': 'No contrast'}, ''),
        ({'acq': 'mprageGd'}, {}, 'acq: mprageGd'),
        ({}, {'ContrastBolusAgent': 'Dotarem 10 ml'}, 'ContrastBolusAgent: Dotarem 10 ml'),
        ({}, {'ContrastBolusAgent': 'NONE', 'ContrastBolusIngredient': 'N/A'}, ''),
        *[
            ({}, {'ContrastBolusAgent': text}, '')
            for text in (
                'Not given',
                'NOT APPLICABLE',
                'Unspecified',
                '-',
                '--',
                '.',
                '?',
                'N.A.',
                'None.',
                'no,',
                'NO_CONTRAST',
                'non-contrast',
                'not administered',
                'ohne',
                'kein KM',
                'w/o',
                'nein',
                'sans',
                'nativ',
                'null',
                'pre',
                '0.0',
                'NO-CONTRAST',
                'keine',
            )
        ],
        *[
            ({'ce': label}, {}, '')
            for label in ('pre', 'nativ', 'off', 'nogd', 'noncontrast', 'placebo', 'saline')
        ],
        ({}, {'SeriesDescription': 'AX T1 POST'}, 'SeriesDescription: AX T1 POST'),
        ({}, {'ProtocolName': 't1_km'}, 'ProtocolName: t1_km'),
        ({'acq': 'mprage'}, {'SeriesDescription': 'SAG T1'}, ''),
    ],
)
def test_agents_are_heard_wherever_they_are_named(entities, metadata, agent):
    assert find_agent(entities, metadata) == agent


def test_a_t1w_with_an_agent_is_the_reference_only_without_another(image):
    def t1w(**fields):
        entities = {'sub': '01', 'run': fields.pop('run')}
        return read_scan(image, 'T1w', entities, fields)

    post, plain = t1w(run='1', SeriesDescription='T1 post Gd'), t1w(run='2')
    reference, reason = choose_reference([post, plain])
    assert reference is plain and 'no contrast agent is named' in reason
    assert choose_reference([post])[1].startswith('It is the only T1w, and for it')
    assert 'A contrast agent was given (SeriesDescription: T1 post Gd)' in post.warnings[0]


@pytest.mark.parametrize(
    ('metadata', 'words'),
    [
        ({'ImageType': ['ORIGINAL', 'PRIMARY', 'P', 'ND']}, 'calls it a phase image'),
        (
            {'ImageType': ['ORIGINAL', 'PRIMARY', 'PHASE MAP', 'P', 'FFE']},
            'calls it a phase image',
        ),
        ({'ImageType': ['ORIGINAL', 'PRIMARY', 'R', 'ND']}, 'calls it a real image'),
        ({'ImageType': ['ORIGINAL', 'PRIMARY', 'IMAGINARY']}, 'calls it an imaginary image'),
        ({'ImageType': ['DERIVED', 'SECONDARY', 'MIP']}, 'calls it a projection'),
        ({'ImageType': ['DERIVED', 'PRIMARY', 'PROJECTION IMAGE', 'M']}, 'calls it a projection'),
        ({'ImageType': ['DERIVED', 'PRIMARY', 'T1 MAP', 'NONE']}, 'a map or a difference'),
        ({'ImageType': ['DERIVED', 'SECONDARY', 'ADC']}, 'a map or a difference'),
        ({'ImageType': ['DERIVED', 'SECONDARY', 'SUBTRACTION']}, 'a map or a difference'),
        ({'ImageType': ['ORIGINAL', 'PRIMARY', 'OTHER', 'PHASE_IMAGE']}, 'calls it a phase'),
        ({'ImageType': ['MAGNITUDE', 'PHASE']}, 'calls it a phase image'),
        ({'ImageType': ['P', 'ORIGINAL', 'PRIMARY']}, 'calls it a phase image'),
        ({'ImageType': 'ORIGINAL\\PRIMARY\\P\\ND'}, 'calls it a phase image'),
        ({'ImageType': ['MIP']}, 'calls it a projection'),
        *[
            ({'ImageType': text}, 'calls it a phase image')
            for text in ("['ORIGINAL', 'PRIMARY', 'P', 'ND']", 'ORIGINAL/PRIMARY/P/ND')
        ],
        ({'ImageType': 'ORIGINAL_PRIMARY_P_ND'}, 'calls it a phase image'),
        *[({'ImageType': ['M', x]}, 'projection') for x in ('MIP_SAG', 'THIN_MIP', 'SW_MIN_IP')],
        *[
            ({'ImageType': ['ORIGINAL', x]}, 'a map or a difference')
            for x in ('R2MAP', 'B1MAP', 'RCBV', 'QSM', 'MTR', 'COLFA', 'ADC_10^-6', 'SEGMENTED')
        ],
        ({'ImageType': ['M', 'INV1']}, 'an inversion of an MP2RAGE'),
        ({'SeriesDescription': 't1_mp2rage_sag_INV2'}, 'an inversion of an MP2RAGE'),
        ({'SeriesDescription': 't1_mp2rage_sag_T1_Images'}, 'a map of T1'),
        ({'SeriesDescription': 'T1 MAP'}, 'a map of T1'),
        ({'ImageType': ['DERIVED', 'PRIMARY', 'DIFFERENCE']}, 'a map or a difference'),
        ({'ImageType': ['DERIVED', 'PRIMARY', 'SEGMENTATION']}, 'a map or a difference'),
        ({'Modality': 'PT'}, 'it is no MRI (Modality: PT)'),
    ],
)
def test_images_that_are_no_scans_are_left_out(image, metadata, words):
    scan = read_scan(image, 'T1w', {'sub': '01'}, metadata)
    assert any(words in problem for problem in scan.problems)


@pytest.mark.parametrize(
    'metadata',
    [
        {'ImageType': ['ORIGINAL', 'PRIMARY', 'M', 'ND', 'NORM']},
        {'ImageType': ['ORIGINAL', 'PRIMARY', 'M_FFE', 'M', 'FFE']},
        {'ImageType': ['ORIGINAL', 'PRIMARY', 'OTHER'], 'Modality': 'MR'},
        {'ImageType': 'ORIGINAL'},
        {'ImageType': 'ORIGINAL\\PRIMARY\\M\\ND'},
        {'ImageType': ['MAGNITUDE', 'ORIGINAL', 'PRIMARY']},
        {'SeriesDescription': 'SAG T1 IMAGES'},
        {'SeriesDescription': 'T1 INV1'},  # an inversion recovery, for all that is known
        {'SeriesDescription': 't1_mp2rage_sag_UNI_Images', 'ProtocolName': 'T1_MAP_mp2rage'},
        {},
    ],
)
def test_scans_as_scanners_make_them_are_used(image, metadata):
    scan = read_scan(image, 'T1w', {'sub': '01'}, metadata)
    assert scan.is_usable and not scan.is_processed


@pytest.mark.parametrize('synthetic', [True, 'true', 1])
def test_an_image_that_a_program_made_comes_after_an_acquired_one(image, synthetic):
    made = read_scan(image, 'T1w', {'run': '1'}, {'Synthetic': synthetic})
    acquired = read_scan(image, 'T1w', {'run': '2'}, {'Synthetic': False})
    assert made.is_usable and 'a program made it' in ' '.join(made.warnings)
    assert choose_reference([made, acquired])[0] is acquired


@pytest.mark.parametrize('thickness', [6.5, '6.5'])
def test_fine_voxels_made_of_thick_slices_are_no_fine_scan(tmp_path, thickness):
    def t1w(run, spacing, **fields):
        path = tmp_path / f'sub-01_run-{run}_T1w.nii.gz'
        shape = tuple(int(x) for x in 200 / np.array(spacing))
        nb.save(nb.Nifti1Image(np.ones(shape, np.int16), np.diag([*spacing, 1])), path)
        return read_scan(path, 'T1w', {'run': run}, fields)

    resampled = t1w('1', (1.9, 1.9, 1.9), SliceThickness=thickness)
    true = t1w('2', (2.0, 2.0, 2.0), SliceThickness=2)
    assert choose_reference([resampled, true])[0] is true
    # a slab of a 3-D scan is no slice
    slab = t1w('3', (1.9, 1.9, 1.9), SliceThickness=160)
    assert choose_reference([slab, true])[0] is slab


def test_ct_is_used_where_it_is_asked_for_alone(image):
    exam = Exam('01', None, (read_scan(image, 'T1w', {'sub': '01'}, {'Modality': 'CT'}),))
    with pytest.raises(SelectionError, match='use --method synthsr --ct'):
        select_scans(exam)
    assert len(select_scans(exam, takes_ct=True).scans) == 1


@pytest.mark.parametrize('form', ['sform', 'qform'])
@pytest.mark.parametrize(('code', 'name'), [(3, 'Talairach'), (4, 'MNI152'), (5, 'another')])
def test_the_space_of_a_template_is_told_and_comes_last(image, tmp_path, form, code, name):
    moved = nb.load(image)
    moved.header[f'{form}_code'] = code
    nb.save(nb.Nifti1Image(np.asarray(moved.dataobj), None, moved.header), tmp_path / 'T1w.nii.gz')
    scan = read_scan(tmp_path / 'T1w.nii.gz', 'T1w', {'run': '1'}, {})
    assert f'the space of a template ({name})' in ' '.join(scan.warnings)
    plain = read_scan(image, 'T1w', {'run': '2'}, {})
    reference, reason = choose_reference([scan, plain])
    assert reference is plain and 'it is as acquired' in reason


def test_motion_corrected_comes_before_not(image):
    assert is_motion_corrected({'rec': 'moco'}, {})
    assert is_motion_corrected({}, {'ImageType': ['ORIGINAL', 'PRIMARY', 'M', 'MOCO']})
    plain = read_scan(image, 'T1w', {'run': '1'}, {})
    corrected = read_scan(image, 'T1w', {'rec': 'moco'}, {})
    assert choose_reference([plain, corrected])[0] is corrected


@pytest.mark.parametrize(
    ('entities', 'metadata'),
    [
        ({'mt': 'on'}, {}),
        ({'inv': '1'}, {}),
        ({'echo': '1'}, {}),
        ({'flip': '1'}, {}),
        ({}, {'MTState': 'On'}),
    ],
)
def test_a_plain_t1w_comes_before_an_echo_and_the_like(image, entities, metadata):
    special = read_scan(image, 'T1w', entities, metadata)
    plain = read_scan(image, 'T1w', {'run': '2', 'part': 'mag'}, {})
    reference, reason = choose_reference([special, plain])
    assert reference is plain and 'it is a plain one, no echo' in reason


def test_a_uniform_image_is_known_by_its_sidecar(image):
    uniform = read_scan(image, 'T1w', {}, {'ImageType': ['DERIVED', 'PRIMARY', 'UNI']})
    assert uniform.is_usable and 'the uniform image of an MP2RAGE' in ' '.join(uniform.warnings)
    plain = read_scan(image, 'T1w', {'run': '2'}, {})
    assert choose_reference([uniform, plain])[0] is plain


def test_a_chunk_is_named_as_such(tmp_path):
    voxels = np.ones((100, 100, 12), np.int16)
    path = tmp_path / 'sub-01_chunk-1_T1w.nii.gz'
    nb.save(nb.Nifti1Image(voxels, np.diag([2, 2, 4, 1])), path)
    problems = read_scan(path, 'T1w', {'chunk': '1'}, {}).problems
    assert 'It is chunk-1 of an image: join its chunks to one file.' in problems[0]


@pytest.mark.parametrize(
    ('entities', 'metadata', 'suffix', 'contrast'),
    [
        ({'sub': '01', 'acq': 'ax'}, {}, 'T2w', 'T2w'),
        ({'ce': 'gd'}, {}, 'T1w', 'ce-gd_T1w'),
        ({}, {'ContrastBolusAgent': 'Gadovist'}, 'T1w', 'ce-agent_T1w'),
        ({'ce': 'Gd'}, {}, 'T1w', 'ce-gd_T1w'),
        ({'ce': 'none'}, {}, 'T1w', 'T1w'),
        ({'echo': '2', 'part': 'mag'}, {}, 'T2starw', 'echo-2_T2starw'),
        ({}, {'EchoNumber': 2}, 'T2w', 'echo-2_T2w'),
        ({'echo': '1'}, {'EchoNumber': 2}, 'T2w', 'echo-1_T2w'),
        *[({}, {'EchoNumber': first}, 'T2w', 'T2w') for first in (1, '1', None, 'n/a', [2])],
        ({'inv': '1'}, {}, 'T1w', 'inv-1_T1w'),
        ({'mt': 'on'}, {}, 'T1w', 'mt-on_T1w'),
        ({}, {'MTState': True}, 'T1w', 'mt-on_T1w'),
        *[({}, {'MTState': on}, 'T1w', 'mt-on_T1w') for on in ('true', 'On', 1)],
        *[({}, {'MTState': off}, 'T1w', 'T1w') for off in ('false', 'Off', 0, False, None)],
        ({'flip': '2'}, {}, 'T1w', 'flip-2_T1w'),
        ({}, {}, 'UNIT1', 'acq-UNIT1_T1w'),
        ({}, {'ImageType': ['DERIVED', 'PRIMARY', 'UNI']}, 'T1w', 'acq-UNIT1_T1w'),
        ({}, {'ImageType': 'DERIVED\\PRIMARY\\M\\UNI'}, 'T1w', 'acq-UNIT1_T1w'),
        ({}, {'ImageType': ['ORIGINAL', 'PRIMARY', 'UNIVERSAL']}, 'T1w', 'T1w'),
    ],
)
def test_a_contrast_is_a_suffix_and_what_makes_it_another(entities, metadata, suffix, contrast):
    agent = find_agent(entities, metadata)
    scan = Scan(Path('x'), suffix, entities, metadata, agent=agent)
    assert scan.contrast == contrast
    assert suffix_of(contrast) == ('T1w' if suffix == 'UNIT1' else suffix)
    assert entities_of('ce-gd_echo-2_T1w') == {'ce': 'gd', 'echo': '2'}
