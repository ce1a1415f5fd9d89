"""Products in standard spaces: transforms both ways, and what is carried over by them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from bids_synthsr.dataset.composites import affine_of, field_of, save_composite
from bids_synthsr.dataset.images import load_grid, load_rigid, load_volume, save_volume
from bids_synthsr.dataset.templates import TemplateFiles
from bids_synthsr.derivatives.places import RESAMPLED, name_in_scan, name_of_space_transform
from bids_synthsr.derivatives.products import ProductFile
from bids_synthsr.derivatives.provenance import describe_carried, describe_space_transform
from bids_synthsr.imaging.resampling import take_nearest
from bids_synthsr.registration.standard import StandardTransform
from bids_synthsr.values.grid import Grid

ORDERS = {'dseg': 0, 'mask': 0, 'probseg': 1}  # of the splines by suffix; else cubic
CUBIC = 3


@dataclass(frozen=True, eq=False)
class T1wInSpace:
    """The main T1w of an exam and where its brain is.

    Parameters
    ----------
    voxels, grid
        Intensities ``(I, J, K)``, and where they lie.
    mask
        Brain mask ``(I, J, K)``, on the same grid.
    sources
        Names of the scans that the T1w was made of.
    """

    voxels: np.ndarray
    grid: Grid
    mask: np.ndarray
    sources: Sequence[str]

    @classmethod
    def load(cls, products: Sequence[ProductFile]) -> T1wInSpace:
        """Read the main volume and the brain mask among the products of an exam.

        Raises
        ------
        ValueError
            If the method made no T1w, or no brain mask.
        """
        main = next(product for product in products if product.frame)
        masks = [product for product in products if product.suffix == 'mask']
        if main.suffix != 'T1w' or not masks:
            raise ValueError(
                f'The method made a {main.suffix} {"with" if masks else "without"} a brain mask. '
                'Standard spaces need a T1w with a brain mask: choose --method auto.'
            )
        voxels, grid = load_volume(Path(main.file))
        return cls(voxels, grid, load_volume(Path(masks[0].file))[0], main.sources)


def scan_products(
    products: Sequence[ProductFile], scans: Mapping[str, Path], folder: Path
) -> Iterator[ProductFile]:
    """Bring mask and segmentation of an exam to the own grid of each scan that was used.

    Parameters
    ----------
    products
        What the stages before made for keeps.
    scans
        Files of the scans by their names.
    folder
        Folder that the files are written to.
    """
    scan2ref = {x.sources[0]: load_rigid(Path(x.file)) for x in products if x.kind == 'transform'}
    wanted = {x.suffix: x for x in reversed(products) if x.suffix in ('mask', 'dseg')}
    for name in (x.sources[0] for x in products if x.desc == RESAMPLED):
        target = load_grid(scans[name])
        ref2scan = np.linalg.inv(scan2ref.get(name, np.eye(4)))
        for suffix, product in wanted.items():
            voxels, grid = load_volume(Path(product.file))
            labels = take_nearest(voxels, grid, target, ref2scan)
            path = save_volume(folder / f'{name}-{suffix}.nii', labels, target)
            described = describe_carried(product.sidecar, ORDERS[suffix])
            table = f' (as in desc-{product.desc}_dseg.tsv)' if suffix == 'dseg' else ''
            described['Description'] += f', on the grid of the {name}{table}'
            yield replace(
                product, file=str(path), entities=name_in_scan(name), sidecar=described,
                labels=(), space=name, sha256='',
            )  # fmt: skip


def save_transforms(
    transform: StandardTransform, files: TemplateFiles, sources: Sequence[str], folder: Path
) -> list[ProductFile]:
    """Write the transforms of a T1w to a standard space and back.

    Parameters
    ----------
    transform
        How the points of both belong together.
    files
        The template of the space.
    sources
        Names of the scans that the T1w was made of.
    folder
        Folder that the files are written to.
    """
    affine = affine_of(transform.template2t1w)
    inverse = affine_of(np.linalg.inv(transform.template2t1w))
    there, back = (field_of(one, transform.grid) for one in (transform.there, transform.back))
    steps = {('T1w', files.space): [there, affine], (files.space, 'T1w'): [inverse, back]}
    products = []
    for (source, target), parts in steps.items():
        path = save_composite(folder / f'from-{source}_to-{target}.h5', parts)
        suffix, entities = name_of_space_transform(source, target)
        sidecar = describe_space_transform(transform, files)
        products.append(ProductFile(str(path), 'warp', suffix, entities, sources, sidecar))
    return products


def standard_products(
    products: Sequence[ProductFile],
    transform: StandardTransform,
    files: TemplateFiles,
    target: Grid,
    folder: Path,
) -> Iterator[ProductFile]:
    """Carry T1w, mask and segmentations of an exam to a standard space.

    Parameters
    ----------
    products
        What the stages before made for keeps.
    transform
        How the points of the T1w and of the template belong together.
    files
        The template of the space.
    target
        Grid of the outputs.
    folder
        Folder that the files are written to.
    """
    for number, product in enumerate(products):
        if not (product.frame or product.suffix in ORDERS):
            continue
        order = ORDERS.get(product.suffix, CUBIC)
        voxels, grid = load_volume(Path(product.file))
        carried = transform.carry(voxels, grid, target, order)
        if order == CUBIC:
            carried = carried.clip(voxels.min(), voxels.max())  # splines overshoot
        path = save_volume(folder / f'volume-{number}.nii', carried, target)
        yield replace(
            product,
            file=str(path),
            entities={**product.entities, **files.entities},
            sidecar=describe_carried(product.sidecar, order),
            frame='',
            space=files.uri,
            sha256='',
        )
