"""What an evaluation found: one long table, and a page that sums it up."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from bids_synthsr.data.grid import Grid
from bids_synthsr.dataset.derivatives import write_text
from bids_synthsr.dataset.images import written_atomically
from bids_synthsr.reports.embedding import jpeg_of_file, svg
from bids_synthsr.reports.figures import INK, LINE_COLORS, rows_of_slices
from bids_synthsr.reports.pages import Picture, write_page

COLUMNS = (
    'subject', 'session', 'method', 'contrasts', 'orientation', 'spacing', 'thickness',
    'structure', 'measure', 'value',
)  # fmt: skip
BASELINE = 'cubic'
PICTURES = 6  # on the page


@dataclass(frozen=True)
class Result:
    """How close one method came for one scan of one head.

    Parameters
    ----------
    subject, session
        Labels; ``session`` may be empty.
    method
        Its name.
    contrasts
        Of the scans that were given.
    orientation, spacing, thickness
        Of the slices that were simulated or left out; mm.
    measures
        By name, such as ``psnr``.
    picture
        JPEG: truth above, what was made below.
    left_out
        Name of the scan that was left out; empty where scans were simulated.
    """

    subject: str
    session: str
    method: str
    contrasts: str
    orientation: str
    spacing: float
    thickness: float
    measures: Mapping[str, float]
    picture: Path
    left_out: str = ''

    @property
    def setting(self) -> tuple[float, float]:
        """Slice spacing and thickness, mm."""
        return self.spacing, self.thickness

    @property
    def case(self) -> tuple[str, str, str, float, float]:
        """What all methods got in the same way."""
        return self.subject, self.session, self.orientation, self.spacing, self.thickness


@dataclass(frozen=True)
class Summary:
    """One method in one setting, over heads and directions.

    Parameters
    ----------
    spacing, thickness
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

    spacing: float
    thickness: float
    method: str
    count: int
    means: Mapping[str, float]
    gain: float | None
    least_gain: float | None


def read_result(path: Path) -> Result:
    """Read what a comparison wrote."""
    told = json.loads(path.read_text(encoding='utf-8'))
    return Result(**told, picture=path.with_suffix('.jpg'))


def write_table(results: Sequence[Result], path: Path) -> Path:
    """Write a line per measure, as TSV; the last column is the scan that was left out, if any."""
    leaves_out = any(found.left_out for found in results)
    lines = ['\t'.join((*COLUMNS, 'left_out') if leaves_out else COLUMNS)]
    for found in results:
        facts = (
            found.subject, found.session or 'n/a', found.method, found.contrasts,
            found.orientation, f'{found.spacing:g}', f'{found.thickness:g}',
            'head' if leaves_out else 'brain',
        )  # fmt: skip
        ending = [found.left_out] if leaves_out else []
        lines += [
            '\t'.join([*facts, name, f'{value:.6g}', *ending])
            for name, value in found.measures.items()
        ]
    return write_text(path, '\n'.join(lines) + '\n')


def summarise(results: Sequence[Result]) -> list[Summary]:
    """Average over heads and directions, by setting and method, in the order of the results."""
    gains = gains_over_baseline(results)
    groups: dict[tuple[tuple[float, float], str], list[Result]] = {}
    for found in results:
        groups.setdefault((found.setting, found.method), []).append(found)
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


def gains_over_baseline(results: Sequence[Result]) -> dict[tuple[tuple, str], float]:
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
            (settings.index(case[3:]) + shift, gain)
            for (case, name), gain in gains.items()
            if name == method
        ]
        axes.plot(*zip(*points, strict=True), 'o', alpha=0.6, label=method,
                  color=LINE_COLORS[number % len(LINE_COLORS)])  # fmt: skip
    axes.axhline(0, color=INK, linewidth=1)
    axes.set_xticks(range(len(settings)), [f'{s:g} mm\n{t:g} mm thick' for s, t in settings])
    axes.set_xlim(-0.5, len(settings) - 0.5)
    axes.set_ylabel('PSNR above cubic, dB', color=INK)
    axes.tick_params(colors=INK)
    axes.spines[['top', 'right', 'bottom']].set_visible(False)
    axes.spines['left'].set_color(INK)
    if methods:
        axes.legend(frameon=False, labelcolor=INK)
    return figure


def save_comparison(volumes: Sequence[np.ndarray], grid: Grid, axis: int, path: Path) -> Path:
    """Draw the same slices of volumes below each other, whole or not at all."""
    figure = rows_of_slices(volumes, grid, axis)
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
            f'{found.subject}, {found.orientation} slices of {found.thickness:g} mm. Above '
            f'the truth, below {found.method}: {found.measures["psnr"]:.2f} dB.',
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
