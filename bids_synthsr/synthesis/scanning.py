"""From a high-resolution scan to its slices, and back to the 1 mm grid as inference does it.

Three coordinate systems, all in voxels: the *crop* (1 mm, the frame of the reference), the *box*
(1 mm, the axes of the scan, around the crop), and the *native* voxels of the scan. A scan that
has not moved shares axes with the crop; then every step is one small matrix per axis.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import product

import torch

from bids_synthsr.imaging.resampling import sample_linear, sample_reliability
from bids_synthsr.synthesis.deformation import rotation
from bids_synthsr.synthesis.fields import (
    Shape,
    Triple,
    draw_chance,
    draw_index,
    draw_normal,
    draw_triple,
    draw_uniform,
)
from bids_synthsr.synthesis.priors import AcquisitionPrior, MotionPrior

# share of partial fields of view that lack slices; the others end in plane
SLICES_MISSING = 0.9
Cut = tuple[tuple[float, float], tuple[float, float], tuple[float, float]]
TENT_VARIANCE = 1 / 6  # voxels²: variance of the kernel of linear interpolation


@dataclass(frozen=True)
class MotionDraw:
    """Position of a scan relative to the reference; all zero for the reference itself.

    Parameters
    ----------
    rotation_deg, translation
        Rotation about the middle of the crop, and translation (mm), from the scan's axes to the
        crop.
    rotation_error_deg, translation_error
        Rotation and translation (mm) that registration adds, in the frame of the crop.
    """

    rotation_deg: Triple = (0.0, 0.0, 0.0)
    translation: Triple = (0.0, 0.0, 0.0)
    rotation_error_deg: Triple = (0.0, 0.0, 0.0)
    translation_error: Triple = (0.0, 0.0, 0.0)

    @property
    def is_moved(self) -> bool:
        """Whether anything differs from the reference."""
        return self != MotionDraw()


@dataclass(frozen=True)
class AcquisitionDraw:
    """Voxels of a scan along its three axes, mm.

    Parameters
    ----------
    slice_axis
        Axis across the slices; None for a 3-D scan.
    spacing
        Distance between voxel centres along each axis.
    profile_sd
        Standard deviation of the Gaussian by which voxels are wider than those of 1 mm labels.
    shift
        Distance by which the field of view starts before the sample, whole mm.
    cut
        Fraction of the sample that the field of view leaves out at the lower and at the upper end.
    """

    slice_axis: int | None
    spacing: Triple
    profile_sd: Triple
    shift: tuple[int, int, int]
    cut: Cut


def draw_scan_motion(prior: MotionPrior, generator: torch.Generator) -> MotionDraw:
    """Draw the position of a scan that is not the reference."""
    turn, move = prior.rotation_deg, prior.translation
    turn_error = [draw_normal(prior.rotation_error_sd_deg, generator) for _ in range(3)]
    move_error = [draw_normal(prior.translation_error_sd, generator) for _ in range(3)]
    return MotionDraw(
        rotation_deg=draw_triple((-turn, turn), generator),
        translation=draw_triple((-move, move), generator),
        rotation_error_deg=(turn_error[0], turn_error[1], turn_error[2]),
        translation_error=(move_error[0], move_error[1], move_error[2]),
    )


def draw_acquisition(prior: AcquisitionPrior, generator: torch.Generator) -> AcquisitionDraw:
    """Draw slices and voxels of a scan."""
    axis = draw_index(prior.orientation_weights, generator)
    is_3d = draw_chance(prior.isotropic_probability, generator)
    drawn_2d = _draw_slice_sizes(prior, axis, generator)
    size = draw_uniform(prior.isotropic, generator)
    sizes, widths = ([size] * 3, [size] * 3) if is_3d else drawn_2d
    factors = draw_triple(prior.profile_factor, generator)
    sds = [
        prior.profile_sd_per_thickness * math.sqrt(max((width * factor) ** 2 - 1, 0))
        for width, factor in zip(widths, factors, strict=True)
    ]
    sizes = [max(size, 1.0) for size in sizes]
    shift = [draw_index([1.0] * math.ceil(size), generator) for size in sizes]
    return AcquisitionDraw(
        slice_axis=None if is_3d else axis,
        spacing=(sizes[0], sizes[1], sizes[2]),
        profile_sd=(sds[0], sds[1], sds[2]),
        shift=(shift[0], shift[1], shift[2]),
        cut=_draw_cut(prior, axis, generator),
    )


def _draw_slice_sizes(
    prior: AcquisitionPrior, axis: int, generator: torch.Generator
) -> tuple[list[float], list[float]]:
    """Draw spacing and width of the voxels of a 2-D scan along its three axes."""
    slices = draw_uniform(prior.slice_spacing, generator)
    thickness = slices * draw_uniform(prior.thickness_per_spacing, generator)
    in_plane = draw_uniform(prior.in_plane, generator)
    sizes = [in_plane, in_plane]
    sizes[draw_index([1.0, 1.0], generator)] *= draw_uniform(prior.in_plane_anisotropy, generator)
    return sizes[:axis] + [slices] + sizes[axis:], sizes[:axis] + [thickness] + sizes[axis:]


def _draw_cut(prior: AcquisitionPrior, axis: int, generator: torch.Generator) -> Cut:
    """Draw what a partial field of view leaves out, mostly slices."""
    is_partial = draw_chance(prior.partial_probability, generator)
    where = axis if draw_chance(SLICES_MISSING, generator) else draw_index([1.0] * 3, generator)
    fraction = draw_uniform(prior.partial_fraction, generator) * is_partial
    at_lower_end = draw_chance(0.5, generator)
    cut = [(0.0, 0.0)] * 3
    cut[where] = (fraction, 0.0) if at_lower_end else (0.0, fraction)
    return cut[0], cut[1], cut[2]


def turn_and_move(angles_deg: Triple, translation: Triple, middle: torch.Tensor) -> torch.Tensor:
    """Make the transform that turns about ``middle``, then moves: ``(4, 4)`` float64."""
    transform = torch.eye(4, dtype=torch.float64)
    transform[:3, :3] = rotation(angles_deg)
    transform[:3, 3] = middle - transform[:3, :3] @ middle + torch.tensor(translation).double()
    return transform


def profile_matrix(centers: torch.Tensor, sd: float, size: int) -> torch.Tensor:
    """Average ``size`` voxels under Gaussians at ``centers``; the border is continued beyond.

    The tent of linear interpolation, convolved with a Gaussian of variance ``sd² - 1/6`` voxels²,
    has the variance ``sd²`` (on average over where a centre lies between two voxels); narrower
    profiles interpolate linearly. A row sums to 1.

    Parameters
    ----------
    centers
        Positions of the P profiles, voxels.
    sd
        Standard deviation of the profiles, voxels.
    size
        Number of voxels along the axis.

    Returns
    -------
    matrix
        Weights of the voxels in each profile, ``(P, size)`` float32.
    """
    narrow = math.sqrt(max(sd**2 - TENT_VARIANCE, 0))
    # the weight of voxel j is step(c - j + 1) - step(c - j): a step rises from 0 to 1
    distance = centers.double()[:, None] - torch.arange(-1, size, device=centers.device)
    steps = _ramp(distance, narrow) - _ramp(distance - 1, narrow)
    steps[:, 0], steps[:, -1] = 1, 0
    return (steps[:, :-1] - steps[:, 1:]).float()


def _ramp(distance: torch.Tensor, sd: float) -> torch.Tensor:
    """Convolve ``max(x, 0)`` with a Gaussian."""
    if sd == 0:
        return distance.clamp(min=0)
    normal = torch.exp(-(distance**2) / (2 * sd**2)) / math.sqrt(2 * math.pi)
    return distance * torch.special.ndtr(distance / sd) + sd * normal


def apply_along_axes(image: torch.Tensor, matrices: list[torch.Tensor]) -> torch.Tensor:
    """Multiply every axis of ``image (I, J, K)`` by a matrix ``(P, size)``."""
    image = image @ matrices[2].T
    image = matrices[1] @ image
    return (matrices[0] @ image.flatten(1)).view(-1, *image.shape[1:])


@dataclass(frozen=True, eq=False)
class Slices:
    """Where the voxels of one scan lie, in voxels of the crop.

    Parameters
    ----------
    box_low, box_shape
        First voxel and shape of the 1 mm lattice on which the scan is painted, along its axes.
    box2crop
        True transform from positions along the scan's axes to the crop, ``(4, 4)``.
    registered
        The same transform as registration gives it, ``(4, 4)``.
    first
        Position of the first native voxel along the scan's axes.
    spacing
        Distance between native voxels along the scan's axes.
    native_shape
        Number of native voxels along each axis.
    """

    box_low: tuple[int, ...]
    box_shape: Shape
    box2crop: torch.Tensor
    registered: torch.Tensor
    first: tuple[float, ...]
    spacing: Triple
    native_shape: Shape

    @property
    def native2crop(self) -> torch.Tensor:
        """True position of the native voxels, ``(4, 4)``."""
        return self.box2crop @ self._native2axes

    @property
    def crop2native(self) -> torch.Tensor:
        """Position of the voxels of the crop in the scan, as registered: ``(4, 4)``."""
        return torch.linalg.inv(self.registered @ self._native2axes)

    @property
    def _native2axes(self) -> torch.Tensor:
        transform = torch.diag(torch.tensor([*self.spacing, 1.0], dtype=torch.float64))
        transform[:3, 3] = torch.tensor(self.first)
        return transform


def lay_slices(motion: MotionDraw, draw: AcquisitionDraw, shape: Shape) -> Slices:
    """Lay the voxels of a scan over a crop, from outer face to outer face."""
    middle = (torch.tensor(shape).double() - 1) / 2
    box2crop = turn_and_move(motion.rotation_deg, motion.translation, middle)
    error = turn_and_move(motion.rotation_error_deg, motion.translation_error, middle)
    low, high = _bounding_box(torch.linalg.inv(box2crop), shape)
    first, count = [], []
    for axis, spacing in enumerate(draw.spacing):
        extent = high[axis] - low[axis] + 1
        start = low[axis] - 0.5 - draw.shift[axis] + round(draw.cut[axis][0] * extent)
        end = high[axis] + 0.5 - round(draw.cut[axis][1] * extent)
        first.append(start + spacing / 2)
        count.append(max(math.ceil((end - start) / spacing - 1e-6), 1))
    box = [last - start + 1 for start, last in zip(low, high, strict=True)]
    return Slices(
        box_low=tuple(low),
        box_shape=(box[0], box[1], box[2]),
        box2crop=box2crop,
        registered=torch.linalg.inv(error) @ box2crop,
        first=tuple(first),
        spacing=draw.spacing,
        native_shape=(count[0], count[1], count[2]),
    )


def _bounding_box(crop2box: torch.Tensor, shape: Shape) -> tuple[list[int], list[int]]:
    """Compute the first and last whole voxel along the scan's axes that a crop reaches."""
    corners = torch.tensor(list(product(*((0, size - 1) for size in shape)))).double()
    corners = corners @ crop2box[:3, :3].T + crop2box[:3, 3]
    low = (corners.amin(0) + 1e-6).floor().int().tolist()
    return low, (corners.amax(0) - 1e-6).ceil().int().tolist()


