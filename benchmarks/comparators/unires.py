r"""UniRes (Brudfors et al. 2018) and our `tv` on the same simulated scans: error, time and memory.

UniRes, which is MIT-licensed, is installed in an environment of its own, never in that of this
program: ``pip install numpy==1.26.0 torch`` and its ``nitorch`` (``NI_COMPILED_BACKEND=TS`` needs
no compiler), then UniRes itself, commit a3c1f81. Then::

    python benchmarks/comparators/unires.py OUT --python UNIRES_ENV/bin/python \
        --heads T1W ... --labels LABEL_MAP ... [--spacing 5] [--noise 2]

Heads are T1w of 1 mm without skull, acquired in one and in three planes. From label maps T1w, T2w
and FLAIR are painted, each alone and all together. Slices have Gaussian and box profiles. A cube
of the brain is taken: 14 CPU-minutes were not enough for UniRes on a whole one. Both
programs get the scans aligned, and one thread; the result of UniRes is brought to the grid of the
truth by one cubic interpolation. Finished rows of ``OUT/unires.tsv`` are not computed again.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from bids_synthsr.dataset.images import load_volume, save_volume
from bids_synthsr.evaluation.comparisons import compare_with_truth
from bids_synthsr.evaluation.painting import (
    ScanProtocol,
    draw_head_motion,
    paint_contrast,
    simulate_exam,
)
from bids_synthsr.evaluation.truth import conform_head, make_truth
from bids_synthsr.imaging.geometry import bounding_box, crop_grid
from bids_synthsr.imaging.resampling import resample
from bids_synthsr.methods import cubic, total_variation
from bids_synthsr.synthesis.labels import freesurfer_table
from bids_synthsr.values.exam import Acquisition
from bids_synthsr.values.grid import Grid
from bids_synthsr.values.method import Observation

BORDER = 10  # voxels of a cube that are not compared
PROFILES = ('gaussian', 'box')
PLANES = ('T1w', 'T1w', 'T1w')
PAINTED = (('T1w',), ('T2w',), ('FLAIR',), ('T1w', 'T2w', 'FLAIR'))
SEED = 7
COLUMNS = ('head', 'exam', 'profile', 'contrast', 'method', 'psnr', 'ssim', 'cpu_s', 'peak_gb')
# run by the Python of UniRes: scans of one contrast are repeats
SCRIPT = """
import json, resource, sys, time
import torch
torch.set_num_threads(1)
from unires.run import preproc
from unires.struct import settings
paths, gap, folder = json.loads(sys.argv[1]), float(sys.argv[2]), sys.argv[3]
s = settings()
s.device, s.do_coreg, s.gap, s.vx = 'cpu', False, gap, 1.0
s.dir_out, s.prefix, s.do_print = folder, 'u_', 0
start = time.process_time()
preproc(paths, s)
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9
print('MEASURED', time.process_time() - start, peak)
"""


@dataclass(frozen=True, eq=False)
class Case:
    """A simulated exam, and what is true.

    Parameters
    ----------
    head, exam, profile
        Names for the table.
    scans
        Scans of the exam, the first lies still.
    grid, mask
        Output grid, and where volumes are compared.
    truths
        The head at 1 mm without noise, by contrast.
    """

    head: str
    exam: str
    profile: str
    scans: Sequence[Observation]
    grid: Grid
    mask: np.ndarray
    truths: dict[str, np.ndarray]


def cases_of_t1w(path: Path, slices: Acquisition, noise: float, side: int) -> Iterator[Case]:
    """Acquire a T1w without skull in one and in three planes."""
    whole, whole_grid = conform_head(*load_volume(path))
    head, mask, grid = cropped(whole, whole_grid, whole > 0, side)
    for profile in PROFILES:
        for exam in (PLANES[:1], PLANES):
            protocol = ScanProtocol(slices, profile, noise)
            draws = torch.Generator().manual_seed(SEED)
            scans = list(simulate_exam(head, grid, exam, protocol, draws))
            name = '+'.join(exam)
            yield Case(path.name, name, profile, scans, grid, within_border(mask), {'T1w': head})


def cases_of_labels(path: Path, slices: Acquisition, noise: float, side: int) -> Iterator[Case]:
    """Paint contrasts of a label map, and acquire each alone and all together."""
    table = freesurfer_table()
    truth = make_truth(*load_volume(path), path.name, table)
    labels, mask, grid = cropped(truth.labels, truth.grid, truth.mask > 0, side)
    for profile in PROFILES:
        for exam in PAINTED:
            protocol = ScanProtocol(slices, profile, noise)
            draws = torch.Generator().manual_seed(SEED)
            painted = (labels, table)
            head = np.zeros(labels.shape, np.float32)
            scans = list(simulate_exam(head, grid, exam, protocol, draws, painted, True))
            yield Case(
                path.name,
                '+'.join(exam),
                profile,
                scans,
                grid,
                within_border(mask),
                dict(true_contrasts(labels, exam, grid)),
            )


def cropped(
    voxels: np.ndarray, grid: Grid, mask: np.ndarray, side: int
) -> tuple[np.ndarray, np.ndarray, Grid]:
    """Cut a cube around the middle of a mask out of a volume and the mask."""
    first, second, third = (
        slice(max((part.start + part.stop - side) // 2, 0), (part.start + part.stop + side) // 2)
        for part in bounding_box(mask)
    )
    box = (first, second, third)
    inside, within = (np.ascontiguousarray(x[box]) for x in (voxels, mask))
    first, second, third = (
        slice(x.start, x.start + size) for x, size in zip(box, inside.shape, strict=True)
    )
    return inside, within, crop_grid(grid, (first, second, third))


def within_border(mask: np.ndarray) -> np.ndarray:
    """Leave out the border of a cube, where slices reach beyond it."""
    inner = np.zeros_like(mask)
    middle = (slice(BORDER, -BORDER),) * 3
    inner[middle] = mask[middle]
    return inner


def true_contrasts(
    labels: np.ndarray, exam: Sequence[str], grid: Grid
) -> Iterator[tuple[str, np.ndarray]]:
    """Paint what was acquired, without noise, in the order in which `simulate_exam` draws."""
    draws = torch.Generator().manual_seed(SEED)
    table = freesurfer_table()
    for number, contrast in enumerate(exam):
        yield contrast, paint_contrast(labels, contrast, table, draws, is_noisy=False)
        if number:
            draw_head_motion(draws, grid.center)


def run_ours(case: Case, method: str) -> tuple[dict[str, np.ndarray], float, float]:
    """Run `tv`, or cubic interpolation of each contrast's first scan."""
    start = time.process_time()
    if method == 'tv':
        made = total_variation.synthesize(case.scans, case.grid)
    else:
        made = cubic.synthesize(case.scans, case.grid)
    seconds = time.process_time() - start
    volumes: dict[str, np.ndarray] = {}
    for image in made.images:
        if image.suffix in case.truths:
            volumes.setdefault(image.suffix, image.voxels)
    return volumes, seconds, float('nan')


