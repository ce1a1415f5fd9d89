"""From options to settings: files read, defaults filled from the machine, conflicts refused."""

from __future__ import annotations

import argparse
import re
import uuid
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import yaml

from bids_synthsr.cli.door import gigabytes
from bids_synthsr.cli.options import config_of, method_settings
from bids_synthsr.dataset.files import parse_json, read_text
from bids_synthsr.dataset.selection import parse_reference
from bids_synthsr.dataset.templates import NATIVE, ON_SCANS, TemplateFiles, locate_template
from bids_synthsr.dataset.weights import with_weights
from bids_synthsr.derivatives.ownership import lies_in
from bids_synthsr.derivatives.places import Derivatives
from bids_synthsr.methods.catalogue import METHODS
from bids_synthsr.run.machine import (
    available_cores,
    available_memory_gb,
    choose_device,
    installed_memory_gb,
)
from bids_synthsr.run.plugin_choice import check_plugin
from bids_synthsr.run.processing import DEFAULT_PLUGIN as LOCAL
from bids_synthsr.run.request import Mode, Request, SurfaceRequest, TbmRequest
from bids_synthsr.settings import (
    AS_IS,
    InputSettings,
    RunSettings,
    Settings,
    TbmSettings,
)
from bids_synthsr.surfaces.tools import TOOLS, find_tool
from bids_synthsr.workflows.stages import STAGES, last_stage

LEAST_PERMUTATIONS = 100
TBM_SPACE = 'MNI152NLin2009cAsym:res-2'  # where brains begin, and where results are told
PLAIN_NAME = r'[\w@+=:,./-]'  # what shells and scripts take as it is


def request_of(
    options: argparse.Namespace, command: Sequence[str], environ: Mapping[str, str]
) -> Request:
    """Turn options into a request for a run.

    Parameters
    ----------
    options
        Options of the command line, parsed.
    command
        Words of the command line, without the name of the program.
    environ
        Environment variables, as a mapping.

    Raises
    ------
    ValueError, OSError
        For options that contradict each other or the machine, and for unreadable files.
    """
    templates, notes = find_templates(options, environ)
    settings = settings_of(options, environ)
    on_scans = ON_SCANS in options.output_spaces
    check_downstream(options)
    method = replace(settings.method, templates=templates, on_scans=on_scans)
    settings = replace(settings, method=method)
    check_stage(settings)
    modes: dict[Mode, bool] = {
        'dry-run': options.dry_run,
        'reports-only': options.reports_only,
        'boilerplate-only': options.boilerplate_only,
    }
    return Request(
        settings=settings,
        command=tuple(command),
        mode=next((mode for mode, is_wanted in modes.items() if is_wanted), 'process'),
        empties_work_dir=options.clean_workdir,
        validates=not options.skip_bids_validation,
        fetches=options.get,
        options=config_of(options),
        started_in=Path.cwd(),
        as_dataset=options.as_dataset and options.as_dataset.resolve(),
        longitudinal=options.longitudinal,
        exports=options.export is not None,
        surfaces=surfaces_of(options, settings, environ),
        notes=notes,
    )


def find_templates(
    options: argparse.Namespace, environ: Mapping[str, str]
) -> tuple[tuple[dict[str, Any], ...], list[str]]:
    """Find the template of every space that is asked for, before any exam is processed.

    Returns
    -------
    templates, notes
        Fields of the `TemplateFiles` of each, and what takes the place of what is missing.

    Raises
    ------
    ValueError
        If there is no such template, or if the method makes nothing to be brought to it.
    """
    spaces = [words for words in dict.fromkeys(options.output_spaces) if words not in NATIVE]
    if spaces and 'mask' not in METHODS[options.method].further_volumes:
        raise ValueError(
            f'--output-spaces: {options.method} makes no brain mask, which the registration to '
            'a template needs: choose --method auto'
        )
    found = [locate_template(words, environ) for words in spaces if words != ON_SCANS]
    templates = dict.fromkeys(files for files, _ in found)
    return tuple(asdict(files) for files in templates), [note for _, note in found if note]