def into_box(maps: torch.Tensor, slices: Slices, margin_vox: int) -> torch.Tensor:
    """Interpolate ``maps (C, I, J, K)`` of the crop in the box of a scan: ``(C, *box_shape)``.

    Beyond the crop its border is continued for ``margin_vox``, as far as slice profiles reach.
    """
    padded = torch.nn.functional.pad(maps[None], [margin_vox] * 6, mode='replicate')
    shifted = torch.eye(4, dtype=torch.float64)
    shifted[:3, 3] = torch.tensor(slices.box_low)
    box2padded = slices.box2crop @ shifted
    box2padded[:3, 3] += margin_vox
    return sample_linear(padded, box2padded[None].to(maps.device), slices.box_shape)[0]


def acquire_slices(
    image: torch.Tensor, slices: Slices, draw: AcquisitionDraw, blur_sd: float
) -> torch.Tensor:
    """Average a blurred high-resolution scan in its native voxels.

    Parameters
    ----------
    image
        Scan on the 1 mm box, ``box_shape``.
    slices
        Geometry of the scan.
    draw
        Voxels of the scan.
    blur_sd
        Standard deviation of the blur before acquisition, mm.

    Returns
    -------
    native
        Intensities of the native voxels, ``native_shape``.
    """
    matrices = []
    for axis, size in enumerate(image.shape):
        index = torch.arange(slices.native_shape[axis], device=image.device)
        centers = slices.first[axis] - slices.box_low[axis] + index * slices.spacing[axis]
        profile = profile_matrix(centers, draw.profile_sd[axis], size)
        matrices.append(profile @ blur_matrix(blur_sd, size, image.device))
    return apply_along_axes(image, matrices)


