"""From scans and their segmentations on disk to the contrast prior of a recipe."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from bids_synthsr.dataset.images import load_volume
from bids_synthsr.synthesis.estimation import estimate_contrast_prior
from bids_synthsr.synthesis.labels import freesurfer_table
from bids_synthsr.synthesis.priors import ContrastPrior


def estimate_from_files(scans: Sequence[Path], label_maps: Sequence[Path]) -> str:
    """Estimate the prior of one contrast; return it as a part of a recipe, in TOML."""
    if len(scans) != len(label_maps):
        raise ValueError(
            f'{len(scans)} scans and {len(label_maps)} label maps: give one label map per scan'
        )
    volumes, segmentations, voxel_volumes = [], [], []
    for scan, label_map in zip(scans, label_maps, strict=True):
        voxels, grid = load_volume(scan)
        labels, label_grid = load_volume(label_map)
        if label_grid != grid:
            raise ValueError(
                f'{scan} has {grid.shape} voxels, its label map {label_map} {label_grid.shape}, '
                'or they lie elsewhere: resample the labels on the grid of the scan'
            )
        volumes.append(voxels)
        segmentations.append(labels)
        voxel_volumes.append(grid.voxel_volume)
    prior = estimate_contrast_prior(volumes, segmentations, voxel_volumes, freesurfer_table())
    return contrast_as_toml(prior, f'Estimated from {len(scans)} scans such as {scans[0].name}')


def contrast_as_toml(prior: ContrastPrior, comment: str) -> str:
    """Write a contrast prior as it stands in a recipe, below the ``[[prior.scans]]`` it is for."""
    lines = [f'# {comment}', '[prior.scans.contrast]', f'kind = "{prior.kind}"', '']
    for entry in prior.statistics:
        lines.append('[[prior.scans.contrast.statistics]]')
        for key, value in vars(entry).items():
            lines.append(f'{key} = "{value}"' if key == 'name' else f'{key} = {value:.2f}')
        lines.append('')
    return '\n'.join(lines)