def check_downstream(options: argparse.Namespace) -> None:
    """Refuse what is to be made of finished exams where none will be, or none that fit.

    Raises
    ------
    ValueError
        With the option, the reason and the way out.
    """
    wanted = {
        '--longitudinal': options.longitudinal,
        '--recon': options.recon is not None,
        '--export': options.export is not None,
    }
    for option in (option for option, is_wanted in wanted.items() if is_wanted):
        if 'mask' not in METHODS[options.method].further_volumes:
            raise ValueError(
                f'{option}: {options.method} makes no T1w with a brain mask: choose --method auto'
            )
        if options.stage != last_stage().name:
            raise ValueError(
                f'{option} works on finished exams, and --stage {options.stage} finishes none'
            )


def surfaces_of(
    options: argparse.Namespace, settings: Settings, environ: Mapping[str, str]
) -> SurfaceRequest | None:
    """Find the tool of surfaces that is asked for, and all that it needs, before any exam.

    Raises
    ------
    ValueError
        If the tool or its licence is missing, or cannot get what it is to get.
    """
    if options.recon is None:
        return None
    is_native = options.recon_input == 'native'
    if is_native and not TOOLS[options.recon].takes_native:
        raise ValueError(
            f'--recon-input native: {options.recon} takes a T1w of about 1 mm alone: leave it out'
        )
    folder = options.fs_subjects_dir or Derivatives(settings.output_dir).subjects
    if lies_in(folder, settings.input.bids_dir) and not lies_in(folder, settings.output_dir):
        raise ValueError(
            f'--fs-subjects-dir {folder} lies in the input data set, which is never written to'
        )
    if folder.exists() and not folder.is_dir():
        raise ValueError(f'--fs-subjects-dir {folder} is a file: choose a folder')
    tool = find_tool(options.recon, options.fs_license_file, environ)
    return SurfaceRequest(
        tool, folder.resolve(), is_native, options.fs_overwrite, not options.fs_no_resume
    )


def check_stage(settings: Settings) -> None:
    """Refuse a last stage that there is nothing to do for."""
    stage = STAGES[settings.run.stage]
    if not stage.is_wanted(settings.method):
        raise ValueError(
            f'--stage {stage.name}: there is nothing to do in it without --output-spaces'
        )


def settings_of(options: argparse.Namespace, environ: Mapping[str, str]) -> Settings:
    """Make the settings of a run.

    Raises
    ------
    ValueError
        For options that contradict each other or the machine, and for unreadable option files.
    """
    bids_dir, output_dir = options.bids_dir.resolve(), options.output_dir.resolve()
    work_dir = options.work_dir.resolve()
    plugin = _read_plugin(options.nipype_plugin_file)
    check_folders(bids_dir, output_dir, work_dir)
    if options.bids_database_dir and lies_in(options.bids_database_dir, bids_dir):
        raise ValueError(
            f'--bids-database-dir {options.bids_database_dir} lies in the input data set, which '
            f'is never written to: choose a folder outside of {bids_dir}'
        )
    check_names({'bids_dir': bids_dir, 'output_dir': output_dir, '--work-dir': work_dir}, plugin)
    if options.reference:
        parse_reference(options.reference)
    return Settings(
        input=InputSettings(
            bids_dir=bids_dir,
            participant_labels=_labels(options.participant_label, 'sub-'),
            session_labels=_labels(options.session_label, 'ses-'),
            filters=_read_mapping(options.bids_filter_file, '--bids-filter-file'),
            database_dir=options.bids_database_dir and options.bids_database_dir.resolve(),
            wipes_database=options.bids_database_wipe,
            derivatives=_folders(options.derivatives, '--derivatives'),
            lesion_masks=find_mask_folder(options),
        ),
        method=with_weights(replace(method_settings(options), weights=options.weights), environ),
        run=_run_settings(options, environ, plugin),
        output_dir=output_dir,
        work_dir=work_dir,
        run_uuid=f'{datetime.now(UTC):%Y%m%d-%H%M%S}_{uuid.uuid4()}',
    )


