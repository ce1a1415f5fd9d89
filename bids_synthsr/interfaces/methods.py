"""Methods behind one boundary: the scans of an exam in, volumes and what to know of them out."""

from __future__ import annotations

import json
from contextlib import nullcontext
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nipype.interfaces.base import (
    BaseInterfaceInputSpec,
    File,
    InputMultiObject,
    OutputMultiObject,
    SimpleInterface,
    TraitedSpec,
    traits,
)

if TYPE_CHECKING:
    from bids_synthsr.values.observation import Observation
    from bids_synthsr.values.synthesis import Synthesis


class _MethodInputSpec(BaseInterfaceInputSpec):
    scans = InputMultiObject(File(exists=True), mandatory=True, desc='scans, reference first')
    contrasts = traits.List(traits.Str, mandatory=True, desc='their BIDS suffixes')
    acquisitions = traits.List(traits.Dict, mandatory=True, desc='fields of their Acquisition')
    scan2ref = InputMultiObject(File(exists=True), mandatory=True, desc='their transforms')
    grid = File(exists=True, mandatory=True, desc='volume on the output grid')
    num_threads = traits.Int(1, usedefault=True, nohash=True, desc='threads to use')


class _MethodOutputSpec(TraitedSpec):
    volumes = OutputMultiObject(File, desc='products, the main volume first')
    entities = traits.List(traits.Dict, desc='suffix and desc of each product')
    facts = File(desc='JSON of what provenance and report should tell')


class _Method(SimpleInterface):
    """Load the exam, call one method, save its products."""

    input_spec = _MethodInputSpec
    output_spec = _MethodOutputSpec

    _module = ''
    _reuses_memory = False  # many arrays of the same sizes, one after the other

    def _options(self) -> dict[str, Any]:
        return {}

    def _run_interface(self, runtime):  # type: ignore[no-untyped-def]
        import torch

        from bids_synthsr.dataset.images import load_grid, save_volume
        from bids_synthsr.imaging.memory import reusing_memory

        torch.set_num_threads(self.inputs.num_threads)
        method = import_module(f'bids_synthsr.methods.{self._module}')
        grid = load_grid(Path(self.inputs.grid))
        with reusing_memory() if self._reuses_memory else nullcontext():
            synthesis: Synthesis = method.synthesize(self._observations(), grid, **self._options())
        self._results['volumes'] = [
            str(save_volume(Path(runtime.cwd) / f'volume-{number}.nii', made.voxels, made.grid))
            for number, made in enumerate(synthesis.products)
        ]
        self._results['entities'] = [
            {'suffix': made.suffix, 'desc': made.desc} for made in synthesis.products
        ]
        facts = Path(runtime.cwd) / 'facts.json'
        used = range(len(self.inputs.scans)) if synthesis.used is None else synthesis.used
        told = {**synthesis.facts, 'warnings': list(synthesis.warnings), 'used': list(used)}
        facts.write_text(json.dumps(told))
        self._results['facts'] = str(facts)
        return runtime

    def _observations(self) -> list[Observation]:
        from bids_synthsr.dataset.images import load_rigid, load_volume
        from bids_synthsr.values.acquisition import Acquisition
        from bids_synthsr.values.observation import Observation

        inputs: Any = self.inputs
        return [
            Observation(
                contrast,
                *load_volume(Path(scan)),
                Acquisition(**acquisition),
                load_rigid(Path(xfm)),
            )
            for scan, contrast, acquisition, xfm in zip(
                inputs.scans, inputs.contrasts, inputs.acquisitions, inputs.scan2ref, strict=True
            )
        ]


class Cubic(_Method):
    """Cubic interpolation of the reference."""

    _module = 'cubic'


class TotalVariation(_Method):
    """Multi-channel total variation super-resolution of all scans."""

    _module = 'total_variation'


class _NetworkInputSpec(_MethodInputSpec):
    weights = File(exists=True, mandatory=True, desc='of the network')
    device = traits.Str('cpu', usedefault=True, nohash=True, desc='where the network runs')
    use_gpu = traits.Bool(False, usedefault=True, nohash=True, desc='for nipype: takes its turn')
    low_mem = traits.Bool(False, usedefault=True, nohash=True, desc='work in tiles')


class SuperResolution(_Method):
    """Super-resolution of a T1w reference across its slices by a network."""

    input_spec = _NetworkInputSpec
    _module = 'sr_t1'

    def _options(self) -> dict[str, Any]:
        from bids_synthsr.dataset.weights import load_slice_unet
        from bids_synthsr.methods.sr_t1 import LOW_MEM_VOXELS

        network, weights = load_slice_unet(Path(self.inputs.weights))
        options = {'network': network.to(self.inputs.device), 'weights': weights}
        return {**options, **({'max_voxels': LOW_MEM_VOXELS} if self.inputs.low_mem else {})}


class Automatic(SuperResolution):
    """Super-resolution by the network where it can be had, else total variation."""

    _module = 'automatic'


class _ExamNetworkInputSpec(_NetworkInputSpec):
    least_quality = traits.Float(mandatory=True, desc='score below which to warn')


class SynthSR(_Method):
    """T1w, uncertainty and segmentation of any exam by our own network."""

    input_spec = _ExamNetworkInputSpec
    _module = 'any_exam'
    _reuses_memory = True

    def _options(self) -> dict[str, Any]:
        from bids_synthsr.dataset.weights import load_exam_unet

        trained = load_exam_unet(Path(self.inputs.weights))
        trained.network.to(self.inputs.device)
        return {
            'trained': trained,
            'low_mem': self.inputs.low_mem,
            'least_quality': self.inputs.least_quality,
        }


class _PublishedInputSpec(_NetworkInputSpec):
    ct = traits.Bool(False, usedefault=True, desc='whether the scans are CT')


class Published(_Method):
    """A published SynthSR network."""

    input_spec = _PublishedInputSpec
    _module = 'synthsr'

    def _options(self) -> dict[str, Any]:
        from bids_synthsr.dataset.weights import load_published
        from bids_synthsr.methods.synthsr import LOW_MEM_VOXELS

        network, weights = load_published(Path(self.inputs.weights))
        options = {'network': network.to(self.inputs.device), 'weights': weights}
        limit = {'max_voxels': LOW_MEM_VOXELS} if self.inputs.low_mem else {}
        return {**options, **limit, 'ct': self.inputs.ct}
