"""What morphometry finds of known changes: how much, how surely, and what else."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from scipy import ndimage

from bids_synthsr.dataset.files import read_object, written_atomically
from bids_synthsr.dataset.images import load_volume
from bids_synthsr.derivatives.morphometry import LEVEL
from bids_synthsr.derivatives.places import Derivatives
from bids_synthsr.evaluation.shape_cases import TRUTH
from bids_synthsr.evaluation.shape_changes import (
    BrainInAtlas,
    balanced_splits,
    growths_by_structure,
    growths_in_places,
)
from bids_synthsr.morphometry.growth_maps import smoothed_growths
from bids_synthsr.morphometry.voxelwise import compare_voxels
from bids_synthsr.reports.figures import effect_slices
from bids_synthsr.settings import TbmSettings
from bids_synthsr.values.grid import Grid

AXIAL = 2
MEASURED = ('found', 'error', 'between', 'sure_percent', 'g')  # of a structure, see `Finding`
NEAR_MM = 10.0  # around a structure that changed, within which smoothing and deformation reach


@dataclass(frozen=True)
class Finding:
    """What was found of the change of one structure by one method.

    A structure that has no voxel in the atlas has its truth alone, and all else is None.

    Parameters
    ----------
    method
        Name of the method, or `TRUTH`.
    structure
        Name of the structure.
    true, found
        Logarithm of its growth in those who changed, against themselves before that.
    error
        Standard error of what was found.
    between
        What was found in those who changed, less that of the others, who are other people.
    sure_percent
        Share of it that differs beyond chance, for the whole brain.
    g
        Hedges' g, mean over the structure.
    """

    method: str
    structure: str
    true: float
    found: float | None
    error: float | None
    between: float | None
    sure_percent: float | None
    g: float | None

    @property
    def percent(self) -> float | None:
        """Share of the true change that was found."""
        return None if self.found is None else 100 * self.found / self.true


@dataclass(frozen=True)
class Findings:
    """What was found by one method.

    Parameters
    ----------
    method
        Name of the method, or `TRUTH`.
    maps
        Folder of its maps.
    structures
        What was found of each structure.
    elsewhere_ml
        Volume that differs beyond chance and lies far from what changed.
    positive_splits, splits
        Random splits in which any voxel differed beyond chance, and how many there were.
    correlation
        Correlation of its map of g with that of `TRUTH` in the standard space; 1 for that itself,
        NaN where it is not there.
    picture
        JPEG file of slices of its map.
    """

    method: str
    maps: str
    structures: Sequence[Finding]
    elsewhere_ml: float
    positive_splits: int
    splits: int
    correlation: float
    picture: Path


def compare_changes(
    brains: Iterable[BrainInAtlas],
    before: Iterable[np.ndarray],
    truths: Sequence[Mapping[str, float]],
    is_second: Sequence[bool],
    derivatives: Derivatives,
) -> dict[str, Any]:
    """Compare what was found with the truth, structure by structure; plain values.

    What cannot be measured, of a structure that has no voxel in the atlas, is None.

    Parameters
    ----------
    brains
        All brains, and where their structures are.
    before
        Velocity from the atlas to each of those who changed, before that, ``(3, i, j, k)`` mm.
    truths
        Logarithm of the growth of the structures of each.
    is_second
        Which of them have changed.
    derivatives
        Where the maps are.
    """
    grid = load_volume(derivatives.group_tbm / 'space-atlas_desc-mean_T1w.nii.gz')[1]
    names = [*truths[0]]
    places, growths = growths_by_structure(brains, grid, len(names))
    g, p = (_map(derivatives, name) for name in ('g', 'pcluster'))
    changed = np.array(is_second, bool)
    own = growths[changed] - growths_in_places(before, grid, places, len(names))
    rows = []
    for number, name in enumerate(names, 1):
        alone, parts = own[:, number - 1], [growths[x, number - 1] for x in (changed, ~changed)]
        inside = places == number
        measured = {
            'found': alone.mean(),
            'error': alone.std(ddof=1) / np.sqrt(len(alone)),
            'between': parts[0].mean() - parts[1].mean(),
            'sure_percent': 100 * (p[inside] < LEVEL).mean(),
            'g': g[inside].mean(),
        } if inside.any() else {}  # fmt: skip
        rows.append({
            'structure': name,
            'true': float(np.mean([truth[name] for truth in truths], where=changed)),
            **{x: float(measured[x]) if measured else None for x in MEASURED},
        })  # fmt: skip
    far = ndimage.distance_transform_edt(places == 0, grid.spacing) > NEAR_MM
    elsewhere = float(((p < LEVEL) & far).sum() * grid.voxel_volume / 1000)
    return {'structures': rows, 'elsewhere_ml': elsewhere}


def _map(derivatives: Derivatives, name: str) -> np.ndarray:
    return load_volume(derivatives.group_tbm / f'space-atlas_stat-{name}_statmap.nii.gz')[0]


def count_false_positives(
    velocities: Sequence[Path],
    is_second: Sequence[bool],
    splits: int,
    settings: TbmSettings,
    derivatives: Derivatives,
) -> int:
    """Count the random splits of the people in which any voxel differs beyond chance.

    Parameters
    ----------
    velocities
        Files of the velocities of all brains.
    is_second
        Which of them have changed: as many go to both parts of a split.
    splits
        Number of splits that are tested.
    settings
        How each is tested.
    derivatives
        Where the maps are.
    """
    mask, grid = load_volume(derivatives.group_tbm / 'space-atlas_desc-brain_mask.nii.gz')
    inside = mask > 0
    fields = (np.load(path) for path in velocities)
    growths = smoothed_growths(fields, mask.shape, float(grid.spacing[0]), settings.fwhm_mm)
    values = np.stack([growth[inside] for growth in growths])
    # the true change is in both parts, and no difference of theirs: it is held fixed
    changed = np.array(is_second, float)[:, None]
    positive = 0
    for number, split in enumerate(balanced_splits(is_second, splits, settings.seed)):
        effects = compare_voxels(
            values, split, changed, inside, settings.permutations, settings.seed + number
        )
        positive += bool((effects.p_cluster < LEVEL).any())
    return positive


def save_picture(derivatives: Derivatives, path: Path) -> Path:
    """Draw axial slices of the mean brain with the differences over them; return the path.

    Parameters
    ----------
    derivatives
        Where the maps are.
    path
        JPEG file to be written.
    """
    atlas, grid = load_volume(derivatives.group_tbm / 'space-atlas_desc-mean_T1w.nii.gz')
    g, p = (_map(derivatives, name) for name in ('g', 'pcluster'))
    figure = effect_slices(atlas, g, p < LEVEL, grid, AXIAL)
    with written_atomically(path) as temporary:
        figure.savefig(temporary, format='jpg', pil_kwargs={'quality': 85})
    return path


def read_findings(paths: Sequence[Path]) -> list[Findings]:
    """Read what was found by all methods, and compare their maps with those of the truth.

    Parameters
    ----------
    paths
        JSON files of `MeasureChanges`; that of `TRUTH` may be absent.
    """
    contents = {path: read_object(path) for path in paths}
    truth = next((x['maps'] for x in contents.values() if x['method'] == TRUTH), None)
    return [
        Findings(
            content['method'],
            content['maps'],
            [Finding(content['method'], **row) for row in content['structures']],
            content['elsewhere_ml'],
            content['positive_splits'],
            content['splits'],
            correlation_of_maps(Path(truth), Path(content['maps'])) if truth else float('nan'),
            path.with_suffix('.jpg'),
        )
        for path, content in contents.items()
    ]


def correlation_of_maps(first: Path, second: Path) -> float:
    """Correlate the maps of g of two folders in the standard space, where both have voxels.

    Parameters
    ----------
    first, second
        Folders that hold maps.
    """
    pair = [_standard_g(folder) for folder in (first, second)]
    (one, mask_one, grid_one), (other, mask_other, grid_other) = pair
    if grid_one != grid_other:
        return float('nan')
    both = mask_one & mask_other
    return float(np.corrcoef(one[both], other[both])[0, 1])


def _standard_g(folder: Path) -> tuple[np.ndarray, np.ndarray, Grid]:
    """Read g and its mask in the standard space."""
    maps = (path for path in sorted(folder.glob('space-*_stat-g_statmap.nii.gz')))
    path = next(path for path in maps if 'space-atlas' not in path.name)
    g, grid = load_volume(path)
    mask = load_volume(path.with_name(path.name.replace('stat-g_statmap', 'desc-brain_mask')))[0]
    return g, mask > 0, grid
