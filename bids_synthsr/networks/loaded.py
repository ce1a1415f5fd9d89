"""A network together with what has to be known of the file that its weights came from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from torch import nn

Network = TypeVar('Network', bound=nn.Module)


@dataclass(frozen=True, eq=False)
class LoadedNetwork(Generic[Network]):
    """A network with its weights.

    Parameters
    ----------
    network
        The network in evaluation mode, on the device that shall run it.
    file
        Name of its file (``weights``) and ``sha256``, for provenance; empty where unknown.
    """

    network: Network
    file: Mapping[str, str] = field(default_factory=dict)
