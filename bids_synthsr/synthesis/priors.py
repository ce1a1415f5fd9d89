"""What a generated exam may look like: one frozen dataclass for each step of the generator.

Every field is a number, a string or a tuple of these, so that a prior can be written as a TOML
table and read back. A pair is a range from which numbers are drawn uniformly. A probability of 0
switches its step off. `worlds` holds the priors that have a name.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from bids_synthsr.synthesis.fields import Range, Triple

# sd of a Gaussian slice profile over its thickness. Its power at the cut-off 1 / (2 thickness) is
# exp(-(pi sd)²): 1/6, 1/10 as Iglesias et al. 2021 (2.1.4) ask in words, 1/200 by their formula
FWHM_PROFILE = 1 / math.sqrt(8 * math.log(2))  # as scanners and `imaging.forward_model` have it
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
        Largest rotation about each axis, either way.
    scaling
        Range of the scaling along each axis; its logarithm is drawn uniformly.
    shearing
        Largest shearing along each axis, either way.
    velocity_sd
        Standard deviation of the stationary velocity field at its nodes, mm; 0 for no field.
    velocity_spacing
        Distance between these nodes, mm: 28 for 10 nodes on the 256 mm of a FreeSurfer volume.
    flip_probability
        Probability that left and right are swapped.
    crop_jitter
        Largest distance between the middle of a crop and that of the brain, mm along each axis.
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
        Name of the generation class.
    mean, mean_sd
        Mean and standard deviation, across scans, of the mean of the class.
    sd, sd_sd
        Mean and standard deviation, across scans, of the sd within the class. Values below 0 are
        drawn again.
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
        Ranges of mean and sd of a class for ``uniform``; air is 0.
    statistics
        Statistics of every class for ``gaussian``.
    tr_ms, te_ms, ti_ms
        Repetition, echo and inversion times for ``signal``.
    nulled, ti_per_null
        Tissue whose signal the inversion nulls, for ``signal``, empty for none; and the range of
        the inversion time over the one that nulls it exactly, in place of ``ti_ms``.
    spread
        Standard deviation of class means around what physics predicts: relative for ``signal``,
        in HU / 100 for ``attenuation``.
    noise
        Range of the sd within classes: over the mean of white matter for ``signal``, in HU / 100
        for ``attenuation``.
    fat_saturation_probability
        Probability that fat and marrow are suppressed, for ``signal``.
    texture
        Share of the variance within classes that is smooth in space.
    texture_spacing
        Distance between the nodes of the smooth part, mm.
    drift
        Relative sd, at nodes, by which the mean of a class varies in space. Each class varies by
        a factor and a sign that are drawn for it.
    drift_spacing
        Distance between the nodes of the drift, mm.
    gamma
        Range of the exponent of intensities; 1 changes nothing.

    Raises
    ------
    ValueError
        For inversion times beside a tissue that is nulled.
    """

    kind: ContrastKind = 'uniform'
    mean_range: Range = (25.0, 225.0)
    sd_range: Range = (5.0, 25.0)
    statistics: tuple[ClassStatistics, ...] = ()
    tr_ms: Range = (400.0, 700.0)
    te_ms: Range = (8.0, 20.0)
    ti_ms: Range = (0.0, 0.0)
    nulled: str = ''
    ti_per_null: Range = (0.97, 1.07)
    spread: float = 0.1
    noise: Range = (0.02, 0.08)
    fat_saturation_probability: float = 0.0
    texture: Range = (0.0, 0.0)
    texture_spacing: float = 4.0
    drift: Range = (0.0, 0.0)
    drift_spacing: Range = (12.0, 32.0)
    gamma: Range = (0.7, 1.3)

    def __post_init__(self) -> None:
        if self.nulled and any(self.ti_ms):
            raise ValueError(
                f'ti_ms is {self.ti_ms}, but the inversion nulls {self.nulled}: leave out one '
                'of both'
            )


