"""What fMRIPrep collects with ``--derivatives`` is found: its own code, in an environment apart.

Needs a package index from which smriprep can be installed.
"""

import json
import subprocess
import sys
import venv
from pathlib import Path

import numpy as np
import pytest
from exam_weights import weights_of
from phantoms import centred, head, write_description

from bids_synthsr.dataset.images import save_volume
from bids_synthsr.dataset.validation import run_validator

BIN = Path(sys.executable).parent
COLLECT = """
import json, sys
from smriprep.utils.bids import collect_derivatives
found = collect_derivatives(sys.argv[1], sys.argv[2], [])
print(json.dumps({key: value for key, value in found.items() if key.startswith('t1w')}))
"""
COLLECT_RAW = """
import json, sys
from niworkflows.utils.bids import collect_data
found, _ = collect_data(sys.argv[1], sys.argv[2], bids_validate=False)
print(json.dumps(found['t1w']))
"""
SHAPES = {'01': (26, 32, 24, 6.0, 7.0), '02': (104, 128, 104, 1.5, 1.5)}  # thick and fine


@pytest.fixture(scope='module')
def python(tmp_path_factory):
    """Python with smriprep, and nothing of ours."""
    folder = tmp_path_factory.mktemp('smriprep')
    venv.create(folder, with_pip=True)
    python = folder / 'bin/python'
    subprocess.run([python, '-m', 'pip', 'install', '--quiet', 'smriprep'], check=True)
    return python


@pytest.fixture(scope='module')
def out(tmp_path_factory):
    """The output of the default method, of a thick and a fine T1w."""
    root = tmp_path_factory.mktemp('fmriprep')
    write_description(root / 'bids')
    for subject, (*shape, side, slices) in SHAPES.items():
        grid = centred(tuple(shape), np.diag([side, side, slices, 1.0]))
        path = root / f'bids/sub-{subject}/anat/sub-{subject}_T1w.nii.gz'
        save_volume(path, head(grid, 'T1w'), grid)
    command = [
        BIN / 'bids_synthsr', root / 'bids', root / 'out', 'participant', '--weights',
        weights_of(root / 'w.safetensors'), '--work-dir', root / 'work', '--min-quality', '0',
        '--skip-bids-validation', '--as-dataset', root / 'raw',
    ]  # fmt: skip
    subprocess.run(command, check=True)
    return root / 'out'


@pytest.mark.parametrize(('subject', 'made'), [('01', 'anyexam'), ('02', 'acquired')])
def test_it_finds_the_t1w_of_the_raw_data_set(python, out, subject, made):
    raw = out.with_name('raw')
    assert run_validator(raw) == []
    done = subprocess.run(
        [python, '-c', COLLECT_RAW, raw, subject], capture_output=True, text=True, check=True
    )
    t1w = f'{raw}/sub-{subject}/anat/sub-{subject}_rec-{made}_T1w.nii.gz'
    assert json.loads(done.stdout.splitlines()[-1]) == [t1w]


@pytest.mark.parametrize('subject', SHAPES)
def test_it_collects_t1w_mask_and_tissues(python, out, subject):
    done = subprocess.run(
        [python, '-c', COLLECT, out, subject], capture_output=True, text=True, check=True
    )
    found = json.loads(done.stdout.splitlines()[-1])
    stem = f'{out}/sub-{subject}/anat/sub-{subject}_'
    assert found == {
        't1w_preproc': f'{stem}desc-preproc_T1w.nii.gz',
        't1w_mask': f'{stem}desc-brain_mask.nii.gz',
        't1w_dseg': f'{stem}dseg.nii.gz',
        't1w_tpms': [f'{stem}label-{tissue}_probseg.nii.gz' for tissue in ('GM', 'WM', 'CSF')],
    }