def blur_matrix(sd: float, size: int, device: torch.device) -> torch.Tensor:
    """Blur ``size`` voxels in place: ``(size, size)``."""
    return profile_matrix(torch.arange(size, device=device), sd, size)


def blur(image: torch.Tensor, sd: float) -> torch.Tensor:
    """Blur ``image (I, J, K)`` along its three axes."""
    return apply_along_axes(image, [blur_matrix(sd, size, image.device) for size in image.shape])


def to_crop(
    native: torch.Tensor, slices: Slices, is_moved: bool, shape: Shape
) -> tuple[torch.Tensor, torch.Tensor]:
    """Interpolate native voxels on the crop as inference does, with their reliability.

    Parameters
    ----------
    native
        Intensities of the native voxels, ``native_shape``.
    slices
        Geometry of the scan.
    is_moved
        Whether the axes of the scan differ from those of the crop.
    shape
        Number of voxels of the crop along each axis.

    Returns
    -------
    resampled
        Intensities on the crop, ``shape``.
    reliability
        Reliability of each voxel in [0, 1], ``shape``.
    """
    if not is_moved:
        return _to_crop_along_axes(native, slices, shape)
    crop2native = slices.crop2native[None].to(native.device)
    ratio = torch.tensor([slices.spacing], device=native.device)
    resampled = sample_linear(native[None, None], crop2native, shape)
    reliability = sample_reliability(crop2native, ratio, slices.native_shape, shape)
    return resampled[0, 0], reliability[0, 0]


def _to_crop_along_axes(
    native: torch.Tensor, slices: Slices, shape: Shape
) -> tuple[torch.Tensor, torch.Tensor]:
    """Do the same with one matrix and one line of reliability per axis, from the same code."""
    matrices, lines = [], []
    for axis in range(3):
        count, size = slices.native_shape[axis], shape[axis]
        crop2native = torch.eye(4, dtype=torch.float64)
        crop2native[0, 0] = 1 / slices.spacing[axis]
        crop2native[0, 3] = -slices.first[axis] / slices.spacing[axis]
        ratio = torch.tensor([[slices.spacing[axis], 1.0, 1.0]])
        deltas = torch.eye(count)[None, :, :, None, None]
        rod = size, 2, 2  # PyTorch warns of axes of one voxel
        matrix = sample_linear(deltas, crop2native[None], rod)[0, :, :, 0, 0].T
        line = sample_reliability(crop2native[None], ratio, (count, 1, 1), rod)[0, 0, :, 0, 0]
        matrices.append(matrix.to(native.device))
        lines.append(line.to(native.device))
    reliability = lines[0][:, None, None] * lines[1][:, None] * lines[2]
    return apply_along_axes(native, matrices), reliability
