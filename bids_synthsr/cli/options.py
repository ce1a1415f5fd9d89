"""The options of ``bids_synthsr``: words only, so that ``--help`` answers at once."""

from __future__ import annotations

import argparse
import difflib
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from bids_synthsr import __version__
from bids_synthsr.cli.door import (
    CommandParser,
    ReadableDefaults,
    add_completion,
    add_device,
    add_memory,
    contrast,
    memory,
    memory_in_gb,
    memory_in_mb,
    positive_int,
)
from bids_synthsr.dataset.files import read_toml
from bids_synthsr.methods.catalogue import DEFAULT, METHODS, names_of_networks
from bids_synthsr.methods.check import find_settings_fault
from bids_synthsr.settings import (
    EFFORTS,
    FIELDS_OF_VIEW,
    LEAST_QUALITY,
    LESIONS,
    PRECISIONS,
    MethodSettings,
    TbmSettings,
)
from bids_synthsr.surfaces.tools import TOOLS
from bids_synthsr.workflows.stages import STAGES, last_stage

NOT_IN_CONFIG = ('config_file', 'help', 'print_completion', 'version')


def build_parser() -> argparse.ArgumentParser:
    """Describe the command line in the groups and spellings of fMRIPrep."""
    parser = CommandParser(
        prog='bids_synthsr',
        description='Turn every brain MRI exam of a BIDS data set, whatever scans it holds, into '
        '1 mm isotropic volumes, with transforms, reports and provenance.',
        formatter_class=ReadableDefaults,
    )
    parser.add_argument(
        'bids_dir', type=Path, help='root folder of a BIDS data set (never written to)'
    )
    parser.add_argument('output_dir', type=Path, help='folder for derivatives and reports')
    parser.add_argument(
        'analysis_level',
        choices=('participant', 'group'),
        help='"participant" makes the volumes of every exam, "group" tables and a page of all '
        'that are finished',
    )
    parser.add_argument('--version', action='version', version=f'bids_synthsr {__version__}')
    parser.add_argument(
        '-v', '--verbose', action='count', default=0, help='tell more (-v steps, -vv everything)'
    )
    add_completion(parser)
    _add_filter_options(parser)
    _add_method_options(parser)
    _add_output_options(parser)
    _add_surface_options(parser)
    _add_group_options(parser)
    _add_performance_options(parser)
    _add_run_options(parser)
    return parser


