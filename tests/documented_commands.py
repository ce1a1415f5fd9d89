"""The commands that the documents show, and which of them the tests run word for word."""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from label_phantoms import write_heads
from phantoms import centred, write_description, write_scan

ROOT = Path(__file__).parents[1]
PAGES = sorted(
    [
        *(ROOT / name for name in ('README.md', 'CONTRIBUTING.md', 'docker/README.md')),
        ROOT / 'docs/index.md',
        *(ROOT / 'docs/tutorial').glob('*.md'),
        *(ROOT / 'docs/howto').glob('*.md'),
    ]
)
# run by tests/docs: seconds each, in this order, on what `write_surroundings` writes
FAST = (
    'bids_synthsr bids out participant --dry-run',
    'bids_synthsr bids out participant --dry-run > exams.tsv',
    'bids_synthsr bids out participant --dry-run --bids-database-dir index > exams.tsv',
    'mkdir -p out work',
)
# run by system_tests/test_commands.py on scans of the demo, after those above: half an hour
SLOW = (
    'synthsr exam t1.nii.gz flair.nii.gz -o t1_1mm.nii.gz',
    'bids_synthsr bids out participant',
    'synthsr status out',
    'synthsr exam a.nii.gz b.nii.gz --contrasts T1w FLAIR -o t1_1mm.nii.gz',
    'synthsr exam t1.nii.gz flair.nii.gz -o t1_tv.nii.gz --method tv',
    'synthsr exam t1.nii.gz flair.nii.gz -o t1_sr.nii.gz --method sr-t1',
    'bids_synthsr bids out participant --participant-label 01 02',
    'bids_synthsr bids out2 participant --method tv --derivatives out',
    'bids_synthsr bids out participant --contrasts T1w FLAIR',
    'bids_synthsr bids out participant --reference acq=sag,suffix=T2w',
    'bids_synthsr bids out participant --bids-filter-file filter.json',
    'bids_synthsr bids out participant --config-file config.toml',
    'synthsr evaluate leave-one-out bids evaluation --methods tv,cubic',
    'bids_synthsr bids out participant --output-spaces MNI152NLin2009cAsym MNI152NLin6Asym:res-2',
    'bids_synthsr bids out group',
    'bids_synthsr bids out participant --as-dataset raw_t1w',
    'bids_synthsr bids out participant --longitudinal',
    'bids_synthsr bids out participant --export freesurfer',
    '.venv/bin/bids_synthsr demo/bids demo/out participant --work-dir demo/work',
    'ls demo/out/sub-01/ses-1/anat',
    '.venv/bin/bids_synthsr demo/bids demo/out participant --work-dir demo/work --method tv',
    '.venv/bin/synthsr demo compare demo demo/out',
)
_REPOSITORY = 'installs or builds in the repository: make test and the workflows do'
_CPU_BUILD = '--extra-index-url https://download.pytorch.org/whl/cpu'
_ENGINE = 'needs an engine for containers: system_tests/test_container.py does the like'
_SLURM = 'needs Slurm: system_tests/test_slurm.py runs it'
_WEIGHTS = 'needs weights or data of other people'
_GROUPS = 'needs groups or scanners of many people: tests/run/test_group.py does the like'
_HALF_AN_HOUR = 'takes half an hour: tests/evaluation/test_group_demo.py does the like'
_HOURS = 'takes hours, or heads of real size: only its options are read'
_BOTH = '--inputs 3t_folder --targets 7t_folder'
_FOLDERS = f'{_BOTH} --held-out "sub-1*"'
_ENTITIES = '--pairs bids --input acq-3T --target acq-7T'
SKIPPED = {
    **dict.fromkeys(
        (
            f'synthsr train run 3t-7t {_FOLDERS} --out training',
            f'synthsr train run 3t-7t {_ENTITIES} --held-out "sub-1*" --out training',
            'synthsr train export training --out 7t.safetensors',
            f'synthsr evaluate pairs judged --weights 7t.safetensors {_FOLDERS} --structures',
            f'synthsr evaluate pairs judged --weights 7t.safetensors {_BOTH} --save-volumes',
            'synthsr evaluate rate rating --first judged/network --second judged/wanted',
            'synthsr evaluate rate rating --read ratings_Ann.tsv ratings_Bob.tsv',
            'bids_synthsr bids out participant --method 3t-7t --weights 7t.safetensors',
        ),
        'needs pairs of scans: tests/training/test_pairs.py and test_ratings.py do the like',
    ),
    **dict.fromkeys(
        (
            'synthsr train run spacing-vae --images scans --held-out "sub-1*" --out slices',
            'synthsr train stacks slices --images scans --exclude "sub-1*" --out stacks',
            'synthsr train run spacing --images stacks --out training',
            'synthsr train export training --out spacing.safetensors',
            'bids_synthsr bids out participant --method spacing --weights spacing.safetensors',
        ),
        'needs scans with gaps: tests/training/test_stacks.py does the like',
    ),
    **dict.fromkeys(
        (
            'bids_synthsr bids out group --group-column dx --groups CN AD --covariates age icv',
            'bids_synthsr bids out group --harmonize ManufacturersModelName',
            'bids_synthsr bids out group --group-column dx --groups CN AD --covariates icv --tbm',
        ),
        _GROUPS,
    ),
    'pip install --constraint constraints.txt .': _REPOSITORY,
    f'pip install --constraint constraints.txt {_CPU_BUILD} .': _REPOSITORY,
    'pip install ./docker': _REPOSITORY,
    'make install': _REPOSITORY,
    'make test': _REPOSITORY,
    'make demo': _REPOSITORY,
    f'make demo PIP_OPTIONS="{_CPU_BUILD}"': _REPOSITORY,
    'make test-container ENGINE=podman IMAGE=synthsr': _ENGINE,
    'bids_synthsr bids out participant --recon recon-all --fs-license-file license.txt': (
        'needs FreeSurfer: tests/run/test_surfaces.py runs a fake of it'
    ),
    'bids_synthsr bids out participant --lesions fill --lesion-masks masks': (
        'needs masks of lesions: tests/cli/test_lesions.py does the like'
    ),
    'bids_synthsr bids out participant --lesions keep --lesion-masks masks': (
        'needs masks of lesions: tests/derivatives/test_kept_lesions.py does the like'
    ),
    'bids_synthsr bids out participant --nprocs 8 --omp-nthreads 2 --mem 16G': 'wants 16 GB',
    'bids_synthsr bids out participant --method synthsr --weights SynthSR_v10_210712.h5': _WEIGHTS,
    'bids_synthsr bids out participant --nipype-plugin-file slurm.yml': _SLURM,
    'bids_synthsr bids out participant --method any-exam --weights my-network.safetensors': _HOURS,
}
SKIPPED_BEGINNINGS = {
    'docker ': _ENGINE,
    'apptainer ': _ENGINE,
    'synthsr-docker ': _ENGINE,
    'sbatch ': _SLURM,
    'count=': _SLURM,
    'mem=': _SLURM,
    'minutes=': _SLURM,
    'torchrun ': _HOURS,
    'synthsr train ': _HOURS,
    'synthsr evaluate simulate ': _HOURS,
    'synthsr evaluate tbm ': _HOURS,
    'bids_synthsr group-demo/': _HALF_AN_HOUR,
    'synthsr demo make group-demo': _HALF_AN_HOUR,
    'synthsr demo compare group-demo': _HALF_AN_HOUR,
}