def run_unires(
    case: Case, python: Path, folder: Path, gap: float
) -> tuple[dict[str, np.ndarray], float, float]:
    """Run UniRes on the scans, moved to where they lie by their headers alone."""
    folder.mkdir(parents=True, exist_ok=True)
    paths: dict[str, list[str]] = {}
    for number, scan in enumerate(case.scans):
        moved = Grid(scan.grid.shape, scan.scan2ref @ scan.grid.vox2ras)
        path = save_volume(folder / f'{scan.contrast}-{number}.nii.gz', scan.voxels, moved)
        paths.setdefault(scan.contrast, []).append(str(path))
    given = [*paths.values()] if any(len(x) > 1 for x in paths.values()) else [
        x[0] for x in paths.values()
    ]  # fmt: skip
    command = [str(python), '-c', SCRIPT, json.dumps(given), str(gap), str(folder)]
    environ = {**os.environ, 'OMP_NUM_THREADS': '1', 'MKL_NUM_THREADS': '1'}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environ)
    line = next((x for x in done.stdout.splitlines() if x.startswith('MEASURED')), '')
    if done.returncode or not line:
        raise RuntimeError(f'UniRes failed: {done.stderr[-2000:]}')
    seconds, peak = map(float, line.split()[1:])
    volumes = {}
    for contrast, files in paths.items():
        result = folder / f'u_{Path(files[0]).name}'
        volumes[contrast] = resample(*load_volume(result), case.grid, order=3)
    return volumes, seconds, peak


