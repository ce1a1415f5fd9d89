"""Outputs of an exam in standard spaces."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from nipype.interfaces.base import traits

from bids_synthsr.interfaces.step import InputFields, OutputFields, Results, Step


class Standardize(Step):
    """Register the T1w of an exam to each template, and carry its outputs over."""

    class Inputs(InputFields):
        """The outputs of the stages before."""

        products = traits.List(traits.Dict, mandatory=True, desc='fields of ProductFile')
        templates = traits.List(traits.Dict, mandatory=True, desc='fields of TemplateFiles')
        on_scans = traits.Bool(False, usedefault=True, desc='the own grids of scans, too')
        exam = traits.Dict(usedefault=True, desc='the exam in plain values, for these grids')

    class Outputs(OutputFields):
        """The outputs in all spaces."""

        products = traits.List(traits.Dict, desc='fields of ProductFile, those before first')

    def make(self, inputs: Any, folder: Path) -> Results:
        """Carry the outputs to every space."""
        import torch

        from bids_synthsr.dataset.selection import scans_of
        from bids_synthsr.dataset.templates import TemplateFiles, load_template
        from bids_synthsr.derivatives.products import ProductFile
        from bids_synthsr.derivatives.standardized import (
            T1wInSpace,
            save_transforms,
            scan_products,
            standard_products,
        )
        from bids_synthsr.registration.standard import fit_template

        torch.set_num_threads(1)
        before = [ProductFile(**product) for product in inputs.products]
        t1w = T1wInSpace.load(before)
        products = list(before)
        if inputs.on_scans:
            scans = {scan.name: scan.path for scan in reversed(scans_of(inputs.exam))}
            products += scan_products(before, scans, folder)
        for fields in inputs.templates:
            files = TemplateFiles(**fields)
            template = load_template(files)
            transform = fit_template(t1w.voxels, t1w.grid, t1w.mask, template.t1w, template.grid)
            place = folder / f'space-{files.space}-{files.resolution}'
            place.mkdir(exist_ok=True)
            products += save_transforms(transform, files, t1w.sources, place)
            products += standard_products(before, transform, files, template.target, place)
        return {'products': [product.as_plain() for product in products]}
