"""Dataclasses as plain types: there and back, and what is wrong with a table."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest

from bids_synthsr.values.grid import Grid
from bids_synthsr.values.serial import as_plain, read_dataclass, unknown_key


@dataclass(frozen=True)
class Coil:
    channels: int
    gain: float = 1.0
    kind: Literal['head', 'knee'] = 'head'

    def __post_init__(self):
        if self.channels < 1:
            raise ValueError('a coil needs a channel')


@dataclass(frozen=True)
class Scanner:
    name: str
    coil: Coil = Coil(8)
    spare: tuple[Coil, ...] = ()
    size: tuple[int, int, int] = (1, 1, 1)
    is_open: bool = False
    serviced: float | None = None
    folder: Path = Path('there')
    notes: Mapping[str, Any] = field(default_factory=dict)
    hours: dict[str, float] = field(default_factory=dict)
    dates: list[str] = field(default_factory=list)
    extra: dict = field(default_factory=dict)


SCANNER = Scanner(
    'Prisma',
    Coil(64, 2.5),
    spare=(Coil(1), Coil(2, kind='knee')),
    size=(2, 3, 4),
    serviced=0.1,
    folder=Path('a/b'),
    notes={'a': [1, 'x', {'b': None}]},
    hours={'day': 8.0},
    dates=['2020', '2021'],
    extra={'a': [1, {'b': 2.5}]},
)


def test_there_and_back_through_json():
    assert read_dataclass(Scanner, json.loads(json.dumps(as_plain(SCANNER))), 'scanner') == SCANNER


def test_plain_types_are_dicts_lists_and_scalars():
    plain = as_plain(SCANNER)
    assert plain['size'] == [2, 3, 4] and plain['folder'] == 'a/b'
    assert plain['spare'][1] == {'channels': 2, 'gain': 1.0, 'kind': 'knee'}
    assert as_plain({'a': (1, SCANNER.coil)}) == {'a': [1, as_plain(SCANNER.coil)]}


def test_arrays_keep_every_bit():
    grid = Grid((2, 3, 4), np.linalg.qr(np.arange(16.0).reshape(4, 4) ** 0.5)[0])
    again = read_dataclass(Grid, json.loads(json.dumps(as_plain(grid))), 'grid')
    assert np.array_equal(again.vox2ras, grid.vox2ras) and again.shape == grid.shape


def test_whole_numbers_are_numbers_and_become_floats():
    coil = read_dataclass(Coil, {'channels': 3, 'gain': 2}, 'coil')
    assert type(coil.gain) is float and coil == Coil(3, 2.0)


def test_what_a_table_leaves_out_is_taken_from_the_start_at_every_depth():
    read = read_dataclass(Scanner, {'coil': {'gain': 7}, 'size': [9, 9, 9]}, 'scanner', SCANNER)
    assert read.coil == Coil(64, 7.0)
    assert (read.size, read.spare, read.notes) == ((9, 9, 9), SCANNER.spare, SCANNER.notes)


@pytest.mark.parametrize(
    ('table', 'message'),
    [
        ({'nam': 'x'}, "^scanner: unknown key 'nam'; did you mean 'name'"),
        ({'name': 'x', 'coil': {'chanels': 1}}, "^scanner: coil: unknown key 'chanels'; did you"),
        ({'name': 'x', 'q': 1}, "unknown key 'q'; choose from name, coil, spare"),
        ({}, '^scanner: name is missing'),
        ({'name': 'x', 'coil': {}}, '^scanner: coil.channels is missing'),
        ({'name': 3}, '^scanner: name is 3, not text'),
        ({'name': 'x', 'serviced': '3'}, "^scanner: serviced is '3', not a number"),
        ({'name': 'x', 'is_open': 1}, 'is_open is 1, not true or false'),
        ({'name': 'x', 'coil': {'channels': True}}, 'coil.channels is True, not a whole number'),
        ({'name': 'x', 'coil': {'channels': 1.0}}, 'coil.channels is 1.0, not a whole number'),
        ({'name': 'x', 'coil': 3}, 'coil is 3, not a table with keys of Coil'),
        (
            {'name': 'x', 'coil': {'channels': 1, 'kind': 'foot'}},
            "'foot'; choose one of head, knee",
        ),
        ({'name': 'x', 'coil': {'channels': 0}}, '^scanner: coil: a coil needs a channel'),
        (
            {'name': 'x', 'spare': [{'channels': 1}, {'channels': 'a'}]},
            r"spare\[1\].channels is 'a'",
        ),
        ({'name': 'x', 'size': [1, 2]}, r'size is \[1, 2\], not 3 values'),
        ({'name': 'x', 'size': [1, 2, 'c']}, r"size\[2\] is 'c', not a whole number"),
        ({'name': 'x', 'size': 'abc'}, "size is 'abc', not a list"),
        ({'name': 'x', 'dates': '2020'}, "dates is '2020', not a list"),
        ({'name': 'x', 'dates': ['a', 3]}, r'dates\[1\] is 3, not text'),
        ({'name': 'x', 'hours': 3}, 'hours is 3, not a table'),
        ({'name': 'x', 'hours': {'day': 'long'}}, "hours.day is 'long', not a number"),
        ({'name': 'x', 'folder': 3}, 'folder is 3, not a path'),
        ('abc', "^scanner: the table is 'abc', not a table with keys of Scanner"),
    ],
)
def test_wrong_tables_name_the_value_and_the_way_out(table, message):
    with pytest.raises(ValueError, match=message):
        read_dataclass(Scanner, table, 'scanner')


def test_wrong_array_and_unknown_keys_without_any_known():
    with pytest.raises(ValueError, match=r'vox2ras is .*, not nested lists of numbers'):
        read_dataclass(Grid, {'shape': [1, 1, 1], 'vox2ras': [[1], 'a']}, 'grid')
    assert unknown_key('x', []) == "unknown key 'x'; choose from nothing: leave it empty"


def test_unknown_keys_are_found_before_values_that_are_missing_because_of_them():
    with pytest.raises(ValueError, match="unknown key 'neme'; did you mean 'name'"):
        read_dataclass(Scanner, {'neme': 'x'}, 'scanner')


def test_start_does_not_hide_wrong_keys():
    with pytest.raises(ValueError, match="coil: unknown key 'gane'; did you mean 'gain'"):
        read_dataclass(Scanner, {'coil': {'gane': 7}}, 'scanner', SCANNER)
    with pytest.raises(ValueError, match="unknown key 'coyl'; did you mean 'coil'"):
        read_dataclass(Scanner, {'coyl': {'gain': 7}}, 'scanner', SCANNER)
