"""Products of the stages: what each makes for keeps, in the work folder, on its way to the output.

A stage hands on one list of them. The sink (`derivatives/saving.py`) writes them all, so that a
new output is a new item of such a list and nothing else.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from bids_synthsr.dataset.files import sha256, write_rows
from bids_synthsr.dataset.images import save_volume
from bids_synthsr.derivatives.places import (
    entities_of_synthesis,
    name_of_reliability,
    name_of_resampled,
    name_of_transform,
    space_of,
)
from bids_synthsr.derivatives.provenance import (
    OUTPUT_COVERAGE,
    describe_reliability,
    describe_resampled,
    describe_selection,
    describe_synthesis,
    describe_transform,
)
from bids_synthsr.derivatives.soundness import find_image_fault, find_table_fault
from bids_synthsr.values.method import Image, Origin, Product, Synthesis

Kind = Literal['image', 'table', 'transform', 'warp', 'surface', 'shape']
SELECTION = 'selection'  # suffix of the table of scans


@dataclass(frozen=True)
class ProductFile:
    """A product in the work folder; JSON types only, so that steps can hand it on.

    Parameters
    ----------
    file
        Path of its file: NIfTI, JSON rows of a table, a transform of ITK (text or HDF5), GIFTI.
    kind
        What it is: an image, a table, a rigid transform, a warp, a surface, or values on one.
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
        in the space of that volume, but for those that name another ``space``.
    space
        Name of the scan, or address of the template, in whose space it lies; empty for that of
        the exam.
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
    space: str = ''

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


def is_made_by_method(product: ProductFile) -> bool:
    """Whether a method made it, and not the registration: its sidecar names the method."""
    return 'Method' in product.sidecar


def name_of_main(products: Sequence[ProductFile]) -> str:
    """Name how the main volume was made: by which method, or that it was ``acquired``."""
    sidecar = next(product.sidecar for product in products if product.frame)
    return str(sidecar['MethodDetails'].get('main', sidecar['Method']))


def coverage_of(products: Sequence[ProductFile]) -> dict[str, float]:
    """Tell how much of head and brain the output holds, percent, as far as known."""
    table = next(product.sidecar for product in products if product.suffix == SELECTION)
    return {part: round(shown['percent'], 1) for part, shown in table[OUTPUT_COVERAGE].items()}


def registration_products(
    selection: str,
    alignment: AlignedScans,
    fits: Sequence[Mapping[str, Any]],
    head: Mapping[str, Any],
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
    head
        How much of the head the output holds, see `bids_synthsr.imaging.coverage.Coverage`.
    """
    table = describe_selection({'head': head})
    yield ProductFile(selection, 'table', SELECTION, {'desc': 'scans'}, sidecar=table)
    reference, *moved = alignment.names
    for name, resampled, reliability in zip(
        alignment.names, alignment.resampled, alignment.reliability, strict=True
    ):
        images = (
            (resampled, name_of_resampled(name, reference), describe_resampled()),
            (reliability, name_of_reliability(name, reference), describe_reliability()),
        )
        for file, (suffix, entities), sidecar in images:
            yield ProductFile(file, 'image', suffix, entities, (name,), sidecar)
    fit_of = {fit['name']: fit for fit in fits}
    for name, file in zip(moved, alignment.scan2ref[1:], strict=True):
        suffix, entities = name_of_transform(name, reference)
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
    return [
        _write_product(number, product, synthesis, names, folder)
        for number, product in enumerate(synthesis.products)
    ]


def _check_product(product: Product) -> None:
    """Raise where a product is not finite, or the same everywhere."""
    if isinstance(product, Image):
        fault = find_image_fault(product.voxels, product.suffix)
    else:
        fault = find_table_fault(product.rows)
    if fault:
        raise ValueError(
            f'The method made a useless {product.suffix} (desc-{product.desc}), which is not '
            f'saved: {fault}. Check the weights, if you gave some, and the scans.'
        )


def _origin_of(product: Product, synthesis: Synthesis, names: Sequence[str]) -> Origin:
    """How a product came about: as it says itself, or as all of the synthesis.

    With the main volume stands what is known of the whole synthesis, for the report.
    """
    own = product.origin if isinstance(product, Image) else None
    if own is not None and product is not synthesis.products[0]:
        return own
    method = synthesis.facts.get('method', synthesis.images[0].desc)
    used = range(len(names)) if synthesis.used is None else synthesis.used
    whole = Origin(method, synthesis.facts, tuple(used))
    return (
        whole if own is None else replace(own, method=method, facts={**whole.facts, **own.facts})
    )


def _write_product(
    number: int, product: Product, synthesis: Synthesis, names: Sequence[str], folder: Path
) -> ProductFile:
    """Write one product of a method; the first is the main volume."""
    origin = _origin_of(product, synthesis, names)
    sources = [names[index] for index in origin.used]
    if not isinstance(product, Image):
        path = write_rows(folder / f'table-{number}.json', product.rows)
        return ProductFile(str(path), 'table', product.suffix, {'desc': product.desc}, sources)
    path = save_volume(folder / f'volume-{number}.nii', product.voxels, product.grid)
    space = space_of(names[0]) if number else ''
    return ProductFile(
        str(path),
        'image',
        product.suffix,
        entities_of_synthesis(product.suffix, product.desc, product.entities, space),
        sources,
        describe_synthesis(product.suffix, origin),
        product.labels,
        frame='' if number else names[0],
        sha256=sha256(path),
    )
