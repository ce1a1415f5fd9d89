"""Products with the lesions that masks mark: the predicted T1w, and its segmentation."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from bids_synthsr.dataset.files import sha256
from bids_synthsr.dataset.images import load_volume, save_volume
from bids_synthsr.derivatives.products import ProductFile, name_of_main
from bids_synthsr.methods.acquired import CEREBRAL_WHITE_MATTER, CONTRAST
from bids_synthsr.methods.acquired import METHOD as ACQUIRED
from bids_synthsr.methods.keeping import LesionFreeT1w, keep_lesions
from bids_synthsr.synthesis.tissues import TISSUES
from bids_synthsr.values.method import Observation
from bids_synthsr.values.structures import LESION

AS_SCANNED = 'The T1w was acquired and shows the lesions as they are'
WHOLE, NONE = 0.995, 0.005  # share of the lesions, as good as all of them or none


def keep_in_products(
    products: Sequence[ProductFile],
    observations: Sequence[Observation],
    lesion: np.ndarray,
    masks: Sequence[str],
    folder: Path,
) -> tuple[list[ProductFile], str]:
    """Put lesions into the main volume, if it was predicted, and into the segmentation.

    Parameters
    ----------
    products
        What a method made for keeps, the main volume first.
    observations
        The scans that it was made of, the reference first.
    lesion
        Where the lesions are on the voxels of the products, ``(I, J, K)`` bool.
    masks
        Names of the masks that mark them.
    folder
        Folder that the files are written to.

    Returns
    -------
    products, warning
        The same in the same order, and a sentence on what was done.
    """
    labels, grid = load_volume(Path(next(x for x in products if x.labels and x.desc).file))
    brain = load_volume(Path(next(x for x in products if x.suffix == 'mask').file))[0] > 0
    ml = float(f'{lesion.sum() * grid.voxel_volume / 1000:.3g}')
    facts: dict[str, Any] = {'Done': 'kept', 'Masks': [*masks], 'VolumeMl': ml}
    shown, t1w = 1.0, None
    if name_of_main(products) != ACQUIRED:
        voxels, _ = load_volume(Path(products[0].file))
        white = np.isin(labels, CEREBRAL_WHITE_MATTER)
        scans = [scan for scan in observations if scan.contrast == CONTRAST]
        prediction = LesionFreeT1w(voxels, grid, lesion, white, brain)
        t1w, shown = keep_lesions(prediction, scans, TISSUES['lesion'].t1w)
        facts['ScannedPercent'] = round(100 * shown, 1)
    kept = [*products]
    for number, product in enumerate(products):
        made = None
        if number == 0:
            made = t1w
        elif product.labels and product.desc:
            made = np.where(lesion, LESION, labels).astype(np.int16)
        if made is not None:
            path = save_volume(folder / f'kept-{number}.nii', made, grid)
            sidecar = {**product.sidecar, 'Lesions': facts}
            kept[number] = replace(product, file=str(path), sidecar=sidecar, sha256=sha256(path))
    return kept, _describe(ml, masks, shown, t1w is not None)


def _describe(ml: float, masks: Iterable[str], shown: float, is_predicted: bool) -> str:
    """Say in a sentence or two what became of the lesions."""
    where = 'the T1w and its segmentation' if is_predicted else 'the segmentation'
    start = f'Lesions of {ml:g} ml were put into {where}, by {", ".join(masks)}.'
    if not is_predicted:
        return f'{start} {AS_SCANNED}.'
    if shown >= WHOLE:
        return f'{start} Their intensity is that of the T1w scan.'
    part = 'no T1w shows them' if shown <= NONE else f'no T1w shows {100 - 100 * shown:.0f} %'
    return f'{start} Their intensity is invented where {part}.'
