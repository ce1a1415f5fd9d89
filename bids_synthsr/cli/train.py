"""The command ``synthsr train``: networks from label maps or real images."""

from __future__ import annotations

import argparse
import logging
import math
import signal
import sys
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO, TypeAlias

from bids_synthsr.cli.door import (
    add_device,
    describe_failure,
    positive_float,
    positive_int,
    whole_number,
)
from bids_synthsr.settings import SOME_FAILED, SUCCESS, WRONG_USE

if TYPE_CHECKING:
    from bids_synthsr.dataset.weights import Weights
    from bids_synthsr.training.cohort import Cohort, PairFiles
    from bids_synthsr.training.recipe import Recipe

CALIBRATION_EXAMS = 100
SECONDS_BETWEEN_LINES = 60.0
STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM)

Commands: TypeAlias = 'argparse._SubParsersAction[argparse.ArgumentParser]'
Action: TypeAlias = Callable[[argparse.Namespace, Mapping[str, str]], None]

logger = logging.getLogger('bids_synthsr.train')


def add_parser(commands: Commands) -> None:
    """Describe the command line."""
    parser = commands.add_parser(
        'train',
        help='train networks, or make weights of a training',
        description='Train networks on scans generated from label maps, or on real images.',
    )
    actions = parser.add_subparsers(dest='action', required=True, metavar='ACTION')
    _add_run(actions.add_parser('run', help='train, or go on with a training that stopped'))
    _add_stacks(
        actions.add_parser('stacks', help='make slices between those of scans, to learn from')
    )
    _add_gallery(actions.add_parser('gallery', help='draw what a recipe generates'))
    _add_estimate(
        actions.add_parser('estimate-priors', help='estimate a contrast prior from real scans')
    )
    _add_export(actions.add_parser('export', help='write weights and model card of a checkpoint'))


def _add_recipe(parser: argparse.ArgumentParser) -> None:
    """Add the options for what is trained on."""
    parser.add_argument('recipe', help='name of a shipped recipe, or a TOML file')
    parser.add_argument(
        '--set',
        dest='changes',
        nargs='+',
        action='extend',
        default=[],
        metavar='KEY=VALUE',
        help='change the recipe: --set samples.batch=2 optimizer.name=adamw',
    )
    parser.add_argument('--label-maps', type=Path, help='folder of label maps, 1 mm')
    parser.add_argument(
        '--images',
        type=Path,
        nargs='+',
        default=[],
        help='folders of real T1w images: of the same heads and names as the label maps, or '
        'without labels for recipes that cut slices out of real images; or scans of thick slices, '
        'or stacks, for spacing-vae and spacing',
    )
    add_pairs(parser)
    parser.add_argument(
        '--exclude',
        nargs='+',
        default=[],
        metavar='PATTERN',
        help='names of files that are not to be touched: --exclude "sub-1[7-9]*" uts01_T1w',
    )
    parser.add_argument(
        '--held-out',
        nargs='+',
        default=[],
        metavar='PATTERN',
        help='names of files to validate on, and not to train on',
    )


def add_pairs(parser: argparse.ArgumentParser) -> None:
    """Add the options that name pairs of images."""
    pairs = parser.add_argument_group('Pairs of T1w of the same people, for 3t-7t')
    pairs.add_argument('--inputs', type=Path, help='folder of what the network gets')
    pairs.add_argument(
        '--targets', type=Path, help='folder of what it is to make, under the same names'
    )
    pairs.add_argument('--pairs', type=Path, metavar='BIDS', help='data set that holds both')
    pairs.add_argument('--input', metavar='ENTITIES', help='which T1w it gets: acq-3T')
    pairs.add_argument('--target', metavar='ENTITIES', help='which T1w it is to make: acq-7T')


def _add_run(parser: argparse.ArgumentParser) -> None:
    """Add the options of a training."""
    _add_recipe(parser)
    parser.add_argument(
        '--out', type=Path, required=True, help='folder of the training; it goes on where it was'
    )
    parser.add_argument('--weights', type=Path, help='weights to start a new training from')
    parser.add_argument(
        '--segmenter',
        type=Path,
        help='weights of a segmenter of T1w that judges what the network makes '
        '(loss.segmentation), of the recipe t1-segmenter for example',
    )
    parser.add_argument(
        '--max-steps', type=whole_number, help='stop after this step; the schedule stays'
    )
    parser.add_argument(
        '--time-limit',
        type=positive_float,
        default=math.inf,
        metavar='MIN',
        help='stop after that',
    )
    add_device(parser)
    parser.add_argument('--num-threads', type=positive_int, help='CPU threads; default: all cores')
    parser.set_defaults(run=partial(run, train_network))