def commands_of(page: Path) -> Iterator[str]:
    """Commands of the blocks of a page; scripts, which begin with ``#!``, are left out."""
    for block in re.findall(r'^```bash\n(.*?)^```', page.read_text(), re.M | re.S):
        if not block.startswith('#!'):
            for line in re.sub(r'\\\n\s*', '', block).splitlines():
                command = re.sub(r'\s+# .*', '', line).strip()
                if command:
                    yield command


def all_commands() -> list[str]:
    """Every command of the documents, once."""
    return list(dict.fromkeys(command for page in PAGES for command in commands_of(page)))


def reason_to_skip(command: str) -> str:
    """Why no test runs a command; empty where one does."""
    starts = [why for start, why in SKIPPED_BEGINNINGS.items() if command.startswith(start)]
    return SKIPPED.get(command, '') or ''.join(starts[:1])


def write_surroundings(folder: Path) -> None:
    """Write what the commands name: a data set, scans, heads, settings, and ``.venv``."""
    write_description(folder / 'bids')
    axial = centred((40, 48, 22), np.diag([4.0, 4.0, 8.0, 1.0]))
    sagittal = centred((22, 48, 40), np.diag([8.0, 4.0, 4.0, 1.0]))
    for subject, contrasts in (('sub-01', ('T1w', 'FLAIR')), ('sub-02', ('T1w',))):
        anat = folder / f'bids/{subject}/anat'
        for contrast in contrasts:
            write_scan(anat, subject, contrast, axial)
        write_scan(anat, f'{subject}_acq-sag', 'T2w', sagittal)
    for name, contrast in (('t1', 'T1w'), ('flair', 'FLAIR'), ('a', 'T1w'), ('b', 'FLAIR')):
        scan = write_scan(folder / 'scans', name, contrast, axial)
        scan.rename(folder / f'{name}.nii.gz')
    (folder / 'filter.json').write_text('{"t1w": {"reconstruction": null}}')
    (folder / 'config.toml').write_text("method = 'cubic'\n")
    maps, images = write_heads(folder)
    maps.rename(folder / 'label_folder')
    images.rename(folder / 't1w_folder')
    (folder / '.venv').symlink_to(sys.prefix)


def replace_phantoms(folder: Path) -> None:
    """Put scans of the demo in place of the phantoms, which cannot be aligned to one another.

    Where the commands name a data set or scans; ``synthsr demo make demo`` has been run before.
    """
    shutil.rmtree(folder / 'bids')
    write_description(folder / 'bids')
    for subject, session in (('sub-01', '1'), ('sub-02', '2')):
        anat = folder / f'bids/{subject}/anat'
        anat.mkdir(parents=True)
        for name in ('T1w', 'FLAIR', 'T2w'):
            scan = folder / f'demo/bids/sub-01/ses-{session}/anat/sub-01_ses-{session}_{name}'
            # --reference acq=sag,suffix=T2w names it
            entities = f'{subject}_acq-sag' if name == 'T2w' else subject
            for ending in ('.nii.gz', '.json'):
                shutil.copyfile(f'{scan}{ending}', anat / f'{entities}_{name}{ending}')
    for name, contrast in (('t1', 'T1w'), ('flair', 'FLAIR'), ('a', 'T1w'), ('b', 'FLAIR')):
        scan = folder / f'bids/sub-01/anat/sub-01_{contrast}.nii.gz'
        shutil.copyfile(scan, folder / f'{name}.nii.gz')


def run(command: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run a command as a reader would, in a folder."""
    path = f'{Path(sys.executable).parent}:{os.environ["PATH"]}'
    return subprocess.run(
        ['bash', '-ec', command],
        cwd=folder,
        env={**os.environ, 'PATH': path, 'OMP_NUM_THREADS': '1'},
        capture_output=True,
        text=True,
    )


def load_generated():
    """Load docs/generated.py, which knows the parsers of all commands."""
    spec = importlib.util.spec_from_file_location('generated', ROOT / 'docs/generated.py')
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
