"""Kill a run at random moments, start it again each time, and compare what it made in the end.

    python benchmarks/endurance/kills.py BIDS --kills 20 [--method cubic]
    python benchmarks/endurance/kills.py BIDS --finished OUT --group-column group --kills 10

runs the participant level, or the group level with maps of shapes on a copy of finished exams. It
prints how often it was killed in which step, and every file that differs from those of a run that
nobody disturbed. After every second kill the newest file of the work folder is cut to half, as a
power cut may leave it.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil

from bids_synthsr.settings import WRONG_USE

APP = [sys.executable, '-m', 'bids_synthsr.cli.bids_app']


def main() -> int:
    """Run the comparison; return 1 if a file differs."""
    parser = argparse.ArgumentParser(description=__doc__.split('\n', 1)[0])
    parser.add_argument('bids', type=Path, help='data set')
    parser.add_argument('--kills', type=int, default=20)
    parser.add_argument('--longest', type=float, default=25.0, help='seconds until a kill')
    parser.add_argument('--method', default='cubic')
    parser.add_argument('--output-resolution', type=float, default=1.0, metavar='MM')
    parser.add_argument('--seed', type=int, default=1)
    parser.add_argument('--finished', type=Path, help='outputs of all exams, for the group level')
    parser.add_argument('--group-column', default='group')
    parser.add_argument('--permutations', type=int, default=200)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if options.finished:
            for kind in ('calm', 'killed'):
                shutil.copytree(options.finished, folder / kind / 'out')
        begun = time.monotonic()
        code = run(options, folder / 'calm')
        print(f'undisturbed: exit code {code}, {time.monotonic() - begun:.0f} s', flush=True)
        if code == WRONG_USE:
            sys.exit('Nothing to kill: try ' + ' '.join(command(options, folder / 'calm')))
        killed, cut = kill_often(options, folder / 'killed')
        code = run(options, folder / 'killed')
        print(f'killed {len(killed)} times in {json.dumps(killed)}; then exit code {code}')
        print(f'cut to half: {json.dumps(cut)}')
        calm, other = (contents(folder / kind / 'out') for kind in ('calm', 'killed'))
        differing = sorted(
            path for path in calm.keys() | other.keys() if calm.get(path) != other.get(path)
        )
        leftovers = [*(folder / 'killed/out').rglob('.tmp-*')]
        print(f'{len(calm)} files compared, {len(differing)} differ, {len(leftovers)} leftovers')
        print('\n'.join([*differing, *map(str, leftovers)]))
    return int(bool(differing or leftovers or code))


def command(options: argparse.Namespace, place: Path) -> list[str]:
    """Give the command of a run."""
    settings = ['-w', str(place / 'work'), '--nprocs', '2']
    if options.finished:
        settings += ['--group-column', options.group_column, '--tbm']
        settings += ['--permutations', str(options.permutations)]
        level = 'group'
    else:
        settings += ['--method', options.method, '--skip-bids-validation']
        settings += ['--output-resolution', str(options.output_resolution)]
        level = 'participant'
    return [*APP, str(options.bids), str(place / 'out'), level, *settings]


def run(options: argparse.Namespace, place: Path) -> int:
    """Run to the end; return the exit code."""
    return subprocess.run(command(options, place), capture_output=True, check=False).returncode


def kill_often(options: argparse.Namespace, place: Path) -> tuple[list[str], list[str]]:
    """Kill the run, or one of its workers, at random moments.

    Returns
    -------
    killed
        Steps that were at work each time.
    cut
        Names of the files that were cut to half.
    """
    chance = random.Random(options.seed)
    killed: list[str] = []
    cut: list[str] = []
    while len(killed) < options.kills:
        process = subprocess.Popen(
            command(options, place), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        try:
            process.wait(chance.uniform(1, options.longest))
            # it was finished before: begin again with less, all of it below a temporary folder
            exams = sorted((place / 'out').glob('sub-*/'))
            group = [place / 'work', place / 'out/group_tbm']
            for folder in group if options.finished else [chance.choice(exams)]:
                shutil.rmtree(folder)
            continue
        except subprocess.TimeoutExpired:
            pass
        family = [process.pid, *(p.pid for p in psutil.Process(process.pid).children(True))]
        os.kill(chance.choice(family) if chance.random() < 0.25 else process.pid, signal.SIGKILL)
        if process.poll() is None:
            time.sleep(1)
            process.kill()
        process.wait()
        killed.append(steps_at_work(place / 'out'))
        if len(killed) % 2 == 0:
            cut += cut_newest(place / 'work')
    return killed, cut


def cut_newest(work: Path) -> list[str]:
    """Cut the newest file of a work folder to half; name it, if there is any."""
    files = [path for path in work.rglob('*') if path.is_file() and path.stat().st_size > 1]
    if not files:
        return []
    newest = max(files, key=lambda path: path.stat().st_mtime_ns)
    os.truncate(newest, newest.stat().st_size // 2)
    return [newest.name]


def steps_at_work(out: Path) -> str:
    """Name the steps that had begun and not ended in the last run."""
    logs = sorted(out.glob('logs/*/steps.jsonl'), key=lambda path: path.stat().st_mtime)
    at_work: set[tuple[str, str]] = set()
    for line in logs[-1].read_text().splitlines() if logs else []:
        event = json.loads(line)
        step = (event['exam'], event['step'])
        at_work = at_work | {step} if event['status'] == 'start' else at_work - {step}
    return ' and '.join(sorted(step for _, step in at_work)) or 'between steps'


def contents(out: Path) -> dict[str, str]:
    """SHA-256 of every file that does not tell times, by its path."""
    found = {}
    for path in sorted(out.rglob('*')):
        relative = path.relative_to(out)
        if path.is_file() and not (relative.parts[0] == 'logs' or path.suffix == '.html'):
            found[relative.as_posix()] = hashlib.sha256(path.read_bytes()).hexdigest()
    return found


if __name__ == '__main__':
    sys.exit(main())
