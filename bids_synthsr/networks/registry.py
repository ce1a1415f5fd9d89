"""The networks by the names that recipes and weight files give them.

PyTorch is imported only when a network is asked for, so that recipes can be checked without it.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Mapping
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch
    from torch import nn

UNET, EXAM_UNET, SLICE_UNET = 'unet', 'exam_unet', 'slice_unet'
SLICE_VAE = 'slice_vae'
# name of the network, which is that of its module, and its class there
NETWORKS = {
    UNET: 'UNet',
    EXAM_UNET: 'ExamUNet',
    SLICE_UNET: 'SliceUNet',
    SLICE_VAE: 'SliceVAE',
}

# what an argument may be at least and at most, wherever it comes from: all else is a mistake
RANGES = {
    'in_channels': (1, 64),
    'out_channels': (1, 1024),
    'channels': (1, 64),
    'features': (1, 1024),
    'levels': (1, 8),
    'stride': (1, 2),
    'classes': (0, 1024),
    'mixture_steps': (0, 100),
}
TRUTHS = ('has_scale', 'is_guided')
NUMBERS_OF_CLASSES = {'class_t1w': (-10.0, 10.0), 'tissue_of': (0, 1024)}
MAX_PARAMETERS = 10**9  # 4 GB; the largest network that we train has 10 million


def network_class(name: str) -> type[nn.Module]:
    """Return the class of a network.

    Parameters
    ----------
    name
        Name of the network, one of `NETWORKS`.

    Raises
    ------
    ValueError
        For a name that no network has.
    """
    if name not in NETWORKS:
        raise ValueError(f'There is no network {name!r}; choose one of {", ".join(NETWORKS)}')
    return getattr(import_module(f'bids_synthsr.networks.{name}'), NETWORKS[name])


def build_network(name: str, arguments: Mapping[str, Any]) -> nn.Module:
    """Build a network from the arguments that a recipe or a weight file holds.

    Parameters
    ----------
    name
        Name of the network, one of `NETWORKS`.
    arguments
        Flat arguments by name; see `argument_names`.

    Raises
    ------
    ValueError
        For arguments that the network does not have or cannot take, and for a network that is
        too large for any machine.
    """
    size = sum(math.prod(shape) for shape in network_shapes(name, arguments).values())
    if size > MAX_PARAMETERS:
        raise ValueError(f'{name} with {dict(arguments)} has {size:.1e} weights: too many')
    return _build(name, arguments)


def network_shapes(name: str, arguments: Mapping[str, Any]) -> dict[str, torch.Size]:
    """Compute the shapes of a network's weights by their names, without making them.

    Parameters
    ----------
    name
        Name of the network, one of `NETWORKS`.
    arguments
        Flat arguments by name; see `argument_names`.

    Raises
    ------
    ValueError
        For arguments that the network does not have or cannot take.
    """
    import torch

    check_arguments(name, arguments)
    try:
        with torch.device('meta'):
            network = _build(name, arguments)
    except (TypeError, RuntimeError, ArithmeticError) as error:
        raise ValueError(f'{name} cannot be built with {dict(arguments)}: {error}') from error
    return {name: value.shape for name, value in network.state_dict().items()}


def _build(name: str, arguments: Mapping[str, Any]) -> nn.Module:
    """Build a network from arguments that have been checked."""
    network = network_class(name)
    if name == EXAM_UNET:
        return network.from_arguments(arguments)  # type: ignore[attr-defined]
    return network(**arguments)


def check_arguments(name: str, arguments: Mapping[str, Any]) -> None:
    """Check that a network has these arguments, and that each has a sensible value.

    Parameters
    ----------
    name
        Name of the network, one of `NETWORKS`.
    arguments
        Flat arguments by name, as anybody may have written them.

    Raises
    ------
    ValueError
        Naming the first argument that is wrong, and what it may be.
    """
    choices = argument_names(name)
    for key, value in arguments.items():
        if key not in choices:
            raise ValueError(f'{name} has no argument {key!r}; there are {", ".join(choices)}')
        expected = _expected(key, value)
        if expected:
            raise ValueError(f'{name}: {key} is {value!r:.50}, not {expected}')


def _expected(key: str, value: Any) -> str:
    """Describe what an argument must be; empty where it is that."""
    if key in TRUTHS:
        return '' if isinstance(value, bool) else 'true or false'
    if key in NUMBERS_OF_CLASSES:
        low, high = NUMBERS_OF_CLASSES[key]
        kinds = int | float if isinstance(low, float) else int
        is_fit = isinstance(value, list | tuple) and all(
            isinstance(item, kinds) and low <= item <= high for item in value
        )
        return '' if is_fit else f'a list of numbers from {low:g} to {high:g}'
    least, most = RANGES[key]
    is_whole = isinstance(value, int) and not isinstance(value, bool)
    is_fit = is_whole and least <= value <= most
    return '' if is_fit else f'a whole number from {least} to {most}'


def argument_names(name: str) -> list[str]:
    """List the arguments that recipes and weight files may hold for a network.

    Parameters
    ----------
    name
        Name of the network, one of `NETWORKS`.
    """
    names = list(inspect.signature(network_class(name)).parameters)
    if name != EXAM_UNET:
        return names
    from bids_synthsr.networks.exam_unet import CLASS_ARGUMENTS

    return [*names, *(key for key in CLASS_ARGUMENTS if key not in names)]
