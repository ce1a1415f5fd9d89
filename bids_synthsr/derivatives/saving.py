"""The sink: products of all stages, from the work folder to the output folder."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from nibabel.filebasedimages import ImageFileError

from bids_synthsr.dataset.composites import find_composite_fault
from bids_synthsr.dataset.files import (
    read_json,
    write_json,
    write_rows,
    write_text,
    written_atomically,
)
from bids_synthsr.dataset.images import load_rigid, load_volume, save_volume
from bids_synthsr.dataset.selection import add_coverages, mark_aligned
from bids_synthsr.derivatives.places import RELIABILITY, RESAMPLED, ExamDerivatives, sidecar_of
from bids_synthsr.derivatives.products import SELECTION, ProductFile, is_made_by_method
from bids_synthsr.derivatives.provenance import (
    OUTPUT_COVERAGE,
    complete_sidecar,
    describe_selection,
)
from bids_synthsr.derivatives.soundness import find_image_fault, find_table_fault
from bids_synthsr.derivatives.tables import labels_text, table_text
from bids_synthsr.imaging.head import is_far_from, is_skull_stripped
from bids_synthsr.morphometry.image_quality import measure_quality

# by kind of product
EXTENSIONS = {
    'image': '.nii.gz',
    'table': '.tsv',
    'transform': '.txt',
    'warp': '.h5',
    'surface': '.surf.gii',
    'shape': '.shape.gii',
}
STRIPPED = 'SkullStripped'  # field of sidecars
QUALITY = 'ImageQuality'  # field of the sidecar of the main T1w
SOME = (slice(None, None, 2),) * 3  # voxels from which to tell it
LABEL_TYPES = {'dseg': np.int16, 'mask': np.uint8}  # by suffix: whole numbers
# by desc or suffix: values scaled to the range of the type; reliability in steps of 0.004
SCALED_TYPES = {RESAMPLED: np.int16, 'probseg': np.int16, RELIABILITY: np.uint8}


def check_products(products: Sequence[ProductFile]) -> None:
    """Refuse products that came to harm in the work folder, before any output is replaced.

    They were sound when they were made, see `bids_synthsr.derivatives.products`.

    Raises
    ------
    ValueError
        If an image or a table cannot be read, is not finite or is the same everywhere.
    """
    for product in products:
        fault = _find_fault(product)
        if fault:
            raise ValueError(
                f'{product.file} in the work folder is damaged, and nothing is saved: {fault}. '
                'Start again with --clean-workdir.'
            )


def _find_fault(product: ProductFile) -> str:
    """Describe why a product cannot be saved, in a clause; empty if it can."""
    path = Path(product.file)
    try:
        if product.kind == 'image':
            return find_image_fault(load_volume(path)[0], product.suffix)
        if product.kind == 'table':
            return find_table_fault(read_json(path))
        if product.kind == 'warp':
            return find_composite_fault(path)
        load_rigid(path)
        return ''
    except (ValueError, OSError, EOFError, ImageFileError) as error:
        return f'it cannot be read ({error})'


def with_fates(products: Sequence[ProductFile], folder: Path) -> list[ProductFile]:
    """Let the selection table tell what the method knows of the scans.

    That is which scans were only aligned, and how much of the brain each shows.

    Parameters
    ----------
    products
        What all stages made for keeps.
    folder
        Folder that the new table is written to.
    """
    sources = [
        name for product in products if is_made_by_method(product) for name in product.sources
    ]
    main = next(product for product in products if product.frame)
    names = [product.sources[0] for product in products if product.desc == RESAMPLED]
    *brains, brain = main.sidecar['MethodDetails'].get('brain_coverage') or [None]
    table = next(product for product in products if product.suffix == SELECTION)
    rows = mark_aligned(read_json(Path(table.file)), sources)
    sidecar = table.sidecar
    if brain is not None:
        rows = add_coverages(rows, 'brain', dict(zip(names, brains, strict=True)))
        sidecar = describe_selection({**sidecar[OUTPUT_COVERAGE], 'brain': brain})
    told = replace(table, file=str(write_rows(folder / 'selection.json', rows)), sidecar=sidecar)
    return [told if product is table else product for product in products]


def list_outputs(products: Sequence[ProductFile], exam: ExamDerivatives) -> list[Path]:
    """List the paths of the outputs of an exam, before any is written.

    Raises
    ------
    ValueError
        If two products have one name, of which one would be lost.
    """
    paths = [path for product in products for path in _paths_of(product, exam)]
    twice = [path.name for path, count in Counter(paths).items() if count > 1]
    if twice:
        raise ValueError(
            f'Two outputs have the name {twice[0]}, and nothing is saved: leave one of the scans '
            'out with --bids-filter-file, and report this.'
        )
    return paths


def _paths_of(product: ProductFile, exam: ExamDerivatives) -> list[Path]:
    path = exam.path_of(product.suffix, product.entities, EXTENSIONS[product.kind])
    return [path, sidecar_of(path)] if product.sidecar else [path]


def save_products(
    products: Sequence[ProductFile], exam: ExamDerivatives, sources: Mapping[str, str]
) -> list[Path]:
    """Write the outputs of an exam with their sidecars, each file whole or not at all.

    Parameters
    ----------
    products
        What all stages made for keeps.
    exam
        Place of the outputs.
    sources
        BIDS URIs of the scans of the exam by their names.

    Returns
    -------
    outputs
        Paths of all files written that belong to this exam alone.
    """
    main = next(product for product in products if product.frame)
    space = exam.dataset.uri(exam.path_of(main.suffix, main.entities))
    outputs = []
    for product in with_quality(with_skull(products)):
        named = product.frame or product.space
        frame = sources.get(named, named) or space
        outputs += save_product(product, exam, sources, frame)
    return outputs


def with_skull(products: Sequence[ProductFile]) -> list[ProductFile]:
    """Tell of each volume whether it shows the brain alone, where a brain mask is known.

    Parameters
    ----------
    products
        What all stages made for keeps.
    """
    masks = [x for x in products if x.suffix == 'mask' and not x.space]
    if not masks:
        return list(products)
    mask, grid = load_volume(Path(masks[0].file))
    brain = mask[SOME]
    beyond = is_far_from(brain, 2 * grid.spacing)
    told = []
    for product in products:
        if STRIPPED in product.sidecar:
            voxels, own_grid = load_volume(Path(product.file))
            if own_grid == grid:
                is_stripped = is_skull_stripped(voxels[SOME], brain, beyond)
                sidecar = {**product.sidecar, STRIPPED: is_stripped}
                product = replace(product, sidecar=sidecar)
        told.append(product)
    return told


def with_quality(products: Sequence[ProductFile]) -> list[ProductFile]:
    """Tell the measures of image quality of the main T1w, where its tissue is known.

    Parameters
    ----------
    products
        What all stages made for keeps.
    """
    tissues = [x for x in products if x.suffix == 'dseg' and not x.space and not x.desc]
    told = []
    for product in products:
        if product.frame and product.suffix == 'T1w' and tissues:
            voxels, grid = load_volume(Path(product.file))
            tissue, own_grid = load_volume(Path(tissues[0].file))
            if grid == own_grid:
                is_acquired = not product.sidecar.get('Synthetic', False)
                found = measure_quality(voxels, tissue, is_acquired)
                product = replace(product, sidecar={**product.sidecar, QUALITY: found})
        told.append(product)
    return told


def save_product(
    product: ProductFile, exam: ExamDerivatives, sources: Mapping[str, str], frame: str
) -> list[Path]:
    """Write one product, and its sidecar where it has one.

    Parameters
    ----------
    product
        What a stage made for keeps.
    exam
        Place of the outputs.
    sources
        BIDS URIs of what it was made of, by their names.
    frame
        BIDS URI of the image in whose space it lies.

    Returns
    -------
    outputs
        Paths of the files that belong to this exam alone.
    """
    path, *sidecars = _paths_of(product, exam)
    _SAVE[product.kind](product, path)
    if product.labels:  # a look-up table that all exams share
        write_text(exam.dataset.labels(product.desc), labels_text(product.labels, product.desc))
    uris = [sources[name] for name in product.sources]
    space = frame if product.kind == 'image' else ''
    for sidecar in sidecars:
        write_json(sidecar, complete_sidecar(product.sidecar, uris, space))
    return [path, *sidecars]


def _save_image(product: ProductFile, path: Path) -> Path:
    """Write an image: labels as whole numbers, scans scaled to 16 bits, all else as float32."""
    voxels, grid = load_volume(Path(product.file))
    for kind in SCALED_TYPES.keys() & {product.desc, product.suffix}:
        return save_volume(path, voxels, grid, dtype=SCALED_TYPES[kind])
    return save_volume(path, voxels.astype(LABEL_TYPES.get(product.suffix, np.float32)), grid)


def _save_table(product: ProductFile, path: Path) -> Path:
    return write_text(path, table_text(read_json(Path(product.file))))


def _save_copy(product: ProductFile, path: Path) -> Path:
    with written_atomically(path) as temporary:
        shutil.copyfile(product.file, temporary)
    return path


_SAVE = {
    'image': _save_image,
    'table': _save_table,
    'transform': _save_copy,
    'warp': _save_copy,
    'surface': _save_copy,
    'shape': _save_copy,
}
