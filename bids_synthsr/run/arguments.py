"""Arguments of Python users: brought into the form that is expected, or refused in a sentence."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import fields, replace
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from nibabel.spatialimages import SpatialImage

from bids_synthsr.settings import MethodSettings

WANTED = 'give files or nibabel images of one exam, such as ["t1.nii.gz", "flair.nii.gz"]'
Kind: TypeAlias = tuple[tuple[type, ...], str]
# types that a setting may have, by the type of its default, and in words
KINDS: dict[type, Kind] = {
    bool: ((bool,), 'True or False'),
    float: ((int, float, np.integer, np.floating), 'a number'),
    str: ((str,), 'a text'),
}


def list_images(images: Any) -> list[SpatialImage | str | Path]:
    """List the scans of an exam; one alone is a list of one.

    Parameters
    ----------
    images
        Files, nibabel images, or a list of these.

    Raises
    ------
    TypeError
        For what is neither, with what to give instead.
    ValueError
        If there are none.
    """
    if isinstance(images, str | os.PathLike | SpatialImage):
        images = [images]
    if not _is_list(images):
        raise TypeError(f'images is {_name_kind(images)}: {WANTED}')
    listed = [_check_image(image, f'images[{number}]') for number, image in enumerate(images)]
    if not listed:
        raise ValueError(f'There are no scans: {WANTED}')
    return listed


def _check_image(image: Any, name: str) -> SpatialImage | str | Path:
    """Return a file or an image as it is."""
    if isinstance(image, SpatialImage):
        return image
    if isinstance(image, str | os.PathLike):
        return Path(os.fsdecode(image))
    if isinstance(image, np.ndarray):
        raise TypeError(
            f'{name} is an array, which does not tell where its voxels lie: '
            'give nibabel.Nifti1Image(array, affine)'
        )
    raise TypeError(f'{name} is {_name_kind(image)}: {WANTED}')


def list_contrasts(contrasts: Any) -> list[str]:
    """List the contrasts of scans; one alone is a list of one, and None is none.

    Parameters
    ----------
    contrasts
        A BIDS suffix, or a list of them.

    Raises
    ------
    TypeError
        For what is no text.
    """
    if contrasts is None:
        return []
    listed = [contrasts] if isinstance(contrasts, str) else contrasts
    if not _is_list(listed):
        raise TypeError(f'contrasts is {_name_kind(contrasts)}: give BIDS suffixes, as ["T1w"]')
    listed = list(listed)
    for number, contrast in enumerate(listed):
        if not isinstance(contrast, str):
            raise TypeError(
                f'contrasts[{number}] is {_name_kind(contrast)}: give a BIDS suffix, such as "T1w"'
            )
    return listed


def conform_settings(settings: Any) -> MethodSettings:
    """Return settings whose values have the types that they must have.

    Parameters
    ----------
    settings
        Settings as `MethodSettings`; None takes the defaults of the program.

    Raises
    ------
    TypeError
        For another type, of the settings or of one of their values.
    """
    if settings is None:
        return MethodSettings()
    if not isinstance(settings, MethodSettings):
        raise TypeError(
            f'settings is {_name_kind(settings)}: give '
            'bids_synthsr.settings.MethodSettings(method="tv"), for instance'
        )
    for field in fields(settings):
        _check_value(field.name, getattr(settings, field.name), field.default)
    weights = settings.weights and Path(os.fsdecode(settings.weights))
    return replace(settings, weights=weights, contrasts=tuple(list_contrasts(settings.contrasts)))


def _check_value(name: str, value: Any, default: Any) -> None:
    """Refuse a value of another type than its default has."""
    types: tuple[type, ...]
    types, words = KINDS.get(type(default), ((object,), ''))
    if name == 'weights':
        types, words = (os.PathLike, str, type(None)), 'a file'
    elif name == 'reference':
        types, words = (str, type(None)), 'a text'
    is_flag = isinstance(value, bool) and bool not in types and object not in types
    if is_flag or not isinstance(value, types):
        raise TypeError(f'settings: {name} is {_name_kind(value)}, not {words}')


def check_threads(number: Any) -> int:
    """Return a number of threads, which is whole and at least 1.

    Parameters
    ----------
    number
        Number that the user gave.

    Raises
    ------
    ValueError
        For anything else.
    """
    if isinstance(number, bool) or not isinstance(number, int | np.integer) or number < 1:
        raise ValueError(f'num_threads is {number!r:.60}, not a whole number of at least 1')
    return int(number)


def _is_list(value: Any) -> bool:
    """Whether a value can be a list of scans or contrasts."""
    return isinstance(value, Iterable) and not isinstance(value, Mapping | bytes | np.ndarray)


def _name_kind(value: Any) -> str:
    """Name the type of a value in words."""
    if value is None:
        return 'None'
    return 'an array' if isinstance(value, np.ndarray) else f'of type {type(value).__name__}'
