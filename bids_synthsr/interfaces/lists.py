"""Steps that only pass lists on, as steps of our own: nipype's keep the whole environment."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from nipype.interfaces.base import InputMultiObject, traits

from bids_synthsr.interfaces.step import InputFields, OutputFields, Results, Step


class FirstItem(Step):
    """Take the first item of a list."""

    class Inputs(InputFields):
        """A list."""

        entries = InputMultiObject(traits.Any, mandatory=True, desc='a list')

    class Outputs(OutputFields):
        """An item."""

        first = traits.Any(desc='the first item')

    def make(self, inputs: Any, folder: Path) -> Results:  # noqa: ARG002
        """Take it."""
        return {'first': inputs.entries[0]}


class JoinLists(Step):
    """Join what stages hand on, in their order."""

    class Inputs(InputFields):
        """Two lists."""

        before = traits.List(mandatory=True, desc='list that comes first')
        after = traits.List(mandatory=True, desc='list that follows')

    class Outputs(OutputFields):
        """One list."""

        joined = traits.List(desc='items of both')

    def make(self, inputs: Any, folder: Path) -> Results:  # noqa: ARG002
        """Join them."""
        return {'joined': [*inputs.before, *inputs.after]}
