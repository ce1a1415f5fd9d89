"""Frozen dataclasses as plain JSON and TOML types, and back.

Reading is strict: a key that a dataclass does not have, or a value of another type, raises a
`ValueError` with the path of the value and the way out. Two conversions are allowed, because JSON
and TOML force them: a whole number is taken where a float is needed, and a list for a tuple.
"""

from __future__ import annotations

import dataclasses
import difflib
import typing
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, TypeVar

import numpy as np
from cattrs import (
    AttributeValidationNote,
    BaseValidationError,
    Converter,
    ForbiddenExtraKeysError,
    IterableValidationError,
    IterableValidationNote,
)
from cattrs.gen import mapping_structure_factory

T = TypeVar('T')
Read = Callable[[Any, Any], Any]

TYPE_WORDS = {bool: 'true or false', int: 'a whole number', float: 'a number', str: 'text'}


class _UnfitValueError(ValueError):
    """A value that does not fit its field; the text gives the reason, not the field."""


def as_plain(value: Any) -> Any:
    """Turn dataclasses, tuples, arrays and paths into dicts, lists, numbers and strings."""
    return CONVERTER.unstructure(value)


def read_dataclass(
    kind: type[T], table: Mapping[str, Any], where: str, start: T | None = None
) -> T:
    """Make a dataclass from nested tables, such as `as_plain` or a TOML file hold them.

    Parameters
    ----------
    kind
        Type of the dataclass to make.
    table
        Values of its fields: plain types, a table for every dataclass among them.
    where
        What an error message calls the table, such as ``recipe``.
    start
        Dataclass with the values of the fields that ``table`` leaves out, those of inner tables
        included. None takes the defaults of ``kind``.

    Raises
    ------
    ValueError
        For a key that the dataclass does not have, with the nearest key that it has. For a value
        of another type. For a field that has no value.
    """
    try:
        return CONVERTER.structure(table if start is None else _completed(table, start), kind)
    except (BaseValidationError, _UnfitValueError) as error:
        raise ValueError(f'{where}: {_describe(error, "")}') from error


def unknown_key(key: str, choices: Sequence[str]) -> str:
    """Describe a key that is not known, and suggest the one that may be meant."""
    near = difflib.get_close_matches(key, choices, 1)
    if near:
        return f'unknown key {key!r}; did you mean {near[0]!r}?'
    return f'unknown key {key!r}; choose from {", ".join(choices) or "nothing: leave it empty"}'


def _completed(table: Mapping[str, Any], start: Any) -> dict[str, Any]:
    """Add to a table the values of a dataclass that the table leaves out."""
    inner = {
        key: _completed(value, getattr(start, key))
        for key, value in table.items()
        if isinstance(value, Mapping) and dataclasses.is_dataclass(getattr(start, key, None))
    }
    return {**as_plain(start), **table, **inner}


def _describe(error: BaseException, path: str) -> str:
    """Describe what is wrong and where: the first unknown key, or else the first value."""
    if isinstance(error, BaseValidationError):
        unknown = [x for x in error.exceptions if isinstance(x, ForbiddenExtraKeysError)]
        first = (unknown or error.exceptions)[0]
        return _describe(first, path + _step_of(first, is_first=not path))
    if isinstance(error, ForbiddenExtraKeysError):
        names = [field.name for field in dataclasses.fields(error.cl)]
        return (f'{path}: ' if path else '') + unknown_key(min(error.extra_fields), names)
    if isinstance(error, KeyError):
        return f'{path} is missing'
    if isinstance(error, _UnfitValueError):
        return f'{path} {error}' if path else f'the table {error}'
    return f'{path}: {error}' if path else str(error)


def _step_of(error: BaseException, is_first: bool) -> str:
    """Write the field, key or index to which cattrs attributes an error; empty without one."""
    for note in getattr(error, '__notes__', ()):
        if isinstance(note, IterableValidationNote) and isinstance(note.index, int):
            return f'[{note.index}]'
        if isinstance(note, IterableValidationNote | AttributeValidationNote):
            name = str(note.index if isinstance(note, IterableValidationNote) else note.name)
            return name if is_first else f'.{name}'
    return ''


def _check(is_fit: bool, value: Any, expected: str) -> None:
    """Raise where a value does not fit."""
    if not is_fit:
        raise _UnfitValueError(f'is {value!r}, not {expected}')


