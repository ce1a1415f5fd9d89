"""The command ``synthsr``: one exam from plain files, without BIDS."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from bids_synthsr import __version__
from bids_synthsr.settings import FIELDS_OF_VIEW, METHODS, NETWORK_METHODS

IMAGES = ('.nii.gz', '.nii')


def build_parser() -> argparse.ArgumentParser:
    """Describe the command line."""
    parser = argparse.ArgumentParser(
        prog='synthsr',
        description='Turn the scans of one brain MRI exam into a 1 mm isotropic volume.',
        epilog='For whole data sets in BIDS, with reports and provenance: bids_synthsr.',
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument('scans', nargs='+', type=Path, metavar='IN', help='scans, NIfTI')
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
        default=[],
        metavar='SUFFIX',
        help='contrasts of the scans in their order, such as T1w FLAIR [told by file names]',
    )
    parser.add_argument(
        '--method', choices=METHODS, default='auto', help='see bids_synthsr --help'
    )
    parser.add_argument(
        '--weights',
        type=Path,
        metavar='FILE',
        help='of the network (auto, sr-t1, synthsr, published)',
    )
    parser.add_argument('--ct', action='store_true', help='the scan is CT (published only)')
    parser.add_argument('--reference', metavar='SUFFIX', help='whose frame the output takes')
    parser.add_argument(
        '--output-resolution', type=float, default=1.0, metavar='MM', help='voxels'
    )
    parser.add_argument('--fov', choices=FIELDS_OF_VIEW, default='reference', help='of the output')
    parser.add_argument('--threads', type=int, default=os.cpu_count(), metavar='N', help='to use')
    parser.add_argument('--device', default='auto', help='auto, cpu, cuda or cuda:N')
    parser.add_argument('--version', action='version', version=f'synthsr {__version__}')
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the program; return 0 if it made its volumes, 1 if not, 2 for wrong use."""
    parser = build_parser()
    options = parser.parse_args(arguments)
    if not options.output.name.endswith(IMAGES):
        parser.error(f'-o {options.output}: give a name that ends in .nii.gz or .nii')
    if options.output.resolve() in [scan.resolve() for scan in options.scans]:
        parser.error(f'-o {options.output} is one of the scans, which are never written to')
    if options.method in NETWORK_METHODS and options.output_resolution != 1:
        parser.error(f'--output-resolution: {options.method} makes 1 mm volumes only')
    os.environ['NO_ET'] = '1'  # nipype looks for a newer version of itself otherwise
    try:
        names = _make(options)
    except (ValueError, FileNotFoundError) as error:
        sys.stderr.write(f'synthsr: {error}\n')
        return 1
    sys.stderr.write('\n'.join(map(str, names)) + '\n')
    return 0


def _make(options: argparse.Namespace) -> list[Path]:
    """Make and save the volumes; return their files."""
    from bids_synthsr.api import synthesize
    from bids_synthsr.cli.resolve import environ, find_weights
    from bids_synthsr.dataset.images import written_atomically
    from bids_synthsr.run.machine import choose_device
    from bids_synthsr.settings import MethodSettings

    settings = MethodSettings(
        method=options.method,
        weights=find_weights(options.method, options.weights, environ()),
        ct=options.ct,
        reference=options.reference,
        output_resolution=options.output_resolution,
        fov=options.fov,
    )
    volumes = synthesize(
        options.scans,
        options.contrasts,
        settings=settings,
        num_threads=options.threads,
        device=choose_device(options.device),
    )
    made: list[Path] = []
    for suffix, volume in volumes.items():
        path = options.output if not made else added(options.output, suffix)
        with written_atomically(path) as temporary:
            volume.to_filename(temporary)
        made.append(path)
    return made


def added(path: Path, word: str) -> Path:
    """Put a word before the extension of an image's name: ``out_FLAIR.nii.gz``."""
    extension = next(extension for extension in IMAGES if path.name.endswith(extension))
    return path.with_name(f'{path.name.removesuffix(extension)}_{word}{extension}')
