"""The boundary of all methods: the scans of an exam in, products and warnings out."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nipype.interfaces.base import File, InputMultiObject, traits

from bids_synthsr.interfaces.step import InputFields, OutputFields, Results, Step
from bids_synthsr.methods.catalogue import METHODS, Method

if TYPE_CHECKING:
    from bids_synthsr.values.method import Observation


class ScanFields(InputFields):
    """The aligned scans of an exam, on their own grids; see `load_observations`."""

    scans = InputMultiObject(File(exists=True), mandatory=True, desc='reference first')
    contrasts = traits.List(traits.Str, mandatory=True, desc='what they show')
    acquisitions = traits.List(traits.Dict, mandatory=True, desc='fields of Acquisition')
    scan2ref = InputMultiObject(File(exists=True), mandatory=True, desc='their transforms')
    names = traits.List(traits.Str, desc='names of the scans; their contrasts if not given')


class Synthesize(Step):
    """Load the exam, call one method, write its products."""

    class Inputs(ScanFields):
        """The exam, and how it is processed."""

        grid = File(exists=True, mandatory=True, desc='volume on the output grid')
        method = traits.Str(mandatory=True, desc='name in the catalogue')
        options = traits.Dict(usedefault=True, desc='options that the method reads, by name')
        weights = File(exists=True, desc='of its network, if it has one')
        beside = File(exists=True, desc='weights of its second network, if it has one')
        num_threads = traits.Int(1, usedefault=True, nohash=True, desc='threads to use')
        device = traits.Str('cpu', usedefault=True, nohash=True, desc='where its network runs')
        use_gpu = traits.Bool(False, usedefault=True, nohash=True, desc='nipype: takes turns')
        low_mem = traits.Bool(False, usedefault=True, nohash=True, desc='take less memory')

    class Outputs(OutputFields):
        """What the method made."""

        products = traits.List(traits.Dict, desc='fields of ProductFile, main volume first')
        warnings = traits.List(traits.Str, desc='what a reader must know')

    def make(self, inputs: Any, folder: Path) -> Results:
        """Make the volumes of an exam."""
        import torch

        from bids_synthsr.dataset.images import load_grid
        from bids_synthsr.derivatives.products import write_synthesis
        from bids_synthsr.imaging.memory import reusing_memory

        torch.set_num_threads(inputs.num_threads)
        method = METHODS[inputs.method]
        arguments = {**inputs.options, **self._network_arguments()}
        with reusing_memory() if method.reuses_memory else nullcontext():
            synthesis = method.load().synthesize(
                load_observations(inputs), load_grid(Path(inputs.grid)), **arguments
            )
        products = write_synthesis(synthesis, inputs.names or inputs.contrasts, folder)
        return {
            'products': [product.as_plain() for product in products],
            'warnings': list(synthesis.warnings),
        }

    def save_memory(self) -> None:
        """Take less memory and more time from now on."""
        self.inputs.low_mem = True

    def _network_arguments(self) -> dict[str, Any]:
        """Load the network, where the method has one."""
        from bids_synthsr.dataset.weights import load_network

        method = METHODS[self.inputs.method]
        if not method.network:
            return {}
        files = {'trained': (method.network, self.inputs.weights)}
        if method.beside:
            files['beside'] = (METHODS[method.beside].network, self.inputs.beside)
        networks = {name: load_network(kind, Path(file)) for name, (kind, file) in files.items()}
        for trained in networks.values():
            trained.network.to(self.inputs.device)
        return {**networks, 'low_mem': self.inputs.low_mem}


def weights_beside(method: Method) -> str:
    """Find the weights of the second network of a method, which come with the program."""
    from bids_synthsr.dataset.weights import find_shipped

    return str(find_shipped(METHODS[method.beside]).resolve())


def load_observations(inputs: Any) -> list[Observation]:
    """Load the scans of an exam, the reference first."""
    from bids_synthsr.dataset.images import load_rigid, load_volume
    from bids_synthsr.values.exam import Acquisition
    from bids_synthsr.values.method import Observation

    return [
        Observation(
            contrast, *load_volume(Path(scan)), Acquisition(**acquisition), load_rigid(Path(xfm))
        )
        for scan, contrast, acquisition, xfm in zip(
            inputs.scans, inputs.contrasts, inputs.acquisitions, inputs.scan2ref, strict=True
        )
    ]