def _add_filter_options(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group('Options for filtering BIDS queries')
    group.add_argument(
        '--participant-label',
        '--participant_label',
        nargs='+',
        default=[],
        metavar='LABEL',
        help='participants to process, with or without "sub-"',
    )
    group.add_argument(
        '--session-label',
        '--session_label',
        '--session-id',
        '--session_id',
        nargs='+',
        default=[],
        metavar='LABEL',
        help='sessions to process, with or without "ses-"',
    )
    group.add_argument(
        '--bids-filter-file',
        type=Path,
        metavar='FILE',
        help='JSON file of BIDS entities to match, as in fMRIPrep: '
        '{"t1w": {"acquisition": "sag"}}; keys are suffixes in lower case, or "anat" for all',
    )
    group.add_argument(
        '-d',
        '--derivatives',
        type=Path,
        nargs='+',
        default=[],
        metavar='[NAME=]DIR',
        help='outputs of earlier runs: a transform that is found there is checked and used, '
        'instead of aligning its scan anew',
    )
    group.add_argument(
        '--bids-database-dir',
        type=Path,
        metavar='DIR',
        help='folder of a pybids index to use, made there if absent (speeds up large data sets)',
    )
    group.add_argument(
        '--bids-database-wipe',
        action='store_true',
        help='make the index of --bids-database-dir anew, from the data set as it is now',
    )
    group.add_argument(
        '--get',
        action='store_true',
        help='fetch scans whose content is elsewhere (datalad, git-annex), of the participants '
        'asked for, by "datalad get"; that alone writes to the input data set',
    )
    group.add_argument(
        '--skip-bids-validation',
        '--skip_bids_validation',
        action='store_true',
        help='do not validate the input data set',
    )


def _add_method_options(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group('Options for the synthesis')
    group.add_argument(
        '--method',
        choices=tuple(METHODS),
        default=DEFAULT,
        help='; '.join(f'{method.name}: {method.help}' for method in METHODS.values()),
    )
    group.add_argument(
        '--weights',
        type=Path,
        metavar='FILE',
        help=f'weights of the network ({", ".join(names_of_networks())}): safetensors instead of '
        'those that come with the program, or for synthsr Keras .h5, for which '
        '$BIDS_SYNTHSR_WEIGHTS and $FREESURFER_HOME/models are searched without it',
    )
    group.add_argument(
        '--ct', action='store_true', help='the scans are CT in Hounsfield units (synthsr only)'
    )
    group.add_argument(
        '--reference',
        metavar='SUFFIX|KEY=VALUE',
        help='scan whose frame the output takes: a suffix (FLAIR), or entities '
        '(acq=sag,suffix=T2w)',
    )
    group.add_argument(
        '--contrasts',
        nargs='+',
        type=contrast,
        default=[],
        metavar='SUFFIX',
        help='use only these contrasts',
    )
    group.add_argument(
        '--output-resolution',
        type=float,
        default=1.0,
        metavar='MM',
        help='voxel size of the output; networks know 1 mm only',
    )
    group.add_argument(
        '--fov',
        choices=FIELDS_OF_VIEW,
        default='head',
        help='field of view of the output: what the scans show of the head, that of the '
        'reference, or that of all scans together',
    )
    group.add_argument(
        '--min-quality',
        type=float,
        default=LEAST_QUALITY,
        metavar='SCORE',
        help='mark exams whose estimated quality is less, 0 to 1 (auto and any-exam)',
    )
    group.add_argument(
        '--sharpen-others',
        action='store_true',
        help='make a volume of each contrast beside the T1w, by total variation (auto only)',
    )
    group.add_argument(
        '--effort',
        choices=EFFORTS,
        default=EFFORTS[-1],
        help='how long each scan is learned from: seconds, or minutes (self only)',
    )
    group.add_argument(
        '--precision',
        choices=PRECISIONS,
        default=PRECISIONS[0],
        help='numbers that networks compute with: auto is the fastest of this processor, and '
        'float32 for synthsr; with float32 all machines agree but for rounding',
    )
    group.add_argument(
        '--lesions',
        choices=LESIONS,
        default=LESIONS[0],
        help='what becomes of lesions: as-is leaves them to the method, fill replaces what masks '
        'mark by tissue like that around it, in every scan and before all else, keep puts them '
        'into the predicted T1w and the segmentation',
    )
    group.add_argument(
        '--lesion-masks',
        type=Path,
        metavar='DIR',
        help='folder of lesion masks in the space of a scan, named sub-*_label-lesion_mask.nii.gz '
        'or sub-*_desc-lesion_dseg.nii.gz (for --lesions fill and keep)',
    )


def _add_output_options(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group('Options for further outputs')
    group.add_argument(
        '--output-spaces',
        nargs='+',
        default=[],
        metavar='SPACE',
        help='standard spaces in which outputs are written, too, as in fMRIPrep: templates of '
        'TemplateFlow, with a resolution if need be (MNI152NLin2009cAsym:res-2); "anat" is '
        'always there, "scan" brings mask and segmentation to the own grid of each scan (auto and '
        'any-exam)',
    )
    group.add_argument(
        '--longitudinal',
        action='store_true',
        help='compare the sessions of each person once their exams are finished: a space half-way '
        'between them, what grew and shrank, a table and a page (auto and any-exam)',
    )
    group.add_argument(
        '--export',
        choices=('freesurfer',),
        help='write all finished exams in the form of another program, too: as folders of '
        'subjects of FreeSurfer, conformed, in sourcedata/exported of OUTPUT_DIR',
    )
    group.add_argument(
        '--as-dataset',
        type=Path,
        metavar='DIR',
        help='write the T1w of all finished exams as a raw BIDS data set, too, for programs that '
        'take no other (fMRIPrep, MRIQC, FastSurfer)',
    )


def _add_surface_options(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group('Options for surfaces, by tools that are installed beside')
    group.add_argument(
        '--recon',
        choices=tuple(TOOLS),
        metavar='TOOL',
        help='let this tool work on every finished exam: recon-all, recon-all-clinical, '
        'fastsurfer or samseg; it is not part of this program [none]',
    )
    group.add_argument(
        '--recon-input',
        choices=('t1w', 'native'),
        default='t1w',
        help='what the tool gets: the T1w of the exam, or the reference scan as it was acquired '
        '(recon-all-clinical and samseg)',
    )
    group.add_argument(
        '--fs-license-file',
        type=Path,
        metavar='FILE',
        help='licence of FreeSurfer [$FS_LICENSE, then license.txt in $FREESURFER_HOME]',
    )
    group.add_argument(
        '--fs-subjects-dir',
        type=Path,
        metavar='DIR',
        help='folder of the subjects that the tool fills [sourcedata/freesurfer in OUTPUT_DIR]',
    )
    group.add_argument(
        '--fs-no-resume',
        action='store_true',
        help='begin again where a tool was interrupted, instead of going on',
    )
    group.add_argument(
        '--fs-overwrite',
        action='store_true',
        help='remove the folder of a subject that this program had made of another input',
    )


def _add_group_options(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group('Options for the group level')
    group.add_argument(
        '--group-column',
        metavar='NAME',
        help='compare the volumes of two groups: a column of participants.tsv or sessions.tsv, a '
        'field of the sidecars, or "protocol" (contrasts and slices)',
    )
    group.add_argument(
        '--groups',
        nargs=2,
        metavar='NAME',
        help='the two groups, the reference first [the two that there are]',
    )
    group.add_argument(
        '--covariates',
        nargs='+',
        default=[],
        metavar='NAME',
        help='columns that are held fixed; "icv" is the intracranial volume',
    )
    group.add_argument(
        '--harmonize',
        metavar='NAME',
        help='remove the effects of this column from the volumes (ComBat), such as a site, '
        'ManufacturersModelName, or "protocol"',
    )
    _add_tbm_options(group)


def _add_tbm_options(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        '--tbm',
        action='store_true',
        help='compare the shapes of the brains of both groups at each voxel, too: tensor-based '
        'morphometry, on a mean brain of the group',
    )
    add_test_options(group)


def add_test_options(group: argparse._ActionsContainer) -> None:
    """Add the options that say how morphometry tests.

    Parameters
    ----------
    group
        Parser, or group of one, that gets them.
    """
    group.add_argument(
        '--permutations',
        type=positive_int,
        default=TbmSettings.permutations,
        metavar='N',
        help='number of permutations by which --tbm tests',
    )
    group.add_argument(
        '--seed',
        type=positive_int,
        default=TbmSettings.seed,
        metavar='N',
        help='seed of permutations and of the atlas',
    )
    group.add_argument(
        '--tbm-fwhm',
        type=float,
        default=TbmSettings.fwhm_mm,
        metavar='MM',
        help='width at half of its height of the Gaussian that smooths the maps of --tbm',
    )
    group.add_argument(
        '--atlas-exams',
        type=positive_int,
        default=TbmSettings.atlas_exams,
        metavar='N',
        help='most exams that the mean brain of --tbm is made of; all are compared with it',
    )


def _add_performance_options(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group('Options to handle performance')
    group.add_argument(
        '--nprocs',
        '--nthreads',
        '--n_cpus',
        '--n-cpus',
        '--n_procs',
        '--n-procs',
        type=positive_int,
        metavar='N',
        help='processes at the same time [all cores]',
    )
    group.add_argument(
        '--omp-nthreads',
        type=positive_int,
        metavar='N',
        help='threads of one process [cores shared out among the exams at work]',
    )
    add_memory(group)
    group.add_argument(
        '--stage',
        choices=tuple(STAGES),
        default=last_stage().name,
        help='end after this stage, so that others can run as jobs of their own (with a GPU for '
        'synthesize); what comes before and is not in --work-dir is done, too',
    )
    group.add_argument('--low-mem', action='store_true', help='take less memory and more time')
    add_device(group)
    group.add_argument(
        '--nipype-plugin-file',
        '--use-plugin',
        type=Path,
        metavar='FILE',
        help='nipype plugin in YAML or JSON, for clusters: {plugin: SLURM, plugin_args: {...}}',
    )
    group.add_argument(
        '--resource-monitor',
        action='store_true',
        help='record memory and CPU of every step over time, in logs/RUN/resources-*.json',
    )


def _add_run_options(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group('Other options')
    group.add_argument(
        '-w',
        '--work-dir',
        type=Path,
        default=Path('work'),
        metavar='DIR',
        help='intermediate files',
    )
    group.add_argument(
        '--clean-workdir',
        action='store_true',
        help='remove first what earlier runs on this input and output left in the work folder, '
        'and nothing else',
    )
    group.add_argument(
        '--config-file',
        type=Path,
        metavar='FILE',
        help='TOML file of options; the command line has the last word. Every run writes the one '
        'it used to OUTPUT_DIR/logs/<run>/config.toml',
    )
    group.add_argument(
        '--dry-run',
        action='store_true',
        help='only tell what would be done to which scans, and why',
    )
    group.add_argument(
        '--reports-only', action='store_true', help='write the reports of finished exams anew'
    )
    group.add_argument(
        '--boilerplate-only', action='store_true', help='only write the methods text'
    )
    group.add_argument(
        '--stop-on-first-crash', action='store_true', help='end the run at the first failing exam'
    )
    group.add_argument(
        '--write-graph',
        action='store_true',
        help='draw the steps of an exam, in logs/RUN/graph.dot, and as SVG where Graphviz is',
    )
    group.add_argument(
        '--notrack',
        action='store_true',
        help='has no effect: nothing is ever tracked or sent anywhere',
    )


def parse_options(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Parse the command line over the defaults of ``--config-file``.

    Wrong use ends the program with exit code 2 and a message, as argparse does.
    """
    parser = build_parser()
    options = parser.parse_args(arguments)
    if options.config_file is not None:
        parser.set_defaults(**_read_config(parser, options.config_file))
        options = parser.parse_args(arguments)
    fault = find_settings_fault(method_settings(options))
    if fault:
        parser.error(fault)
    return options


def method_settings(options: argparse.Namespace) -> MethodSettings:
    """Collect the options that change results."""
    return MethodSettings(
        method=options.method,
        weights=options.weights,
        ct=options.ct,
        reference=options.reference,
        contrasts=tuple(options.contrasts),
        output_resolution=options.output_resolution,
        fov=options.fov,
        least_quality=options.min_quality,
        sharpen_others=options.sharpen_others,
        effort=options.effort,
        precision=options.precision,
        lesions=options.lesions,
    )


def _read_config(parser: argparse.ArgumentParser, path: Path) -> dict[str, Any]:
    """Read a TOML file of options into defaults; unknown keys end the program."""
    try:
        tables = read_toml(path)
    except OSError as error:
        parser.error(f'--config-file {path}: {error.strerror}')
    except ValueError as error:
        parser.error(f'--config-file {path} is not valid TOML: {error}')
    actions = _actions_by_key(parser)
    values = {}
    for key, value in tables.items():
        action = actions.get(_key_of(key))
        if action is None:
            near = difflib.get_close_matches(_key_of(key), actions, 1)
            hint = f'; did you mean {near[0]}?' if near else ''
            parser.error(f'--config-file {path}: there is no option {key}{hint}')
        values[action.dest] = _converted(parser, action, value)
    return values


def _actions_by_key(parser: argparse.ArgumentParser) -> dict[str, argparse.Action]:
    """List the options of a config file by every spelling that the command line takes."""
    return {
        _key_of(spelling): action
        for action in parser._actions
        for spelling in action.option_strings
        if spelling.startswith('--') and action.dest not in NOT_IN_CONFIG
    }


def _key_of(spelling: str) -> str:
    """Write an option as a key of a config file."""
    return spelling.lstrip('-').replace('-', '_')


def _converted(parser: argparse.ArgumentParser, action: argparse.Action, value: Any) -> Any:
    """Convert and check a value of the config file as its option requires."""
    is_list = action.nargs == '+'
    expected, is_fit = _form_of(action)
    items = value if isinstance(value, list) and is_list else [value]
    if not all(is_fit(item) for item in items):
        form = f'a list of {expected}s' if is_list else expected
        parser.error(f'--config-file: {action.dest} is {value!r:.60}, not {form}')
    if callable(action.type):
        try:
            items = [action.type(str(item)) for item in items]
        except (argparse.ArgumentTypeError, ValueError) as error:
            parser.error(f'--config-file: {action.dest}: {error}')
    for item in items:
        if action.choices is not None and item not in action.choices:
            parser.error(f'--config-file: {action.dest} is {item!r}, not one of {action.choices}')
    return items if is_list else items[0]


def _form_of(action: argparse.Action) -> tuple[str, Callable[[Any], bool]]:
    """Name the form that the value of an option has in the config file, and test for it."""
    if isinstance(action, argparse._StoreTrueAction):
        return 'true or false', lambda item: isinstance(item, bool)
    if isinstance(action, argparse._CountAction):
        return 'a whole number', lambda item: type(item) is int and item >= 0
    if action.type in (memory, memory_in_gb, memory_in_mb):
        return 'a number or a text such as "16G"', lambda item: type(item) in (int, float, str)
    if action.type in (positive_int, float):
        return 'a number', lambda item: type(item) in (int, float)
    return 'text', lambda item: isinstance(item, str) and '\0' not in item


def config_of(options: argparse.Namespace) -> dict[str, Any]:
    """Options of a run as TOML values, so that ``--config-file`` repeats it."""
    positional = ('bids_dir', 'output_dir', 'analysis_level')
    return {
        key: [*map(_plain, value)] if isinstance(value, list) else _plain(value)
        for key, value in vars(options).items()
        if value is not None and key not in (*positional, *NOT_IN_CONFIG)
    }


def _plain(value: Any) -> Any:
    """Write a path as text."""
    return os.fspath(value) if isinstance(value, Path) else value


def group_options_of(options: argparse.Namespace) -> str:
    """Name an option of the group level that is set; empty for none."""
    names = ('group_column', 'groups', 'covariates', 'harmonize', 'tbm')
    return next((f'--{name.replace("_", "-")}' for name in names if getattr(options, name)), '')
