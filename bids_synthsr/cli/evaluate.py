"""The command ``bids_synthsr-evaluate``: how close methods come to a known truth."""

from __future__ import annotations

import argparse
import os
import re
import shutil
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from bids_synthsr import __version__
from bids_synthsr.settings import METHODS, MethodSettings

SUCCESS, SOME_FAILED, WRONG_USE = 0, 1, 2
LOG = 'evaluate.log'
SPACINGS, THICKNESS = (3.0, 5.0, 7.0), 3.0  # mm; Iglesias et al. 2021, section 3.3.1
PLANES = ('sagittal', 'coronal', 'axial')
T1W = re.compile(
    r'(?:sub-(?P<subject>[A-Za-z0-9]+)_)?(?:ses-(?P<session>[A-Za-z0-9]+)_)?.*T1w\.nii(\.gz)?$'
)


def build_parser() -> argparse.ArgumentParser:
    """Describe the command line."""
    parser = argparse.ArgumentParser(
        prog='bids_synthsr-evaluate',
        description='Measure how close methods come to a known truth.',
    )
    parser.add_argument('--version', action='version', version=f'bids_synthsr {__version__}')
    commands = parser.add_subparsers(dest='command', required=True)
    simulate = commands.add_parser(
        'simulate',
        help='cut thick slices out of T1w scans of 1 mm, and let methods make these again',
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    simulate.add_argument('t1w', type=Path, metavar='T1W', help='folder, or BIDS data set, of T1w')
    simulate.add_argument('out', type=Path, metavar='OUT', help='folder for table and page')
    simulate.add_argument(
        '--methods', type=_methods, default=('tv', 'cubic'), metavar='A,B', help=', '.join(METHODS)
    )
    simulate.add_argument(
        '--weights',
        type=Path,
        nargs='+',
        action='extend',
        default=[],
        metavar='METHOD=FILE',
        help='weights of the methods that need some',
    )
    simulate.add_argument(
        '--spacing', type=float, nargs='+', default=list(SPACINGS), metavar='MM', help='of slices'
    )
    simulate.add_argument(
        '--thickness',
        nargs='+',
        type=_thickness,
        default=[None, THICKNESS],
        metavar='MM',
        help='of slices; "equal" makes them as thick as their spacing; no thicker than that',
    )
    simulate.add_argument(
        '--planes', nargs='+', choices=PLANES, default=list(PLANES), help='of the slices'
    )
    simulate.add_argument(
        '--participant-label', nargs='+', default=[], metavar='LABEL', help='only these'
    )
    simulate.add_argument('-w', '--work-dir', type=Path, help='work folder [OUT/work]')
    simulate.add_argument('--nprocs', type=int, default=os.cpu_count(), help='processes')
    simulate.add_argument('--omp-nthreads', type=int, default=1, help='threads of a process')
    simulate.add_argument('--mem', type=float, metavar='GB', help='memory of all processes')
    simulate.add_argument('--device', default='auto', help='auto, cpu, cuda or cuda:N')
    return parser


def _methods(text: str) -> tuple[str, ...]:
    names = tuple(text.split(','))
    for name in names:
        if name not in METHODS:
            raise argparse.ArgumentTypeError(f'{name!r} is none of {", ".join(METHODS)}')
    return names


def _thickness(text: str) -> float | None:
    """Read a thickness; None means equal to the spacing."""
    if text == 'equal':
        return None
    try:
        return float(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f'{text!r} is neither "equal" nor mm') from error


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the program; return 0 if all went well, 1 if a part failed, 2 for wrong use."""
    options = build_parser().parse_args(arguments)
    os.environ['NO_ET'] = '1'  # nipype looks for a newer version of itself otherwise
    try:
        return simulate(options)
    except KeyboardInterrupt as stop:
        from bids_synthsr.cli.engine import STOPPED, exit_code_of

        name, code = exit_code_of(stop)
        sys.stderr.write(STOPPED % name + '\n')
        return code
    except (ValueError, OSError) as error:
        sys.stderr.write(f'bids_synthsr-evaluate: {error}\n')
        return WRONG_USE


def simulate(options: argparse.Namespace) -> int:
    """Run the evaluation and write its table and page."""
    from bids_synthsr.cli.crashes import read_crashes
    from bids_synthsr.cli.resolve import check_folders

    work = (options.work_dir or options.out / 'work').resolve()
    check_folders(options.t1w.resolve(), options.out.resolve(), work)
    heads = find_heads(options.t1w, options.participant_label)
    cases = dict(list_cases(options.spacing, options.thickness, options.planes))
    if not cases:
        raise ValueError('No slices to simulate: give a --thickness of at most the --spacing')
    results = run_workflow(options, heads, cases, work)
    from bids_synthsr.reports.evaluation import read_result, write_evaluation, write_table

    found = [read_result(path) for path in results if path.is_file()]
    failures = [
        f'{crash.exam}, {crash.step}: {crash.message} ({crash.path})'
        for crash in read_crashes(options.out / 'logs' / 'crash')
    ]
    sys.stderr.writelines(f'failed: {failure}\n' for failure in failures)
    if found:
        table = write_table(found, options.out / 'simulate.tsv')
        page = write_evaluation(found, failures, options.out / 'simulate.html')
        sys.stderr.write(f'{table}\n{page}\n')
    return SUCCESS if len(found) == len(results) else SOME_FAILED


def find_heads(folder: Path, labels: Sequence[str]) -> dict[str, dict[str, str]]:
    """Find T1w images below a folder, by name; derivatives of a data set are no scans.

    Raises
    ------
    FileNotFoundError
        If there are none.
    ValueError
        If two have the same name.
    """
    wanted = {label.removeprefix('sub-') for label in labels}
    found: dict[str, dict[str, str]] = {}
    for path in sorted(folder.rglob('*T1w.nii*')):
        match = T1W.match(path.name)
        if match is None or 'derivatives' in path.relative_to(folder).parts:
            continue
        name = path.name.split('.nii')[0]
        subject = match['subject'] or name.removesuffix('_T1w')
        if wanted and subject not in wanted:
            continue
        key = re.sub(r'\W', '_', name)
        if key in found:
            raise ValueError(f'{path} has the name of {found[key]["image"]}: rename one of them')
        found[key] = {
            'image': str(path.resolve()),
            'subject': subject,
            'session': match['session'] or '',
        }
    if not found:
        among = f' of {", ".join(labels)}' if labels else ''
        raise FileNotFoundError(f'{folder} holds no T1w images{among} (*T1w.nii.gz)')
    return found


def list_cases(
    spacings: Sequence[float], thicknesses: Sequence[float | None], planes: Sequence[str]
) -> Iterator[tuple[str, dict[str, Any]]]:
    """List the scans to simulate of a head; slices thicker than their spacing are left out."""
    for spacing in spacings:
        thick = dict.fromkeys(spacing if mm is None else mm for mm in thicknesses)
        for thickness in thick:
            if not 0 < thickness <= spacing:
                continue
            for plane in planes:
                name = re.sub(r'\W', 'p', f'{plane}_{spacing:g}_{thickness:g}')
                yield name, {
                    'slice_axis': PLANES.index(plane), 'spacing': spacing, 'thickness': thickness,
                }  # fmt: skip


def run_workflow(
    options: argparse.Namespace,
    heads: Mapping[str, Mapping[str, str]],
    cases: Mapping[str, Mapping[str, Any]],
    work: Path,
) -> list[Path]:
    """Run what is not done yet; return the files in which each result is to stand."""
    from bids_synthsr.cli.engine import ExamByExamPlugin, configure_engine
    from bids_synthsr.cli.environment import (
        available_memory_gb,
        choose_device,
        prepare_workers,
    )
    from bids_synthsr.cli.messages import log_to_file
    from bids_synthsr.cli.resolve import environ
    from bids_synthsr.workflows.base import METHOD_MEM_GB, choose_method
    from bids_synthsr.workflows.evaluate import init_simulate_wf

    device, threads = choose_device(options.device), max(options.omp_nthreads, 1)
    methods = {
        name: (choose_method(settings, threads, device, low_mem=False), METHOD_MEM_GB[name])
        for name, settings in method_settings(options).items()
    }
    logs, place = options.out / 'logs', options.out / 'results'
    shutil.rmtree(logs / 'crash', ignore_errors=True)  # of an earlier run
    for folder in (logs / 'crash', place):
        folder.mkdir(parents=True, exist_ok=True)
    results = [
        place / f'{head}_{case}_{method.replace("-", "_")}.json'
        for head in heads
        for case in cases
        for method in methods
    ]
    log_to_file(logs / LOG)
    configure_engine((logs / 'crash').resolve())
    prepare_workers(threads)
    workflow = init_simulate_wf(
        heads=heads,
        cases=cases,
        methods=methods,
        place=str(place.resolve()),
        num_threads=threads,
        work_dir=str(work),
    )
    resources = {
        'n_procs': max(options.nprocs, threads),
        'memory_gb': options.mem or available_memory_gb(environ()),
        'raise_insufficient': False,
    }
    for path in results:
        path.unlink(missing_ok=True)  # written anew by this run, so what is missing has failed
    with suppress(RuntimeError):
        workflow.run(plugin=ExamByExamPlugin(list(heads), resources, logs.resolve() / LOG))
    return results


def method_settings(options: argparse.Namespace) -> dict[str, MethodSettings]:
    """Make the settings of every method.

    Raises
    ------
    ValueError
        For weights of no method.
    FileNotFoundError
        For weights that are missing.
    """
    from bids_synthsr.cli.resolve import environ, find_weights

    given = {}
    for text in map(str, options.weights):
        method, _, file = text.partition('=')
        if method not in options.methods or not file:
            raise ValueError(f'--weights {text}: write METHOD=FILE with a method of --methods')
        given[method] = Path(file)
    return {
        name: MethodSettings(method=name, weights=find_weights(name, given.get(name), environ()))
        for name in options.methods
    }


if __name__ == '__main__':
    sys.exit(main())
