"""Keras h5 files in the layout of the published SynthSR networks."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import torch

from bids_synthsr.dataset.files import written_atomically

LEVELS = 5  # of every published network
FEATURES = 24  # of its first level
PREFIX = 'unet_'  # of the names of layers
FIRST_LAYER = 'conv_downarm_0_0'
MAX_FEATURES, MAX_CHANNELS = 64, 8  # of any network in this layout: 300 MB at most
FAULTS = (OSError, ValueError, KeyError, TypeError, AttributeError, RuntimeError, MemoryError)
NORM = ('weight', 'bias', 'running_mean', 'running_var')  # PyTorch's names, Keras' order

Shape = tuple[int, ...]


def read_keras(path: Path) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    """Read the U-Net of a weights-only or a whole-model file; other layers are passed over.

    Returns
    -------
    tensors, description
        See `Weights`.

    Raises
    ------
    ValueError
        Naming every layer that is missing or has tensors of other shapes; for a damaged file.
    """
    try:
        with h5py.File(path) as file:
            return _read_unet(file)
    except FAULTS as error:  # whatever HDF5 finds in a damaged or odd file
        raise ValueError(f'{path}: {error}') from error


def _read_unet(file: h5py.File) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    """Read what `published_layers` lists, and list what does not agree with it."""
    group = file.get('model_weights', file)
    prefix = _find_prefix(group)
    in_channels, features = _find_widths(_data_sets(group, prefix + FIRST_LAYER))
    tensors, faults = {}, []
    for module, layer, shapes in published_layers(in_channels, features):
        data_sets = _data_sets(group, prefix + layer)
        actual, expected = [entry.shape for entry in data_sets], [*shapes.values()]
        if actual == expected:
            for name, entry in zip(shapes, data_sets, strict=True):
                tensors[f'{module}.{name}'] = _to_torch(np.asarray(entry))
        else:
            fault = f'has shapes {actual}, not {expected}' if actual else 'is missing'
            faults.append(f'{prefix}{layer} {fault}')
    if faults:
        raise ValueError(f'these are not the weights of a SynthSR network: {"; ".join(faults)}')
    arguments = {'in_channels': in_channels, 'features': features, 'levels': LEVELS}
    return tensors, {'network': 'unet', 'arguments': arguments}


def _find_prefix(layers: h5py.Group) -> str:
    """Find what stands before the names of layers: `PREFIX`, or the only other one there is."""
    prefixes = [name.removesuffix(FIRST_LAYER) for name in layers if name.endswith(FIRST_LAYER)]
    return prefixes[0] if len(prefixes) == 1 else PREFIX


def _data_sets(layers: h5py.Group, layer: str) -> list[h5py.Dataset]:
    """List the data sets of a layer in the order in which it lists them; none if it is not there.

    Their own names are no guide: Keras adds suffixes to them now and then. They are read later,
    where their shapes are right: a file may claim any size.
    """
    group = layers.get(layer)
    if not isinstance(group, h5py.Group):
        return []
    names = [
        name.decode() if isinstance(name, bytes) else str(name)
        for name in group.attrs.get('weight_names', ())
    ]
    entries = [group.get(name) for name in names]
    return [entry for entry in entries if isinstance(entry, h5py.Dataset)]


def _find_widths(first: Sequence[h5py.Dataset]) -> tuple[int, int]:
    """Take input channels and features from the first kernel, or those of the general network."""
    if not first or len(first[0].shape) != 5:
        return 1, FEATURES
    channels, features = first[0].shape[3:]
    if not (0 < channels <= MAX_CHANNELS and 0 < features <= MAX_FEATURES):
        raise ValueError(f'its first layer has {channels} channels and {features} features')
    return channels, features


def _to_torch(array: np.ndarray) -> torch.Tensor:
    """Turn kernels ``(I, J, K, in, out)`` into ``(out, in, I, J, K)``, all else stays; float32."""
    tensor = torch.from_numpy(array.astype(np.float32))
    return tensor.permute(4, 3, 0, 1, 2) if tensor.ndim == 5 else tensor


def published_layers(
    in_channels: int, features: int
) -> Iterator[tuple[str, str, dict[str, Shape]]]:
    """List the layers of a published network.

    Yields
    ------
    module, layer, shapes
        Name in our `UNet`, name in Keras without prefix, and the shapes of its tensors in Keras'
        order: kernels are ``(I, J, K, in, out)``.
    """
    last = LEVELS - 1
    width_in = in_channels
    for level in range(LEVELS):
        width = features * 2**level
        module = f'down.{level - 1}.convs' if level else 'first'
        yield f'{module}.conv0', f'conv_downarm_{level}_0', _convolution(3, width_in, width)
        yield f'{module}.conv1', f'conv_downarm_{level}_1', _convolution(3, width, width)
        onward = f'down.{level}' if level < last else 'up.0'
        yield f'{onward}.norm', f'bn_down_{level}', dict.fromkeys(NORM, (width,))
        width_in = width
    for step in range(last):
        width = features * 2 ** (last - 1 - step)
        layer = f'conv_uparm_{LEVELS + step}'
        yield f'up.{step}.convs.conv0', f'{layer}_0', _convolution(3, 3 * width, width)
        yield f'up.{step}.convs.conv1', f'{layer}_1', _convolution(3, width, width)
        onward = f'up.{step + 1}' if step < last - 1 else 'head'
        yield f'{onward}.norm', f'bn_up_{step}', dict.fromkeys(NORM, (width,))
    yield 'head.linear', 'likelihood', _convolution(1, features, 1)


def _convolution(size: int, width_in: int, width: int) -> dict[str, Shape]:
    """Shapes of a kernel and its bias in Keras."""
    return {'weight': (size, size, size, width_in, width), 'bias': (width,)}


def save_keras(path: Path, tensors: Mapping[str, torch.Tensor]) -> Path:
    """Write the ``state_dict`` of a `UNet` of published depth as a weights-only file."""
    features, in_channels = tensors['first.conv0.weight'].shape[:2]
    with written_atomically(path) as temporary, h5py.File(temporary, 'w') as file:
        for module, layer, shapes in published_layers(in_channels, features):
            group = file.create_group(PREFIX + layer)
            group.attrs['weight_names'] = [f'{PREFIX}{layer}/{name}:0' for name in shapes]
            for name in shapes:
                tensor = tensors[f'{module}.{name}'].cpu()
                array = tensor.permute(2, 3, 4, 1, 0) if tensor.ndim == 5 else tensor
                group[f'{PREFIX}{layer}/{name}:0'] = array.numpy()
        file.attrs['layer_names'] = [*file]
    return path
