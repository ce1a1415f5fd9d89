"""Split the time of exams: start, steps, and what the steps spend it on.

Run it as ``python benchmarks/speed/exam_profile.py BIDS_DIR [--participant-label 01 ...] [--method
auto] [--threads 2]``. Each exam is processed by the command, as a user would, in folders that are
removed; then by the Python interface, in this process, under a profiler that counts CPU-seconds.
Run nothing beside it.
"""

from __future__ import annotations

import argparse
import cProfile
import json
import pstats
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from bids_synthsr.api import MethodSettings, synthesize

# the end of a file's name and a function in it; none of a part calls one of another
PARTS = {
    'reading': (('dataset/images.py', 'load_volume'),),
    'writing': (('dataset/images.py', 'save_volume'),),
    'judging voxels': (('dataset/voxels.py', 'judge_voxels'),),
    'greedy': (('registration/greedy.py', '_execute'),),
    'judging alignments': (('registration/fit.py', 'judge'),),
    'resampling': (
        ('imaging/resampling.py', 'resample'),
        ('imaging/resampling.py', 'reliability'),
    ),
    'any-exam: encoder': (('networks/exam_unet.py', 'encode'),),
    'any-exam: fusion, decoder': (('networks/exam_unet.py', '_decode'),),
    'any-exam: fit of mixture': (('networks/exam_unet.py', '_fit_mixture'),),
    'any-exam: T1w and classes': (('networks/exam_unet.py', '_posterior'),),
    'segmentation': (('methods/any_exam.py', 'segment'),),
    'sr-t1: network': (('methods/sr_t1.py', 'super_resolve'),),
    'sr-t1: consistency': (('methods/consistency.py', 'make_consistent'),),
    'total variation': (('methods/total_variation.py', 'synthesize'),),
}
SKIPPED = 0.01  # s: steps of nipype that only hand over names


def run_command(bids_dir: Path, exam: dict[str, str], options: argparse.Namespace) -> None:
    """Process an exam by the command, and print when its steps ran and what they took."""
    with tempfile.TemporaryDirectory() as folder:
        labels = [word for key, label in exam.items() for word in (f'--{key}-label', label)]
        command = [
            *(sys.executable, '-m', 'bids_synthsr.cli.bids_app', str(bids_dir), f'{folder}/out'),
            *('participant', *labels, '--method', options.method, '-w', f'{folder}/work'),
            *('--nprocs', str(options.threads)),
        ]
        start = time.time()
        subprocess.run(command, check=True, capture_output=True)
        wall = time.time() - start
        events = [
            json.loads(line)
            for path in Path(folder, 'out/logs').glob('*/steps.jsonl')
            for line in path.read_text().splitlines()
        ]
    first = min(event['time'] for event in events)
    peak = max(event.get('mem_peak_gb', 0) for event in events)
    print(f'whole command        {wall:6.1f} s  {peak:5.2f} GB in a step')
    print(f'before the first step {first - start:5.1f} s')
    began = {event['step']: event['time'] for event in events if event['status'] == 'start'}
    for event in events:
        if event['status'] != 'start' and event.get('seconds', 0) > SKIPPED:
            at = began.get(event['step'], event['time']) - start
            print(
                f'  {event["step"]:18} from {at:5.1f} to {event["time"] - start:5.1f} s'
                f'  {event.get("mem_peak_gb", 0):5.2f} GB'
            )


def profile(images: list[Path], options: argparse.Namespace) -> None:
    """Process an exam in this process, and print the CPU-seconds of every part."""
    profiler = cProfile.Profile(time.process_time)
    settings = MethodSettings(method=options.method)
    start = time.process_time()
    profiler.runcall(synthesize, images, settings=settings, num_threads=options.threads)
    whole, seconds = time.process_time() - start, dict(parts_of(profiler))
    for name, spent in seconds.items():
        print(f'  {name:26} {spent:6.1f} CPU-s  {spent / whole:4.0%}')
    rest = whole - sum(seconds.values())
    print(f'  {"all else":26} {rest:6.1f} CPU-s  {rest / whole:4.0%}')


def parts_of(profiler: cProfile.Profile) -> Iterator[tuple[str, float]]:
    """Sum what functions took, with what they called, for each part that ran."""
    rows = pstats.Stats(profiler).stats  # type: ignore[attr-defined]
    for name, functions in PARTS.items():
        spent = sum(
            row[3]
            for (file, _, function), row in rows.items()
            for end, wanted in functions
            if file.endswith(end) and function == wanted
        )
        if spent:
            yield name, spent


def exams_in(bids_dir: Path, labels: list[str]) -> Iterator[tuple[dict[str, str], list[Path]]]:
    """Give the labels of every exam, and its scans."""
    for folder in sorted(bids_dir.glob('sub-*/**/anat')):
        places = [part.split('-', 1) for part in folder.relative_to(bids_dir).parts[:-1]]
        names = {'sub': 'participant', 'ses': 'session'}
        exam = {names[key]: label for key, label in places}
        if not labels or exam['participant'] in labels:
            yield exam, sorted(folder.glob('*.nii.gz'))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('bids_dir', type=Path)
    parser.add_argument('--participant-label', nargs='+', default=[])
    parser.add_argument('--method', default='auto')
    parser.add_argument('--threads', type=int, default=2)
    options = parser.parse_args()
    for exam, images in exams_in(options.bids_dir.absolute(), options.participant_label):
        print(*(f'{key} {label}' for key, label in exam.items()), sep=', ')
        run_command(options.bids_dir.absolute(), exam, options)
        profile(images, options)
        print()


if __name__ == '__main__':
    main()
