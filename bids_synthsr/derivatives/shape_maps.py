"""What tensor-based morphometry writes: maps in the atlas and in a standard space, clusters."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from bids_synthsr.dataset.composites import affine_of, field_of, save_composite
from bids_synthsr.dataset.files import write_json, write_text, written_atomically
from bids_synthsr.dataset.images import save_volume
from bids_synthsr.dataset.templates import TemplateFiles
from bids_synthsr.derivatives.morphometry import LEVEL
from bids_synthsr.derivatives.places import Derivatives, sidecar_of
from bids_synthsr.derivatives.provenance import describe_space_transform
from bids_synthsr.derivatives.records import load_record
from bids_synthsr.derivatives.tables import table_text
from bids_synthsr.imaging.geometry import apply_affine
from bids_synthsr.morphometry.voxelwise import Cluster, VoxelEffects, find_clusters
from bids_synthsr.registration.standard import StandardTransform
from bids_synthsr.values.grid import Grid

MAPS = {
    't': "Student's t of second group minus first, at each voxel of the atlas.",
    'g': "Hedges' g: difference of the logarithm of growth in standard deviations.",
    'p': 'Probability at this voxel alone, by permutations.',
    'pvoxel': 'Probability that any voxel has such a t by chance (family-wise error).',
    'pcluster': 'The same for t enhanced without a threshold (family-wise error).',
    'qrank': 'Rank sum of both groups, adjusted for the share of false discoveries.',
}
ATLAS = 'atlas'  # name of its space
LINEAR = 1  # order of the splines by which maps are carried
CLUSTERS = {
    'size_mm3': 'Size of the cluster in the atlas.',
    'x_mm': 'Place of the peak along R in the standard space.',
    'y_mm': 'The same along A.',
    'z_mm': 'The same along S.',
    'atlas_x_mm': 'Place of the peak along R in the atlas.',
    'atlas_y_mm': 'The same along A.',
    'atlas_z_mm': 'The same along S.',
    't': "Student's t at the peak, second group minus first.",
    'g': "Hedges' g at the peak.",
    'p': 'Probability at the peak, enhanced without a threshold, for the whole brain.',
}


@dataclass(frozen=True, eq=False)
class ShapeMaps:
    """Differences of shapes on the atlas.

    Parameters
    ----------
    effects
        What came out at the voxels of the mask.
    mask, atlas
        Where the voxels lie, and the mean brain, ``(I, J, K)``.
    grid
        Grid of the atlas.
    levels
        Names of the first and of the second group.
    """

    effects: VoxelEffects
    mask: np.ndarray
    atlas: np.ndarray
    grid: Grid
    levels: tuple[str, str]

    def volumes(self) -> dict[str, np.ndarray]:
        """Lay what came out on the grid, ``(I, J, K)`` each: 0 beyond the mask, probabilities 1.

        Returns
        -------
        volumes
            By the names of `MAPS`.
        """
        effects = self.effects
        values = {
            't': effects.t, 'g': effects.g, 'p': effects.p, 'pvoxel': effects.p_voxel,
            'pcluster': effects.p_cluster, 'qrank': effects.q_rank,
        }  # fmt: skip
        volumes = {}
        for name in MAPS:
            volumes[name] = np.full(self.mask.shape, _beyond(name), np.float32)
            volumes[name][self.mask] = values[name]
        return volumes


@dataclass(frozen=True, eq=False)
class StandardPlace:
    """Where the atlas lies in a standard space.

    Parameters
    ----------
    transform
        How points of the template and of the atlas, which is its T1w, belong together.
    files
        Files of the template.
    target
        Grid of what is carried there.
    """

    transform: StandardTransform
    files: TemplateFiles
    target: Grid


def keep_transform(transform: StandardTransform, path: Path) -> Path:
    """Write a transform for the next step, as a NumPy archive; return the path.

    Parameters
    ----------
    transform
        How points of a template and of a T1w belong together.
    path
        File that is written, ``.npz``.
    """
    with written_atomically(path) as temporary:
        np.savez(
            temporary,
            template2t1w=transform.template2t1w, there=transform.there, back=transform.back,
            vox2ras=transform.grid.vox2ras, fit=[transform.overlap, transform.correlation],
        )  # fmt: skip
    return path


def kept_transform(path: Path) -> StandardTransform:
    """Read what `keep_transform` wrote.

    Parameters
    ----------
    path
        NumPy archive that was written.
    """
    with np.load(path) as kept:
        affine, there, back = (kept[name] for name in ('template2t1w', 'there', 'back'))
        first, second, third = there.shape[1:]
        grid = Grid((first, second, third), kept['vox2ras'])
        overlap, correlation = (float(x) for x in kept['fit'])
    return StandardTransform(affine, there, back, grid, overlap, correlation)


def save_maps(maps: ShapeMaps, place: StandardPlace, derivatives: Derivatives) -> list[Path]:
    """Write atlas, mask, maps and the table of clusters; return the paths.

    Parameters
    ----------
    maps
        Differences of shapes on the atlas.
    place
        Where the atlas lies in a standard space: it and the maps are carried there, too.
    derivatives
        Where the outputs lie.
    """
    folder = derivatives.group_tbm
    remove_recorded_maps(derivatives)
    volumes = maps.volumes()
    written = _save_space(folder, {'space': ATLAS}, maps, volumes, maps.grid)
    carried = {
        name: _carry(volume - _beyond(name), maps.grid, place) + np.float32(_beyond(name))
        for name, volume in volumes.items()
    }
    standard = ShapeMaps(
        maps.effects,
        _carry(maps.mask.astype(np.float32), maps.grid, place) > 0.5,
        _carry(maps.atlas, maps.grid, place),
        place.target,
        maps.levels,
    )
    written += _save_space(folder, place.files.entities, standard, carried, place.target)
    written += _save_transforms(folder, place)
    clusters = find_clusters(volumes['t'], volumes['g'], volumes['pcluster'], LEVEL)
    rows = [*cluster_rows(clusters, maps.grid, place.transform)]
    table = derivatives.group_clusters
    if rows:
        described: dict[str, Any] = {
            name: {'Description': text, **_units(name)} for name, text in CLUSTERS.items()
        }
        described['StandardSpace'] = place.files.space
        written += [write_text(table, table_text(rows)), write_json(sidecar_of(table), described)]
    else:
        for path in (table, sidecar_of(table)):
            path.unlink(missing_ok=True)
    return written


def remove_recorded_maps(derivatives: Derivatives) -> None:
    """Remove the maps of an earlier run, which on another template would stay beside the new.

    Only what its record names: beside it may lie what somebody else put there.

    Parameters
    ----------
    derivatives
        Where the outputs lie.
    """
    try:
        names = load_record(derivatives.tbm_record).outputs
    except (OSError, ValueError):  # no record, or none that this version understands
        return
    for path in (derivatives.root / name for name in names):
        if path.parent == derivatives.group_tbm:
            path.unlink(missing_ok=True)


def _beyond(name: str) -> float:
    """Value of a map where nothing is compared."""
    return 1.0 if name[0] in 'pq' else 0.0


def _units(name: str) -> dict[str, str]:
    unit = name.rpartition('_')[2]
    return {'Units': {'mm3': 'mm^3'}.get(unit, unit)} if unit in ('mm', 'mm3') else {}


def _carry(volume: np.ndarray, grid: Grid, place: StandardPlace) -> np.ndarray:
    return place.transform.carry(volume, grid, place.target, LINEAR)


def _save_space(
    folder: Path,
    entities: Mapping[str, str],
    maps: ShapeMaps,
    volumes: Mapping[str, np.ndarray],
    grid: Grid,
) -> list[Path]:
    """Write atlas, mask and maps in one space."""
    stem = '_'.join(f'{key}-{value}' for key, value in entities.items())
    mask = maps.mask.astype(np.uint8)
    written = [
        save_volume(folder / f'{stem}_desc-mean_T1w.nii.gz', maps.atlas, grid),
        save_volume(folder / f'{stem}_desc-brain_mask.nii.gz', mask, grid),
    ]
    carried = {} if entities['space'] == ATLAS else {'Interpolation': 'linear'}
    for name, volume in volumes.items():
        path = save_volume(folder / f'{stem}_stat-{name}_statmap.nii.gz', volume, grid)
        described = {
            'Description': MAPS[name],
            'FirstGroup': maps.levels[0],
            'SecondGroup': maps.levels[1],
            'Permutations': maps.effects.permutations,
            **carried,
        }
        written += [path, write_json(sidecar_of(path), described)]
    return written


def _save_transforms(folder: Path, place: StandardPlace) -> Iterator[Path]:
    """Write the transforms between atlas and standard space, as ITK reads them."""
    transform, space = place.transform, place.files.space
    affine = affine_of(transform.template2t1w)
    inverse = affine_of(np.linalg.inv(transform.template2t1w))
    there, back = (field_of(one, transform.grid) for one in (transform.there, transform.back))
    steps = {(ATLAS, space): [there, affine], (space, ATLAS): [inverse, back]}
    for (source, target), parts in steps.items():
        path = folder / f'from-{source}_to-{target}_mode-image_xfm.h5'
        yield save_composite(path, parts)
        yield write_json(sidecar_of(path), describe_space_transform(transform, place.files))


def cluster_rows(
    clusters: Sequence[Cluster], grid: Grid, transform: StandardTransform
) -> Iterator[dict[str, Any]]:
    """Describe clusters as rows of a table.

    Parameters
    ----------
    clusters
        The clusters on the grid of the atlas.
    grid
        Grid of the atlas.
    transform
        How points of a template and of the atlas belong together.

    Returns
    -------
    rows
        Size in mm³, and the peak in RAS+ mm of the template and of the atlas.
    """
    volume = float(np.prod(grid.spacing))
    for cluster in clusters:
        own = apply_affine(grid.vox2ras, np.array([cluster.peak], float))
        there = transform.to_template(own)
        places = zip(('', 'atlas_'), (there[0], own[0]), strict=True)
        yield {
            'size_mm3': f'{cluster.voxels * volume:.0f}',
            **{
                f'{prefix}{axis}_mm': f'{value:.0f}'
                for prefix, place in places
                for axis, value in zip('xyz', place, strict=True)
            },
            't': f'{cluster.t:.2f}',
            'g': f'{cluster.g:.2f}',
            'p': f'{cluster.p:.4g}',
        }
