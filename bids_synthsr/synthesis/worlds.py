"""Priors that go by a name: the kinds of scanner that the exams of a training come from."""

from __future__ import annotations

from dataclasses import replace

from bids_synthsr.synthesis.fields import Range
from bids_synthsr.synthesis.priors import (
    PAPER_PROFILE,
    AcquisitionPrior,
    ArtefactPrior,
    BiasPrior,
    ContrastPrior,
    GeneratorPrior,
    MotionPrior,
    PathologyPrior,
    RemovalPrior,
    ScanPrior,
    TissuePrior,
)

# Ranges of sequence timing, ms, of routine protocols at 1.5 and 3 T
T1_SPIN_ECHO = ContrastPrior('signal', tr_ms=(400, 750), te_ms=(8, 20))
T1_INVERSION = ContrastPrior('signal', tr_ms=(1600, 2600), te_ms=(2, 5), ti_ms=(750, 1150))
T2_SPIN_ECHO = ContrastPrior(
    'signal', tr_ms=(3000, 6500), te_ms=(75, 125), fat_saturation_probability=0.3
)
PD_SPIN_ECHO = ContrastPrior('signal', tr_ms=(2000, 4000), te_ms=(10, 35))
FLAIR = ContrastPrior(
    'signal',
    tr_ms=(6000, 11000),
    te_ms=(80, 140),
    nulled='csf',  # at any repetition time; ventricles, which recover later, are nearly dark
    fat_saturation_probability=0.6,
)
RANDOM = ContrastPrior('uniform', texture=(0, 0.5))
TEXTURE: Range = (0.0, 0.6)  # share of the noise within a class that is smooth
DRIFT: Range = (0.0, 0.08)  # of class means, from lobe to lobe
CT = ContrastPrior('attenuation', spread=0.03, noise=(0.03, 0.2), gamma=(1, 1))

CLINICAL_SLICES = AcquisitionPrior(
    orientation_weights=(0.25, 0.15, 0.6),
    slice_spacing=(2.5, 7.5),
    in_plane=(0.5, 1.2),
    in_plane_anisotropy=(1.0, 1.3),
    isotropic_probability=0.1,
    partial_probability=0.2,
)
CLINICAL_ARTEFACTS = ArtefactPrior(
    noise_probability=0.9,
    noise_sd=(0.001, 0.03),
    ghost_probability=0.15,
    spike_probability=0.03,
    jump_probability=0.25,
    clip_probability=0.1,
)
TISSUES_DRAWN = TissuePrior(fat_probability=0.9, vessel_probability=0.5, meninges_probability=0.5)
PATHOLOGY = PathologyPrior(lesion_probability=0.35, mass_probability=0.05)
REMOVAL = RemovalPrior(strip_probability=0.1, deface_probability=0.25)
BIAS = BiasPrior(log_sd=0.3)
MOTION = MotionPrior(rotation_deg=8.0)
COUNTS = (0.35, 0.3, 0.2, 0.15)


def paper() -> GeneratorPrior:
    """One scan of any contrast with Table 1 of Iglesias et al. 2021, and nothing beyond it."""
    acquisition = AcquisitionPrior(
        slice_spacing=(5.0, 5.0),
        thickness_per_spacing=(1.0, 1.0),
        profile_sd_per_thickness=PAPER_PROFILE,
    )
    return GeneratorPrior(scans=(ScanPrior(acquisition=acquisition),))


def clinical_2d() -> GeneratorPrior:
    """Thick 2D slices of any orientation: T1w, T2w, PDw, FLAIR and contrasts never seen."""
    kinds = {
        'T1w': (T1_SPIN_ECHO, 3.0, 0.3),
        'T2w': (T2_SPIN_ECHO, 2.0, 0.0),
        'PDw': (PD_SPIN_ECHO, 0.5, 0.0),
        'FLAIR': (FLAIR, 2.0, 0.05),
        '': (RANDOM, 2.5, 0.2),
    }
    scans = [
        ScanPrior(
            suffix=suffix,
            weight=weight,
            contrast=replace(contrast, texture=TEXTURE, drift=DRIFT, spread=0.12),
            bias=BIAS,
            motion=MOTION,
            acquisition=CLINICAL_SLICES,
            artefacts=CLINICAL_ARTEFACTS,
            agent_probability=agent,
        )
        for suffix, (contrast, weight, agent) in kinds.items()
    ]
    return GeneratorPrior(
        scans=tuple(scans),
        scan_counts=COUNTS,
        target='t1w',
        normalisation='percentiles',
        tissues=TISSUES_DRAWN,
        pathology=PATHOLOGY,
        removal=REMOVAL,
    )