def _add_stacks(parser: argparse.ArgumentParser) -> None:
    """Add the options of stacks."""
    parser.add_argument(
        'checkpoint', type=Path, help='checkpoint, or the folder of a training of spacing-vae'
    )
    parser.add_argument(
        '--images', type=Path, nargs='+', required=True, help='folders of scans of thick slices'
    )
    parser.add_argument(
        '--exclude',
        nargs='+',
        default=[],
        metavar='PATTERN',
        help='names of scans of which no stacks are made',
    )
    parser.add_argument('--out', type=Path, required=True, help='folder of the stacks')
    add_device(parser)
    parser.add_argument('--num-threads', type=positive_int, help='CPU threads; default: all cores')
    parser.set_defaults(run=partial(run, make_stacks))


def _add_gallery(parser: argparse.ArgumentParser) -> None:
    """Add the options of a gallery."""
    _add_recipe(parser)
    parser.add_argument('--out', type=Path, required=True, metavar='PNG', help='picture to write')
    parser.add_argument('--rows', type=positive_int, default=8, help='exams to draw')
    parser.add_argument(
        '--scans', type=Path, nargs='+', default=[], help='real scans to show below'
    )
    parser.set_defaults(run=partial(run, gallery))


def _add_estimate(parser: argparse.ArgumentParser) -> None:
    """Add the options of an estimation."""
    parser.add_argument('--scans', type=Path, nargs='+', required=True, help='of one contrast')
    parser.add_argument(
        '--label-maps', type=Path, nargs='+', required=True, help='of these scans, in their order'
    )
    parser.add_argument('--out', type=Path, required=True, metavar='TOML', help='prior to write')
    parser.set_defaults(run=partial(run, write_estimated_prior))


def _add_export(parser: argparse.ArgumentParser) -> None:
    """Add the options of an export."""
    parser.add_argument('checkpoint', type=Path, help='checkpoint, or the folder of a training')
    parser.add_argument('--out', type=Path, required=True, help='file.safetensors to write')
    parser.add_argument('--licence', default='Apache-2.0', help='SPDX identifier')
    parser.add_argument(
        '--notes', type=Path, metavar='FILE', help='Markdown to end the model card with'
    )
    parser.add_argument('--full-precision', action='store_true', help='32 instead of 16 bits')
    parser.add_argument(
        '--caution',
        default='',
        metavar='TEXT',
        help='what everyone who uses them must know: outputs and reports repeat it',
    )
    parser.add_argument(
        '--label-maps',
        type=Path,
        help='those of the training: calibrate the probabilities of a segmentation, so that they '
        'add up to the true volumes',
    )
    parser.add_argument(
        '--exams', type=int, metavar='N', help=f'to calibrate on; default: {CALIBRATION_EXAMS}'
    )
    add_device(parser)
    parser.add_argument('--num-threads', type=positive_int, help='CPU threads; default: all cores')
    parser.set_defaults(run=partial(run, export))


def run(action: Action, options: argparse.Namespace, environ: Mapping[str, str]) -> int:
    """Do an action; return 0, 1 where a training broke off, or 2 for wrong use."""
    from bids_synthsr.run.messages import show_messages

    show_messages(logging.INFO)
    try:
        check_output(options)
        action(options, environ)
    except (ValueError, OSError) as error:
        logger.error('%s', describe_failure(error))
        return WRONG_USE
    except RuntimeError as error:
        logger.error('%s', error)
        return SOME_FAILED
    return SUCCESS


