"""Let two runs take turns at every step, on data sets with equal labels and in one work folder.

    python benchmarks/endurance/interleaved.py --times 20

makes two data sets of the same two exams, of which one is three times as bright, runs each alone,
then both at once as often as is said, and compares every volume with that of the run alone.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from itertools import pairwise
from pathlib import Path

import nibabel as nb
import numpy as np

sys.path.insert(0, str(Path(__file__).parents[2] / 'tests'))
from phantoms import write_description, write_scan

APP = [sys.executable, '-m', 'bids_synthsr.cli.bids_app']
QUICK = ['participant', '--method', 'cubic', '--output-resolution', '4', '--nprocs', '1',
         '--skip-bids-validation']  # fmt: skip
NAMES = ('a', 'b')
# In every process of the program: before a step it waits for its turn, and after it gives it away.
# A run that waits for nobody, since the other has ended or is between steps for long, goes on.
TURNS = """
import os, time
from pathlib import Path

if os.environ.get('TURN_OF'):
    from nipype.pipeline.plugins import multiproc

    run_node = multiproc.run_node
    turn, name = Path(os.environ['TURN']), os.environ['TURN_OF']

    def run_in_turn(node, updatehash, task):
        deadline = time.monotonic() + 8
        while turn.read_text() == name and time.monotonic() < deadline:
            time.sleep(0.01)
        told = run_node(node, updatehash, task)
        with turn.with_name('steps').open('a') as file:
            file.write(name)
        turn.write_text(name)  # who had it last
        return told

    multiproc.run_node = run_in_turn
"""


def main() -> int:
    """Run the comparison; return 1 if a volume differs or an exam is not finished."""
    parser = argparse.ArgumentParser(description=__doc__.split('\n', 1)[0])
    parser.add_argument('--times', type=int, default=20)
    options = parser.parse_args()
    mixed = unfinished = switches = steps = 0
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / 'sitecustomize.py').write_text(TURNS)
        for scale, label in enumerate(NAMES):
            make(folder / label, 1.0 + 2.0 * scale)
        alone = {label: run_together(folder, folder / 'alone', [label])[label] for label in NAMES}
        for _ in range(options.times):
            together = run_together(folder, folder / 'together', NAMES)
            order = (folder / 'together/steps').read_text()
            steps += len(order)
            switches += sum(one != other for one, other in pairwise(order))
            for label in NAMES:
                unfinished += together[label].keys() != alone[label].keys()
                mixed += differing(together[label], alone[label])
            shutil.rmtree(folder / 'together')
    print(
        f'{options.times} times two runs at once: {steps} steps, {switches} changes of turn; '
        f'{mixed} volumes of the other data set or otherwise different, {unfinished} runs that '
        'did not finish'
    )
    return int(bool(mixed or unfinished))


def make(root: Path, scale: float) -> None:
    """Write a data set of two exams."""
    write_description(root)
    for label, contrasts in (('sub-01', ('T1w', 'T2w')), ('sub-02', ('FLAIR',))):
        for contrast in contrasts:
            path = write_scan(root / label / 'anat', label, contrast)
            image = nb.Nifti1Image.from_filename(path)
            voxels = image.get_fdata(dtype=np.float32) * scale
            nb.save(nb.Nifti1Image(voxels, image.affine, image.header), path)


def run_together(
    folder: Path, place: Path, labels: list[str] | tuple[str, ...]
) -> dict[str, dict[str, np.ndarray]]:
    """Run the data sets at once; return what each run made, nothing where it failed."""
    place.mkdir(exist_ok=True)
    (place / 'turn').write_text('')
    processes = {}
    for label in labels:
        turns = {'TURN_OF': label, 'TURN': str(place / 'turn')} if len(labels) > 1 else {}
        folders = [str(folder / label), str(place / f'out-{label}')]
        processes[label] = subprocess.Popen(
            [*APP, *folders, *QUICK, '--work-dir', str(place / 'work')],
            env={**os.environ, 'PYTHONPATH': str(folder), **turns},
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
    while any(process.poll() is None for process in processes.values()):
        time.sleep(0.05)
        ended = [label for label, process in processes.items() if process.poll() is not None]
        if ended:  # the other one need not wait
            (place / 'turn').write_text(ended[0])
    return {
        label: volumes(place / f'out-{label}') if process.returncode == 0 else {}
        for label, process in processes.items()
    }


def volumes(out: Path) -> dict[str, np.ndarray]:
    """Voxels of all volumes of an output folder, by their names."""
    return {
        path.name: np.asarray(nb.Nifti1Image.from_filename(path).dataobj)
        for path in out.rglob('*.nii.gz')
    }


def differing(made: dict[str, np.ndarray], expected: dict[str, np.ndarray]) -> int:
    """Count the volumes whose voxels are not those that are expected."""
    return sum(not np.array_equal(made[name], expected[name]) for name in made)


if __name__ == '__main__':
    sys.exit(main())