def _read_scalar(value: Any, kind: type) -> Any:
    """Read a number, a truth value or text; True is no number, and 1 is a float too."""
    is_whole = isinstance(value, int) and not isinstance(value, bool)
    is_fit = is_whole if kind is int else isinstance(value, kind) or (kind is float and is_whole)
    _check(is_fit, value, TYPE_WORDS[kind])
    return kind(value)


def _read_array(value: Any, _: type) -> np.ndarray:
    """Read nested lists of numbers as an array of float64."""
    try:
        return np.array(value, dtype=np.float64)
    except (TypeError, ValueError):
        raise _UnfitValueError(f'is {value!r}, not nested lists of numbers') from None


def _read_path(value: Any, _: type) -> Path:
    """Read a path from text."""
    _check(isinstance(value, str | Path), value, 'a path')
    return Path(value)


def _literal_reader(hint: Any) -> Read:
    """Make the reader of a field that allows a few values alone."""
    choices = typing.get_args(hint)

    def read(value: Any, _: Any) -> Any:
        if value not in choices:
            raise _UnfitValueError(f'is {value!r}; choose one of {", ".join(map(str, choices))}')
        return value

    return read


def _dataclass_reader(kind: Any) -> Read:
    """Make the reader of a dataclass."""
    structure = CONVERTER.gen_structure_attrs_fromdict(kind)

    def read(value: Any, _: Any) -> Any:
        if isinstance(value, kind):
            return value
        _check(isinstance(value, Mapping), value, f'a table with keys of {kind.__name__}')
        return structure(value, kind)

    return read


def _mapping_reader(hint: Any) -> Read:
    """Make the reader of a table with free keys."""
    structure = mapping_structure_factory(hint, CONVERTER)

    def read(value: Any, _: Any) -> Any:
        _check(isinstance(value, Mapping), value, 'a table')
        return structure(value)

    return read


def _sequence_reader(hint: Any) -> Read:
    """Make the reader of a list, or of a tuple of fixed or of any length."""
    kind: Any = typing.get_origin(hint)
    inner = typing.get_args(hint)
    is_free = kind is list or inner[1:] == (Ellipsis,)

    def read(value: Any, _: Any) -> Any:
        _check(isinstance(value, list | tuple), value, 'a list')
        hints = inner[:1] * len(value) if is_free else inner
        _check(len(hints) == len(value), value, f'{len(hints)} values')
        return kind(
            _read_item(index, item, hint)
            for index, (item, hint) in enumerate(zip(value, hints, strict=True))
        )

    return read


def _read_item(index: int, value: Any, hint: Any) -> Any:
    """Read an item of a list; an error names it."""
    try:
        return CONVERTER.structure(value, hint)
    except (ValueError, BaseValidationError) as error:
        text = f'item {index}'
        error.add_note(IterableValidationNote(text, index, hint))
        raise IterableValidationError(text, [error], hint) from None


def _is_sequence(hint: Any) -> bool:
    return typing.get_origin(hint) in (tuple, list)


def _is_mapping(hint: Any) -> bool:
    kind = typing.get_origin(hint) or hint
    return isinstance(kind, type) and issubclass(kind, Mapping)


def _is_literal(hint: Any) -> bool:
    return typing.get_origin(hint) is Literal


def _make_converter() -> Converter:
    """Make a converter of cattrs with the strict readers of this module."""
    converter = Converter(forbid_extra_keys=True, unstruct_collection_overrides={tuple: list})
    converter.register_unstructure_hook(np.ndarray, np.ndarray.tolist)
    converter.register_unstructure_hook(Path, str)
    for kind in TYPE_WORDS:
        converter.register_structure_hook(kind, _read_scalar)
    converter.register_structure_hook(np.ndarray, _read_array)
    converter.register_structure_hook(Path, _read_path)
    converter.register_structure_hook_factory(_is_literal, _literal_reader)
    converter.register_structure_hook_factory(_is_sequence, _sequence_reader)
    converter.register_structure_hook_factory(_is_mapping, _mapping_reader)
    converter.register_structure_hook_factory(dataclasses.is_dataclass, _dataclass_reader)
    return converter


CONVERTER = _make_converter()
