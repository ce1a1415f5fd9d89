"""What is drawn into label maps lies where it may lie."""

import pytest
import torch

from bids_synthsr.synthesis.labels import (
    FAT,
    LESION,
    MASS_CORE,
    MASS_RIM,
    MENINGES,
    OEDEMA,
    SKIN,
    SOFT_TISSUE,
    VESSEL,
    freesurfer_table,
)
from bids_synthsr.synthesis.overlays import (
    PathologyDraw,
    RemovalDraw,
    TissueDraw,
    add_fat,
    add_tissues,
    brain_mask,
    dilated,
    draw_pathology,
    draw_removal,
    draw_tissues,
    pathology_labels,
    remaining_mask,
    vessel_mask,
)
from bids_synthsr.synthesis.priors import PathologyPrior, RemovalPrior, TissuePrior

TABLE = freesurfer_table()
CPU = torch.device('cpu')
EYE = 506


@pytest.fixture
def head():
    """Balls in balls: ventricle, white matter, cortex, CSF, bone, soft tissue, skin, air."""
    axis = torch.arange(48) - 23.5
    radius = (axis[:, None, None] ** 2 + axis[:, None] ** 2 + axis**2).sqrt()
    labels = torch.zeros(48, 48, 48, dtype=torch.int16)
    for size, value in ((23, 511), (22, 507), (19, 515), (17, 24), (16, 3), (13, 2), (4, 4)):
        labels[radius < size] = value
    return labels


def pathology(fraction=None, radius=None, rim=0.2, oedema=1.5):
    return PathologyDraw(3, fraction, 6.0, radius, rim, oedema, True)


def test_lesions_lie_in_white_matter_about_as_often_as_asked(head):
    disease = pathology_labels(head, pathology(fraction=0.1), TABLE)
    assert set(disease.unique().tolist()) == {0, LESION}
    assert (head[disease > 0] == 2).all()
    # smooth fields in a small ball, and more near the ventricle: about
    assert 0.03 < (disease > 0).sum() / (head == 2).sum() < 0.4


def test_mass_is_an_oedema_around_a_rim_around_a_core(head):
    disease = pathology_labels(head, pathology(radius=6.0), TABLE)
    assert set(disease.unique().tolist()) == {0, MASS_CORE, MASS_RIM, OEDEMA}
    assert brain_mask(head, TABLE)[disease > 0].all()
    assert (head[disease == OEDEMA] == 2).all()
    core = disease == MASS_CORE
    assert (
        not (dilated(core, 1) & ~core & (disease == OEDEMA)).any() or (disease == MASS_RIM).any()
    )
    assert 300 < (disease > 0).sum() < 6000


def test_healthy_heads_stay_as_they_are(head):
    assert pathology_labels(head, pathology(), TABLE) is None
    assert torch.equal(add_tissues(head, TissueDraw(0, None, 1, None, False), TABLE), head)
    assert remaining_mask(head, RemovalDraw(None, None, 0.0), TABLE) is None


@pytest.mark.parametrize('skin_vox', [1, 2])
def test_fat_replaces_soft_tissue_and_deep_skin(head, skin_vox):
    head = head.masked_fill((head == SOFT_TISSUE) & dilated(head == SKIN, 1), SKIN)
    dressed = add_fat(head, TissueDraw(1, 1.0, skin_vox, None, False))
    fat = dressed == FAT
    assert torch.equal(dressed == SKIN, (head == SKIN) & dilated(head == 0, skin_vox))
    assert ((head == SOFT_TISSUE) | (head == SKIN))[fat].all()
    rest = ~fat & (head != SKIN)
    assert torch.equal(dressed[rest], head[rest])
    assert 0 < fat.sum() < ((head == SOFT_TISSUE) | (head == SKIN)).sum()


def test_eyes_lie_in_fat():
    deep = torch.full((64, 64, 64), SOFT_TISSUE)
    deep[8:32, 20:44, 20:44] = EYE
    fat = add_fat(deep, TissueDraw(1, 1.0, 1, None, False)) == FAT
    around = dilated(deep == EYE, 4) & (deep == SOFT_TISSUE)
    assert fat[around].float().mean() > 0.8
    assert fat[48:].float().mean() < 0.1


def test_vessels_lie_in_the_brain(head):
    dressed = add_tissues(head, TissueDraw(1, None, 1, 1.0, False), TABLE)
    assert brain_mask(head, TABLE)[dressed == VESSEL].all()
    assert 0 < (dressed == VESSEL).sum() < 0.1 * brain_mask(head, TABLE).sum()


def test_vessels_are_thicker_for_a_larger_radius():
    volumes = [vessel_mask((40, 40, 40), radius, 2, CPU).sum() for radius in (0.5, 1.0)]
    assert 2 < volumes[1] / volumes[0] < 6  # a tube's volume goes with the square: 4


def test_meninges_are_a_thin_shell(head):
    dressed = add_tissues(head, TissueDraw(1, None, 1, None, True), TABLE)
    shell, brain = dressed == MENINGES, brain_mask(head, TABLE)
    assert not (shell & brain).any() and (dilated(brain, 1) & (head > 0) == brain | shell).all()


@pytest.mark.parametrize('margin', [1, 3])
def test_stripping_keeps_the_brain_and_little_else(head, margin):
    remaining = remaining_mask(head, RemovalDraw(margin, None, 0.0), TABLE)
    assert remaining[brain_mask(head, TABLE) & (head != 24)].all()
    assert not remaining[(head == 511) | (head == 0)].any()


@pytest.mark.parametrize('angle', [15.0, 45.0])
def test_defacing_spares_the_brain_and_the_back(head, angle):
    remaining = remaining_mask(head, RemovalDraw(None, angle, 3.0), TABLE)
    assert remaining[brain_mask(head, TABLE)].all() and remaining[:, :24, 24:].all()
    removed = ~remaining & (head > 0)
    assert removed.any() and removed[:, 24:, :].sum() == removed.sum()


def test_switches():
    generator = torch.Generator().manual_seed(0)
    assert draw_tissues(TissuePrior(1, 1, 1), generator).has_meninges
    assert draw_tissues(TissuePrior(), generator).fat_level is None
    on = draw_pathology(PathologyPrior(1, (0.01, 0.02), 1, (4, 5), 'remove'), generator)
    assert 0.01 <= on.lesion_fraction <= 0.02 and 4 <= on.mass_radius <= 5 and not on.is_target
    assert draw_pathology(PathologyPrior(), generator).mass_radius is None
    assert draw_removal(RemovalPrior(1, 1), generator).strip_margin_vox in (1, 2, 3)
    assert draw_removal(RemovalPrior(), generator).face_angle_deg is None