def find_mask_folder(options: argparse.Namespace) -> Path | None:
    """Find the folder of lesion masks; None where lesions stay as they are.

    Raises
    ------
    ValueError
        If there is no such folder, or one of the two options stands alone.
    """
    if options.lesion_masks is None and options.lesions != AS_IS:
        raise ValueError(
            f'--lesions {options.lesions} needs the masks of the lesions: give --lesion-masks DIR'
        )
    if options.lesion_masks is None:
        return None
    if options.lesions == AS_IS:
        raise ValueError(
            '--lesion-masks does nothing alone: give --lesions fill or --lesions keep, too'
        )
    return _folders([options.lesion_masks], '--lesion-masks')[0]


def _labels(labels: list[str], prefix: str) -> tuple[str, ...]:
    """Drop the prefixes of labels, which users may give or not."""
    return tuple(label.removeprefix(prefix) for label in labels)


def _folders(paths: Iterable[Path], option: str) -> tuple[Path, ...]:
    """Resolve folders that must be there."""
    folders = [*map(_without_name, paths)]
    for path in folders:
        if not path.is_dir():
            raise ValueError(f'{option} {path} is not a folder')
    return tuple(path.resolve() for path in folders)


def _without_name(path: Path) -> Path:
    """Drop the name before a folder, ``NAME=PATH``, unless a folder is called like all of it."""
    name, _, rest = str(path).partition('=')
    return Path(rest) if rest and '/' not in name and not path.exists() else path


def check_folders(bids_dir: Path, output_dir: Path, work_dir: Path) -> None:
    """Refuse folders that would let the run write into its input."""
    if not bids_dir.is_dir():
        raise ValueError(f'{bids_dir} is not a folder: give the root of a BIDS data set')
    is_derivative = bids_dir / 'derivatives' in output_dir.parents
    for name, folder in (('output_dir', output_dir), ('--work-dir', work_dir)):
        if folder.is_relative_to(bids_dir) and not (name == 'output_dir' and is_derivative):
            raise ValueError(
                f'{name} {folder} lies in the input data set, which is never written to: '
                f'choose a folder outside of {bids_dir} (outputs may go to its derivatives/NAME)'
            )
    for name, folder in (('output_dir', output_dir), ('--work-dir', work_dir)):
        file = next((path for path in (folder, *folder.parents) if path.is_file()), None)
        if file:
            raise ValueError(f'{name} {folder}: {file} is a file: choose another folder')
    if bids_dir.is_relative_to(output_dir):
        raise ValueError(f'The input {bids_dir} lies in output_dir {output_dir}: choose another')


def check_names(folders: Mapping[str, Path], plugin: Mapping[str, Any]) -> None:
    """Refuse folders whose names other programs cannot take.

    Names that are not UTF-8 cannot be written to JSON, and nipype's plugins of clusters write
    names into scripts and commands as they are.
    """
    is_local = plugin.get('plugin', LOCAL) == LOCAL
    for option, folder in folders.items():
        name = str(folder)
        if not is_encodable(name):
            raise ValueError(f'{option} {name!a} is not in UTF-8: rename the folder')
        odd = set() if is_local else set(re.sub(PLAIN_NAME, '', name))
        if odd:
            raise ValueError(
                f'{option} {folder}: nipype writes it into scripts of the cluster, which do not '
                f'take {" ".join(map(repr, sorted(odd)))} in it; choose another folder'
            )