def check_output(options: argparse.Namespace) -> None:
    """Refuse to write over what is read, into its folders, or into a data set.

    Raises
    ------
    ValueError
        With the file or folder, and whose it is.
    """
    from bids_synthsr.derivatives.ownership import (
        check_folders_within,
        find_file_owner,
        find_folder_owner,
        find_overwritten,
        lies_in,
    )
    from bids_synthsr.training.journal import PICTURES, TENSORBOARD

    values = [x for name, x in vars(options).items() if name != 'out']
    items = [item for value in values for item in (value if isinstance(value, list) else [value])]
    paths = [item for item in items if isinstance(item, Path) and item.exists()]
    if options.action in ('run', 'stacks'):
        fault = find_folder_owner(options.out)
        root = options.out.resolve()
        check_folders_within((root / PICTURES, root / TENSORBOARD), {root})
    else:  # a model card lies beside the weights
        outputs = [options.out, options.out.with_suffix('.md')]
        fault = find_overwritten(outputs, paths) or find_file_owner(options.out)
    for folder in (path for path in paths if path.is_dir()):
        if options.action != 'export' and lies_in(options.out, folder):
            fault = f'{options.out} lies in {folder}, which is read and never written to'
    if fault:
        raise ValueError(f'--out: {fault}')


def train_network(options: argparse.Namespace, environ: Mapping[str, str]) -> None:
    """Train a network."""
    import torch

    from bids_synthsr.imaging.memory import reusing_memory
    from bids_synthsr.training.loop import TrainingRun, train
    from bids_synthsr.training.processes import Processes
    from bids_synthsr.training.recipe import load_recipe
    from bids_synthsr.training.task import Task

    for name in ('weights', 'segmenter'):
        path = getattr(options, name)
        if path is not None and not path.is_file():
            raise FileNotFoundError(f'--{name} {path}: there is no such file')
    if options.num_threads:
        torch.set_num_threads(options.num_threads)
    processes = Processes(int(environ.get('RANK', 0)), int(environ.get('WORLD_SIZE', 1)))
    recipe = load_recipe(options.recipe, options.changes)
    Task(recipe).build()  # raises before any data are read
    with reusing_memory():
        learner = train(
            recipe,
            cohort_of(options, recipe),
            TrainingRun(
                folder=options.out,
                device=torch.device(training_device(options.device, environ)),
                last_step=recipe.steps if options.max_steps is None else options.max_steps,
                minutes=options.time_limit,
                weights=options.weights,
                segmenter=options.segmenter,
                processes=processes,
                is_interrupted=catch_signals(),
                show=progress_line(sys.stderr) if processes.is_first else lambda _: None,
            ),
        )
    end = 'Done' if learner.step >= recipe.steps else 'Stopped; the same command goes on'
    logger.info('Step %d of %d in %s. %s.', learner.step, recipe.steps, options.out, end)


def training_device(name: str, environ: Mapping[str, str]) -> str:
    """Choose a device; torchrun gives every process a GPU of its own."""
    from bids_synthsr.run.machine import choose_device

    device = choose_device(name)
    return f'cuda:{environ.get("LOCAL_RANK", 0)}' if device == 'cuda' else device


def catch_signals() -> Callable[[], bool]:
    """End cleanly on Ctrl-C and where a scheduler takes the machine back."""
    caught: list[int] = []
    for number in STOP_SIGNALS:
        signal.signal(number, lambda number, _: caught.append(number))
    return lambda: bool(caught)


def progress_line(stream: TextIO) -> Callable[[str], None]:
    """Show progress: in place in a terminal, once a minute in a file."""
    shown_at = -math.inf

    def show(line: str) -> None:
        nonlocal shown_at
        if stream.isatty():
            stream.write(f'\r{line}\033[K\r')  # the next message takes its place
            stream.flush()
        elif time.monotonic() - shown_at > SECONDS_BETWEEN_LINES:
            logger.info('%s', line)
            shown_at = time.monotonic()

    return show


def cohort_of(options: argparse.Namespace, recipe: Recipe) -> Cohort[Any]:
    """Read the data that a recipe needs."""
    from bids_synthsr.training.cohort import DataChoice
    from bids_synthsr.training.sources import source_of

    data = DataChoice(
        options.label_maps,
        options.images,
        options.exclude,
        options.held_out,
        find_pairs(options),
        recipe.samples.spacing_mm,
    )
    return source_of(recipe).read(data)


