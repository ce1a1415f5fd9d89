"""The networks by the names that recipes and weight files give them.

PyTorch is imported only when a network is asked for, so that recipes can be checked without it.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import nn

UNET, EXAM_UNET, SLICE_UNET = 'unet', 'exam_unet', 'slice_unet'
# name of the network, which is that of its module, and its class there
NETWORKS = {UNET: 'UNet', EXAM_UNET: 'ExamUNet', SLICE_UNET: 'SliceUNet'}


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
    """
    network = network_class(name)
    if name == EXAM_UNET:
        return network.from_arguments(arguments)  # type: ignore[attr-defined]
    return network(**arguments)


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
