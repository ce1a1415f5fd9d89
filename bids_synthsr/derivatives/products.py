"""Products of the stages: what each makes for keeps, in the work folder, on its way to the output.

A stage hands on one list of them. The sink (`derivatives/saving.py`) writes them all, so that a
new output is a new item of such a list and nothing else.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from bids_synthsr.dataset.files import sha256, write_rows
from bids_synthsr.dataset.images import save_volume
from bids_synthsr.derivatives.places import (
    entities_of_synthesis,
    name_of_scan,
    name_of_transform,
)
from bids_synthsr.derivatives.provenance import (
    describe_reliability,
    describe_resampled,
    describe_synthesis,
    describe_transform,
)
from bids_synthsr.derivatives.soundness import find_image_fault, find_table_fault
from bids_synthsr.values.method import Image, Product, Synthesis

Kind = Literal['image', 'table', 'transform']
SELECTION = 'selection'  # suffix of the table of scans


@dataclass(frozen=True)
class ProductFile:
    """A product in the work folder; JSON types only, so that steps can hand it on.

    Parameters
    ----------
    file
        Path of its file: NIfTI, ITK text, or JSON rows of a table.
    kind
        What it is: an image, a table or a transform.
    suffix
        BIDS suffix of the output, such as ``T1w``.
    entities
        BIDS entities of the output beside those of the exam, by short key.
    sources
        Names of the scans that it was made of.
    sidecar
        Fields of its sidecar beside sources, space and program; empty for no sidecar.
    labels
        Label values that may occur in it; empty for all but segmentations.
    frame
        Name of the scan in whose frame it lies, for the main volume alone; all other images lie
        in the space of that volume.
    sha256
        Digest of the file, by which later steps see that it changed; empty where none follow.
    """

    file: str
    kind: Kind
    suffix: str
    entities: Mapping[str, str] = field(default_factory=dict)
    sources: Sequence[str] = ()
    sidecar: Mapping[str, Any] = field(default_factory=dict)
    labels: Sequence[int] = ()
    frame: str = ''
    sha256: str = ''

    @property
    def desc(self) -> str:
        """BIDS ``desc-`` label; empty where there is none."""
        return self.entities.get('desc', '')

    @property
    def contrast(self) -> str:
        """What it shows: its suffix, after entities that set it apart, as ``ce-gd_T1w``."""
        others = {key: self.entities[key] for key in self.entities if key not in ('space', 'desc')}
        return '_'.join([*(f'{key}-{label}' for key, label in others.items()), self.suffix])

    def as_plain(self) -> dict[str, Any]:
        """The same as a dictionary."""
        return asdict(self)


@dataclass(frozen=True)
class AlignedScans:
    """Scans that could be aligned, with what registration made of them, the reference first.

    Parameters
    ----------
    names
        Name of each scan, such as ``run-2_FLAIR``.
    scan2ref
        File of its transform to the reference, ITK text.
    resampled
        File of the scan on the output grid.
    reliability
        File of its reliability map on the output grid.
    """

    names: Sequence[str]
    scan2ref: Sequence[str]
    resampled: Sequence[str]
    reliability: Sequence[str]


def registration_products(
    selection: str, alignment: AlignedScans, fits: Sequence[Mapping[str, Any]]
) -> Iterator[ProductFile]:
    """List what the registration of an exam makes for keeps.

    Parameters
    ----------
    selection
        File of the rows of the selection table, JSON.
    alignment
        Scans that could be aligned.
    fits
        How well each scan fits, by its ``name``.
    """
    yield ProductFile(selection, 'table', SELECTION, {'desc': 'scans'})
    for name, resampled, reliability in zip(
        alignment.names, alignment.resampled, alignment.reliability, strict=True
    ):
        images = (
            (resampled, 'preproc', describe_resampled()),
            (reliability, 'reliability', describe_reliability()),
        )
        for file, desc, sidecar in images:
            suffix, entities = name_of_scan(name, desc)
            yield ProductFile(file, 'image', suffix, entities, (name,), sidecar)
    fit_of = {fit['name']: fit for fit in fits}
    reference, *moved = alignment.names
    for name, file in zip(moved, alignment.scan2ref[1:], strict=True):
        suffix, entities = name_of_transform(name)
        sidecar = describe_transform(fit_of[name])
        yield ProductFile(file, 'transform', suffix, entities, (name, reference), sidecar)


def write_synthesis(synthesis: Synthesis, names: Sequence[str], folder: Path) -> list[ProductFile]:
    """Write the products of a method to the folder of its step.

    Parameters
    ----------
    synthesis
        What the method made.
    names
        Names of the scans that it was given, the reference first.
    folder
        Folder of the step.

    Returns
    -------
    products
        The main volume first.

    Raises
    ------
    ValueError
        If a product is not worth keeping; see `bids_synthsr.derivatives.soundness`.
    """
    for product in synthesis.products:
        _check_product(product)
    sources = [names[index] for index in _source_indices(synthesis, names)]
    return [
        _write_product(number, product, synthesis, names[0], sources, folder)
        for number, product in enumerate(synthesis.products)
    ]


def _check_product(product: Product) -> None:
    """Raise where a product is not finite, or the same everywhere."""
    if isinstance(product, Image):
        fault = find_image_fault(product.voxels, product.suffix, product.desc)
    else:
        fault = find_table_fault(product.rows)
    if fault:
        raise ValueError(
            f'The method made a useless {product.suffix} (desc-{product.desc}), which is not '
            f'saved: {fault}. Check the weights, if you gave some, and the scans.'
        )


def _source_indices(synthesis: Synthesis, names: Sequence[str]) -> Sequence[int]:
    return range(len(names)) if synthesis.used is None else synthesis.used


def _write_product(
    number: int,
    product: Product,
    synthesis: Synthesis,
    reference: str,
    sources: Sequence[str],
    folder: Path,
) -> ProductFile:
    """Write one product of a method; the first is the main volume."""
    if not isinstance(product, Image):
        path = write_rows(folder / f'table-{number}.json', product.rows)
        return ProductFile(str(path), 'table', product.suffix, {'desc': product.desc}, sources)
    path = save_volume(folder / f'volume-{number}.nii', product.voxels, product.grid)
    method = synthesis.facts.get('method', synthesis.images[0].desc)
    return ProductFile(
        str(path),
        'image',
        product.suffix,
        entities_of_synthesis(product.suffix, product.desc, product.entities, is_main=not number),
        sources,
        describe_synthesis(product.suffix, product.desc, method, synthesis.facts),
        product.labels,
        frame='' if number else reference,
        sha256=sha256(path),
    )
