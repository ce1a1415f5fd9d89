"""Tissues and diseases that label maps do not show, drawn into them.

Every shape is a threshold on smooth random fields: it costs a few passes over the volume on any
device, however many lesions or vessels there are.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch.nn.functional import avg_pool3d

from bids_synthsr.imaging.displacements import upsample
from bids_synthsr.synthesis.fields import (
    LINEAR_VARIANCE,
    Range,
    Shape,
    draw_chance,
    draw_log_uniform,
    draw_seed,
    draw_uniform,
    smooth_field,
    volume_shape,
)
from bids_synthsr.synthesis.labels import (
    CORTEX,
    CSF,
    FAT,
    LATERAL_VENTRICLES,
    LESION,
    MASS_CORE,
    MASS_RIM,
    MENINGES,
    OEDEMA,
    ORBITS,
    SKIN,
    SOFT_TISSUE,
    VESSEL,
    WHITE_MATTER,
    LabelTable,
    is_one_of,
    look_up,
)
from bids_synthsr.synthesis.priors import PathologyPrior, RemovalPrior, TissuePrior

FAT_SPACING = 16.0  # mm, between the nodes of the field that divides fat from muscle
FAT_LEVEL: Range = (0.2, 1.8)  # threshold of the field: from much fat to little
# rise of the field near skin and orbits: most of the scalp, and of the orbits, is fat
FAT_NEAR = 16.0
# voxels, rounded down: below them real T1w are as bright as fat
SKIN_THICKNESS: Range = (1.0, 2.99)
VESSEL_RADIUS: Range = (0.5, 1.1)  # mm
VESSEL_SPACING = 16.0  # mm between the nodes of the fields on whose common zeros vessels lie
LESION_SIZE: Range = (4.0, 9.0)  # mm, between the nodes of the field
OEDEMA_WIDTH: Range = (1.0, 1.8)  # radius of the oedema over that of the mass
RIM_WIDTH: Range = (0.0, 0.35)  # width of the rim over the radius of the mass
ROUGH_SD = math.sqrt(1.25 * LINEAR_VARIANCE)  # standard deviation of `rough_field`
CANDIDATES = 64  # points among which the middle of a mass is sought
STRIP_MARGIN: Range = (1.0, 3.99)  # voxels that are left around the brain, rounded down
FACE_ANGLE: Range = (15.0, 50.0)  # degrees by which the plane of defacing looks down
FACE_GAP: Range = (3.0, 20.0)  # mm between the brain and that plane


@dataclass(frozen=True)
class TissueDraw:
    """Normal tissues drawn into a label map; None switches one off.

    Parameters
    ----------
    seed
        Seed of all random fields.
    fat_level
        Threshold of the field above which soft tissue is fat.
    skin_vox
        Thickness of the skin that is left above fat, voxels. Label maps have thicker skin.
    vessel_radius
        Radius of the vessels, mm.
    has_meninges
        Whether a shell of one voxel is drawn around brain and CSF.
    """

    seed: int
    fat_level: float | None
    skin_vox: int
    vessel_radius: float | None
    has_meninges: bool


@dataclass(frozen=True)
class PathologyDraw:
    """Lesions and masses drawn into a label map; None switches one off.

    Parameters
    ----------
    seed
        Seed of all random fields.
    lesion_fraction
        Fraction of the white matter that lesions take, about.
    lesion_size
        Distance between the nodes of the field whose high values are lesions, mm.
    mass_radius
        Radius of the mass, mm.
    rim_width
        Width of the rim of the mass, relative to its radius.
    oedema_width
        Radius of the oedema, relative to that of the mass.
    is_target
        Whether target and segmentation show lesions and mass.
    """

    seed: int
    lesion_fraction: float | None
    lesion_size: float
    mass_radius: float | None
    rim_width: float
    oedema_width: float
    is_target: bool


@dataclass(frozen=True)
class RemovalDraw:
    """Skull-stripping and defacing; None switches one off.

    Parameters
    ----------
    strip_margin_vox
        Margin around the brain that skull-stripping leaves, voxels.
    face_angle_deg
        Angle by which the plane of defacing looks down.
    face_gap
        Distance of the plane of defacing from the brain, mm.
    """

    strip_margin_vox: int | None
    face_angle_deg: float | None
    face_gap: float


def draw_tissues(prior: TissuePrior, generator: torch.Generator) -> TissueDraw:
    """Draw which normal tissues are added."""
    has_fat = draw_chance(prior.fat_probability, generator)
    has_vessels = draw_chance(prior.vessel_probability, generator)
    return TissueDraw(
        seed=draw_seed(generator),
        fat_level=draw_uniform(FAT_LEVEL, generator) if has_fat else None,
        skin_vox=int(draw_uniform(SKIN_THICKNESS, generator)),
        vessel_radius=draw_uniform(VESSEL_RADIUS, generator) if has_vessels else None,
        has_meninges=draw_chance(prior.meninges_probability, generator),
    )


def draw_pathology(prior: PathologyPrior, generator: torch.Generator) -> PathologyDraw:
    """Draw lesions and masses."""
    has_lesions = draw_chance(prior.lesion_probability, generator)
    has_mass = draw_chance(prior.mass_probability, generator)
    return PathologyDraw(
        seed=draw_seed(generator),
        lesion_fraction=draw_log_uniform(prior.lesion_fraction, generator)
        if has_lesions
        else None,
        lesion_size=draw_uniform(LESION_SIZE, generator),
        mass_radius=draw_uniform(prior.mass_radius, generator) if has_mass else None,
        rim_width=draw_uniform(RIM_WIDTH, generator),
        oedema_width=draw_uniform(OEDEMA_WIDTH, generator),
        is_target=prior.in_target == 'keep',
    )


def draw_removal(prior: RemovalPrior, generator: torch.Generator) -> RemovalDraw:
    """Draw whether the scans were skull-stripped or defaced."""
    is_stripped = draw_chance(prior.strip_probability, generator)
    is_defaced = draw_chance(prior.deface_probability, generator)
    return RemovalDraw(
        strip_margin_vox=int(draw_uniform(STRIP_MARGIN, generator)) if is_stripped else None,
        face_angle_deg=draw_uniform(FACE_ANGLE, generator) if is_defaced else None,
        face_gap=draw_uniform(FACE_GAP, generator),
    )


def add_fat(labels: torch.Tensor, draw: TissueDraw) -> torch.Tensor:
    """Turn soft tissue and deep skin of ``labels (I, J, K)`` into fat: scalp and orbits first."""
    if draw.fat_level is None:
        return labels
    is_skin = labels == SKIN
    field = rough_field(draw.seed, volume_shape(labels), FAT_SPACING, labels.device)
    field += FAT_NEAR * proximity(is_skin | is_one_of(labels, ORBITS))
    labels = labels.masked_fill(is_skin & ~dilated(labels == 0, draw.skin_vox), SOFT_TISSUE)
    return labels.masked_fill((labels == SOFT_TISSUE) & (field > draw.fat_level), FAT)


def add_tissues(labels: torch.Tensor, draw: TissueDraw, table: LabelTable) -> torch.Tensor:
    """Draw vessels and meninges, which the segmentation leaves out, into ``labels (I, J, K)``."""
    if draw.has_meninges:
        is_brain = brain_mask(labels, table)
        shell = dilated(is_brain, 1) & ~is_brain & (labels > 0)
        labels = labels.masked_fill(shell, MENINGES)
    if draw.vessel_radius is not None:
        is_vessel = vessel_mask(
            volume_shape(labels), draw.vessel_radius, draw.seed + 2, labels.device
        )
        labels = labels.masked_fill(is_vessel & brain_mask(labels, table), VESSEL)
    return labels


def rough_field(seed: int, shape: Shape, spacing: float, device: torch.device) -> torch.Tensor:
    """Add to a smooth field half as much of one twice as fine: ``shape``."""
    fine = smooth_field(seed + 1, shape, spacing / 2, device)[0]
    return smooth_field(seed, shape, spacing, device)[0] + 0.5 * fine


def vessel_mask(shape: Shape, radius: float, seed: int, device: torch.device) -> torch.Tensor:
    """Mark tubes of ``radius`` mm around the curves where two smooth fields are both zero."""
    fields = smooth_field(seed, shape, VESSEL_SPACING, device, channels=2)
    slope = math.sqrt(2) / VESSEL_SPACING  # sd of the difference of neighbouring nodes, per mm
    return fields.square().sum(0) < (radius * slope) ** 2


def pathology_labels(
    labels: torch.Tensor, draw: PathologyDraw, table: LabelTable
) -> torch.Tensor | None:
    """Label lesions and masses, 0 elsewhere: ``(I, J, K)``, or None where there are none."""
    if draw.lesion_fraction is None and draw.mass_radius is None:
        return None
    disease = torch.zeros_like(labels)
    white = is_one_of(labels, WHITE_MATTER)
    if draw.lesion_fraction is not None:
        ventricle = is_one_of(labels, LATERAL_VENTRICLES)
        disease.masked_fill_(white & _lesion_mask(draw, draw.lesion_fraction, ventricle), LESION)
    if draw.mass_radius is not None:
        distance = _mass_distance(draw, white | is_one_of(labels, CORTEX))
        disease.masked_fill_(white & (distance < draw.oedema_width), OEDEMA)
        within = brain_mask(labels, table) & (distance < 1)
        disease.masked_fill_(within, MASS_RIM)
        disease.masked_fill_(within & (distance < 1 - draw.rim_width), MASS_CORE)
    return disease


def _lesion_mask(draw: PathologyDraw, fraction: float, ventricle: torch.Tensor) -> torch.Tensor:
    """Mark where a field of two scales is high; it is higher near the ventricles."""
    shape, device = volume_shape(ventricle), ventricle.device
    field = rough_field(draw.seed, shape, draw.lesion_size, device) + 3 * proximity(ventricle)
    level = ROUGH_SD * math.sqrt(2) * float(torch.erfinv(torch.tensor(1 - 2 * fraction)))
    return field > level


def _mass_distance(draw: PathologyDraw, candidates: torch.Tensor) -> torch.Tensor:
    """Measure how far from one of ``candidates``, in radii of a lumpy mass: ``(I, J, K)``."""
    shape, device = volume_shape(candidates), candidates.device
    size = torch.tensor(shape)
    points = (
        torch.rand(CANDIDATES, 3, generator=torch.Generator().manual_seed(draw.seed)) * size
    ).long()
    is_tissue = candidates[tuple(points.T.to(device))].tolist()
    middle = points[is_tissue.index(True) if True in is_tissue else 0]
    offsets = [
        (torch.arange(n, device=device) - int(m))
        .square()
        .view([-1 if a == axis else 1 for a in range(3)])
        for axis, (n, m) in enumerate(zip(shape, middle, strict=True))
    ]
    radius = float(draw.mass_radius or 1)
    distance = (offsets[0] + offsets[1] + offsets[2]).float().sqrt() / radius
    return distance + 0.25 * smooth_field(draw.seed + 2, shape, max(0.7 * radius, 2), device)[0]


def remaining_mask(
    labels: torch.Tensor, draw: RemovalDraw, table: LabelTable
) -> torch.Tensor | None:
    """Mark what skull-stripping and defacing leave; None where neither was done: ``(I, J, K)``."""
    if draw.strip_margin_vox is not None:
        is_tissue = brain_mask(labels, table) & (labels != CSF)
        return dilated(is_tissue, draw.strip_margin_vox)
    if draw.face_angle_deg is not None:
        return _behind_face(brain_mask(labels, table), draw)
    return None


def _behind_face(is_brain: torch.Tensor, draw: RemovalDraw) -> torch.Tensor:
    """Keep what lies behind a plane that touches the brain from front and below but for a gap."""
    angle = math.radians(draw.face_angle_deg or 0)
    forward = torch.arange(is_brain.shape[1], device=is_brain.device)[:, None] * math.cos(angle)
    height = forward - torch.arange(is_brain.shape[2], device=is_brain.device) * math.sin(angle)
    extent = height.expand(is_brain.shape).masked_fill(~is_brain, -math.inf).max()
    # a crop without brain is kept whole
    limit = extent.nan_to_num(neginf=math.inf) + draw.face_gap
    return (height < limit).expand(is_brain.shape)


def brain_mask(labels: torch.Tensor, table: LabelTable) -> torch.Tensor:
    """Mark brain, ventricles and CSF: bool ``(I, J, K)``."""
    return look_up(table.is_brain, labels)


def dilated(mask: torch.Tensor, reach_vox: int) -> torch.Tensor:
    """Grow a mask by a cube: bool ``(I, J, K)``."""
    grown = mask.clone()
    for axis, size in enumerate(mask.shape):
        line = grown.clone()
        # this is ten times as fast as max_pool3d
        for step in range(1, min(reach_vox, size - 1) + 1):
            grown.narrow(axis, step, size - step).bitwise_or_(line.narrow(axis, 0, size - step))
            grown.narrow(axis, 0, size - step).bitwise_or_(line.narrow(axis, step, size - step))
    return grown


def proximity(mask: torch.Tensor) -> torch.Tensor:
    """Blur a mask over about a centimetre, to say how near it is: ``(I, J, K)`` in [0, 1]."""
    small = avg_pool3d(mask[None].float(), 4, ceil_mode=True)
    small = avg_pool3d(small, 3, stride=1, padding=1, count_include_pad=False)
    return upsample(small, volume_shape(mask))[0]