def main() -> None:
    """Compare the programs on every case."""
    parser = argparse.ArgumentParser(description=__doc__.split('\n', 1)[0])
    parser.add_argument('out', type=Path)
    parser.add_argument('--python', type=Path, required=True, help='of the environment of UniRes')
    parser.add_argument('--heads', type=Path, nargs='*', default=[])
    parser.add_argument('--labels', type=Path, nargs='*', default=[])
    parser.add_argument('--spacing', type=float, default=5.0)
    parser.add_argument('--thickness', type=float, default=None)
    parser.add_argument('--noise', type=float, default=2.0, help='percent')
    parser.add_argument('--side', type=int, default=100, help='of the cube of the brain, mm')
    parser.add_argument('--most-scans', type=int, default=3, help='of an exam; 1 is quick')
    options = parser.parse_args()
    if subprocess.run([options.python, '-c', 'import unires.run'], capture_output=True,
                      check=False).returncode:  # fmt: skip
        sys.exit(f'{options.python} has no UniRes: see the head of this file')
    torch.set_num_threads(1)
    thickness = options.thickness or options.spacing
    slices = Acquisition(2, options.spacing, thickness)
    options.out.mkdir(parents=True, exist_ok=True)
    table = options.out / 'unires.tsv'
    done = read_rows(table)
    sources = [(cases_of_t1w, path) for path in options.heads]
    sources += [(cases_of_labels, path) for path in options.labels]
    for make_cases, path in sources:
        for case in make_cases(path, slices, options.noise, options.side):
            if len(case.scans) > options.most_scans:
                continue
            for method in ('cubic', 'tv', 'unires'):
                key = (case.head, case.exam, case.profile, method)
                if key in done:
                    continue
                if method == 'unires':
                    folder = options.out / 'work' / '_'.join((case.head, case.exam, case.profile))
                    gap = 1 - thickness / options.spacing
                    try:
                        made = run_unires(case, options.python, folder, gap)
                    except RuntimeError as error:
                        print(*key, str(error).strip().splitlines()[-1], flush=True)
                        continue
                else:
                    made = run_ours(case, method)
                write_rows(table, case, method, *made)
    summarise(table)


def write_rows(
    table: Path,
    case: Case,
    method: str,
    volumes: dict[str, np.ndarray],
    seconds: float,
    peak_gb: float,
) -> None:
    """Compare the volumes of a method with the truth, and add the rows."""
    is_new = not table.exists()
    with table.open('a', encoding='utf-8') as file:
        if is_new:
            file.write('\t'.join(COLUMNS) + '\n')
        for contrast, truth in case.truths.items():
            _, measures = compare_with_truth(volumes[contrast], truth, case.mask)
            values = (f'{measures["psnr"]:.2f}', f'{measures["ssim"]:.4f}', f'{seconds:.0f}',
                      f'{peak_gb:.2f}')  # fmt: skip
            row = (case.head, case.exam, case.profile, contrast, method, *values)
            print(*row, flush=True)
            file.write('\t'.join(row) + '\n')


def read_rows(table: Path) -> set[tuple[str, str, str, str]]:
    """Read what is finished: head, exam, profile and method."""
    if not table.exists():
        return set()
    with table.open(encoding='utf-8') as file:
        rows = list(csv.DictReader(file, delimiter='\t'))
    return {(row['head'], row['exam'], row['profile'], row['method']) for row in rows}


def summarise(table: Path) -> None:
    """Print the mean of each method by exam, contrast and profile."""
    with table.open(encoding='utf-8') as file:
        rows = list(csv.DictReader(file, delimiter='\t'))
    for exam, contrast, profile in dict.fromkeys(
        (row['exam'], row['contrast'], row['profile']) for row in rows
    ):
        parts = []
        for method in dict.fromkeys(row['method'] for row in rows):
            chosen = [row for row in rows if (row['exam'], row['contrast'], row['profile'],
                      row['method']) == (exam, contrast, profile, method)]  # fmt: skip
            psnr, ssim, seconds = (
                np.mean([float(row[name]) for row in chosen]) for name in ('psnr', 'ssim', 'cpu_s')
            )
            parts.append(f'{method} {psnr:.2f} dB {ssim:.4f} {seconds:.0f} s')
        print(f'{exam:14} {contrast:6} {profile:9}', ' | '.join(parts))


if __name__ == '__main__':
    main()
