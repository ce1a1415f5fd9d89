"""Volumes of structures against the truth, in the layout of Table 2 of Iglesias et al. 2021."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.figure import Figure

from bids_synthsr.evaluation.results import Result, Setting, by_setting
from bids_synthsr.reports.embedding import svg
from bids_synthsr.reports.figures import INK, LINE_COLORS
from bids_synthsr.reports.pages import Picture

SHOWN = ('hippocampus', 'ventricles', 'cortex', 'white-matter')  # in the table and the figures
LEAST_HEADS = 3  # for a correlation that says anything
ML = 1000.0  # mm3


@dataclass(frozen=True)
class Cell:
    """How well one method measures the volume of one structure in one setting.

    Parameters
    ----------
    error
        Mean over scans of ``|v - r| / r``, for volume ``v`` and true volume ``r``.
    bias
        Mean over scans of ``(v - r) / r``.
    correlation
        Correlation of both over scans; None for fewer than three heads.
    effect, reference_effect
        Cohen's d between the two groups, of the method and of the truth; None without groups.
    """

    error: float
    bias: float
    correlation: float | None
    effect: float | None
    reference_effect: float | None


@dataclass(frozen=True)
class Line:
    """One method in one setting.

    Parameters
    ----------
    setting
        Contrasts of the scans, slice spacing and thickness, mm, and profile of the slices.
    method
        Name of the method.
    dice
        Mean Dice over all main structures and scans.
    dices, cells
        Dice and volumes by structure, in the order of `SHOWN`; None where the truth shows none.
    """

    setting: Setting
    method: str
    dice: float
    dices: tuple[float | None, ...]
    cells: tuple[Cell | None, ...]


def tabulate(results: Sequence[Result]) -> list[Line]:
    """Average volumes and overlaps by setting and method; empty where none were compared."""
    lines = []
    for (setting, method), group in by_setting([x for x in results if x.structures]).items():
        every = [m['dice'] for result in group for m in result.structures.values()]
        lines.append(
            Line(
                setting,
                method,
                float(np.mean(every)),
                tuple(_dice(group, name) for name in SHOWN),
                tuple(_cell(group, name) for name in SHOWN),
            )
        )
    return lines


def _dice(group: Sequence[Result], name: str) -> float | None:
    dices = [x.structures[name]['dice'] for x in group if name in x.structures]
    return float(np.mean(dices)) if dices else None


def _cell(group: Sequence[Result], name: str) -> Cell | None:
    """Compare the volumes of a structure with the truth."""
    measured = [result for result in group if name in result.structures]
    if not measured:
        return None
    volumes, true = volumes_in(measured, name)
    is_varied = len({result.subject for result in measured}) >= LEAST_HEADS
    labels = [result.group for result in measured]
    return Cell(
        float(np.abs(volumes / true - 1).mean()),
        float((volumes / true - 1).mean()),
        float(np.corrcoef(volumes, true)[0, 1]) if is_varied and np.ptp(volumes) > 0 else None,
        cohens_d(volumes, labels),
        cohens_d(true, labels),
    )


def volumes_in(results: Sequence[Result], name: str) -> tuple[np.ndarray, np.ndarray]:
    """Volumes of a structure in the results, and true ones, mm3."""
    pairs = [
        (result.structures[name]['volume_mm3'], result.structures[name]['reference_mm3'])
        for result in results
        if name in result.structures
    ]
    volumes, true = np.array(pairs, float).reshape(-1, 2).T
    return volumes, true


def cohens_d(values: np.ndarray, groups: Sequence[str]) -> float | None:
    """Divide the difference of the means of two groups by their pooled sd; None without two.

    The first group in alphabetical order less the second (Cohen 1988).

    Parameters
    ----------
    values
        ``(N,)`` values of people.
    groups
        Group of each person, N of them; empty for people of no group.
    """
    names = sorted(set(groups) - {''})
    if len(names) != 2:
        return None
    first, second = (values[[group == name for group in groups]] for name in names)
    if min(len(first), len(second)) < 2:
        return None
    freedom = len(first) + len(second) - 2
    spread = (len(first) - 1) * first.var(ddof=1) + (len(second) - 1) * second.var(ddof=1)
    pooled = float(np.sqrt(spread / freedom))
    return float(first.mean() - second.mean()) / pooled if pooled > 0 else None


def draw_charts(results: Sequence[Result]) -> list[Picture]:
    """Draw volumes against the true ones, and Bland-Altman, a panel for each structure."""
    compared = [result for result in results if result.structures]
    if not compared:
        return []
    return [
        Picture(
            svg(_panels(compared, is_difference=False), 'scatter'),
            'Volumes against true volumes, by structure.',
            'Volumes against the truth',
            'A dot per scan, ml. On the line both are equal.',
        ),
        Picture(
            svg(_panels(compared, is_difference=True), 'bland-altman'),
            'Differences of volumes against their means, by structure.',
            'Bland-Altman',
            'Difference from the truth against the mean of both, ml. Lines: mean difference, and '
            '1.96 standard deviations around it, in the colour of the method.',
        ),
    ]


def _panels(results: Sequence[Result], *, is_difference: bool) -> Figure:
    """Draw a panel for each structure, a colour for each method."""
    figure = Figure((8, 2.6), facecolor='none')
    methods = list(dict.fromkeys(result.method for result in results))
    for column, name in enumerate(SHOWN):
        axes = figure.add_axes((0.07 + 0.24 * column, 0.2, 0.17, 0.58), facecolor='none')
        for number, method in enumerate(methods):
            of_method = [result for result in results if result.method == method]
            volumes, true = (values / ML for values in volumes_in(of_method, name))
            x, y = ((volumes + true) / 2, volumes - true) if is_difference else (true, volumes)
            color = LINE_COLORS[number % len(LINE_COLORS)]
            axes.plot(x, y, 'o', markersize=3, alpha=0.6, color=color, label=method)
            if is_difference and len(y):
                for level, style in ((0, '-'), (-1.96, ':'), (1.96, ':')):
                    height = y.mean() + level * y.std()
                    axes.axhline(height, color=color, linestyle=style, linewidth=1)
        if is_difference:
            axes.axhline(0, color=INK, linewidth=0.5)
        else:
            axes.axline((1, 1), slope=1, color=INK, linewidth=0.5)
        axes.set_title(name, color=INK, fontsize=9)
        axes.tick_params(colors=INK, labelsize=7)
        axes.spines[['top', 'right']].set_visible(False)
        axes.spines[['left', 'bottom']].set_color(INK)
    figure.legend(
        *figure.axes[0].get_legend_handles_labels(), frameon=False, labelcolor=INK,
        loc='upper center', ncols=len(methods), fontsize=8,
    )  # fmt: skip
    return figure
