"""The page of an evaluation on simulated scans."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from bids_synthsr.dataset.images import written_atomically
from bids_synthsr.evaluation import volume_errors
from bids_synthsr.evaluation.results import Case, Result, by_setting
from bids_synthsr.reports.embedding import jpeg_of_file, svg
from bids_synthsr.reports.figures import INK, LINE_COLORS, rows_of_slices
from bids_synthsr.reports.pages import Picture, write_page
from bids_synthsr.values.grid import Grid

BASELINE = 'cubic'
PICTURES = 6  # on the page


@dataclass(frozen=True)
class Summary:
    """One method in one setting, over heads and directions.

    Parameters
    ----------
    contrasts, spacing, thickness
        The setting, mm.
    method
        Its name.
    count
        Scans.
    means
        By measure.
    gain, least_gain
        Of PSNR over cubic interpolation, mean and least, dB; None where that was not run.
    """

    contrasts: str
    spacing: float
    thickness: float
    method: str
    count: int
    means: Mapping[str, float]
    gain: float | None
    least_gain: float | None


def summarise(results: Sequence[Result]) -> list[Summary]:
    """Average over heads and directions, by setting and method, in the order of the results."""
    gains = gains_over_baseline(results)
    groups = by_setting(results)
    return [
        Summary(
            *setting,
            method,
            len(group),
            {
                name: float(np.mean([found.measures[name] for found in group]))
                for name in group[0].measures
            },
            *_mean_and_least([gains[found.case, method] for found in group
                              if (found.case, method) in gains]),
        )
        for (setting, method), group in groups.items()
    ]  # fmt: skip


def _mean_and_least(values: Sequence[float]) -> tuple[float | None, float | None]:
    return (float(np.mean(values)), min(values)) if values else (None, None)


def gains_over_baseline(results: Sequence[Result]) -> dict[tuple[Case, str], float]:
    """PSNR minus that of cubic interpolation of the same scan, dB, by case and method."""
    base = {found.case: found.measures['psnr'] for found in results if found.method == BASELINE}
    return {
        (found.case, found.method): found.measures['psnr'] - base[found.case]
        for found in results
        if found.case in base and found.method != BASELINE
    }


def draw_gains(results: Sequence[Result]) -> Figure:
    """Draw the gain of every scan over cubic interpolation, by setting; a colour per method."""
    gains = gains_over_baseline(results)
    settings = list(dict.fromkeys(found.setting for found in results))
    methods = list(dict.fromkeys(method for _, method in gains))
    figure = Figure((8, 3.2), facecolor='none')
    axes = figure.add_axes((0.09, 0.2, 0.89, 0.76), facecolor='none')
    for number, method in enumerate(methods):
        shift = (number - (len(methods) - 1) / 2) * 0.25
        points = [
            (settings.index(case[-1]) + shift, gain)
            for (case, name), gain in gains.items()
            if name == method
        ]
        axes.plot(*zip(*points, strict=True), 'o', alpha=0.6, label=method,
                  color=LINE_COLORS[number % len(LINE_COLORS)])  # fmt: skip
    axes.axhline(0, color=INK, linewidth=1)
    names = [f'{exam}\n{s:g} mm\n{t:g} mm thick' for exam, s, t in settings]
    axes.set_xticks(range(len(settings)), names)
    axes.set_xlim(-0.5, len(settings) - 0.5)
    axes.set_ylabel('PSNR above cubic, dB', color=INK)
    axes.tick_params(colors=INK)
    axes.spines[['top', 'right', 'bottom']].set_visible(False)
    axes.spines['left'].set_color(INK)
    if methods:
        axes.legend(frameon=False, labelcolor=INK)
    return figure


def save_comparison(volumes: Sequence[np.ndarray], grid: Grid, axis: int, path: Path) -> Path:
    """Draw the same slices of volumes of the same units below each other, whole or not at all."""
    figure = rows_of_slices(volumes, grid, axis, has_same_units=True)
    with written_atomically(path) as temporary:
        figure.savefig(temporary, format='jpg', pil_kwargs={'quality': 85})
    return path


def write_evaluation(results: Sequence[Result], failures: Sequence[str], path: Path) -> Path:
    """Write the page of an evaluation: one file that needs no other."""
    shown = [
        Picture(
            jpeg_of_file(found.picture),
            f'Slices of the truth and, below, of {found.method}',
            f'{found.method}, {found.spacing:g} mm',
            f'{found.subject}, {found.contrasts}, {found.orientation} slices of '
            f'{found.thickness:g} mm. Above the truth, below {found.method}: '
            f'{found.measures["psnr"]:.2f} dB.',
        )
        for found in pictured(results)
    ]
    chart = Picture(
        svg(draw_gains(results), 'gains'), 'Gain in PSNR over cubic interpolation by setting',
        'Gain over cubic interpolation', 'A dot per head and direction. Below 0 is worse.',
    )  # fmt: skip
    return write_page(
        'evaluation.html',
        path,
        summaries=summarise(results),
        table=volume_errors.tabulate(results),
        charts=volume_errors.draw_charts(results),
        shown_structures=volume_errors.SHOWN,
        heads=len({(found.subject, found.session) for found in results}),
        chart=chart,
        pictures=shown,
        failures=failures,
    )


def pictured(results: Sequence[Result]) -> list[Result]:
    """Choose one scan of the first head for each setting and method, the widest slices first."""
    first = [found for found in results if found.subject == results[0].subject]
    plane = first[0].orientation
    chosen = [found for found in first if found.orientation == plane and found.picture.is_file()]
    return sorted(chosen, key=lambda found: -found.spacing)[:PICTURES]
