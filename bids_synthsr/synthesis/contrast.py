"""Intensities: class statistics, the Gaussian mixture, gamma and bias field."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from bids_synthsr.synthesis.fields import (
    LINEAR_VARIANCE,
    Range,
    Shape,
    draw_chance,
    draw_log_uniform,
    draw_normal,
    draw_seed,
    draw_uniform,
    smooth_field,
    volume_shape,
    white_noise,
)
from bids_synthsr.synthesis.labels import LabelTable, look_up
from bids_synthsr.synthesis.priors import BiasPrior, ContrastPrior
from bids_synthsr.synthesis.tissues import TISSUES, Tissue

# what full uptake of a contrast agent adds, relative to the brightest class
AGENT_STRENGTH: Range = (0.5, 1.2)
AIR_HU = -1000.0
AGENT_HU = 150.0  # what a contrast agent adds to vessels
FATTY = ('fat', 'marrow')
SATURATED = 0.15  # share of their signal that is left where fat is suppressed


@dataclass(frozen=True)
class ContrastDraw:
    """The Gaussian mixture of one scan.

    Parameters
    ----------
    means, sds
        Mean and standard deviation of each generation class, in the order of
        `LabelTable.classes`.
    floor
        Lowest intensity that can occur: 0 for the magnitude images of MR.
    gamma
        Exponent of the gamma transform of intensities.
    texture
        Share of the variance within classes that is smooth in space.
    texture_spacing
        Distance between the nodes of the smooth part, mm.
    noise_seed
        Seed of white noise, smooth noise and drift.
    drifts
        Standard deviation at nodes of the drift of each class mean in space. A negative value
        goes down where a positive one goes up. Empty for no drift.
    drift_spacing
        Distance between the nodes of the drift, mm.
    """

    means: tuple[float, ...]
    sds: tuple[float, ...]
    floor: float
    gamma: float
    texture: float
    texture_spacing: float
    noise_seed: int
    drifts: tuple[float, ...] = ()
    drift_spacing: float = 16.0


@dataclass(frozen=True)
class BiasDraw:
    """A multiplicative field: its logarithm is ``log_sd`` times a smooth field.

    Parameters
    ----------
    seed
        Seed of the smooth field.
    log_sd
        Standard deviation of the logarithm of the field at its nodes; 0 for no field.
    spacing
        Distance between the nodes, mm.
    """

    seed: int
    log_sd: float
    spacing: float


def draw_contrast(
    prior: ContrastPrior, classes: Sequence[str], has_agent: bool, generator: torch.Generator
) -> ContrastDraw:
    """Draw mean and standard deviation of every class, and what else makes the contrast.

    Parameters
    ----------
    prior
        Prior of the contrast of this kind of scan.
    classes
        Names of the generation classes, in the order of `LabelTable.classes`.
    has_agent
        Whether a contrast agent was given.
    generator
        Random generator on the CPU.
    """
    statistics = {
        'uniform': _draw_uniform_classes,
        'gaussian': _draw_gaussian_classes,
        'signal': _draw_signal_classes,
        'attenuation': _draw_attenuation_classes,
    }[prior.kind](prior, classes, generator)
    means, sds = [mean for mean, _ in statistics], [sd for _, sd in statistics]
    if has_agent:
        brightest = AGENT_HU if prior.kind == 'attenuation' else max(means)
        strength = draw_uniform(AGENT_STRENGTH, generator) * brightest
        means = [
            mean + strength * (TISSUES[name].uptake if name in TISSUES else 0)
            for mean, name in zip(means, classes, strict=True)
        ]
    texture = draw_uniform(prior.texture, generator)
    drift = draw_uniform(prior.drift, generator)
    return ContrastDraw(
        means=tuple(means),
        sds=tuple(sds),
        floor=AIR_HU if prior.kind == 'attenuation' else 0.0,
        gamma=draw_uniform(prior.gamma, generator),
        texture=texture,
        texture_spacing=prior.texture_spacing,
        noise_seed=draw_seed(generator),
        drifts=tuple(abs(mean) * draw_normal(drift, generator) for mean in means) if drift else (),
        drift_spacing=draw_log_uniform(prior.drift_spacing, generator),
    )


Statistics = list[tuple[float, float]]


def _draw_uniform_classes(
    prior: ContrastPrior, classes: Sequence[str], generator: torch.Generator
) -> Statistics:
    drawn = [
        (draw_uniform(prior.mean_range, generator), draw_uniform(prior.sd_range, generator))
        for _ in classes
    ]
    return [(0.0, 0.0) if name == 'air' else x for name, x in zip(classes, drawn, strict=True)]


def _draw_gaussian_classes(
    prior: ContrastPrior, classes: Sequence[str], generator: torch.Generator
) -> Statistics:
    statistics = {entry.name: entry for entry in prior.statistics}
    if set(statistics) != set(classes):
        missing, extra = (
            sorted(set(classes) - set(statistics)),
            sorted(set(statistics) - set(classes)),
        )
        raise ValueError(
            f'The contrast prior has statistics for {len(statistics)} classes, the label table '
            f'{len(classes)}: missing {missing}, unknown {extra}. Estimate it with this table.'
        )
    return [
        (
            max(statistics[name].mean + draw_normal(statistics[name].mean_sd, generator), 0.0),
            _draw_truncated(statistics[name].sd, statistics[name].sd_sd, generator),
        )
        for name in classes
    ]


def _draw_truncated(mean: float, sd: float, generator: torch.Generator) -> float:
    """Draw from N(mean, sd²) truncated at 0."""
    drawn = mean + draw_normal(sd, generator)
    while drawn < 0:
        drawn = mean + draw_normal(sd, generator)
    return drawn


def _draw_signal_classes(
    prior: ContrastPrior, classes: Sequence[str], generator: torch.Generator
) -> Statistics:
    ti_range = prior.ti_per_null if prior.nulled else prior.ti_ms
    tr_ms, te_ms, ti_ms = (
        draw_uniform(times, generator) for times in (prior.tr_ms, prior.te_ms, ti_range)
    )
    if prior.nulled:
        ti_ms *= nulling_ti_ms(_tissue(prior.nulled), tr_ms)
    is_saturated = draw_chance(prior.fat_saturation_probability, generator)
    unit = spin_echo_signal(TISSUES['white-matter'], tr_ms, te_ms, ti_ms)
    drawn = []
    for name in classes:
        signal = spin_echo_signal(_tissue(name), tr_ms, te_ms, ti_ms)
        if is_saturated and name in FATTY:
            signal *= SATURATED
        mean = signal + draw_normal(prior.spread, generator) * max(signal, unit / 4)
        sd = draw_uniform(prior.noise, generator) * unit
        drawn.append((max(mean, 0.0), sd) if name != 'air' else (0.0, 0.0))
    return drawn


def nulling_ti_ms(tissue: Tissue, tr_ms: float) -> float:
    """Compute the inversion time at which a tissue has no signal at a repetition time, ms."""
    return tissue.t1_ms * (math.log(2) - math.log1p(math.exp(-tr_ms / tissue.t1_ms)))


def spin_echo_signal(tissue: Tissue, tr_ms: float, te_ms: float, ti_ms: float) -> float:
    """Compute the magnitude of a spin echo, after an inversion where ``ti_ms > 0``."""
    recovered = math.exp(-tr_ms / tissue.t1_ms)
    inverted = 2 * math.exp(-ti_ms / tissue.t1_ms) if ti_ms > 0 else 2 * recovered
    magnetisation = abs(1 - inverted + recovered)
    return tissue.proton_density * magnetisation * math.exp(-te_ms / tissue.t2_ms)


def _draw_attenuation_classes(
    prior: ContrastPrior, classes: Sequence[str], generator: torch.Generator
) -> Statistics:
    return [
        (
            _tissue(name).attenuation_hu + 100 * draw_normal(prior.spread, generator),
            100 * draw_uniform(prior.noise, generator),
        )
        for name in classes
    ]


def _tissue(name: str) -> Tissue:
    if name not in TISSUES:
        raise ValueError(
            f'Nothing is known of the generation class {name!r}: give it statistics in a '
            f'gaussian contrast prior, or name one of {", ".join(TISSUES)}'
        )
    return TISSUES[name]


def t1w_means(classes: Sequence[str]) -> tuple[float, ...]:
    """Intensities of the generation classes in the T1w that we aim for, white matter 1."""
    return tuple(_tissue(name).t1w for name in classes)


def paint(labels: torch.Tensor, of_class: Sequence[float], table: LabelTable) -> torch.Tensor:
    """Replace each label by the value of its generation class: ``(I, J, K)`` float32.

    Parameters
    ----------
    labels
        Label values, ``(I, J, K)``.
    of_class
        Value of each generation class, in the order of `LabelTable.classes`.
    table
        Table of all labels that may occur.
    """
    return look_up(torch.tensor(of_class)[table.class_of], labels)


def paint_statistics(labels: torch.Tensor, draw: ContrastDraw, table: LabelTable) -> torch.Tensor:
    """Paint mean, sd and, where there is one, drift of every voxel: ``(2 or 3, I, J, K)``."""
    statistics = (draw.means, draw.sds, draw.drifts)
    return torch.stack([paint(labels, x, table) for x in statistics if x])


def draw_intensities(statistics: torch.Tensor, draw: ContrastDraw) -> torch.Tensor:
    """Draw the Gaussian mixture of Iglesias et al. 2021, equation 2, with gamma: ``(I, J, K)``.

    A class of theirs has one mean everywhere. Ours may drift, because real tissue differs from
    lobe to lobe.

    Parameters
    ----------
    statistics
        Mean, standard deviation and perhaps drift of every voxel, as `paint_statistics` returns
        them: ``(2 or 3, I, J, K)``.
    draw
        Contrast of the scan.
    """
    return apply_gamma(_draw_mixture(statistics, draw), draw.gamma)


def expected_intensities(statistics: torch.Tensor, draw: ContrastDraw) -> torch.Tensor:
    """Compute what `draw_intensities` would draw without noise, in the same units: ``(I, J, K)``.

    Parameters
    ----------
    statistics
        Mean, standard deviation and perhaps drift of every voxel: ``(2 or 3, I, J, K)``.
    draw
        Contrast of the scan.
    """
    limits = torch.aminmax(_draw_mixture(statistics, draw))
    expected = statistics.clone()
    expected[1] = 0
    return apply_gamma(_draw_mixture(expected, draw), draw.gamma, limits)


def _draw_mixture(statistics: torch.Tensor, draw: ContrastDraw) -> torch.Tensor:
    """Draw the Gaussian mixture before gamma."""
    mean, sd, *drift = statistics
    shape = volume_shape(mean)
    image = mean + sd * _noise(draw, shape, mean.device)
    if drift:
        field = smooth_field(draw.noise_seed + 1, shape, draw.drift_spacing, mean.device)[0]
        image += drift[0] * field
    return image.clamp_(min=draw.floor)


def _noise(draw: ContrastDraw, shape: Shape, device: torch.device) -> torch.Tensor:
    """Mix white and smooth noise of unit variance."""
    white = white_noise(draw.noise_seed, shape, device)
    if draw.texture == 0:
        return white
    smooth = smooth_field(draw.noise_seed, shape, draw.texture_spacing, device)[0]
    return white * math.sqrt(1 - draw.texture) + smooth * math.sqrt(draw.texture / LINEAR_VARIANCE)


def apply_gamma(
    image: torch.Tensor, gamma: float, limits: tuple[torch.Tensor, torch.Tensor] | None = None
) -> torch.Tensor:
    """Bend intensities between their extremes: ``x -> x^gamma`` on [0, 1].

    Parameters
    ----------
    image
        Intensities of any shape.
    gamma
        Exponent of the intensities; 1 changes nothing.
    limits
        Intensities that become 0 and 1; None takes the extremes of the image.
    """
    if gamma == 1:
        return image
    low, high = torch.aminmax(image) if limits is None else limits
    extent = (high - low).clamp(min=1e-6)
    return low + extent * ((image - low) / extent).clamp_(min=0).pow_(gamma)


def draw_bias(prior: BiasPrior, generator: torch.Generator) -> BiasDraw:
    """Draw a bias field."""
    is_on = draw_chance(prior.probability, generator)
    return BiasDraw(draw_seed(generator), prior.log_sd if is_on else 0.0, prior.spacing)


def apply_bias(image: torch.Tensor, draw: BiasDraw) -> torch.Tensor:
    """Multiply ``image (I, J, K)`` by the field."""
    if draw.log_sd == 0:
        return image
    field = smooth_field(draw.seed, volume_shape(image), draw.spacing, image.device)[0]
    return image * field.mul_(draw.log_sd).exp_()
