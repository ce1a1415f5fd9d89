"""One exam from plain files and from Python."""

import json
import logging
import re
import subprocess
import sys
from pathlib import Path

import nibabel as nb
import numpy as np
import pytest
from doors import sub_command
from phantoms import AXIAL, centred, head, write_scan

from bids_synthsr.api import synthesize
from bids_synthsr.cli.exam import with_word
from bids_synthsr.dataset.guessing import guess_contrast
from bids_synthsr.dataset.images import image_of
from bids_synthsr.settings import MethodSettings

main = sub_command('exam')
NETWORK = ['--method', 'sr-t1', '--output-resolution', '1']
QUICK = ['--method', 'cubic', '--output-resolution', '4', '--threads', '1']


@pytest.fixture
def scans(tmp_path):
    return [write_scan(tmp_path / 'scans', 'my head', contrast) for contrast in ('T1w', 'FLAIR')]


STOPPED = """
import os, signal, sys
from bids_synthsr.cli.synthsr import main
from bids_synthsr.methods import cubic
signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored where tests run aside
cubic.synthesize = lambda *_, **__: os.kill(os.getpid(), signal.{})
sys.exit(main(['exam', *sys.argv[1:]]))
"""  # in the midst of a step
QUIET = """
import numpy as np
from phantoms import centred, head
from bids_synthsr.api import synthesize
from bids_synthsr.dataset.images import image_of
from bids_synthsr.settings import MethodSettings
grid = centred((28, 30, 16), np.diag([8.0, 8, 12, 1]))
settings = MethodSettings(method='cubic', output_resolution=4.0)
print(list(synthesize([image_of(head(grid, 'T2w'), grid)], ['T2w'], settings=settings)))
"""


def test_files_in_one_volume_out(scans, tmp_path, capsys):
    out = tmp_path / 'made' / 'out.nii.gz'
    before = sorted((tmp_path / 'scans').iterdir())
    assert main([*map(str, scans), '-o', str(out), *QUICK]) == 0
    assert str(out) in capsys.readouterr().err
    assert np.allclose(nb.load(out).header.get_zooms(), 4)
    sidecar = json.loads(out.with_name('out.json').read_text())
    assert sidecar['Synthetic'] is True and sidecar['Method'] == 'cubic'
    assert sidecar['Sources'] == [scans[0].name]
    assert main([*map(str, scans), '-o', str(out), *QUICK]) == 0  # its own sidecar may go
    assert sorted((tmp_path / 'scans').iterdir()) == before


def test_a_sidecar_of_others_is_not_replaced(scans, tmp_path, capsys):
    (tmp_path / 'out.json').write_text('{"Precious": true}')
    out = tmp_path / 'out.nii.gz'
    with pytest.raises(SystemExit, match='2'):
        main([*map(str, scans), '-o', str(out), *QUICK])
    assert 'this command has not made it' in capsys.readouterr().err
    assert not out.exists()
    assert 'Precious' in (tmp_path / 'out.json').read_text()


def test_images_in_images_out():
    program = [sys.executable, '-c', QUIET]  # where nothing has configured logging
    done = subprocess.run(
        program, cwd=Path(__file__).parents[1], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (0, "['T2w']\n")
    assert done.stderr == (
        'scan-0.nii: T2w as it was given; reference: There is no T1w, and it is the only scan.\n'
        'scan-0.nii: Its slices lie 12 mm apart; super-resolution was evaluated up to 7 mm, so '
        'trust fine detail less.\n'
    )


def test_volume_is_that_of_the_scan():
    grid = centred((28, 30, 16), AXIAL)
    image = image_of(head(grid, 'T2w'), grid)
    settings = MethodSettings(method='cubic', output_resolution=4.0)
    made = synthesize([image], ['T2w'], settings=settings)
    assert list(made) == ['T2w']
    assert made['T2w'].get_fdata().max() == pytest.approx(head(grid, 'T2w').max(), rel=0.2)


@pytest.mark.parametrize(
    ('name', 'suffix'),
    [
        ('ax_T1_mprage.nii.gz', 'T1w'),
        ('3_t2_flair_sag.nii', 'FLAIR'),
        ('T2_star.nii', 'T2starw'),
        ('t2tse.nii', 'T2w'),
        ('PD.nii', 'PDw'),
        ('T1mprage.nii.gz', 'T1w'),
        ('sub-01_acq-gre_T1w.nii.gz', 'T1w'),
        ('sub-01_acq-mprage_run-1_PDw.nii.gz', 'PDw'),
        ('sub-swiss01_T1w.nii.gz', 'T1w'),
        ('sub-t1_T2w.nii.gz', 'T2w'),
        ('sub-t201_pdw.nii.gz', 'PDw'),
        ('green_T1w.nii.gz', 'T1w'),
        ('sub-t1_ses-pd_flair_sag.nii.gz', 'FLAIR'),
    ],
)
def test_contrast_is_told_by_the_name(name, suffix):
    assert guess_contrast(name) == suffix


@pytest.mark.parametrize(
    ('name', 'fault'),
    [
        ('green.nii.gz', 'does not tell the contrast'),
        ('swiss_t201.nii.gz', 'does not tell the contrast'),
        ('sub-t1_scan.nii.gz', 'does not tell the contrast'),
        ('dataset1.nii', 'does not tell the contrast'),
        ('t1_swi.nii', 'may be T1w or T2starw'),
    ],
)
def test_what_the_name_does_not_tell_is_asked_for(name, fault):
    with pytest.raises(ValueError, match=f'{fault}.*--contrasts.*T1w, T2w'):
        guess_contrast(name)


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        (['scan.nii'], 'The name scan.nii does not tell the contrast'),
        (['nosuch.nii'], 'nosuch.nii: There is no such file'),
        (['t1.nii', '--contrasts', 'FLIAR'], 'contrast FLIAR is unknown; did you mean FLAIR?'),
        (['t1.nii', '--contrasts', 't1w', 'T2w'], '1 scans, but 2 contrasts'),
        (['t1.nii', '--reference', 'a=b=c'], '--reference a=b=c cannot be understood'),
        (['t1.nii', '--device', 'cuda:99'], 'PyTorch finds no such GPU'),
        (['t1.nii', '--weights', 't1.nii'], 'cubic reads none'),
        (['t1.nii', '--meth', 'cubic'], 'unrecognized arguments: --meth'),
        (['t1.nii', *NETWORK, '--weights', 'x'], '--weights x: there is no such file'),
        (['t1.nii', *NETWORK, '--weights', 't1.nii'], 't1.nii is neither safetensors nor Keras'),
    ],
)
def test_wrong_use_is_refused_in_a_line(tmp_path, monkeypatch, capsys, arguments, message):
    monkeypatch.chdir(tmp_path)
    for name in ('t1.nii', 'scan.nii'):
        (tmp_path / name).write_text('no image')
    try:
        code = main(['-o', 'out.nii.gz', *QUICK, *arguments])
    except SystemExit as stop:
        code = stop.code
    told = capsys.readouterr().err
    assert code == 2 and message in told
    assert 'Traceback' not in told
    assert {path.name for path in tmp_path.iterdir()} == {'t1.nii', 'scan.nii'}


