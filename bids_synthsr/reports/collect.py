"""The report of an exam, gathered from its outputs and the scans that they come from.

Nothing else is needed, so that a report can be written anew at any time.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

from bids_synthsr.dataset.filenames import split_name
from bids_synthsr.dataset.files import read_json, read_object
from bids_synthsr.dataset.images import load_volume
from bids_synthsr.dataset.scans import load_scan
from bids_synthsr.dataset.selection import Row
from bids_synthsr.dataset.templates import TemplateFiles, load_template
from bids_synthsr.derivatives.places import (
    Derivatives,
    ExamDerivatives,
    name_of_space_transform,
    sidecar_of,
)
from bids_synthsr.derivatives.records import Record, StepCost, read_steps
from bids_synthsr.derivatives.tables import read_table
from bids_synthsr.imaging.resampling import resample
from bids_synthsr.reports.boilerplate import (
    MethodFacts,
    facts_of_record,
    methods_text,
    summary_text,
)
from bids_synthsr.reports.content import (
    AlignedPair,
    ExamReport,
    Failure,
    FileRow,
    Role,
    SelectionRow,
    StandardSpace,
    StructureRow,
    Volume,
)
from bids_synthsr.values.exam import SUFFIXES, Scan

VOLUMES = '_volumes.tsv'
ROLES = ('reference', 'used', 'aligned', 'left out')
TABLES = {
    '_selection.tsv': 'Every scan of the exam, whether it was used, and why.',
    VOLUMES: 'Volumes of the structures, and how much of each is uncertain.',
}
UNCERTAINTY = 'uncertainty'  # suffix of maps of the expected error
HEX_SHOWN = 12  # digits of a SHA-256 by which a reader distinguishes files


def collect_report(place: ExamDerivatives, record: Record, scans: Iterable[Scan]) -> ExamReport:
    """Gather what the report of a finished exam shows.

    Parameters
    ----------
    place
        Where its outputs lie.
    record
        Record of what was done.
    scans
        Its scans, judged by their headers.
    """
    rows = read_table(place.selection)
    names = used_names(rows)
    natives = list(_natives(names, scans))
    outputs = list(_outputs(place, record))
    main = read_json(sidecar_of(_products(place, record)[0]))
    run = read_run(place.dataset, record.run_uuid)
    facts = exam_facts(record, run, main, rows, _given_names(place, names))
    return ExamReport(
        label=place.label,
        state='warned' if record.warnings else 'complete',
        summary=summary_text(facts),
        warnings=record.warnings,
        selection=selection_rows(rows),
        natives=tuple(natives),
        pairs=tuple(_pairs(place, natives)),
        reliability=tuple(
            Volume(name, *load_volume(place.reliability(name, names[0]))) for name in names
        ),
        outputs=tuple(outputs),
        baseline=_baseline(natives[0], outputs[0]),
        segmentation=_segmentation(place, record),
        structures=_structures(place, record),
        quality=main.get('MethodDetails', {}).get('quality', {}),
        spaces=tuple(_spaces(place, record, run)),
        files=tuple(_files(place, record)),
        steps=steps_of(place, record.run_uuid),
        provenance=_provenance(run, main, record),
        methods=methods_text(facts),
    )


def collect_failure(
    place: ExamDerivatives, record: Record, rows: Sequence[Row], failure: Failure
) -> ExamReport:
    """Gather what is known of an exam that failed.

    Parameters
    ----------
    place
        Where its outputs would lie.
    record
        Record of how the work ended.
    rows
        Its selection table as far as it is known.
    failure
        What stopped the work on it.
    """
    run = read_run(place.dataset, record.run_uuid)
    return ExamReport(
        label=place.label,
        state='failed',
        selection=selection_rows(rows),
        steps=steps_of(place, record.run_uuid),
        provenance=_provenance(run, {}, record),
        failures=(failure,),
    )


def used_names(rows: Iterable[Row]) -> list[str]:
    """Names of the scans that were brought to the output grid, the reference first."""
    sources = [row for row in rows if row['role'] != 'left out']
    return [row['scan'] for row in sorted(sources, key=lambda row: row['role'] != 'reference')]


def selection_rows(rows: Iterable[Row]) -> tuple[SelectionRow, ...]:
    """Show the selection table in the order of the pictures, and last what was left out."""
    in_order = sorted(rows, key=lambda row: ROLES.index(row['role']))
    return tuple(
        SelectionRow(
            row['scan'],
            cast(Role, row['role']),
            row['reason'],
            row['file'],
            row['orientation'],
            row['voxels'],
            row['voxel_size_mm'],
            _shown(row, 'head'),
            _shown(row, 'brain'),
            (row['warnings'],) if row['warnings'] else (),
        )
        for row in in_order
    )


def _shown(row: Row, part: str) -> str:
    """Say how much of head or brain a scan shows; nothing where it is not known."""
    length, percent = row.get(f'{part}_mm'), row.get(f'{part}_percent')
    return f'{percent} %, {length} mm' if length else ''


def read_run(derivatives: Derivatives, run_uuid: str) -> Mapping[str, Any]:
    """Read command, settings, versions and machine of a run; empty where its logs are gone."""
    try:
        return read_object(derivatives.run_facts(run_uuid))
    except (OSError, ValueError):
        return {}


def steps_of(place: ExamDerivatives, run_uuid: str) -> tuple[StepCost, ...]:
    """Show what the steps of the work cost."""
    return tuple(read_steps(place.dataset.steps(run_uuid), place.label))


def exam_facts(
    record: Record,
    run: Mapping[str, Any],
    main: Mapping[str, Any],
    rows: Sequence[Row],
    given: Iterable[str] = (),
) -> MethodFacts:
    """Collect what the methods text of an exam depends on.

    Parameters
    ----------
    record
        Record of the exam: it holds the settings by which it was made.
    run
        Command, versions and machine of the run that made it.
    main
        Sidecar of its main volume.
    rows
        Rows of its selection table.
    given
        Names of the scans whose transforms were given.
    """
    details = main.get('MethodDetails', {})
    by_name = {row['scan']: row for row in rows}
    names = used_names(rows)
    weights = details.get('sha256', '')[:HEX_SHOWN]
    facts = facts_of_record(record, run)
    return replace(
        facts,
        method=main.get('Method') or facts.method,
        contrasts=tuple(by_name[name]['suffix'] for name in names),
        used=tuple(details.get('scans', ())),
        outside=tuple(details.get('scans_outside_brain', ())),
        is_calibrated=details.get('is_calibrated'),
        main=details.get('main', ''),
        beside=tuple(details.get('beside', ())),
        reference_reason=_clause(by_name[names[0]]['reason']) if names else '',
        given=tuple(by_name[name]['suffix'] for name in given),
        takes_transforms=False,
        weights=f'{details["weights"]}, SHA-256 {weights}' if weights else '',
    )


def _given_names(place: ExamDerivatives, names: Sequence[str]) -> Iterator[str]:
    """Name the scans whose transforms to the reference were given: their sidecars say so."""
    for name in names[1:]:
        if read_json(sidecar_of(place.transform(name, names[0])))['Fit'].get('is_given'):
            yield name


def _clause(sentence: str) -> str:
    """Make a clause of a sentence."""
    return sentence[:1].lower() + sentence[1:].rstrip('.')


def _natives(names: Sequence[str], scans: Iterable[Scan]) -> Iterator[Volume]:
    """Load the scans that were used, as acquired."""
    by_name = {scan.name: scan for scan in reversed([*scans])}
    for name in names:
        scan, voxels = load_scan(by_name[name])
        if voxels is not None and scan.grid is not None and scan.acquisition is not None:
            yield Volume(name, voxels, scan.grid, scan.acquisition.slice_axis)


def _products(place: ExamDerivatives, record: Record) -> list[Path]:
    """Find the volumes that methods made, the main one first: their sidecars name the method."""
    root = place.dataset.root
    images = [root / path for path in record.outputs if path.endswith('.nii.gz')]
    return [path for path in images if 'Method' in read_json(sidecar_of(path))]


def _spaces(
    place: ExamDerivatives, record: Record, run: Mapping[str, Any]
) -> Iterator[StandardSpace]:
    """Load the main volume in every standard space, and the template if it is still there."""
    templates = [TemplateFiles(**fields) for fields in run.get('templates', ())]
    for path in (place.dataset.root / name for name in record.outputs):
        entities, suffix, extension = split_name(path.name)
        if extension != '.nii.gz' or suffix != 'T1w' or entities.get('space') in (None, *SUFFIXES):
            continue
        space, resolution = entities['space'], entities.get('res', '')
        main = Volume(space, *load_volume(path))
        name = f'{space}, resolution {resolution}' if resolution else space
        fit = read_json(sidecar_of(place.path_of(*name_of_space_transform('T1w', space), '.h5')))
        same = [files for files in templates if files.entities.items() <= entities.items()]
        template = None
        if same and Path(same[0].t1w).is_file():
            of_space = load_template(same[0])
            template = resample(of_space.t1w, of_space.grid, main.grid)
        yield StandardSpace(
            name, main, template, fit['Fit']['brain_dice'], fit['Fit']['correlation']
        )


def _files(place: ExamDerivatives, record: Record) -> Iterator[FileRow]:
    """List all outputs but sidecars, with the fields of these."""
    for name in record.outputs:
        if not name.endswith('.json'):
            sidecar = sidecar_of(place.dataset.root / name)
            described = read_json(sidecar) if sidecar.is_file() else {}
            description = str(described.get('Description', '')) or _describe_table(name)
            yield FileRow(name, description)


def _describe_table(name: str) -> str:
    """Describe a table that has no sidecar; nothing of another file."""
    return next((text for end, text in TABLES.items() if name.endswith(end)), '')


def _outputs(place: ExamDerivatives, record: Record) -> Iterator[Volume]:
    """Load the images that the method made."""
    names: set[str] = set()
    for path in _products(place, record):
        suffix = _suffix(path)
        if suffix in (*SUFFIXES, UNCERTAINTY):
            name = 'Uncertainty' if suffix == UNCERTAINTY else f'Output {suffix}'
            if name in names:
                name += f' ({split_name(path.name)[0]["desc"]})'
            names.add(name)
            yield Volume(name, *load_volume(path))


def _segmentation(place: ExamDerivatives, record: Record) -> Volume | None:
    """Load the segmentation that the method made, if it made one."""
    paths = [path for path in _products(place, record) if _suffix(path) == 'dseg']
    return Volume('Segmentation', *load_volume(paths[0])) if paths else None


def _suffix(path: Path) -> str:
    return path.name.removesuffix('.nii.gz').rpartition('_')[2]


def _structures(place: ExamDerivatives, record: Record) -> tuple[StructureRow, ...]:
    """Read the volumes of structures, left and right together."""
    by_name: dict[str, list[tuple[float, float]]] = {}
    for path in record.outputs:
        if path.endswith(VOLUMES):
            for row in read_table(place.dataset.root / path):
                name = row['name'].removeprefix('Left-').removeprefix('Right-')
                sizes = float(row['volume_mm3']) / 1000, float(row['uncertainty_mm3']) / 1000
                by_name.setdefault(name, []).append(sizes)
    return tuple(
        StructureRow(name, tuple(volume for volume, _ in sides), sum(doubt for _, doubt in sides))
        for name, sides in by_name.items()
    )


def _pairs(place: ExamDerivatives, natives: Sequence[Volume]) -> Iterator[AlignedPair]:
    """Show every moved scan before and after."""
    first = natives[0].name
    reference, grid = load_volume(place.resampled(first, first))
    for scan in natives[1:]:
        fit = read_json(place.transform(scan.name, first).with_suffix('.json'))['Fit']
        yield AlignedPair(
            scan.name,
            grid,
            reference,
            resample(scan.voxels, scan.grid, grid),
            load_volume(place.resampled(scan.name, first))[0],
            fit['similarity_before'],
            fit['similarity_after'],
            fit['displacement'],
            fit['rotation_deg'],
            fit['overlap'],
            fit['reason'],
        )


def _baseline(reference: Volume, main: Volume) -> Volume:
    """Interpolate the reference by cubic splines, as what the output must surpass."""
    voxels = resample(reference.voxels, reference.grid, main.grid, order=3)
    return Volume(f'Cubic interpolation of {reference.name}', voxels, main.grid)


def _provenance(run: Mapping[str, Any], main: Mapping[str, Any], record: Record) -> dict[str, Any]:
    """Describe where the outputs come from."""
    details = {'Method': main.get('Method'), 'Details': main.get('MethodDetails')}
    return {**run, **{key: value for key, value in details.items() if value}} | {
        'run': record.run_uuid
    }
