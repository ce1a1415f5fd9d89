"""Tables of a group: volumes without the effects of scanners, and differences between groups."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from bids_synthsr.dataset.files import write_json, write_text
from bids_synthsr.derivatives.group import INTRACRANIAL, GroupRow, structure_names
from bids_synthsr.derivatives.group_design import ICV, LEAST_PER_GROUP, GroupDesign
from bids_synthsr.derivatives.places import Derivatives, sidecar_of
from bids_synthsr.derivatives.tables import MISSING, table_text
from bids_synthsr.morphometry.groups import GroupEffect, compare_groups, false_discovery
from bids_synthsr.morphometry.harmonization import harmonize

COLUMNS = {
    'structure': 'Name of the structure.',
    'n_first': 'Number of exams of the first group.',
    'mean_first': 'Mean volume of the first group.',
    'sd_first': 'Standard deviation of the first group.',
    'n_second': 'Number of exams of the second group.',
    'mean_second': 'Mean volume of the second group.',
    'sd_second': 'Standard deviation of the second group.',
    'difference': 'Second group minus first, the covariates held fixed.',
    'difference_low': 'Lower end of the 95 % confidence interval of the difference.',
    'difference_high': 'Upper end of the 95 % confidence interval of the difference.',
    'percent': 'The difference in percent of the mean of the first group.',
    'g': "Hedges' g: the difference in standard deviations of what the covariates leave.",
    'g_low': 'Lower end of the 95 % confidence interval of g.',
    'g_high': 'Upper end of the 95 % confidence interval of g.',
    't': "Student's t of the difference.",
    'p': 'Two-sided probability of such a t without a difference.',
    'q': 'p adjusted for the share of false discoveries among all structures '
    '(Benjamini and Hochberg).',
}
IN_MM3 = ('mean_first', 'sd_first', 'mean_second', 'sd_second', 'difference', 'difference_low',
          'difference_high')  # fmt: skip
FIXED = 'it is the covariate icv, which is held fixed'
FEW = 'too few exams of a group have it'
SAME = 'it is the same in all exams'
LACKING = '{} exams do not have it, such as {}'
LEAST_SPREAD_MM3 = 1e-6  # a volume that is the same in all exams cannot be compared


@dataclass(frozen=True)
class StructureEffect:
    """How the volume of a structure differs between two groups.

    Parameters
    ----------
    name
        Name of the structure.
    effect
        Its difference between the two groups.
    q
        Its probability, adjusted for all structures.
    """

    name: str
    effect: GroupEffect
    q: float


def fixed_structures(design: GroupDesign | None) -> dict[str, str]:
    """Name the structures that are covariates themselves, with the reason why they are left out.

    Parameters
    ----------
    design
        The exams that are compared; None for none.
    """
    return {INTRACRANIAL: FIXED} if design is not None and ICV in design.names else {}


def harmonize_rows(
    rows: Sequence[GroupRow], scanners: Sequence[str], kept: np.ndarray, left: dict[str, str]
) -> list[dict[str, float]]:
    """Remove the effects of scanners from the volumes of exams.

    Parameters
    ----------
    rows
        Finished exams whose volumes are known.
    scanners
        Scanner, site or protocol of each.
    kept
        What explains differences that shall stay, ``(N, C)``.
    left
        Why structures are left out, by name: these are, and more are added.

    Returns
    -------
    volumes
        Volumes of each exam by structure, mm³.

    Raises
    ------
    ValueError
        If there is one scanner only, or nothing to harmonize.
    """
    if len(set(scanners)) < 2:
        raise ValueError(f'all exams have {next(iter(scanners), MISSING)}: there is no effect')
    names = []
    for name in (name for name in structure_names(rows) if name not in left):
        values = [row.volumes.get(name, 0.0) for row in rows]
        lacking = [row.exam for row in rows if name not in row.volumes]
        if lacking:
            left[name] = LACKING.format(len(lacking), lacking[0])
        elif np.ptp(values) <= LEAST_SPREAD_MM3:
            left[name] = SAME
        else:
            names.append(name)
    if not names:
        raise ValueError('no structure has a volume in all exams')
    harmonized = harmonize(
        np.array([[row.volumes[name] for name in names] for row in rows]), scanners, kept
    )
    return [dict(zip(names, map(float, row), strict=True)) for row in harmonized]


def find_effects(
    design: GroupDesign, volumes: Sequence[Mapping[str, float]], left: dict[str, str]
) -> list[StructureEffect]:
    """Compare the volume of every structure between the two groups.

    Parameters
    ----------
    design
        The exams and what is held fixed.
    volumes
        Volumes of each exam by structure, mm³; an exam without one is left out for it alone.
    left
        Why structures are left out, by name: these are, and more are added.

    Raises
    ------
    ValueError
        If no structure can be compared.
    """
    found: dict[str, GroupEffect] = {}
    for name in (name for name in structure_names(design.rows) if name not in left):
        values = np.array([row.get(name, np.nan) for row in volumes])
        is_known = np.isfinite(values)
        second = design.is_second[is_known]
        if min(second.sum(), (~second).sum()) < LEAST_PER_GROUP:
            left[name] = FEW
        elif np.ptp(values[is_known]) <= LEAST_SPREAD_MM3:
            left[name] = SAME
        else:
            try:
                found[name] = compare_groups(values[is_known], second, design.covariates[is_known])
            except ValueError as error:
                left[name] = str(error)
    if not found:
        raise ValueError(f'No structure can be compared: {next(iter(left.values()), FEW)}')
    q = false_discovery(np.array([effect.p for effect in found.values()]))
    return [
        StructureEffect(name, effect, float(one))
        for (name, effect), one in zip(found.items(), q, strict=True)
    ]


def write_effects(
    effects: Sequence[StructureEffect],
    design: GroupDesign,
    column: str,
    left: Mapping[str, str],
    derivatives: Derivatives,
) -> list[Path]:
    """Write the table of differences and its sidecar, which names groups and covariates.

    Parameters
    ----------
    effects
        What came out for each structure.
    design
        The exams that were compared.
    column
        Column by which the volumes were harmonized; empty for not at all.
    left
        Why structures are left out, by name.
    derivatives
        Where the outputs lie.
    """
    rows = []
    for one in effects:
        effect = one.effect
        percent = 100 * effect.difference / effect.means[0] if effect.means[0] else None
        values = (
            effect.counts[0], effect.means[0], effect.sds[0],
            effect.counts[1], effect.means[1], effect.sds[1],
            effect.difference, *effect.interval, percent, effect.g, *effect.g_interval,
            effect.t, effect.p, one.q,
        )  # fmt: skip
        cells = (MISSING if x is None else x if isinstance(x, int) else f'{x:.5g}' for x in values)
        rows.append(dict(zip(COLUMNS, (one.name, *cells), strict=True)))
    described = {
        'FirstGroup': design.levels[0],
        'SecondGroup': design.levels[1],
        'Covariates': list(design.names),
        'Volumes': f'harmonized by {column} (ComBat)' if column else 'as measured',
        'LeftOut': dict(design.left_out),
        'StructuresLeftOut': dict(left),
        'Warnings': list(design.warnings),
        **{
            name: {'Description': text, **({'Units': 'mm^3'} if name in IN_MM3 else {})}
            for name, text in COLUMNS.items()
        },
    }
    path = derivatives.group_effects
    return [write_text(path, table_text(rows)), write_json(sidecar_of(path), described)]


def write_harmonized(
    rows: Sequence[GroupRow],
    scanners: Sequence[str],
    volumes: Sequence[Mapping[str, float]],
    column: str,
    derivatives: Derivatives,
) -> list[Path]:
    """Write the volumes without the effects of scanners, and a sidecar."""
    names = [*volumes[0]]
    table = [
        {**row.keys, column: scanner, **{name: f'{one[name]:.1f}' for name in names}}
        for row, scanner, one in zip(rows, scanners, volumes, strict=True)
    ]
    described = {
        'Description': f'Volumes without the effects of {column} (ComBat; Johnson et al. 2007, '
        'Fortin et al. 2018). Differences that group and covariates explain are kept.',
        **{name: {'Description': f'Volume of {name}.', 'Units': 'mm^3'} for name in names},
    }
    path = derivatives.group_harmonized
    return [write_text(path, table_text(table)), write_json(sidecar_of(path), described)]