def test_scans_that_cannot_be_used_are_a_failure(tmp_path, capsys):
    (tmp_path / 't1.nii').write_text('no image')
    assert main([str(tmp_path / 't1.nii'), '-o', str(tmp_path / 'out.nii.gz'), *QUICK]) == 1
    assert 't1.nii: It is not a readable NIfTI file' in capsys.readouterr().err


def test_those_left_out_and_warnings_are_told(scans, tmp_path, capsys, caplog):
    again = tmp_path / 'again_T2w.nii.gz'
    again.write_bytes(scans[0].read_bytes())
    files = [*map(str, scans), str(again)]
    assert main([*files, '-o', str(tmp_path / 'out.nii.gz'), *QUICK]) == 1
    told = capsys.readouterr().err.splitlines()
    assert told[0].startswith('my head_T1w.nii.gz: T1w by its BIDS suffix; reference: ')
    assert 'again_T2w.nii.gz: T2w by its BIDS suffix; used: It is usable.' in told
    assert any(x.startswith('again_T2w.nii.gz was left out: It holds the same') for x in told)
    assert any(x.startswith('my head_T1w.nii.gz: Its slices lie 12 mm apart') for x in told)
    logging.getLogger('bids_synthsr').propagate = True
    with caplog.at_level('WARNING', logger='bids_synthsr'):
        synthesize(files, settings=MethodSettings(method='cubic', output_resolution=4.0))
    assert [record.getMessage() for record in caplog.records] == told[:-2]


@pytest.mark.parametrize(
    ('settings', 'message'),
    [
        ({'method': 'nope'}, '--method nope is unknown; there are auto'),
        ({'method': 'Cubic'}, '--method Cubic: write cubic'),
        ({'fov': 'xx'}, '--fov xx is unknown; there are head, reference, union'),
        ({'contrasts': ('T1w', 'flair')}, '--contrasts flair: write FLAIR'),
        ({'output_resolution': float('nan')}, '--output-resolution is nan mm'),
        ({'method': 'tv', 'ct': True}, '--ct is for --method synthsr'),
        ({'reference': 'a=b=c'}, '--reference a=b=c cannot be understood'),
    ],
)
def test_settings_are_checked_in_python(scans, settings, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        synthesize(scans, settings=MethodSettings(**settings))


@pytest.mark.parametrize(('name', 'code'), [('SIGINT', 130), ('SIGTERM', 143)])
def test_signals_end_it_with_their_codes(scans, tmp_path, name, code):
    program = [sys.executable, '-c', STOPPED.format(name), str(scans[0]), '-o', 'out.nii', *QUICK]
    done = subprocess.run(program, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == code, done.stderr
    assert f'Stopped by {name}' in done.stderr and 'Traceback' not in done.stderr
    assert not (tmp_path / 'out.nii').exists()


@pytest.mark.parametrize(
    ('output', 'message'),
    [('out.png', 'ends in .nii.gz, .nii or .mgz'), ('t1.nii', 'would replace the input')],
)
def test_wrong_outputs_are_refused(tmp_path, monkeypatch, capsys, output, message):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as stop:
        main(['t1.nii', '-o', output])
    assert stop.value.code == 2
    assert message in capsys.readouterr().err


def test_names_of_further_volumes(tmp_path):
    assert with_word(tmp_path / 'a.b.nii.gz', 'FLAIR').name == 'a.b_FLAIR.nii.gz'


def test_newcomers_see_the_result_and_nothing_of_the_engine(scans, tmp_path):
    out = tmp_path / 'out.nii.gz'
    program = [Path(sys.executable).with_name('synthsr'), 'exam', str(scans[0]), '-o', str(out)]
    done = subprocess.run(
        [*program, '--method', 'cubic', '--output-resolution', '4'],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == ''
    assert [line.partition(': ')[0] for line in done.stderr.splitlines()] == [
        'my head_T1w.nii.gz', 'my head_T1w.nii.gz', str(out)
    ]  # fmt: skip
