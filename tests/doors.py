"""Sub-commands of ``synthsr``, as tests call them."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from bids_synthsr.cli.synthsr import main


def sub_command(name: str) -> Callable[[Sequence[str]], int]:
    """Give the function that runs a sub-command in this process."""
    return lambda arguments: main([name, *arguments])
