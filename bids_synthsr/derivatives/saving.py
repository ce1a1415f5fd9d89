"""The sink: products of all stages, from the work folder to the output folder."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from bids_synthsr.dataset.files import read_json, write_json, write_text, written_atomically
from bids_synthsr.dataset.images import load_volume, save_volume
from bids_synthsr.derivatives.places import ExamDerivatives, sidecar_of
from bids_synthsr.derivatives.products import ProductFile
from bids_synthsr.derivatives.provenance import complete_sidecar
from bids_synthsr.derivatives.tables import labels_text, table_text

LABEL_TYPES = {'dseg': np.int16, 'mask': np.uint8}  # by suffix: whole numbers
# by desc: values scaled to the range of the type; reliability in steps of 0.004
SCALED_TYPES = {'preproc': np.int16, 'reliability': np.uint8}


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
    for product in products:
        frame = sources[product.frame] if product.frame else space
        outputs += _save_product(product, exam, sources, frame)
    return outputs


def _save_product(
    product: ProductFile, exam: ExamDerivatives, sources: Mapping[str, str], frame: str
) -> list[Path]:
    """Write one product, and its sidecar where it has one."""
    path = _SAVE[product.kind](product, exam)
    if product.labels:  # a look-up table that all exams share
        write_text(exam.dataset.labels(product.desc), labels_text(product.labels))
    if not product.sidecar:
        return [path]
    uris = [sources[name] for name in product.sources]
    space = frame if product.kind == 'image' else ''
    return [path, write_json(sidecar_of(path), complete_sidecar(product.sidecar, uris, space))]


def _save_image(product: ProductFile, exam: ExamDerivatives) -> Path:
    """Write an image: labels as whole numbers, scans scaled to 16 bits, all else as float32."""
    path = exam.path_of(product.suffix, product.entities)
    voxels, grid = load_volume(Path(product.file))
    if product.desc in SCALED_TYPES:
        return save_volume(path, voxels, grid, dtype=SCALED_TYPES[product.desc])
    return save_volume(path, voxels.astype(LABEL_TYPES.get(product.suffix, np.float32)), grid)


def _save_table(product: ProductFile, exam: ExamDerivatives) -> Path:
    path = exam.path_of(product.suffix, product.entities, '.tsv')
    return write_text(path, table_text(read_json(Path(product.file))))


def _save_transform(product: ProductFile, exam: ExamDerivatives) -> Path:
    path = exam.path_of(product.suffix, product.entities, '.txt')
    with written_atomically(path) as temporary:
        shutil.copyfile(product.file, temporary)
    return path


_SAVE = {'image': _save_image, 'table': _save_table, 'transform': _save_transform}