def is_encodable(text: str) -> bool:
    """Whether a text, such as a name that the system gave, can be written as UTF-8."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _read_plugin(path: Path | None) -> Mapping[str, Any]:
    """Read which plugin runs the steps; its template is found from any folder then."""
    plugin = dict(_read_mapping(path, '--nipype-plugin-file'))
    arguments = plugin.get('plugin_args')
    if isinstance(arguments, dict):
        template = Path(str(arguments.get('template')))
        if template.is_file():
            plugin['plugin_args'] = {**arguments, 'template': str(template.absolute())}
    return plugin


def _run_settings(
    options: argparse.Namespace, environ: Mapping[str, str], plugin: Mapping[str, Any]
) -> RunSettings:
    """Fill what the user left open from what the machine offers."""
    nprocs = options.nprocs or available_cores(environ)
    return RunSettings(
        nprocs=nprocs,
        omp_nthreads=min(options.omp_nthreads or 0, nprocs),
        mem_gb=resolve_memory(options.mem) or available_memory_gb(environ),
        device=choose_device(options.device),
        low_mem=options.low_mem,
        stage=options.stage,
        plugin=check_plugin(plugin),
        stop_on_first_crash=options.stop_on_first_crash,
        resource_monitor=options.resource_monitor,
        draws_graph=options.write_graph,
    )


def resolve_memory(amount: str | None) -> float:
    """Turn an amount of memory into GB; 0 where none was given.

    Parameters
    ----------
    amount
        Amount as `memory` gives it: ``16G``, or ``16`` as it was typed.

    Raises
    ------
    ValueError
        For a number without a unit that the machine does not have in GB: fMRIPrep counts in MB.
    """
    if amount is None:
        return 0.0
    present = installed_memory_gb()
    if gigabytes(amount) > present and not amount[-1].isalpha():
        raise ValueError(
            f'--mem {amount} is {amount} GB here, and this machine has {present:.3g} GB: '
            f'write {amount}M for {gigabytes(amount + "M"):g} GB, or {amount}G if that is meant'
        )
    return gigabytes(amount)


def _read_mapping(path: Path | None, option: str) -> Mapping[str, Any]:
    """Read a file of keys and values, JSON or YAML; no file gives nothing."""
    if path is None:
        return {}
    try:
        text = read_text(path)
        content = parse_json(text) if path.suffix == '.json' else yaml.safe_load(text)
    except OSError as error:
        raise ValueError(f'{option} {path}: {error.strerror}') from error
    except (ValueError, RecursionError, yaml.YAMLError) as error:
        raise ValueError(f'{option} {path} cannot be read: {error}') from error
    if not isinstance(content, dict):
        raise ValueError(f'{option} {path} holds {type(content).__name__}, not keys with values')
    return content


def tbm_of(options: argparse.Namespace, environ: Mapping[str, str]) -> tuple[TbmRequest, str]:
    """Make the request for tensor-based morphometry.

    Returns
    -------
    request, note
        What is requested, and which template takes the place of a missing one; empty for none.

    Raises
    ------
    ValueError
        For numbers that make no sense, and for options that contradict the machine.
    """
    settings, template, note = resolve_tests(options, environ)
    return TbmRequest(settings, settings_of(options, environ), template), note


def resolve_tests(
    options: argparse.Namespace, environ: Mapping[str, str]
) -> tuple[TbmSettings, TemplateFiles, str]:
    """Find how morphometry tests, and the template where its brains begin.

    Returns
    -------
    settings, template, note
        The note says which template takes the place of a missing one; it is empty for none.

    Raises
    ------
    ValueError
        For numbers that make no sense.
    """
    if options.permutations < LEAST_PERMUTATIONS:
        raise ValueError(
            f'--permutations {options.permutations}: fewer than {LEAST_PERMUTATIONS} tell '
            'nothing below a probability of .05'
        )
    if options.tbm_fwhm < 0 or options.atlas_exams < 2:
        raise ValueError('--tbm-fwhm cannot be negative, and --atlas-exams must be 2 or more')
    template, note = locate_template(TBM_SPACE, environ)
    settings = TbmSettings(
        options.permutations, options.seed, options.tbm_fwhm, options.atlas_exams
    )
    return settings, template, note
