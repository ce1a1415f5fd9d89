"""The command ``synthsr exam``: one exam from plain files, without BIDS."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, suppress
from functools import partial
from pathlib import Path
from typing import TypeAlias

from bids_synthsr.cli.door import (
    ReadableDefaults,
    add_device,
    contrast,
    end_with_message,
    positive_int,
)
from bids_synthsr.dataset.errors import FailedExamError
from bids_synthsr.methods.catalogue import DEFAULT, METHODS, names_of_networks
from bids_synthsr.methods.check import find_settings_fault
from bids_synthsr.settings import (
    EFFORTS,
    FIELDS_OF_VIEW,
    PRECISIONS,
    SOME_FAILED,
    SUCCESS,
    MethodSettings,
)

Commands: TypeAlias = 'argparse._SubParsersAction[argparse.ArgumentParser]'

NOT_ALL = '{} of {} scans not used: {}; the volumes were made without.\n'
MAKER = b'made by synthsr exam'  # in the header of what the command writes
PRECIOUS = '{} is there already, and this command has not made it: choose another name for -o'
IMAGES = ('.nii.gz', '.nii', '.mgz')


def add_parser(commands: Commands) -> None:
    """Describe the command line."""
    parser = commands.add_parser(
        'exam',
        help='turn the scans of one exam, plain files, into a 1 mm volume',
        description='Turn the scans of one brain MRI exam into a 1 mm isotropic volume.',
        epilog='For whole data sets in BIDS, with reports and provenance: bids_synthsr.',
        formatter_class=ReadableDefaults,
    )
    parser.add_argument('scans', nargs='+', type=Path, metavar='IN', help='scans, NIfTI or .mgz')
    parser.add_argument(
        '-o',
        '--output',
        type=Path,
        required=True,
        metavar='OUT',
        help='the main volume; other volumes of the method get their contrast added to the name',
    )
    parser.add_argument(
        '--contrasts',
        nargs='+',
        type=contrast,
        default=[],
        metavar='SUFFIX',
        help='contrasts of the scans in their order, such as T1w FLAIR [told by file names]',
    )
    parser.add_argument(
        '--method', choices=tuple(METHODS), default=DEFAULT, help='see bids_synthsr --help'
    )
    parser.add_argument(
        '--weights',
        type=Path,
        metavar='FILE',
        help=f'weights of the network ({", ".join(names_of_networks())})',
    )
    parser.add_argument('--ct', action='store_true', help='the scan is CT (synthsr only)')
    parser.add_argument('--reference', metavar='SUFFIX', help='scan whose frame the output takes')
    parser.add_argument(
        '--output-resolution', type=float, default=1.0, metavar='MM', help='voxels of the output'
    )
    parser.add_argument('--fov', choices=FIELDS_OF_VIEW, default='head', help='of the output')
    parser.add_argument(
        '--sharpen-others', action='store_true', help='of every contrast a volume (auto only)'
    )
    parser.add_argument(
        '--effort', choices=EFFORTS, default=EFFORTS[-1], help='of the learning (self only)'
    )
    parser.add_argument(
        '--precision', choices=PRECISIONS, default=PRECISIONS[0], help='numbers of networks'
    )
    parser.add_argument(
        '--threads', type=positive_int, default=os.cpu_count(), metavar='N', help='threads to use'
    )
    add_device(parser)
    parser.set_defaults(run=partial(run, parser))


def run(
    parser: argparse.ArgumentParser, options: argparse.Namespace, environ: Mapping[str, str]
) -> int:
    """Make the volumes; return 0 if all scans were used, 1 if not, 2 for wrong use."""
    if not options.output.name.endswith(IMAGES):
        parser.error(f'-o {options.output}: give a name that ends in .nii.gz, .nii or .mgz')
    fault = _find_place_fault(options.output) or _find_overwritten(options, [])
    if fault:
        parser.error(f'-o {fault}')
    fault = find_settings_fault(_settings_of(options))
    if fault:
        parser.error(fault)

    def make() -> int:
        """Make the volumes, unless one of them would have the name of a scan."""
        fault = _find_overwritten(options, _further_volumes(options))
        if fault:
            parser.error(f'-o {fault}')
        return _print_files(options, environ)

    return end_with_message('synthsr exam', make)


def _find_place_fault(output: Path) -> str:
    """Describe why a file cannot be written where it is to be, or must not; empty if it can."""
    from bids_synthsr.derivatives.ownership import find_file_owner

    if output.is_dir():
        return f'{output} is a folder: give the name of a file'
    for folder in output.absolute().parents:
        if folder.exists() and not folder.is_dir():
            return f'{output}: {folder} is a file, not a folder'
    owner = find_file_owner(output)
    return f'{owner}: choose another folder' if owner else ''


def _find_overwritten(options: argparse.Namespace, names: Sequence[str]) -> str:
    """Name the output that would replace an input, or what the user did not name.

    The user names the main volume, and may replace it. The others are named by the program: it
    replaces those that it made.
    """
    from bids_synthsr.derivatives.ownership import find_overwritten
    from bids_synthsr.derivatives.places import sidecar_of

    others = [with_word(options.output, name) for name in names]
    inputs = [*options.scans, *filter(None, [options.weights])]
    sidecars = [sidecar_of(path) for path in (options.output, *others)]
    fault = find_overwritten([options.output, *others, *sidecars], inputs)
    precious = (
        path for path in (*others, *sidecars) if os.path.lexists(path) and not _is_made_here(path)
    )
    return fault or next((PRECIOUS.format(path) for path in precious), '')


def _is_made_here(path: Path) -> bool:
    """Whether this command made an image or a sidecar, as its header or content tells."""
    from bids_synthsr.dataset.files import read_object
    from bids_synthsr.dataset.image_files import UnusableScanError, read_header
    from bids_synthsr.derivatives.provenance import generator

    if path.suffix == '.json':
        with suppress(ValueError, OSError):
            makers = read_object(path).get('GeneratedBy')
            return isinstance(makers, dict) and makers.get('Name') == generator()['Name']
        return False
    try:
        header = read_header(path, [])
    except UnusableScanError:
        return False
    return bool(header['descrip'].item() == MAKER)


def _further_volumes(options: argparse.Namespace) -> list[str]:
    """Name what the method may make beside the main volume; nothing of scans that have faults."""
    from bids_synthsr.api import name_further_volumes

    with suppress(ValueError, OSError):  # the work itself reports it
        return name_further_volumes(options.scans, options.contrasts, _settings_of(options))
    return []


def _settings_of(options: argparse.Namespace) -> MethodSettings:
    """Collect what changes results."""
    return MethodSettings(
        method=options.method,
        weights=options.weights,
        ct=options.ct,
        reference=options.reference,
        output_resolution=options.output_resolution,
        fov=options.fov,
        sharpen_others=options.sharpen_others,
        effort=options.effort,
        precision=options.precision,
    )


def _print_files(options: argparse.Namespace, environ: Mapping[str, str]) -> int:
    """Make and save the volumes; print what became of every scan, and the names of the files."""
    from bids_synthsr.run.messages import show_warnings
    from bids_synthsr.run.plugin import stoppable

    show_warnings()
    with stoppable():
        paths, left_out = _save(options, environ)
    sys.stderr.write('\n'.join(map(str, paths)) + '\n')
    if left_out:
        sys.stderr.write(NOT_ALL.format(len(left_out), len(options.scans), ', '.join(left_out)))
    return SOME_FAILED if left_out else SUCCESS


def _save(
    options: argparse.Namespace, environ: Mapping[str, str]
) -> tuple[list[Path], Sequence[str]]:
    """Make and save the volumes, all or none; return their files, and the scans not used."""
    import nibabel as nb

    from bids_synthsr.api import synthesize_exam
    from bids_synthsr.dataset.files import write_json, written_atomically
    from bids_synthsr.dataset.images import write_image
    from bids_synthsr.derivatives.places import sidecar_of

    made = synthesize_exam(
        options.scans,
        options.contrasts,
        settings=_settings_of(options),
        num_threads=options.threads,
        device=options.device,
        environ=environ,
    )
    _, *names = made.volumes
    fault = _find_overwritten(options, names)
    if fault:
        raise ValueError(fault)
    paths = [options.output, *(with_word(options.output, name) for name in names)]
    try:
        with ExitStack() as stack:  # a file gets its name once all are written
            for path, volume in zip(paths, made.volumes.values(), strict=True):
                if isinstance(volume, nb.Nifti1Image):
                    volume.header['descrip'] = MAKER
                write_image(stack.enter_context(written_atomically(path)), volume)
        for path, sidecar in zip(paths, made.sidecars.values(), strict=True):
            write_json(sidecar_of(path), sidecar)
    except OSError as error:
        message = f'{options.output} cannot be written: {error.strerror}'
        raise FailedExamError(message) from error
    return paths, made.left_out


def with_word(path: Path, word: str) -> Path:
    """Put a word before the extension of an image's name: ``out_FLAIR.nii.gz``."""
    extension = next(extension for extension in IMAGES if path.name.endswith(extension))
    return path.with_name(f'{path.name.removesuffix(extension)}_{word}{extension}')
