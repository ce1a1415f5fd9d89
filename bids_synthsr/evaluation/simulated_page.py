"""The page of an evaluation on simulated scans."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from bids_synthsr.evaluation import volume_errors
from bids_synthsr.evaluation.results import Case, Result, by_setting
from bids_synthsr.reports.embedding import jpeg_of_file, svg
from bids_synthsr.reports.figures import INK, LINE_COLORS
from bids_synthsr.reports.pages import Picture, write_page

BASELINE = 'cubic'
PICTURES = 6  # on the page


@dataclass(frozen=True)
class SettingSummary:
    """One method in one setting, over heads and directions.

    Parameters
    ----------
    contrasts, spacing, thickness, profile
        Contrasts of the scans, spacing and thickness of their slices, mm, and their profile.
    method
        Name of the method.
    truth
        What the volumes were compared with.
    count
        Number of scans that were made again.
    means
        Mean over the scans, by the name of the measure.
    gain, least_gain
        Mean and least gain in PSNR over cubic interpolation, dB; None where that was not run, or
        was compared with another truth.
    """

    contrasts: str
    spacing: float
    thickness: float
    profile: str
    method: str
    truth: str
    count: int
    means: Mapping[str, float]
    gain: float | None
    least_gain: float | None


def summarise_settings(results: Sequence[Result]) -> list[SettingSummary]:
    """Average over heads and directions, by setting and method, in the order of the results."""
    gains = gains_over_baseline(results)
    groups = by_setting(results)
    return [
        SettingSummary(
            *setting,
            method,
            ' or '.join(dict.fromkeys(result.truth for result in group)),
            len(group),
            {
                name: float(np.mean([result.measures[name] for result in group]))
                for name in group[0].measures
            },
            *_mean_and_least([gains[result.case, method] for result in group
                              if (result.case, method) in gains]),
        )
        for (setting, method), group in groups.items()
    ]  # fmt: skip


def _mean_and_least(values: Sequence[float]) -> tuple[float | None, float | None]:
    return (float(np.mean(values)), min(values)) if values else (None, None)


def gains_over_baseline(results: Sequence[Result]) -> dict[tuple[Case, str], float]:
    """PSNR minus that of cubic interpolation of the same scan, dB, by case and method.

    There is none where cubic interpolation was compared with another truth.
    """
    base = {
        (result.case, result.truth): result.measures['psnr']
        for result in results
        if result.method == BASELINE
    }
    return {
        (result.case, result.method): result.measures['psnr'] - base[result.case, result.truth]
        for result in results
        if (result.case, result.truth) in base and result.method != BASELINE
    }


def draw_gains(results: Sequence[Result]) -> Figure:
    """Draw the gain of every scan over cubic interpolation, by setting; a colour per method."""
    gains = gains_over_baseline(results)
    settings = list(dict.fromkeys(result.setting for result in results))
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
    names = [f'{exam}\n{s:g} mm\n{t:g} mm thick' for exam, s, t, _ in settings]
    axes.set_xticks(range(len(settings)), names)
    axes.set_xlim(-0.5, len(settings) - 0.5)
    axes.set_ylabel('PSNR above cubic, dB', color=INK)
    axes.tick_params(colors=INK)
    axes.spines[['top', 'right', 'bottom']].set_visible(False)
    axes.spines['left'].set_color(INK)
    axes.legend(frameon=False, labelcolor=INK)
    return figure


def draw_gain_pictures(results: Sequence[Result]) -> list[Picture]:
    """Show the gains over cubic interpolation of each exam and profile, where there are any."""
    groups: dict[tuple[str, str], list[Result]] = {}
    for result in results:
        groups.setdefault((result.contrasts, result.profile), []).append(result)
    return [
        Picture(
            svg(draw_gains(group), f'gains-{number}'),
            f'Gain in PSNR over cubic interpolation by setting, {exam}, {profile}',
            f'Gain over cubic interpolation, {exam}, profile: {profile}',
            'A dot per head and direction. Below 0 is worse.',
        )
        for number, ((exam, profile), group) in enumerate(groups.items())
        if gains_over_baseline(group)
    ]


def write_simulated_page(
    results: Sequence[Result], failures: Sequence[str], path: Path, painted: int = 0
) -> Path:
    """Write the page of an evaluation on simulated scans: one file that needs no other.

    Parameters
    ----------
    results
        Results of all comparisons.
    failures
        Sentences, one for each step that failed.
    path
        HTML file to be written.
    painted
        Number of heads whose T1w was painted from their labels.
    """
    pictures = [
        Picture(
            jpeg_of_file(result.picture),
            f'Slices of the truth, of the scan, and of what {result.method} made of it',
            f'{result.method}, {result.spacing:g} mm',
            f'{result.subject}, {result.contrasts}, {result.orientation} slices of '
            f'{result.thickness:g} mm. From top to bottom: the truth ({result.truth}), the first '
            f'scan that '
            f'{result.method} got, and what it made: {result.measures["psnr"]:.2f} dB.',
        )
        for result in pictured(results)
    ]
    return write_page(
        'evaluation.html',
        path,
        summaries=summarise_settings(results),
        table=volume_errors.tabulate(results),
        charts=volume_errors.draw_charts(results),
        shown_structures=volume_errors.SHOWN,
        heads=len({(result.subject, result.session) for result in results}),
        painted=painted,
        own_truths=any(result.truth != 'T1w' for result in results),
        noise_percent=max(result.noise_percent for result in results),
        gains=draw_gain_pictures(results),
        pictures=pictures,
        failures=failures,
    )


def pictured(results: Sequence[Result]) -> list[Result]:
    """Choose one scan of the first head for each setting and method, the widest slices first."""
    first = [result for result in results if result.subject == results[0].subject]
    plane = first[0].orientation
    chosen = [
        result for result in first if result.orientation == plane and result.picture.is_file()
    ]
    return sorted(chosen, key=lambda result: -result.spacing)[:PICTURES]
