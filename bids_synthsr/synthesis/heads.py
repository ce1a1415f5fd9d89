"""What samples are made from: heads with label maps, real images, pairs of these, and stacks."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import torch

from bids_synthsr.synthesis.fields import Triple
from bids_synthsr.synthesis.labels import WHITE_MATTER, LabelTable, is_one_of
from bids_synthsr.synthesis.overlays import brain_mask
from bids_synthsr.values.grid import Grid

SHOWN_INTENSITY = 0.05  # where 1 is bright: darker voxels show air


@dataclass(frozen=True, eq=False)
class Head:
    """A label map, with the real T1w image of the same head where there is one.

    Parameters
    ----------
    labels
        Label values at 1 mm, ``(I, J, K)`` int16, axes in RAS order.
    image
        Real T1w on the same grid, ``(I, J, K)`` float32, white matter 1. None where there is none.
    center
        Middle of the brain's bounding box, voxels. Crops are taken around it.
    name
        Name of the head in messages and stored draws.
    """

    labels: torch.Tensor
    image: torch.Tensor | None
    center: Triple
    name: str = ''

    def to(self, device: torch.device) -> Head:
        """Move all voxels to a device."""
        image = None if self.image is None else self.image.to(device)
        return replace(self, labels=self.labels.to(device), image=image)


@dataclass(frozen=True, eq=False)
class RealImage:
    """A real T1w image without labels.

    Parameters
    ----------
    voxels
        Intensities at 1 mm, ``(I, J, K)`` float16, about 0 to 1, axes in RAS order, cropped to
        the head.
    name
        Name of the image file.
    """

    voxels: torch.Tensor
    name: str

    @cached_property
    def shown_voxels(self) -> int:
        """Count the voxels that show more than air."""
        return int((self.voxels > SHOWN_INTENSITY).sum())

    def to(self, device: torch.device) -> RealImage:
        """Move all voxels to a device."""
        return replace(self, voxels=self.voxels.to(device))


@dataclass(frozen=True, eq=False)
class ImagePair:
    """Two real images of one head on one grid: what a network gets, and what it is to make.

    Parameters
    ----------
    given, wanted
        Intensities ``(I, J, K)`` float16, about 0 to 1, axes in RAS order, cropped to the head.
    name
        Name of the file of the image that is given.
    """

    given: torch.Tensor
    wanted: torch.Tensor
    name: str

    @cached_property
    def shown_voxels(self) -> int:
        """Count the voxels that show more than air."""
        return int((self.wanted > SHOWN_INTENSITY).sum())

    def to(self, device: torch.device) -> ImagePair:
        """Move all voxels to a device."""
        return replace(self, given=self.given.to(device), wanted=self.wanted.to(device))


def make_head(
    labels: torch.Tensor, image: torch.Tensor | None, table: LabelTable, name: str = ''
) -> Head:
    """Check a label map, and scale its T1w image so that the median of white matter is 1.

    Parameters
    ----------
    labels
        Label values at 1 mm, ``(I, J, K)`` integers of any type, axes in RAS order.
    image
        Real T1w on the same grid, ``(I, J, K)`` in any unit, or None.
    table
        Table of all labels that may occur.
    name
        Name of the head in messages and stored draws.

    Raises
    ------
    ValueError
        For labels that the table does not cover, no brain, an image of another shape, or values
        that are not finite.
    """
    name = name or 'The label map'
    if labels.ndim != 3:
        raise ValueError(f'{name} has shape {tuple(labels.shape)}; a volume of labels is needed')
    if labels.is_floating_point() and not torch.equal(labels, labels.round()):
        raise ValueError(f'{name} holds values that are not whole numbers: is it an image?')
    table.check(labels, name)
    labels = labels.to(torch.int16).contiguous()
    is_brain = brain_mask(labels, table)
    if not is_brain.any():
        raise ValueError(f'{name} shows no brain: it has no label of a brain structure')
    bounds = [is_brain.amax([a for a in range(3) if a != axis]).nonzero() for axis in range(3)]
    first, second, third = (float(x.min() + x.max()) / 2 for x in bounds)
    scaled = None if image is None else _scaled(image, labels, name)
    return Head(labels, scaled, (first, second, third), name)


def _scaled(image: torch.Tensor, labels: torch.Tensor, name: str) -> torch.Tensor:
    """Check an image, and divide it by the median of its white matter."""
    if image.shape != labels.shape:
        raise ValueError(
            f'{name} has shape {tuple(labels.shape)}, its image {tuple(image.shape)}: bring the '
            'image to the grid of the labels'
        )
    if not torch.isfinite(image).all():
        raise ValueError(f'The image of {name} holds values that are not finite: set them to 0')
    white = image[is_one_of(labels, WHITE_MATTER)]
    if not len(white) or float(white.median()) <= 0:
        raise ValueError(
            f'The image of {name} cannot be scaled: its labels show no white matter, or it is '
            'dark there. Does the image belong to these labels?'
        )
    return (image.float() / white.float().median()).contiguous()


@dataclass(frozen=True, eq=False)
class SliceStack:
    """The slices of a scan, as far apart as they were measured or made.

    Parameters
    ----------
    voxels
        Intensities ``(I, J, S)`` float16, about 0 to 1: 1 mm within slices, which come last.
    grid
        Where these voxels lie.
    spacing_mm, thickness_mm
        Distance between the centres of the slices, and their thickness, mm.
    name
        Name of the file of the scan.
    """

    voxels: torch.Tensor
    grid: Grid
    spacing_mm: float
    thickness_mm: float
    name: str

    @cached_property
    def shown_voxels(self) -> int:
        """Count the voxels that show more than air."""
        return int((self.voxels > SHOWN_INTENSITY).sum())

    def to(self, device: torch.device) -> SliceStack:
        """Move all voxels to a device."""
        return replace(self, voxels=self.voxels.to(device))
