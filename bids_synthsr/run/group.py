"""The group level: tables of all exams, differences between groups, and a page."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from bids_synthsr.dataset.files import read_object
from bids_synthsr.derivatives.group import GroupRow, read_group, write_group_tables
from bids_synthsr.derivatives.group_design import Columns, GroupDesign, GroupRequest, make_design
from bids_synthsr.derivatives.group_statistics import (
    StructureEffect,
    find_effects,
    fixed_structures,
    harmonize_rows,
    write_effects,
    write_harmonized,
)
from bids_synthsr.derivatives.group_surfaces import read_surfaces, write_surface_tables
from bids_synthsr.derivatives.morphometry import read_tbm
from bids_synthsr.derivatives.ownership import check_owner, check_source
from bids_synthsr.derivatives.places import Derivatives, sidecar_of
from bids_synthsr.derivatives.tables import MISSING
from bids_synthsr.reports.group_page import write_group_page
from bids_synthsr.reports.shape_pictures import report_shapes
from bids_synthsr.run.messages import announce
from bids_synthsr.run.morphometry import compare_shapes
from bids_synthsr.run.request import TbmRequest
from bids_synthsr.settings import SOME_FAILED, SUCCESS, WRONG_USE
from bids_synthsr.values.text import plain_text

LOGGER = logging.getLogger('bids_synthsr')
OLD_MAPS = '%s is of an earlier run with --tbm: the page says so'
RATINGS, MOST_NOTE = (1, 2, 3), 1000  # of a reader; letters of a note
NOTHING = '%s holds no exam: run the participant level first'


Harmonized = tuple[Sequence[GroupRow], Sequence[str], Sequence[dict[str, float]]]


@dataclass(frozen=True, eq=False)
class GroupResult:
    """What is known of a group before anything is written.

    Parameters
    ----------
    rows
        The exams that were asked for.
    others
        Number of exams that were not.
    design
        Exams of two groups; None without a comparison.
    effects
        Differences between them, structure by structure.
    harmonized
        Exams, their scanners, and volumes without the effects of these; None for none.
    left
        Why structures are left out, by name.
    """

    rows: Sequence[GroupRow]
    others: int
    design: GroupDesign | None = None
    effects: Sequence[StructureEffect] = ()
    harmonized: Harmonized | None = None
    left: Mapping[str, str] = field(default_factory=dict)


def run_group(
    bids_dir: Path, output_dir: Path, wanted: GroupRequest, tbm: TbmRequest | None = None
) -> int:
    """Write tables, statistics, maps and page of all exams; return the exit code.

    Parameters
    ----------
    bids_dir
        The input data set; never written to.
    output_dir
        Folder with the outputs of the participant level.
    wanted
        Which groups, covariates and scanners are requested.
    tbm
        How shapes are compared at each voxel; None for not at all.
    """
    derivatives = Derivatives(output_dir)
    try:
        if not bids_dir.is_dir():
            raise ValueError(f'{bids_dir}: there is no such folder')
        if not derivatives.records.is_dir():
            raise ValueError(NOTHING % output_dir)
        check_owner(derivatives)
        check_source(derivatives, bids_dir)
        columns = Columns(bids_dir)
        result = _gather(derivatives, columns, wanted)
    except (ValueError, OSError) as error:
        announce('%s', error)
        return WRONG_USE
    ratings = _read_ratings(derivatives)
    faults: list[str] = []
    try:
        written = _write_tables(result, wanted, ratings, derivatives)
        if tbm is not None and result.design is not None:
            faults += compare_shapes(result.design, tbm, derivatives, bids_dir)
        is_fresh = tbm is not None and not faults
        if not is_fresh and read_tbm(derivatives) is not None:
            announce(OLD_MAPS, derivatives.group_tbm)
        shapes = report_shapes(derivatives, is_fresh)
        page = write_group_page(
            result.rows, columns, wanted, (result.design, result.effects), shapes, ratings,
            derivatives.group_page,
        )  # fmt: skip
    except OSError as error:  # such as a full disk
        LOGGER.debug('', exc_info=True)
        announce('The group level broke off: %s. Once that is mended, run it again.', error)
        return SOME_FAILED
    _tell(result, written, page, derivatives)
    return SOME_FAILED if faults else SUCCESS


def _gather(derivatives: Derivatives, columns: Columns, wanted: GroupRequest) -> GroupResult:
    """Read all exams, and compute what is requested of those that were asked for."""
    every = read_group(derivatives, columns.people)
    rows = _chosen(every, wanted)
    columns.check(rows)
    others = len(every) - len(rows)
    design = make_design(rows, columns, wanted) if wanted.column else None
    left = fixed_structures(design)
    if not wanted.scanner_column:
        if design is None:
            return GroupResult(rows, others)
        effects = find_effects(design, [row.volumes for row in design.rows], left)
        return GroupResult(rows, others, design, effects, None, left)
    harmonized = _harmonize(rows, columns, wanted.scanner_column, design, left)
    effects = find_effects(design, harmonized[2], left) if design is not None else []
    return GroupResult(rows, others, design, effects, harmonized, left)


def _harmonize(
    rows: Sequence[GroupRow],
    columns: Columns,
    column: str,
    design: GroupDesign | None,
    left: dict[str, str],
) -> Harmonized:
    """Remove the effects of scanners from the volumes of the exams that are compared, or all."""
    if design is not None:
        taken = list(design.rows)
        kept = np.column_stack([design.is_second, design.covariates])
    else:
        taken = [row for row in rows if row.state == 'finished' and row.volumes]
        kept = np.zeros((len(taken), 0))
    scanners = columns.values(taken, column)
    if unknown := [row.exam for row, scanner in zip(taken, scanners, strict=True) if not scanner]:
        raise ValueError(
            f'--harmonize {column}: it is {MISSING} for {len(unknown)} exams '
            f'({", ".join(unknown[:3])}), which cannot be harmonized: fill it in, or leave them '
            'out with --participant-label'
        )
    try:
        return taken, scanners, harmonize_rows(taken, scanners, kept, left)
    except ValueError as error:
        raise ValueError(f'--harmonize {column}: {error}') from error


def _write_tables(
    result: GroupResult,
    wanted: GroupRequest,
    ratings: Mapping[str, Mapping[str, object]],
    derivatives: Derivatives,
) -> list[Path]:
    """Write all tables, and remove those of an earlier comparison that was not asked for."""
    written = write_group_tables(result.rows, derivatives, ratings)
    written += write_surface_tables(read_surfaces(result.rows, derivatives), derivatives)
    column = wanted.scanner_column
    for path, is_made in (
        (derivatives.group_effects, result.design is not None),
        (derivatives.group_harmonized, result.harmonized is not None),
    ):
        if not is_made:
            for stale in (path, sidecar_of(path)):
                stale.unlink(missing_ok=True)
    if result.harmonized is not None:
        written += write_harmonized(*result.harmonized, column, derivatives)
    if result.design is not None:
        written += write_effects(result.effects, result.design, column, result.left, derivatives)
    return written


def _tell(
    result: GroupResult, written: Sequence[Path], page: Path, derivatives: Derivatives
) -> None:
    """Tell what was left out, and where all stands."""
    if result.others:
        announce('Tables and page hold what was asked for, without %d other exams', result.others)
    for warning in result.design.warnings if result.design else ():
        announce('%s', warning)
    for name, reason in result.left.items():
        announce('%s is not compared: %s', name, reason)
    if result.design is not None and result.design.left_out:
        announce(
            '%d are left out of the comparison, and %s says why',
            len(result.design.left_out),
            sidecar_of(derivatives.group_effects),
        )
    finished = sum(row.state == 'finished' for row in result.rows)
    tables = ', '.join(path.name for path in written if path.suffix == '.tsv')
    announce('%d of %d exams are finished; tables: %s', finished, len(result.rows), tables)
    announce('Page: %s', page)


def _chosen(rows: Sequence[GroupRow], wanted: GroupRequest) -> list[GroupRow]:
    """Take the people and sessions that are asked for.

    Raises
    ------
    ValueError
        If one of them is not there, or if nothing is left.
    """
    for prefix, key, labels in (
        ('sub-', 'participant_id', wanted.participants),
        ('ses-', 'session_id', wanted.sessions),
    ):
        asked = {prefix + label.removeprefix(prefix) for label in labels}
        present = {row.keys[key] for row in rows}
        if missing := sorted(asked - present):
            raise ValueError(f'There is no exam of {", ".join(missing)} in the output folder')
        rows = [row for row in rows if not asked or row.keys[key] in asked]
    if not rows:
        raise ValueError('No exam is left: people and sessions that were asked for do not meet')
    return [*rows]


def _read_ratings(derivatives: Derivatives) -> dict[str, dict[str, object]]:
    """Read what readers of the page said, as far as it can be read."""
    path = derivatives.group_ratings
    try:
        content = read_object(path) if path.exists() else {}
    except (OSError, ValueError) as error:
        announce('%s cannot be read, and no rating is taken over: %s', path, error)
        return {}
    ratings = {exam: _rating(one) for exam, one in content.items() if isinstance(one, dict)}
    return {exam: one for exam, one in ratings.items() if one}


def _rating(content: dict[str, object]) -> dict[str, object]:
    """Take what is a rating or a note, and nothing else."""
    known: dict[str, object] = {}
    if content.get('rating') in RATINGS and not isinstance(content['rating'], bool):
        known['rating'] = content['rating']
    if isinstance(content.get('note'), str) and content['note']:
        known['note'] = plain_text(str(content['note']), MOST_NOTE)
    return known
