"""BIDS filters, as fMRIPrep takes them: which scans a user wants.

``{"t1w": {"session": "1"}, "flair": {"acquisition": ["ax", "sag"]}, "anat": {"run": null}}``: per
suffix in lower case, or for all scans under ``anat``, the entities that a scan must have. A list
gives alternatives, ``null`` wants the entity absent, ``"*"`` present with whatever value. A scan
of a suffix that is not named is wanted.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from bids_synthsr.dataset.errors import DatasetError
from bids_synthsr.dataset.filenames import ENTITIES, INDEX_ENTITIES
from bids_synthsr.values.exam import SUFFIXES

Filters = Mapping[str, Mapping[str, Any]]

QUERIES = ('anat', *(suffix.lower() for suffix in SUFFIXES))
OF_OTHER_APPS = ('asl', 'bold', 'dwi', 'fmap', 'm0scan', 'meg', 'pet', 'roi', 'sbref')
FIELDS = (*ENTITIES, 'suffix', 'datatype')


def check_filters(filters: Any) -> None:
    """Check filters as read from a file.

    Raises
    ------
    DatasetError
        Naming what is wrong, and what is understood.
    """
    faults = [f'BIDS filters: {fault}' for fault in _faults(filters)]
    if faults:
        raise DatasetError('\n'.join(faults))


def _faults(filters: Any) -> Iterator[str]:
    """List what is wrong with filters."""
    if not isinstance(filters, dict):
        yield 'they must be an object, such as {"t1w": {"acquisition": "sag"}}'
        return
    for query, fields in filters.items():
        if query in OF_OTHER_APPS:
            continue
        if query not in QUERIES:
            yield f'"{query}" is no key; there are {", ".join(QUERIES)}'
        elif not isinstance(fields, dict):
            yield f'"{query}" must hold an object, such as {{"acquisition": "sag"}}'
        else:
            yield from _field_faults(query, fields)


def _field_faults(query: str, fields: Mapping[str, Any]) -> Iterator[str]:
    """List what is wrong with the filter of one suffix."""
    for field, value in fields.items():
        if not is_field(field):
            yield (
                f'"{query}" names "{field}", which is no entity of a file name; there are '
                f'{", ".join(FIELDS)}'
            )
        values = value if isinstance(value, list) else [value]
        if not values or not all(v is None or isinstance(v, str | int) for v in values):
            yield f'"{query}": "{field}" must be text, a number, null, or a list of these'


def is_field(name: str) -> bool:
    """Whether a filter may name a field so: an entity, long or short, suffix or datatype."""
    return name in FIELDS or name in ENTITIES.values()


def is_wanted(filters: Filters, suffix: str, entities: Mapping[str, str]) -> bool:
    """Whether a scan matches the filters for all scans and for its suffix."""
    fields = {**entities, 'suffix': suffix, 'datatype': 'anat'}
    return all(
        _matches(fields, _short(field), value)
        for query in ('anat', suffix.lower())
        for field, value in filters.get(query, {}).items()
    )


def _short(field: str) -> str:
    """Return the short name of an entity, from either name."""
    return ENTITIES.get(field, field)


def _matches(fields: Mapping[str, str], key: str, values: Any) -> bool:
    """Whether a field has a wanted value."""
    has = fields.get(key)
    for value in values if isinstance(values, list) else [values]:
        if value is None or has is None:
            if value is None and has is None:
                return True
        elif value == '*' or _same(key, has, str(value)):
            return True
    return False


def _same(key: str, label: str, value: str) -> bool:
    """Whether two labels are the same; ``01`` is ``1`` in a run."""
    value = value.removeprefix(f'{key}-')
    if key in INDEX_ENTITIES and label.isdecimal() and value.isdecimal():
        return int(label) == int(value)
    return label == value
