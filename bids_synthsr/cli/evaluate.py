"""The command ``synthsr evaluate``: how good methods are."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from bids_synthsr.cli.door import (
    MAX_MESSAGE,
    ReadableDefaults,
    add_device,
    add_memory,
    end_with_message,
    positive_float,
    positive_int,
    whole_number,
)
from bids_synthsr.cli.options import add_test_options
from bids_synthsr.cli.train import add_pairs
from bids_synthsr.methods.catalogue import METHODS
from bids_synthsr.methods.check import describe_unread_weights
from bids_synthsr.settings import SOME_FAILED, SUCCESS, MethodSettings
from bids_synthsr.values.text import plain_lines
from bids_synthsr.values.words import find_word

if TYPE_CHECKING:
    from bids_synthsr.evaluation.cases import Slices
    from bids_synthsr.run.comparing import EvaluationOutcome, EvaluationSettings

# as in evaluation/painting.py, dataset/selection.py and imaging/forward_model.py, which would make
# --help slow
PAINTED = ('T1w', 'T2w', 'PDw', 'FLAIR', 'random')
PLANES = ('sagittal', 'coronal', 'axial')
PROFILES = ('gaussian', 'box')
MOST_NOISE = 20.0  # percent
SPACINGS, THICKNESS = (3.0, 5.0, 7.0), 3.0  # mm; Iglesias et al. 2021, section 3.3.1
LEAST_MM, MOST_MM = 0.5, 20.0  # of slices that are simulated
EQUAL = 'equal'  # a thickness: that of the spacing
LEAST_CHANGE = 0.01  # of a factor, from 1
LEAST_FACTOR, MOST_FACTOR = 0.3, 3.0  # of the change of a volume
CHANGES = {'ventricles': 1.2, 'hippocampus': 0.85}
SEGMENTER = 'any-exam'  # the method whose network segments volumes

Evaluation: TypeAlias = 'Callable[[argparse.Namespace, Mapping[str, str]], EvaluationOutcome]'
Commands: TypeAlias = 'argparse._SubParsersAction[argparse.ArgumentParser]'


def add_parser(commands: Commands) -> None:
    """Describe the command line."""
    parser = commands.add_parser(
        'evaluate',
        help='measure how good methods are',
        description='Measure how good methods are, on scans whose truth is known, or on real '
        'exams.',
    )
    evaluations = parser.add_subparsers(dest='evaluation', required=True, metavar='EVALUATION')
    _add_simulate(evaluations)
    _add_leave_one_out(evaluations)
    _add_tbm(evaluations)
    _add_pairs(evaluations)
    _add_rate(evaluations)


def _add_simulate(commands: Commands) -> None:
    """Add the evaluation on scans whose truth is known."""
    parser = commands.add_parser(
        'simulate',
        help='cut thick slices out of T1w scans of 1 mm, and let methods make these again',
        formatter_class=ReadableDefaults,
    )
    parser.add_argument('t1w', type=Path, metavar='T1W', help='folder, or BIDS data set, of T1w')
    _add_common(parser)
    parser.add_argument(
        '--spacing',
        type=_slice_size,
        nargs='+',
        default=list(SPACINGS),
        metavar='MM',
        help='distance of slices, centre to centre',
    )
    parser.add_argument(
        '--thickness',
        nargs='+',
        type=_thickness,
        default=[EQUAL, THICKNESS],
        metavar='MM',
        help='of slices; "equal" makes them as thick as their spacing; no thicker than that',
    )
    parser.add_argument(
        '--planes', nargs='+', choices=PLANES, default=list(PLANES), help='of the slices'
    )
    parser.add_argument(
        '--profile',
        nargs='+',
        choices=PROFILES,
        default=[PROFILES[0]],
        help='of the slices: a Gaussian as wide at half of its height as they are thick, or a box',
    )
    parser.add_argument(
        '--noise',
        type=_noise,
        default=0.0,
        metavar='PERCENT',
        help='Rician noise that all scans get, in percent of bright tissue: 0 (the default) to 20',
    )
    parser.add_argument(
        '--exams',
        nargs='+',
        type=_contrasts,
        default=[('T1w',)],
        metavar='A+B',
        help='contrasts of the scans of an exam, the first being the reference: T1w is the head '
        'itself; T2w, PDw, FLAIR and random (a contrast that there is not) need --labels',
    )
    parser.add_argument(
        '--labels',
        type=Path,
        metavar='FOLDER',
        help='label maps of 1 mm with the numbers of FreeSurfer: each is a head, whose T1w is '
        'that of the same name, or painted where there is none; its structures are the truth',
    )
    parser.add_argument(
        '--structures',
        action='store_true',
        help='compare structures, too: Dice and volumes of what the network of any-exam finds in '
        'the T1w of each method, with the labels, or with what it finds in the truth',
    )
    parser.set_defaults(run=partial(run, _simulate))


def _add_leave_one_out(commands: Commands) -> None:
    """Add the evaluation on real exams."""
    parser = commands.add_parser(
        'leave-one-out',
        help='leave a scan of real exams out, and explain it from what methods make of the others',
        formatter_class=ReadableDefaults,
    )
    parser.add_argument('bids_dir', type=Path, metavar='BIDS', help='data set')
    _add_common(parser)
    parser.add_argument(
        '--session-label', nargs='+', default=[], metavar='LABEL', help='only these'
    )
    parser.add_argument(
        '--subsets', action='store_true', help='explain a scan from fewer of the others, too'
    )
    parser.set_defaults(run=partial(run, _leave_one_out))


def _add_tbm(commands: Commands) -> None:
    """Add the evaluation of morphometry."""
    parser = commands.add_parser(
        'tbm',
        help='change structures of T1w of 1 mm by known factors, and see what --tbm finds of it',
        formatter_class=ReadableDefaults,
    )
    parser.add_argument('t1w', type=Path, metavar='T1W', help='folder, or BIDS data set, of T1w')
    _add_common(parser)
    parser.add_argument(
        '--change',
        type=_change,
        nargs='+',
        default=[*CHANGES.items()],
        metavar='NAME=FACTOR',
        help='by which factors the volumes of structures change in half of the heads',
    )
    parser.add_argument(
        '--spacing', type=_slice_size, default=5.0, metavar='MM', help='distance of slices'
    )
    parser.add_argument(
        '--thickness', type=_slice_size, metavar='MM', help='of slices [that of the spacing]'
    )
    parser.add_argument('--plane', choices=PLANES, default='axial', help='of the slices')
    parser.add_argument(
        '--labels',
        type=Path,
        metavar='FOLDER',
        help='label maps of 1 mm with the numbers of FreeSurfer; without them, the network of '
        'any-exam segments the T1w',
    )
    parser.add_argument(
        '--splits',
        type=int,
        default=0,
        metavar='N',
        help='random splits of the people that are tested, too: false positives are counted',
    )
    add_test_options(parser)
    parser.set_defaults(run=partial(run, _tbm), methods='any-exam,sr-t1,cubic')


def _add_pairs(commands: Commands) -> None:
    """Add the evaluation of a network that learned from pairs."""
    parser = commands.add_parser(
        'pairs',
        help='compare what a network of 3t-7t makes with the scans that it is to make',
        formatter_class=ReadableDefaults,
    )
    parser.add_argument('out', type=Path, metavar='OUT', help='folder for table and picture')
    parser.add_argument(
        '--weights', type=Path, required=True, metavar='FILE', help='of the network, as exported'
    )
    add_pairs(parser)
    parser.add_argument(
        '--held-out',
        nargs='+',
        default=[],
        metavar='PATTERN',
        help='names of the files to compare on, as in the training [all]',
    )
    parser.add_argument(
        '--exclude', nargs='+', default=[], metavar='PATTERN', help='names of files to leave out'
    )
    parser.add_argument(
        '--structures',
        action='store_true',
        help='compare the structures that the network of any-exam finds, too',
    )
    parser.add_argument(
        '--save-volumes',
        action='store_true',
        help='keep what was given, made and wanted, on one grid, for raters for example',
    )
    parser.add_argument(
        '--omp-nthreads', type=positive_int, default=os.cpu_count(), help='threads to use'
    )
    add_device(parser)
    parser.set_defaults(run=partial(run, _pairs))


def _pairs(options: argparse.Namespace, _environ: Mapping[str, str]) -> EvaluationOutcome:
    """Run the evaluation on pairs."""
    import torch

    from bids_synthsr.cli.train import find_pairs
    from bids_synthsr.dataset.weights import find_shipped, load_exam_unet, load_paired
    from bids_synthsr.run.comparing import EvaluationOutcome
    from bids_synthsr.run.machine import choose_device
    from bids_synthsr.run.messages import announce
    from bids_synthsr.training.cohort import fits
    from bids_synthsr.training.judged_pairs import judge_pairs

    pairs = find_pairs(options)
    if not pairs:
        raise ValueError('No pair to compare on: give --inputs and --targets, or --pairs')
    files = [pair for pair in pairs if not options.held_out or fits(pair.given, options.held_out)]
    if not files:
        raise ValueError(
            f'--held-out {" ".join(options.held_out)} fits none of {len(pairs)} files such as '
            f'{pairs[0].given.name}'
        )
    check_apart(options.out, {path.parent for pair in files for path in (pair.given, pair.wanted)})
    device = torch.device(choose_device(options.device))
    torch.set_num_threads(options.omp_nthreads)
    trained, segmenter = load_paired(options.weights), None
    trained.network.to(device)
    if options.structures:
        segmenter = load_exam_unet(find_shipped(METHODS[SEGMENTER]))
        segmenter.network.to(device)
    judged = judge_pairs(
        files,
        trained,
        options.out.resolve(),
        segmenter,
        options.save_volumes,
        partial(announce, '%s'),
    )
    for line in judged.summary() if judged.rows else ():
        announce('%s', line)
    return EvaluationOutcome(tuple(judged.files), tuple(judged.failures), not judged.failures)


def _add_rate(commands: Commands) -> None:
    """Add the page for raters, and what is made of their answers."""
    parser = commands.add_parser(
        'rate',
        help='write a page on which people choose between two versions of images, without '
        'knowing which is which; or sum up their answers',
        formatter_class=ReadableDefaults,
    )
    parser.add_argument('out', type=Path, metavar='OUT', help='folder for page, key and results')
    parser.add_argument('--first', type=Path, metavar='DIR', help='images of the first version')
    parser.add_argument(
        '--second', type=Path, metavar='DIR', help='images of the second, under the same names'
    )
    parser.add_argument(
        '--slices', type=positive_int, default=1, metavar='N', help='slices in each plane'
    )
    parser.add_argument(
        '--repeats', type=whole_number, default=2, metavar='N', help='questions to ask twice'
    )
    parser.add_argument('--seed', type=whole_number, default=1, help='of order, sides and repeats')
    parser.add_argument(
        '--read',
        type=Path,
        nargs='+',
        default=[],
        metavar='TSV',
        help='tables that raters saved, to sum up by the key in OUT',
    )
    parser.set_defaults(run=partial(run, _rate))


def _rate(options: argparse.Namespace, _environ: Mapping[str, str]) -> EvaluationOutcome:
    """Write a page for raters, or sum up their answers."""
    from bids_synthsr.evaluation.rating_page import sum_up, write_rating_page
    from bids_synthsr.evaluation.ratings import draw_items
    from bids_synthsr.run.comparing import EvaluationOutcome
    from bids_synthsr.run.messages import announce
    from bids_synthsr.training.pairs import pair_folders

    folders = [options.first, options.second]
    if options.read and any(folders):
        raise ValueError('--read sums up answers: leave --first and --second out')
    if options.read:
        summary, files = sum_up(options.out, options.read)
        for name, value in summary.items():
            announce('%s', f'{name}: {value:.4g}')
        return EvaluationOutcome(tuple(files), (), True)
    if not all(folders):
        raise ValueError('A page needs --first and --second; answers are read by --read')
    check_apart(options.out, folders)
    names = [pair.given.name for pair in pair_folders(*folders)]
    items = draw_items(names, options.repeats, options.seed)
    resolved = [folder.resolve() for folder in folders]
    files = write_rating_page(items, resolved, options.out, options.slices)
    return EvaluationOutcome(tuple(files), (), True)


def check_apart(out: Path, sources: Iterable[Path]) -> None:
    """Refuse a folder for results that is an input, holds one, or lies in one or in a data set."""
    from bids_synthsr.derivatives.ownership import find_folder_owner, lies_in

    fault = find_folder_owner(out)
    for folder in sources:
        if lies_in(out, folder):
            fault = f'{out} lies in the input {folder}'
        elif lies_in(folder, out):
            fault = f'{out} holds the input {folder}'
    if fault:
        raise ValueError(f'{fault}: choose another folder for the results')


def _add_common(parser: argparse.ArgumentParser) -> None:
    """Add the options that both evaluations have."""
    parser.add_argument('out', type=Path, metavar='OUT', help='folder for table and page')
    parser.add_argument(
        '--methods',
        type=_methods,
        default='sr-t1,tv,cubic',
        metavar='A,B',
        help=', '.join(METHODS),
    )
    parser.add_argument(
        '--weights',
        type=Path,
        nargs='+',
        action='extend',
        default=[],
        metavar='METHOD=FILE',
        help='weights of the methods that need some',
    )
    parser.add_argument(
        '--participant-label', nargs='+', default=[], metavar='LABEL', help='only these'
    )
    parser.add_argument('-w', '--work-dir', type=Path, help='work folder [OUT/work]')
    parser.add_argument(
        '--nprocs', type=positive_int, default=os.cpu_count(), help='processes at the same time'
    )
    parser.add_argument(
        '--omp-nthreads', type=positive_int, default=1, help='threads of one process'
    )
    add_memory(parser)
    add_device(parser)


def _methods(text: str) -> tuple[str, ...]:
    names = tuple(text.split(','))
    for name in names:
        if name not in METHODS:
            raise argparse.ArgumentTypeError(f'{name!r} is none of {", ".join(METHODS)}')
    return names


def _contrasts(text: str) -> tuple[str, ...]:
    """Read the contrasts of an exam, ``T1w+FLAIR``, in any letter case."""
    try:
        return tuple(find_word(name, PAINTED) for name in text.split('+'))
    except ValueError as error:
        raise argparse.ArgumentTypeError(f'contrast {error}') from error


def _change(text: str) -> tuple[str, float]:
    """Read a structure and the factor by which its volume changes, ``NAME=FACTOR``."""
    from bids_synthsr.morphometry.volumes import MAIN

    name, _, factor = text.partition('=')
    if name not in MAIN:
        raise argparse.ArgumentTypeError(f'{name!r} is none of {", ".join(MAIN)}')
    number = positive_float(factor)
    if not LEAST_FACTOR <= number <= MOST_FACTOR:
        raise argparse.ArgumentTypeError(
            f'{factor} is not from {LEAST_FACTOR:g} to {MOST_FACTOR:g}'
        )
    if abs(number - 1) < LEAST_CHANGE:
        raise argparse.ArgumentTypeError(f'a factor of {factor} changes nothing')
    return name, number


def _slice_size(text: str) -> float:
    """Read a distance or thickness of slices, mm."""
    number = positive_float(text)
    if not LEAST_MM <= number <= MOST_MM:
        raise argparse.ArgumentTypeError(f'{text} mm is not from {LEAST_MM:g} to {MOST_MM:g} mm')
    return number


def _noise(text: str) -> float:
    """Read a percentage of noise."""
    try:
        number = float(text)
    except ValueError:
        number = -1
    if not 0 <= number <= MOST_NOISE:
        raise argparse.ArgumentTypeError(f'{text!r} is no percentage from 0 to {MOST_NOISE:g}')
    return number


def _thickness(text: str) -> float | str:
    """Read a thickness; a word means equal to the spacing."""
    return EQUAL if text == EQUAL else _slice_size(text)


def _simulate(options: argparse.Namespace, environ: Mapping[str, str]) -> EvaluationOutcome:
    """Run the evaluation on simulated scans."""
    from bids_synthsr.run.simulated import Simulation, simulate

    weights = _find_weights(options, environ, structures=options.structures)
    settings = _settings_of(options, options.t1w, weights, environ)
    if options.labels is not None:
        _check_folders(options.labels, settings)
    painted = [exam for exam in options.exams if set(exam) != {'T1w'}]
    if painted and options.labels is None:
        raise ValueError(f'--exams {"+".join(painted[0])} is painted from labels: give --labels')
    simulation = Simulation(
        images=options.t1w,
        maps=options.labels,
        exams=tuple(options.exams),
        slices=_slices_of(options),
        segmenter=weights[SEGMENTER] if options.structures else None,
        profiles=tuple(dict.fromkeys(options.profile)),
        noise_percent=options.noise,
    )
    return simulate(settings, simulation)


def _leave_one_out(options: argparse.Namespace, environ: Mapping[str, str]) -> EvaluationOutcome:
    """Run the evaluation on real exams."""
    from bids_synthsr.run.left_out import leave_one_out

    weights = _find_weights(options, environ)
    settings = _settings_of(options, options.bids_dir, weights, environ)
    return leave_one_out(
        settings, options.bids_dir.resolve(), tuple(options.session_label), options.subsets
    )


def _tbm(options: argparse.Namespace, environ: Mapping[str, str]) -> EvaluationOutcome:
    """Run the evaluation of morphometry."""
    from bids_synthsr.cli.resolve import resolve_tests
    from bids_synthsr.run.messages import announce
    from bids_synthsr.run.shape_changes import ShapeSimulation, evaluate_shapes

    weights = _find_weights(options, environ, structures=True)
    settings = _settings_of(options, options.t1w, weights, environ)
    if options.labels is not None:
        _check_folders(options.labels, settings)
    thickness = options.thickness or options.spacing
    if thickness > options.spacing:
        raise ValueError('--thickness is more than the --spacing: slices would overlap')
    if options.splits < 0:
        raise ValueError('--splits cannot be negative')
    if len(dict(options.change)) < len(options.change):
        raise ValueError('--change names a structure twice')
    tests, template, note = resolve_tests(options, environ)
    if note:
        announce('%s', note)
    segmenter = weights[SEGMENTER]
    assert segmenter is not None
    simulation = ShapeSimulation(
        images=options.t1w,
        maps=options.labels,
        factors=dict(options.change),
        slices=(options.plane, options.spacing, thickness),
        segmenter=segmenter,
        template=template,
        settings=tests,
        splits=options.splits,
    )
    return evaluate_shapes(settings, simulation)


def _slices_of(options: argparse.Namespace) -> tuple[Slices, ...]:
    """List the slices to simulate."""
    from bids_synthsr.evaluation.cases import list_slices

    thicknesses = [None if mm == EQUAL else mm for mm in options.thickness]
    slices = tuple(list_slices(options.spacing, thicknesses, options.planes))
    if not slices:
        raise ValueError('No slices to simulate: give a --thickness of at most the --spacing')
    return slices


def _settings_of(
    options: argparse.Namespace,
    source: Path,
    weights: Mapping[str, Path | None],
    environ: Mapping[str, str],
) -> EvaluationSettings:
    """Make the settings that both evaluations share.

    Raises
    ------
    ValueError
        For folders that lie in the input, and for a device that there is not.
    """
    from bids_synthsr.cli.resolve import resolve_memory
    from bids_synthsr.run.comparing import EvaluationSettings
    from bids_synthsr.run.machine import available_memory_gb, choose_device
    from bids_synthsr.run.work_folder import WorkFolder

    work = WorkFolder(
        (options.work_dir or options.out / 'work').resolve(),
        source.resolve(),
        options.out.resolve(),
    )
    settings = EvaluationSettings(
        output_dir=options.out.resolve(),
        work_folder=work,
        methods=tuple(
            MethodSettings(method=name, weights=weights[name]) for name in options.methods
        ),
        participant_labels=tuple(options.participant_label),
        device=choose_device(options.device),
        nprocs=options.nprocs,
        num_threads=max(options.omp_nthreads, 1),
        mem_gb=resolve_memory(options.mem) or available_memory_gb(environ),
    )
    _check_folders(source, settings)
    return settings


def _check_folders(source: Path, settings: EvaluationSettings) -> None:
    """Refuse folders that would let the evaluation write into its input."""
    from bids_synthsr.cli.resolve import check_folders
    from bids_synthsr.derivatives.ownership import find_folder_owner

    owner = find_folder_owner(settings.output_dir)
    if owner:
        raise ValueError(f'{owner}: choose another folder for the results')
    check_folders(source.resolve(), settings.output_dir, settings.work_dir)


def _find_weights(
    options: argparse.Namespace, environ: Mapping[str, str], *, structures: bool = False
) -> dict[str, Path | None]:
    """Find the weights of every method, and of the network that segments volumes.

    Raises
    ------
    FileNotFoundError, ValueError
        For weights that are missing or cannot be used, and for those of no method that is run.
    """
    from bids_synthsr.dataset.weights import find_weights

    names = [*options.methods, *([SEGMENTER] if structures else [])]
    weights = _parse_weights(options.weights, names)
    return {
        name: find_weights(METHODS[name], weights.get(name), environ)
        for name in dict.fromkeys(names)
    }


def _parse_weights(texts: Sequence[Path], methods: Sequence[str]) -> dict[str, Path]:
    """Read which weights the user gave for which method, ``METHOD=FILE``."""
    weights = {}
    for text in map(str, texts):
        method, _, file = text.partition('=')
        if method not in methods or not file:
            raise ValueError(f'--weights {text}: write METHOD=FILE with a method of --methods')
        if not METHODS[method].network:
            raise ValueError(describe_unread_weights(method))
        weights[method] = Path(file)
    return weights


def run(evaluation: Evaluation, options: argparse.Namespace, environ: Mapping[str, str]) -> int:
    """Run an evaluation; return 0 if all went well, 1 if a part failed, 2 for wrong use."""
    from bids_synthsr.run.messages import configure_console

    configure_console(0)
    return end_with_message(
        f'synthsr evaluate {options.evaluation}',
        lambda: _print_outcome(evaluation(options, environ)),
    )


def _print_outcome(outcome: EvaluationOutcome) -> int:
    """Print what failed and what was written."""
    sys.stderr.writelines(
        f'failed: {plain_lines(failure, MAX_MESSAGE)}\n' for failure in outcome.failures
    )
    sys.stderr.writelines(f'{path}\n' for path in outcome.files)
    return SUCCESS if outcome.is_complete else SOME_FAILED
