"""What a generated exam may look like: one frozen dataclass for each step of the generator.

Every field is a number, a string or a tuple of these, so that a prior is a TOML table and back. A
pair is a range from which numbers are drawn uniformly; a field ``probability`` is the switch of
its step, 0 for off. `worlds` holds the priors that go by a name.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from bids_synthsr.synthesis.fields import Range, Triple

# sd of a Gaussian slice profile over its thickness; its power at the cut-off 1 / (2 thickness) is
# exp(-(pi sd)²): 1/6, 1/10 as Iglesias et al. 2021 (2.1.4) ask in words, 1/200 by their formula
FWHM_PROFILE = 1 / math.sqrt(8 * math.log(2))  # as `imaging.acquisition` and scanners define it
TENTH_POWER_PROFILE = math.sqrt(math.log(10)) / math.pi
PAPER_PROFILE = 2 * math.log(10) / (2 * math.pi)

ContrastKind = Literal['uniform', 'gaussian', 'signal', 'attenuation']
LesionsInTarget = Literal['keep', 'remove']
Target = Literal['reference', 't1w']
Normalisation = Literal['min-max', 'percentiles']


@dataclass(frozen=True)
class ShapePrior:
    """How a head is deformed and cropped (Iglesias et al. 2021, 2.1.2 and Table 1).

    Parameters
    ----------
    rotation_deg
        About each axis, up to this.
    scaling
        Along each axis; the logarithm is drawn uniformly.
    shearing
        Along each axis, up to this.
    velocity_sd
        Of the stationary velocity field at its nodes, mm; 0 for none.
    velocity_spacing
        Between these nodes, mm: 28 for 10 nodes on the 256 mm of a FreeSurfer volume.
    flip_probability
        Of swapping left and right.
    crop_jitter
        How far the middle of a crop may lie from the middle of the brain, mm along each axis.
    """

    rotation_deg: float = 10.0
    scaling: Range = (0.9, 1.1)
    shearing: float = 0.01
    velocity_sd: float = 3.0
    velocity_spacing: float = 28.0
    flip_probability: float = 0.5
    crop_jitter: float = 20.0


@dataclass(frozen=True)
class ClassStatistics:
    """Gaussians of the mean and of the sd of a class (Iglesias et al. 2021, equation 2).

    Parameters
    ----------
    name
        Of the generation class.
    mean, mean_sd
        Of the class mean across scans.
    sd, sd_sd
        Of the sd within the class across scans; draws below 0 are drawn again.
    """

    name: str
    mean: float
    mean_sd: float
    sd: float
    sd_sd: float


@dataclass(frozen=True)
class ContrastPrior:
    """Intensities of the generation classes.

    Parameters
    ----------
    kind
        ``uniform``: every class from ``mean_range`` and ``sd_range``. ``gaussian``: each class
        from its ``statistics``. ``signal``: each class from the relaxation times of its tissue in
        a spin echo, inverted where ``ti_ms`` is above 0. ``attenuation``: from its CT number.
    mean_range, sd_range
        Of ``uniform``; air is 0.
    statistics
        Of ``gaussian``, for every class.
    tr_ms, te_ms, ti_ms
        Of ``signal``: repetition, echo and inversion times.
    spread
        Of ``signal`` and ``attenuation``: relative sd, and sd in HU / 100, of class means around
        what physics says.
    noise
        Of ``signal``: range of the sd within classes, over the mean of white matter; of
        ``attenuation``: that in HU / 100.
    fat_saturation_probability
        Of ``signal``: of fat and marrow being suppressed.
    texture
        Share of the variance within classes that is smooth, nodes ``texture_spacing`` mm apart.
    drift, drift_spacing
        How much the mean of a class rises and falls in space: relative sd at nodes, and their
        distance, mm. Every class goes its own way.
    gamma
        Range of the exponent; 1 for none.
    """

    kind: ContrastKind = 'uniform'
    mean_range: Range = (25.0, 225.0)
    sd_range: Range = (5.0, 25.0)
    statistics: tuple[ClassStatistics, ...] = ()
    tr_ms: Range = (400.0, 700.0)
    te_ms: Range = (8.0, 20.0)
    ti_ms: Range = (0.0, 0.0)
    spread: float = 0.1
    noise: Range = (0.02, 0.08)
    fat_saturation_probability: float = 0.0
    texture: Range = (0.0, 0.0)
    texture_spacing: float = 4.0
    drift: Range = (0.0, 0.0)
    drift_spacing: Range = (12.0, 32.0)
    gamma: Range = (0.7, 1.3)


@dataclass(frozen=True)
class BiasPrior:
    """Multiplicative field (Iglesias et al. 2021, 2.1.4).

    Parameters
    ----------
    log_sd
        Of the logarithm of the field at its nodes.
    spacing
        Between these nodes, mm: 85 for 4 nodes on 256 mm.
    """

    probability: float = 1.0
    log_sd: float = 0.5
    spacing: float = 85.0


@dataclass(frozen=True)
class MotionPrior:
    """Position of a scan against the reference, and what registration leaves of it.

    Parameters
    ----------
    rotation_deg, translation
        Between scans, about and along each axis, up to this.
    rotation_error_sd_deg, translation_error_sd
        Of the registration, about and along each axis.
    """

    rotation_deg: float = 10.0
    translation: float = 20.0
    rotation_error_sd_deg: float = 0.3
    translation_error_sd: float = 0.3


@dataclass(frozen=True)
class AcquisitionPrior:
    """Slices and voxels of a scan.

    Parameters
    ----------
    orientation_weights
        How often slices are sagittal, coronal and axial.
    slice_spacing
        Between the centres of neighbouring slices, mm.
    thickness_per_spacing
        Slice thickness over slice spacing: below 1 there are gaps, above 1 slices overlap.
    in_plane
        Voxel size in plane, mm; below 1 counts as 1.
    in_plane_anisotropy
        Factor of the voxel size along one of the two axes in plane.
    isotropic_probability, isotropic
        Of a 3-D scan instead, and its voxel size, mm.
    profile_sd_per_thickness
        Of the Gaussian slice profile; see the constants of this module.
    profile_factor
        Drawn for each axis: how much wider than nominal the profile is.
    partial_probability, partial_fraction
        Of a field of view that ends inside the sample, and how much of it is cut off on one side.
    """

    orientation_weights: Triple = (1.0, 1.0, 1.0)
    slice_spacing: Range = (2.5, 7.0)
    thickness_per_spacing: Range = (0.5, 1.1)
    in_plane: Range = (1.0, 1.0)
    in_plane_anisotropy: Range = (1.0, 1.0)
    isotropic_probability: float = 0.0
    isotropic: Range = (1.0, 1.5)
    profile_sd_per_thickness: float = FWHM_PROFILE
    profile_factor: Range = (0.8, 1.2)
    partial_probability: float = 0.0
    partial_fraction: Range = (0.05, 0.3)


@dataclass(frozen=True)
class ArtefactPrior:
    """What goes wrong in the scanner; strengths are relative to the brightest voxels.

    Parameters
    ----------
    noise_probability, noise_sd
        Of Rician noise in the acquired voxels.
    ghost_probability, ghost_strength
        Of motion ghosts: copies shifted along one axis in plane.
    spike_probability, spike_strength
        Of spikes in k-space: stripes across single slices.
    jump_probability, jump_sd
        Of slices that differ in brightness, and the sd of their logarithm.
    clip_probability, clip_level
        Of clipping intensities above a fraction of the brightest.
    window
        Fixed window to which intensities are clipped before anything else (CT: 0 to 80 HU); equal
        ends for none.
    """

    noise_probability: float = 0.0
    noise_sd: Range = (0.0, 0.05)
    ghost_probability: float = 0.0
    ghost_strength: Range = (0.02, 0.12)
    spike_probability: float = 0.0
    spike_strength: Range = (0.02, 0.15)
    jump_probability: float = 0.0
    jump_sd: Range = (0.01, 0.08)
    clip_probability: float = 0.0
    clip_level: Range = (0.5, 0.95)
    window: Range = (0.0, 0.0)


@dataclass(frozen=True)
class ScanPrior:
    """One kind of scan.

    Parameters
    ----------
    suffix
        BIDS suffix of what it is like; a ``T1w`` is preferred as reference.
    weight
        How often it occurs among the kinds of its world.
    agent_probability
        Of a contrast agent.
    """

    suffix: str = ''
    weight: float = 1.0
    contrast: ContrastPrior = ContrastPrior()
    bias: BiasPrior = BiasPrior()
    motion: MotionPrior = MotionPrior()
    acquisition: AcquisitionPrior = AcquisitionPrior()
    artefacts: ArtefactPrior = ArtefactPrior()
    agent_probability: float = 0.0


@dataclass(frozen=True)
class TissuePrior:
    """What label maps do not tell apart, drawn into them.

    Parameters
    ----------
    fat_probability
        Of dividing the soft tissue around the skull into muscle and fat.
    vessel_probability
        Of thin vessels in brain and CSF.
    meninges_probability
        Of a thin shell around brain and CSF.
    """

    fat_probability: float = 0.0
    vessel_probability: float = 0.0
    meninges_probability: float = 0.0


@dataclass(frozen=True)
class PathologyPrior:
    """Lesions and masses, drawn into the label map.

    Parameters
    ----------
    lesion_probability, lesion_fraction
        Of white matter lesions, and about which fraction of the white matter they take.
    mass_probability, mass_radius
        Of a tumour-like mass, mm.
    in_target
        Whether target and segmentation show them (``keep``) or healthy tissue (``remove``).
    """

    lesion_probability: float = 0.0
    lesion_fraction: Range = (0.001, 0.04)
    mass_probability: float = 0.0
    mass_radius: Range = (5.0, 22.0)
    in_target: LesionsInTarget = 'keep'


@dataclass(frozen=True)
class RemovalPrior:
    """What was cut away from all scans of an exam, and from the target with them.

    Parameters
    ----------
    strip_probability
        Of skull-stripping.
    deface_probability
        Of defacing.
    """

    strip_probability: float = 0.0
    deface_probability: float = 0.0


@dataclass(frozen=True)
class GeneratorPrior:
    """Everything that a generated exam may be.

    Parameters
    ----------
    scans
        Kinds of scans.
    scan_counts
        How often an exam has 1, 2, ... scans of kinds drawn by their weights. Empty: every exam
        has exactly the kinds of ``scans`` in their order.
    target
        ``reference``: the first scan at high resolution (super-resolution). ``t1w``: the real
        image of the head where it has one, else a T1w painted from ``TISSUES``; white matter is 1.
    normalisation
        ``min-max`` (the paper), or ``percentiles`` (0.1 and 99.9, robust to single voxels).
    blur_sd
        Of the high-resolution scans, mm (Iglesias et al. 2021, 2.4).
    """

    scans: tuple[ScanPrior, ...]
    scan_counts: tuple[float, ...] = ()
    target: Target = 'reference'
    normalisation: Normalisation = 'min-max'
    blur_sd: float = 0.5
    shape: ShapePrior = ShapePrior()
    tissues: TissuePrior = TissuePrior()
    pathology: PathologyPrior = PathologyPrior()
    removal: RemovalPrior = RemovalPrior()

    @property
    def slots(self) -> int:
        """Most scans that an exam has."""
        return len(self.scan_counts) or len(self.scans)