def research_3d() -> GeneratorPrior:
    """Volumes of 1 to 1.6 mm, as research protocols have them, and some 2D scans beside them."""
    world = clinical_2d()
    volumes = AcquisitionPrior(
        isotropic_probability=0.8,
        isotropic=(0.8, 1.6),
        slice_spacing=(1.5, 4.0),
        thickness_per_spacing=(0.8, 1.1),
        in_plane=(0.5, 1.2),
    )
    scans = [replace(scan, acquisition=volumes) for scan in world.scans]
    scans[0] = replace(scans[0], contrast=replace(T1_INVERSION, texture=TEXTURE, drift=DRIFT))
    return replace(world, scans=tuple(scans))


def mixed() -> GeneratorPrior:
    """Scans of 1 to 9 mm of any orientation, from volumes to thick slices; spin echoes, MP-RAGE.

    Lesions are to be replaced by healthy tissue, as the published networks do.
    Fine scans teach where structures end, thick ones what that looks like in between: a network
    that saw thick slices almost alone drew no folds (lab/training-log.md).
    """
    world = clinical_2d()
    acquisition = replace(
        CLINICAL_SLICES,
        slice_spacing=(1.5, 9.0),
        isotropic_probability=0.35,
        isotropic=(0.8, 1.6),
    )
    scans = [replace(scan, acquisition=acquisition) for scan in world.scans]
    inversion = replace(
        scans[0], contrast=replace(T1_INVERSION, texture=TEXTURE, drift=DRIFT, spread=0.12)
    )
    counts = (0.4, 0.25, 0.15, 0.08, 0.04, 0.03, 0.03, 0.02)
    return replace(
        world,
        scans=(*scans, replace(inversion, weight=2.0)),
        scan_counts=counts,
        pathology=replace(PATHOLOGY, in_target='remove'),
    )


def low_field() -> GeneratorPrior:
    """Portable scanners of 64 mT: 1.5 to 2 mm in plane, 5 mm slices, much noise."""
    world = clinical_2d()
    slices = AcquisitionPrior(
        slice_spacing=(4.0, 6.5),
        thickness_per_spacing=(0.95, 1.05),
        in_plane=(1.4, 2.2),
        in_plane_anisotropy=(1.0, 1.2),
        isotropic_probability=0.1,
        isotropic=(1.8, 3.5),
    )
    artefacts = replace(CLINICAL_ARTEFACTS, noise_probability=1.0, noise_sd=(0.02, 0.1))
    scans = [
        replace(scan, acquisition=slices, artefacts=artefacts, bias=BiasPrior(log_sd=0.45))
        for scan in world.scans
    ]
    return replace(world, scans=tuple(scans))


def ct_like() -> GeneratorPrior:
    """Computed tomography, clipped to the brain window of 0 to 80 HU."""
    slices = AcquisitionPrior(
        orientation_weights=(0.0, 0.0, 1.0),
        slice_spacing=(1.0, 6.0),
        thickness_per_spacing=(0.9, 1.1),
        in_plane=(0.4, 1.0),
    )
    scan = ScanPrior(
        suffix='ct',
        contrast=CT,
        bias=BiasPrior(probability=0.0),
        motion=MOTION,
        acquisition=slices,
        artefacts=ArtefactPrior(window=(0.0, 80.0)),
        agent_probability=0.15,
    )
    world = clinical_2d()
    return replace(
        world,
        scans=(scan,),
        scan_counts=(0.8, 0.2),
        normalisation='min-max',
        removal=RemovalPrior(strip_probability=0.1),
    )


def prior_by_name(name: str) -> GeneratorPrior:
    """Make the prior of a scanner world."""
    worlds = {
        'paper': paper,
        'clinical-2d': clinical_2d,
        'research-3d': research_3d,
        'mixed': mixed,
        'low-field': low_field,
        'ct-like': ct_like,
    }
    if name not in worlds:
        raise ValueError(f'No prior is named {name!r}: choose one of {", ".join(worlds)}')
    return worlds[name]()