@dataclass(frozen=True)
class BiasPrior:
    """Multiplicative field (Iglesias et al. 2021, 2.1.4).

    Parameters
    ----------
    probability
        Probability that a scan has a bias field.
    log_sd
        Standard deviation of the logarithm of the field at its nodes.
    spacing
        Distance between these nodes, mm: 85 for 4 nodes on 256 mm.
    """

    probability: float = 1.0
    log_sd: float = 0.5
    spacing: float = 85.0


@dataclass(frozen=True)
class MotionPrior:
    """Position of a scan relative to the reference, and the error of its registration.

    Parameters
    ----------
    rotation_deg, translation
        Largest rotation about, and translation along, each axis, either way; mm.
    rotation_error_sd_deg, translation_error_sd
        Standard deviations of the registration error about and along each axis; mm.
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
        Relative frequencies of sagittal, coronal and axial slices.
    slice_spacing
        Distance between the centres of neighbouring slices, mm.
    thickness_per_spacing
        Slice thickness over slice spacing: below 1 there are gaps, above 1 slices overlap.
    in_plane
        Voxel size in plane, mm; below 1 counts as 1.
    in_plane_anisotropy
        Factor of the voxel size along one of the two axes in plane.
    isotropic_probability
        Probability of a 3-D scan with isotropic voxels instead of slices.
    isotropic
        Voxel size of a 3-D scan, mm.
    profile_sd_per_thickness
        Standard deviation of the Gaussian slice profile over the slice thickness; see the
        constants of this module.
    profile_factor
        Width of the profile over its nominal width, drawn for each axis.
    partial_probability
        Probability of a field of view that ends inside the sample.
    partial_fraction
        Fraction of the sample that such a field of view leaves out on one side.
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
        Probability and sd of Rician noise in the acquired voxels.
    ghost_probability, ghost_strength
        Probability and strength of motion ghosts: copies shifted along one axis in plane.
    spike_probability, spike_strength
        Probability and amplitude of spikes in k-space: stripes across single slices.
    jump_probability, jump_sd
        Probability that slices differ in brightness, and the sd of the logarithm of brightness.
    clip_probability, clip_level
        Probability that intensities are clipped, and the level over the brightest voxel.
    window
        Lowest and highest intensity of a fixed window (CT: 0 to 80 HU); equal ends for none.
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
        Relative frequency among the kinds of scans of its world.
    contrast, bias, motion, acquisition, artefacts
        Priors of the steps that make the scan, in their order.
    agent_probability
        Probability that a contrast agent was given.
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
    """Tissues that label maps do not distinguish, drawn into them.

    Parameters
    ----------
    fat_probability
        Probability that soft tissue around the skull is divided into muscle and fat.
    vessel_probability
        Probability of thin vessels in brain and CSF.
    meninges_probability
        Probability of a thin shell around brain and CSF.
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
        Probability of white matter lesions, and the fraction of white matter that they take.
    mass_probability, mass_radius
        Probability and radius (mm) of a tumour-like mass.
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
    """What is cut away from all scans of an exam, and from the target with them.

    Parameters
    ----------
    strip_probability
        Probability that scans are skull-stripped.
    deface_probability
        Probability that scans are defaced.
    """

    strip_probability: float = 0.0
    deface_probability: float = 0.0


@dataclass(frozen=True)
class GeneratorPrior:
    """Everything that a generated exam may be.

    Parameters
    ----------
    scans
        Kinds of scans that an exam may have.
    scan_counts
        Relative frequencies of exams of 1, 2, ... scans, whose kinds are drawn by their weights.
        Empty: every exam has exactly the kinds of ``scans`` in their order.
    target
        ``reference``: the first scan at high resolution (super-resolution). ``t1w``: the real
        image of the head where it has one, else a T1w painted from ``TISSUES``; white matter is 1.
    normalisation
        ``min-max`` (the paper), or ``percentiles`` (0.1 and 99.9, robust to single voxels).
    blur_sd
        Standard deviation of the blur of high-resolution scans, mm (Iglesias et al. 2021, 2.4).
    shape, tissues, pathology, removal
        Priors of the steps that change the head, in their order.
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
