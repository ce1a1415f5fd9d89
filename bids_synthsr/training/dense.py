"""Dense stacks: slices that a network of slices makes between those of scans."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from bids_synthsr import __version__
from bids_synthsr.dataset.files import read_object, sha256, write_json
from bids_synthsr.dataset.guessing import stem_of
from bids_synthsr.dataset.images import save_volume
from bids_synthsr.dataset.weights import Weights
from bids_synthsr.derivatives.ownership import find_overwritten
from bids_synthsr.networks.registry import SLICE_VAE, build_network
from bids_synthsr.networks.slice_vae import SliceVAE
from bids_synthsr.synthesis.heads import SHOWN_INTENSITY, SliceStack
from bids_synthsr.training.checkpoints import best_of
from bids_synthsr.training.stacks import MADE, check_unlike_names, read_stack
from bids_synthsr.values.grid import Grid

DENSE_MM = 1.0  # about the distance of slices that are made
SLICES_AT_ONCE = 16


def load_slice_vae(weights: Weights) -> SliceVAE:
    """Make the network of slices of a checkpoint or an export.

    Raises
    ------
    ValueError
        For weights of another network.
    """
    name = weights.description.get('network')
    if name != SLICE_VAE:
        raise ValueError(
            f'These weights are of {name}, not of {SLICE_VAE}; train one with: synthsr train run '
            'spacing-vae'
        )
    network = build_network(SLICE_VAE, weights.description['arguments'])
    assert isinstance(network, SliceVAE)
    network.load_state_dict({key: value.float() for key, value in best_of(weights).items()})
    return network.eval()


@torch.no_grad()
def make_dense(network: SliceVAE, stack: SliceStack) -> tuple[np.ndarray, Grid]:
    """Make slices about 1 mm apart by mixing the latents of neighbours.

    Where a slice was measured lies what the network makes of that slice alone.

    Parameters
    ----------
    network
        Network in evaluation mode.
    stack
        Slices of a scan.

    Returns
    -------
    voxels, grid
        ``(I, J, D)`` float32, and where they lie.
    """
    steps = max(round(stack.spacing_mm / DENSE_MM), 1)
    height, width, count = stack.voxels.shape
    missing = [-side % network.multiple for side in (height, width)]
    padded = torch.nn.functional.pad(
        stack.voxels.float().movedim(2, 0), (0, missing[1], 0, missing[0])
    )
    means = torch.cat([network.encode(part)[0] for part in padded.split(SLICES_AT_ONCE)])
    shares = torch.arange(steps, device=means.device)[:, None, None, None] / steps
    made: list[Tensor] = []
    for lower, upper in pairwise(means):
        made.append(network.decode((1 - shares) * lower + shares * upper))
    made.append(network.decode(means[-1:]))
    dense = torch.cat(made)[:, :height, :width].clamp(min=0).movedim(0, 2)
    vox2ras = stack.grid.vox2ras @ np.diag([1, 1, 1 / steps, 1])
    return dense.cpu().numpy(), Grid((height, width, (count - 1) * steps + 1), vox2ras)


def write_stacks(
    weights: Weights,
    paths: Sequence[Path],
    out: Path,
    device: torch.device,
    show: Callable[[str], None] = lambda _: None,
) -> list[Path]:
    """Make dense stacks of scans, and write them with sidecars that say so.

    Parameters
    ----------
    weights
        Checkpoint or export of a network of slices.
    paths
        Files of the scans of thick slices.
    out
        Folder of the stacks, which have the names of the scans.
    device
        Device on which the network runs.
    show
        Takes a line for each scan that is done.

    Raises
    ------
    ValueError
        For weights of another network, scans of one name, and a file that is no usable scan.
    """
    network = load_slice_vae(weights).to(device)
    check_unlike_names(paths)
    names = [stem_of(path.name) for path in paths]
    for name in names:
        _check_free(out, name, paths)
    written = []
    for number, (path, name) in enumerate(zip(paths, names, strict=True), 1):
        stack = read_stack(path).to(device)
        voxels, grid = make_dense(network, stack)
        if not (voxels > SHOWN_INTENSITY).any():
            raise ValueError(f'The stack of {path} shows nothing: train the network longer')
        facts: dict[str, Any] = {
            'Description': 'Slices between those of a scan, made by a network. Not measured.',
            'Synthetic': True,
            'Sources': [f'{path.parent.name}/{path.name}'],
            'SourceSHA256': sha256(path),
            'GeneratedBy': {'Name': 'bids_synthsr', 'Version': __version__},
            'SliceThickness': stack.thickness_mm,
            'SpacingBetweenSlices': round(float(grid.spacing[2]), 4),
            MADE: stack.spacing_mm,
            'Weights': dict(weights.file),
        }
        write_json(out / f'{name}.json', facts)
        written.append(save_volume(out / f'{name}.nii.gz', voxels, grid))
        show(f'stack {number} of {len(paths)}: {name}')
    return written


def _check_free(out: Path, name: str, inputs: Sequence[Path]) -> None:
    """Refuse to write over a scan, or over anything but an earlier stack."""
    image, sidecar = out / f'{name}.nii.gz', out / f'{name}.json'
    fault = find_overwritten([image, sidecar], inputs)
    is_stack = sidecar.is_file() and MADE in read_object(sidecar)
    if not fault and not is_stack and (image.exists() or sidecar.exists()):
        fault = f'{out} holds a {name} that is no stack of this program'
    if fault:
        raise ValueError(f'--out: {fault}: choose another folder')