def find_pairs(options: argparse.Namespace) -> list[PairFiles]:
    """Find the pairs of images that the options name; none without these options.

    Raises
    ------
    ValueError
        If an option of them stands without those that it needs.
    """
    from bids_synthsr.training.pairs import pair_folders, pair_scans

    folders = (options.inputs, options.targets)
    of_dataset = (options.pairs, options.input, options.target)
    if any(folders) and any(of_dataset):
        raise ValueError('Pairs are named by --inputs and --targets, or by --pairs, not by both')
    if any(folders):
        if not all(folders):
            raise ValueError('Pairs of two folders need --inputs and --targets')
        return pair_folders(*folders, options.exclude)
    if any(of_dataset):
        if not all(of_dataset):
            raise ValueError('Pairs of a data set need --pairs, --input and --target')
        return pair_scans(*of_dataset, options.exclude)
    return []


def gallery(options: argparse.Namespace, _environ: Mapping[str, str]) -> None:
    """Draw what a recipe generates."""
    from bids_synthsr.training.gallery import draw_gallery
    from bids_synthsr.training.pictures import save_figure
    from bids_synthsr.training.recipe import load_recipe

    recipe = load_recipe(options.recipe, options.changes)
    figure = draw_gallery(recipe, cohort_of(options, recipe), options.scans, options.rows)
    logger.info('%s', save_figure(options.out, figure))


def make_stacks(options: argparse.Namespace, environ: Mapping[str, str]) -> None:
    """Make dense stacks of scans."""
    import torch

    from bids_synthsr.training.cohort import find_images
    from bids_synthsr.training.dense import write_stacks

    if options.num_threads:
        torch.set_num_threads(options.num_threads)
    written = write_stacks(
        _load_checkpoint(options.checkpoint),
        find_images(options.images, options.exclude),
        options.out,
        torch.device(training_device(options.device, environ)),
        progress_line(sys.stderr),
    )
    logger.info('%d stacks in %s', len(written), options.out)


def _load_checkpoint(path: Path) -> Weights:
    """Read weights that a training wrote, by its folder or file."""
    from bids_synthsr.training.checkpoints import NAME
    from bids_synthsr.training.export import load_trained

    return load_trained(path / NAME if path.is_dir() else path)


def write_estimated_prior(options: argparse.Namespace, _environ: Mapping[str, str]) -> None:
    """Estimate a contrast prior."""
    from bids_synthsr.dataset.files import write_text
    from bids_synthsr.training.prior_files import estimate_from_files

    write_text(options.out, estimate_from_files(options.scans, options.label_maps))
    logger.info('%s', options.out)


def export(options: argparse.Namespace, environ: Mapping[str, str]) -> None:
    """Write weights and model card."""
    from bids_synthsr.training.export import check_export, export_weights

    check_export(options.out)
    notes = _read_notes(options.notes) if options.notes else ''
    if options.exams is not None and options.label_maps is None:
        raise ValueError('--exams are those of a calibration: give --label-maps, too')
    if options.exams is not None and options.exams < 1:
        raise ValueError(f'--exams {options.exams}: a calibration needs 1 at least')
    weights = _load_checkpoint(options.checkpoint)
    odds = calibration_of(options, weights, environ) if options.label_maps else None
    card = export_weights(
        weights,
        options.out,
        options.licence,
        notes,
        not options.full_precision,
        options.caution,
        odds,
    )
    logger.info('%s and %s', options.out, card)


def _read_notes(path: Path) -> str:
    """Read the end of a model card."""
    from bids_synthsr.dataset.files import read_text

    try:
        return read_text(path, errors='strict')
    except ValueError as error:
        raise ValueError(f'--notes {path}: {error}') from error


def calibration_of(
    options: argparse.Namespace, weights: Weights, environ: Mapping[str, str]
) -> dict[int, float]:
    """Fit the odds of the classes of weights."""
    import torch

    from bids_synthsr.imaging.memory import reusing_memory
    from bids_synthsr.training.calibration import calibrate
    from bids_synthsr.training.cohort import read_heads

    if options.num_threads:
        torch.set_num_threads(options.num_threads)
    device = torch.device(training_device(options.device, environ))
    show = progress_line(sys.stderr)
    cohort = read_heads(options.label_maps, [])
    exams = options.exams or CALIBRATION_EXAMS
    with reusing_memory():
        return calibrate(weights, cohort, exams, device, show)
