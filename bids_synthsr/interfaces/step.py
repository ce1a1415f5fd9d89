"""The form of every step: declared inputs and outputs, and one function that makes these of those.

A subclass declares ``Inputs`` and ``Outputs`` and defines `Step.make`, which loads, calls one
function on arrays, and saves::

    class ConformHead(Step):
        class Inputs(InputFields):
            image = File(exists=True, mandatory=True, desc='T1w of about 1 mm')

        class Outputs(OutputFields):
            head = File(desc='the same on voxels of 1 mm')

        def make(self, inputs: Any, folder: Path) -> Results:
            head, grid = conform_head(*load_volume(Path(inputs.image)))
            return {'head': save_volume(folder / 'head.nii', head, grid)}

At the end of a step a receipt of its files is written. The environment, which may hold passwords,
is never written beside them.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import Any, TypeAlias

from nipype.interfaces.base import BaseInterfaceInputSpec as InputFields
from nipype.interfaces.base import SimpleInterface
from nipype.interfaces.base import TraitedSpec as OutputFields

from bids_synthsr.dataset.files import unflushed
from bids_synthsr.interfaces.receipts import is_step_folder, write_receipt

Results: TypeAlias = Mapping[str, object]


class Step(SimpleInterface):
    """A step of a workflow; see the module."""

    class Inputs(InputFields):
        """What the step needs."""

    class Outputs(OutputFields):
        """What it makes."""

    def __init_subclass__(cls) -> None:
        """Register the declared fields with nipype."""
        super().__init_subclass__()
        cls.input_spec, cls.output_spec = cls.Inputs, cls.Outputs

    def make(self, inputs: Any, folder: Path) -> Results:
        """Make the outputs.

        Parameters
        ----------
        inputs
            Values of the fields of ``Inputs``.
        folder
            Folder of the step, for the files that it makes; it is the current one.

        Returns
        -------
        results
            Values of the fields of ``Outputs``; paths may be `Path` or text.
        """
        raise TypeError(f'{type(self).__name__} does not define make({inputs}, {folder})')

    def save_memory(self) -> None:
        """Take less memory and more time from now on, where the step can."""

    def _run_interface(self, runtime: Any) -> Any:
        runtime.environ = {}  # nipype would keep it with the results
        folder = Path(runtime.cwd)
        is_kept = is_step_folder(folder)  # a step that is run alone needs no receipt
        with unflushed(folder) if is_kept else nullcontext():
            outputs = self.make(self.inputs, folder)
            if is_kept:
                write_receipt(folder)
        self._results.update({name: _as_text(value) for name, value in outputs.items()})
        return runtime


def _as_text(value: object) -> object:
    """Write paths as text, which traits of nipype take; in lists as well."""
    if isinstance(value, list):
        return [_as_text(item) for item in value]
    return str(value) if isinstance(value, Path) else value
