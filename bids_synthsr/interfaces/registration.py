"""Rigid alignment of scans, checked."""

from __future__ import annotations

from dataclasses import asdict
from itertools import compress
from pathlib import Path
from typing import Any

from nipype.interfaces.base import File, InputMultiObject, OutputMultiObject, traits

from bids_synthsr.interfaces.step import InputFields, OutputFields, Results, Step

SCAN_FIELDS = ('scans', 'contrasts', 'acquisitions', 'names')


class AlignScan(Step):
    """Align a scan to the reference, from another start where the fit is poor.

    The reference itself stays where it is, and a transform that is given is used if it fits. One
    thread and a fixed seed: the result depends on nothing but the scans.
    """

    class Inputs(InputFields):
        """Two scans, and what is known of their alignment."""

        reference = File(exists=True, mandatory=True, desc='scan that stays')
        scan = File(exists=True, mandatory=True, desc='scan that is moved')
        name = traits.Str(mandatory=True, desc='name of the scan')
        reference_name = traits.Str(desc='name of the reference')
        transforms = traits.Dict(usedefault=True, desc='transforms that are known already')

    class Outputs(OutputFields):
        """The alignment."""

        scan2ref = File(desc='rigid transform, ITK text')
        fit = traits.Dict(desc='name of the scan and how well it fits')

    def make(self, inputs: Any, folder: Path) -> Results:
        """Align the scan."""
        from bids_synthsr.dataset.images import save_rigid
        from bids_synthsr.registration.alignment import align_scan

        transform = inputs.transforms.get(inputs.name)
        is_usable = transform and transform['reference'] == inputs.reference_name
        path = Path(transform['file']) if is_usable else None
        scan2ref, fit = align_scan(Path(inputs.reference), Path(inputs.scan), inputs.name, path)
        return {
            'scan2ref': save_rigid(folder / 'scan2ref.txt', scan2ref),
            'fit': {'name': inputs.name, **asdict(fit)},
        }


class KeepAligned(Step):
    """Leave out the scans that could not be aligned."""

    class Inputs(InputFields):
        """All scans, the reference first."""

        scans = InputMultiObject(File(exists=True), mandatory=True, desc='files of the scans')
        contrasts = traits.List(traits.Str, mandatory=True, desc='what they show')
        acquisitions = traits.List(traits.Dict, mandatory=True, desc='fields of their Acquisition')
        names = traits.List(traits.Str, mandatory=True, desc='what tells them apart')
        scan2ref = InputMultiObject(File(exists=True), mandatory=True, desc='their transforms')
        fits = traits.List(traits.Dict, mandatory=True, desc='how well each fits')

    class Outputs(OutputFields):
        """The scans that fit, the reference first."""

        scans = OutputMultiObject(File, desc='files of the scans')
        contrasts = traits.List(traits.Str, desc='what they show')
        acquisitions = traits.List(traits.Dict, desc='fields of their Acquisition')
        names = traits.List(traits.Str, desc='what tells them apart')
        scan2ref = OutputMultiObject(File, desc='their transforms')

    def make(self, inputs: Any, folder: Path) -> Results:  # noqa: ARG002
        """Choose the scans whose fit is good."""
        is_good = [fit['status'] == 'good' for fit in inputs.fits]
        fields = (*SCAN_FIELDS, 'scan2ref')
        return {field: list(compress(getattr(inputs, field), is_good)) for field in fields}
