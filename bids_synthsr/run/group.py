"""The group level: tables of all exams, differences between groups, and a page."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from bids_synthsr.dataset.files import read_object
from bids_synthsr.derivatives.group import GroupRow, read_group, write_group_tables
from bids_synthsr.derivatives.group_design import Columns, GroupDesign, GroupRequest, make_design
from bids_synthsr.derivatives.group_statistics import (
    StructureEffect,
    find_effects,
    harmonize_rows,
    write_effects,
    write_harmonized,
)
from bids_synthsr.derivatives.ownership import check_owner, check_source
from bids_synthsr.derivatives.places import Derivatives, sidecar_of
from bids_synthsr.derivatives.tables import MISSING
from bids_synthsr.reports.group_page import write_group_page
from bids_synthsr.run.messages import announce
from bids_synthsr.settings import SOME_FAILED, SUCCESS, WRONG_USE

LOGGER = logging.getLogger('bids_synthsr')
NOTHING = '%s holds no exam: run the participant level first'


def run_group(bids_dir: Path, output_dir: Path, wanted: GroupRequest) -> int:
    """Write tables, statistics and page of all exams; return the exit code.

    Parameters
    ----------
    bids_dir
        The input data set; never written to.
    output_dir
        Folder with the outputs of the participant level.
    wanted
        Which groups, covariates and scanners are requested.
    """
    derivatives = Derivatives(output_dir)
    try:
        if not derivatives.records.is_dir():
            raise ValueError(NOTHING % output_dir)
        check_owner(derivatives)
        check_source(derivatives, bids_dir)
        columns = Columns(bids_dir)
        rows = _chosen(read_group(derivatives, columns.people), wanted)
        design, effects, harmonized = _statistics(rows, columns, wanted)
    except (ValueError, OSError) as error:
        announce('%s', error)
        return WRONG_USE
    ratings = _read_ratings(derivatives)
    try:
        written = write_group_tables(rows, derivatives, ratings)
        _remove_stale(derivatives, design, harmonized)
        if harmonized is not None:
            written += write_harmonized(*harmonized, wanted.scanner_column, derivatives)
        if design is not None:
            written += write_effects(effects, design, wanted.scanner_column, derivatives)
        page = write_group_page(rows, columns, wanted, design, effects, ratings, derivatives)
    except OSError as error:  # such as a full disk
        LOGGER.debug('', exc_info=True)
        announce('The group level broke off: %s. Once that is mended, run it again.', error)
        return SOME_FAILED
    finished = sum(row.state == 'finished' for row in rows)
    for warning in design.warnings if design else ():
        announce('%s', warning)
    if design is not None and design.left_out:
        announce(
            '%d exams were left out of the comparison; why stands in %s',
            len(design.left_out),
            sidecar_of(derivatives.group_effects),
        )
    announce('%d of %d exams are finished; tables: %s', finished, len(rows),
             ', '.join(path.name for path in written if path.suffix == '.tsv'))  # fmt: skip
    announce('Page: %s', page)
    return SUCCESS


Harmonized = tuple[Sequence[GroupRow], Sequence[str], Sequence[dict[str, float]]]


def _statistics(
    rows: Sequence[GroupRow], columns: Columns, wanted: GroupRequest
) -> tuple[GroupDesign | None, Sequence[StructureEffect], Harmonized | None]:
    """Compare the groups and remove the effects of scanners, as far as that is requested."""
    design = make_design(rows, columns, wanted) if wanted.column else None
    if not wanted.scanner_column:
        if design is None:
            return None, (), None
        return design, find_effects(design, [row.volumes for row in design.rows]), None
    if design is not None:
        taken = list(design.rows)
        kept = np.column_stack([design.is_second, design.covariates])
    else:
        taken = [row for row in rows if row.state == 'finished' and row.volumes]
        kept = np.zeros((len(taken), 0))
    scanners = columns.values(taken, wanted.scanner_column)
    if unknown := [row.exam for row, scanner in zip(taken, scanners, strict=True) if not scanner]:
        raise ValueError(
            f'--harmonize {wanted.scanner_column}: it is {MISSING} for {len(unknown)} exams '
            f'({", ".join(unknown[:3])}), which cannot be harmonized: fill it in, or leave them '
            'out with --participant-label'
        )
    try:
        volumes = harmonize_rows(taken, scanners, kept)
    except ValueError as error:
        raise ValueError(f'--harmonize {wanted.scanner_column}: {error}') from error
    effects = find_effects(design, volumes) if design is not None else ()
    return design, effects, (taken, scanners, volumes)


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
    return {exam: dict(one) for exam, one in content.items() if isinstance(one, dict)}


def _remove_stale(
    derivatives: Derivatives, design: GroupDesign | None, harmonized: Harmonized | None
) -> None:
    """Remove tables of an earlier comparison that was not asked for now."""
    for path, is_made in (
        (derivatives.group_effects, design is not None),
        (derivatives.group_harmonized, harmonized is not None),
    ):
        if not is_made:
            for stale in (path, sidecar_of(path)):
                stale.unlink(missing_ok=True)
