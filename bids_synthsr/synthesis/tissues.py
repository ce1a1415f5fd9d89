"""What tissues look like: relaxation for MR, attenuation for CT, and the T1w that we aim for."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Tissue:
    """Physical properties of a tissue.

    Parameters
    ----------
    t1_ms, t2_ms
        Relaxation times at 1.5 T.
    proton_density
        Proton density relative to that of free water.
    t1w
        Intensity in a T1w (MP-RAGE) image, relative to white matter.
    attenuation_hu
        Attenuation in CT, HU.
    uptake
        Uptake of a contrast agent, 0 to 1.
    """

    t1_ms: float
    t2_ms: float
    proton_density: float
    t1w: float
    attenuation_hu: float
    uptake: float = 0.0


# Relaxation: rounded values between those of Kwan et al. 1999 (BrainWeb) and Stanisz et al. 2005,
# and between their neighbours for structures that these do not list; fat as bright as it is in
# turbo spin echoes. The generator spreads them.
# T1w of the brain: medians of one FreeSurfer-segmented MP-RAGE (`synthesis.estimation`
# gives those of other scans); of the rest of the head, and CT: typical values.
TISSUES = {
    'air': Tissue(1000, 100, 0.0, 0.0, -1000),
    'white-matter': Tissue(650, 75, 0.70, 1.0, 28),
    'periventricular': Tissue(750, 85, 0.73, 0.93, 26),
    'cortex': Tissue(1050, 92, 0.82, 0.65, 37),
    'csf': Tissue(3500, 1200, 1.0, 0.28, 7),
    'ventricle': Tissue(3800, 1500, 1.0, 0.22, 6),
    'cerebellum-white': Tissue(670, 75, 0.71, 0.87, 29),
    'cerebellum-cortex': Tissue(1030, 88, 0.82, 0.60, 37),
    'thalamus': Tissue(830, 80, 0.77, 0.89, 35),
    'caudate': Tissue(980, 84, 0.82, 0.78, 38),
    'putamen': Tissue(920, 78, 0.80, 0.84, 37),
    'pallidum': Tissue(780, 62, 0.76, 0.96, 37),
    'hippocampus': Tissue(1080, 95, 0.83, 0.69, 36),
    'amygdala': Tissue(1070, 95, 0.83, 0.71, 36),
    'accumbens': Tissue(990, 88, 0.82, 0.75, 37),
    'ventral-dc': Tissue(760, 72, 0.75, 0.93, 33),
    'brain-stem': Tissue(780, 80, 0.74, 0.84, 30),
    'optic-chiasm': Tissue(800, 80, 0.73, 0.75, 30),
    'choroid-plexus': Tissue(1400, 130, 0.90, 0.48, 40, 0.9),
    'vessel': Tissue(1400, 150, 0.30, 0.45, 42, 1.0),
    'lesion': Tissue(1150, 170, 0.84, 0.68, 22),
    'mass-core': Tissue(1700, 220, 0.90, 0.50, 30, 0.1),
    'mass-rim': Tissue(1100, 105, 0.83, 0.68, 40, 1.0),
    'oedema': Tissue(1250, 150, 0.85, 0.72, 20),
    'muscle': Tissue(900, 45, 0.80, 0.50, 55),
    'fat': Tissue(280, 160, 0.95, 1.35, -90),
    'skin': Tissue(700, 60, 0.65, 0.65, 40),
    'bone': Tissue(300, 4, 0.15, 0.10, 900),
    'marrow': Tissue(420, 110, 0.55, 0.75, 400),
    'dura': Tissue(1100, 70, 0.45, 0.35, 60, 0.9),
    'mucosa': Tissue(1200, 130, 0.85, 0.45, 35, 0.8),
    'eye': Tissue(3300, 900, 1.0, 0.18, 8),
    'nerve': Tissue(850, 80, 0.72, 0.70, 30),
    'pituitary': Tissue(1000, 85, 0.80, 0.65, 42, 0.9),
    'cord': Tissue(800, 80, 0.72, 0.80, 32),
}
