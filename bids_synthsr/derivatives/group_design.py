"""Which exams of a group are compared, by what, and what they are compared with."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from bids_synthsr.dataset.participants import (
    list_columns,
    read_people,
    read_sessions,
    read_sidecar_field,
)
from bids_synthsr.derivatives.group import INTRACRANIAL, GroupRow
from bids_synthsr.derivatives.tables import MISSING
from bids_synthsr.morphometry.groups import dependent_column

LEAST_PER_GROUP, LEAST_TOGETHER = 5, 20
OWN_COLUMNS = ('protocol', 'method')  # of the exams themselves
ICV = 'icv'  # a covariate of the exams themselves: intracranial volume
MOST_SHOWN = 8  # of what an error names
MOST_WORDS = 10  # of a covariate
HALF = 0.5


@dataclass(frozen=True)
class GroupRequest:
    """What a door requests of the group level.

    Parameters
    ----------
    column
        Column that parts the exams into groups; empty for no comparison.
    levels
        The two groups, the first being the reference; empty takes the two that there are.
    covariates
        Columns that are held fixed; `ICV` is the intracranial volume.
    scanner_column
        Column by which volumes are harmonised; empty for none.
    participants, sessions
        Labels of people and sessions that are taken; empty takes all.
    """

    column: str = ''
    levels: tuple[str, ...] = ()
    covariates: tuple[str, ...] = ()
    scanner_column: str = ''
    participants: tuple[str, ...] = ()
    sessions: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class GroupDesign:
    """Exams that are compared.

    Parameters
    ----------
    rows
        The exams, all finished, with all values known.
    levels
        Names of the two groups.
    is_second
        Which exam is of the second group, ``(N,)`` bool.
    covariates
        Values that are held fixed, ``(N, C)``.
    names
        Names of the covariates, one for each column.
    left_out
        Why other exams are not among them, by label.
    warnings
        What a reader must know, a sentence each.
    """

    rows: Sequence[GroupRow]
    levels: tuple[str, str]
    is_second: np.ndarray
    covariates: np.ndarray
    names: Sequence[str]
    left_out: Mapping[str, str]
    warnings: Sequence[str]


class Columns:
    """Values of exams by the names of columns: of people, sessions, exams, or sidecars.

    Parameters
    ----------
    bids_dir
        The input data set.
    """

    def __init__(self, bids_dir: Path) -> None:
        self.bids_dir = bids_dir
        self.people: dict[str, dict[str, str]] = {}
        with suppress(FileNotFoundError):
            self.people = read_people(bids_dir)
        self._sessions: dict[str, dict[str, dict[str, str]]] = {}

    def check(self, rows: Iterable[GroupRow]) -> None:
        """Read the tables of the sessions of all people.

        Raises
        ------
        ValueError
            If one of them cannot be understood.
        """
        for row in rows:
            self._sessions_of(row.keys['participant_id'])

    def _sessions_of(self, participant: str) -> dict[str, dict[str, str]]:
        if participant not in self._sessions:
            self._sessions[participant] = read_sessions(self.bids_dir, participant)
        return self._sessions[participant]

    def value(self, row: GroupRow, column: str) -> str:
        """Find the value of a column for an exam; empty where it is not known."""
        if column == ICV and INTRACRANIAL in row.volumes:
            return repr(row.volumes[INTRACRANIAL])
        if column in OWN_COLUMNS:
            value = str(row.facts.get(column, ''))
            return '' if value == MISSING else value
        keys = row.keys
        participant = keys['participant_id']
        session = self._sessions_of(participant).get(keys['session_id'], {})
        person = self.people.get(participant, {})
        return (
            session.get(column)
            or person.get(column)
            or read_sidecar_field(self.bids_dir, row.scan, column)
        )

    def values(self, rows: Sequence[GroupRow], column: str) -> list[str]:
        """Find the values of a column for all exams.

        Raises
        ------
        ValueError
            If no exam has one; the message lists what columns there are.
        """
        found = [self.value(row, column) for row in rows]
        if not any(found):
            raise ValueError(
                f'No exam has a value of {column!r}: participants.tsv has '
                f'{_list(list_columns(self.people)) or "no such file or no columns"}, and the '
                f'exams themselves {", ".join((*OWN_COLUMNS, ICV))}'
            )
        return found


def make_design(rows: Iterable[GroupRow], columns: Columns, wanted: GroupRequest) -> GroupDesign:
    """Part finished exams into two groups, and gather what is held fixed.

    Parameters
    ----------
    rows
        All exams that were chosen.
    columns
        Where values are looked up.
    wanted
        Which groups and covariates are requested.

    Raises
    ------
    ValueError
        If a column or level is not there, a person has several exams, a group is too small, or
        covariates explain one another; the message says what to do.
    """
    left_out: dict[str, str] = {}
    finished = []
    for row in rows:
        if row.state == 'finished' and row.volumes:
            finished.append(row)
        else:
            left_out[row.exam] = row.reason or 'it has no volumes'
    _check_sessions(finished)
    if not finished:
        raise ValueError('No exam is finished: run the participant level first')
    groups = columns.values(finished, wanted.column)
    levels = _two_levels(groups, wanted)
    fixed = {name: columns.values(finished, name) for name in wanted.covariates}
    taken: list[int] = []
    for number, row in enumerate(finished):
        lacking = [name for name, values in fixed.items() if not values[number]]
        if groups[number] not in levels:
            is_other = f'its {wanted.column} is {groups[number] or MISSING}'
            left_out[row.exam] = is_other
        elif lacking:
            left_out[row.exam] = f'its {", ".join(lacking)} is {MISSING}'
        else:
            taken.append(number)
    is_second = np.array([groups[number] == levels[1] for number in taken], bool)
    for level, count in zip(levels, (int((~is_second).sum()), int(is_second.sum())), strict=True):
        if count < LEAST_PER_GROUP:
            raise ValueError(
                f'The group {level} has {count} exams with all values, and {LEAST_PER_GROUP} are '
                f'the least{_why(left_out)}'
            )
    chosen = [finished[number] for number in taken]
    names, covariates = _numbers(
        {key: [fixed[key][at] for at in taken] for key in fixed}, [row.exam for row in chosen]
    )
    whole = np.column_stack([np.ones(len(taken)), is_second, covariates])
    if dependent := dependent_column(whole, ['the mean', wanted.column, *names]):
        raise ValueError(
            f'{dependent} is explained by the group and the covariates before it: leave it out'
        )
    warnings = [*_doubts(chosen, is_second, levels)]
    return GroupDesign(chosen, levels, is_second, covariates, names, left_out, warnings)


def _check_sessions(rows: Sequence[GroupRow]) -> None:
    """Refuse several exams of a person, which are no independent people."""
    counts = Counter(row.keys['participant_id'] for row in rows)
    several = [person for person, count in counts.items() if count > 1]
    if several:
        raise ValueError(
            f'{_list(several)} have several exams each: choose one session of everybody with '
            '--session-label'
        )


def _two_levels(groups: Sequence[str], wanted: GroupRequest) -> tuple[str, str]:
    """Find the two groups that are compared."""
    present = sorted({group for group in groups if group})
    if unknown := [level for level in wanted.levels if level not in present]:
        raise ValueError(
            f'{wanted.column} is never {_list(unknown)} in the finished exams: there are '
            f'{_list(present)}'
        )
    levels = wanted.levels or tuple(present)
    if len(levels) != 2 or levels[0] == levels[1]:
        raise ValueError(
            f'{wanted.column} has {_list(present)}: name the two groups, the reference first, '
            'with --groups A B'
        )
    return levels[0], levels[1]


def _numbers(
    fixed: Mapping[str, Sequence[str]], exams: Sequence[str]
) -> tuple[list[str], np.ndarray]:
    """Turn the covariates of exams into columns: numbers, and one for each word but the first.

    Raises
    ------
    ValueError
        If a covariate is the same in all exams, if some of its values are no numbers where most
        are, or if it has very many words.
    """
    names, parts = [], []
    for name, values in fixed.items():
        words = sorted(set(values))
        if len(words) < 2:
            raise ValueError(f'{name} is {words[0]} in all exams: leave it out')
        numbers = np.array([_number(value) for value in values])
        is_number = np.isfinite(numbers)
        if is_number.all():
            names.append(name)  # years and cubic millimetres alike, for the rank
            parts.append((numbers - numbers.mean()) / numbers.std())
        elif is_number.mean() > HALF:
            at = int(np.argmin(is_number))
            raise ValueError(
                f'{name} is {values[at]!r} for {exams[at]}, which is no number, unlike most: '
                'mend it, or write n/a to leave the exam out'
            )
        elif len(words) > MOST_WORDS:
            raise ValueError(
                f'{name} has {len(words)} different words, and each would be a covariate: '
                f'{MOST_WORDS} are the most'
            )
        else:
            first, *others = words
            for other in others:
                names.append(f'{name} ({other}, not {first})')
                parts.append(np.array([value == other for value in values], float))
    return names, np.column_stack(parts) if parts else np.zeros((len(exams), 0))


def _number(text: str) -> float:
    """Read a finite number; NaN for anything else."""
    try:
        value = float(text)
    except ValueError:
        return np.nan
    return value if np.isfinite(value) else np.nan


def _doubts(
    rows: Sequence[GroupRow], is_second: np.ndarray, levels: tuple[str, str]
) -> Iterable[str]:
    """Say what makes a comparison doubtful."""
    if len(rows) < LEAST_TOGETHER:
        yield (
            f'{len(rows)} exams are few: below {LEAST_TOGETHER}, only very large differences '
            'can be told from chance.'
        )
    for what, title in (('method', 'methods'), ('weights', 'weights')):
        of_group: dict[str, set[str]] = defaultdict(set)
        for row, second in zip(rows, is_second, strict=True):
            of_group[levels[int(second)]].add(str(row.facts.get(what, MISSING)))
        if len(set.union(*of_group.values())) > 1:
            listed = ', '.join(f'{level}: {_list(sorted(of_group[level]))}' for level in levels)
            yield (
                f'The exams were made with different {title} ({listed}), which may differ more '
                'than the groups do: process all of them alike.'
            )


def _why(left_out: Mapping[str, str]) -> str:
    """Tell the commonest reasons why exams were left out."""
    if not left_out:
        return ''
    reasons = Counter(left_out.values()).most_common(3)
    return '; left out: ' + ', '.join(f'{count} since {why}' for why, count in reasons)


def _list(names: Iterable[str]) -> str:
    """List names, not too many of them."""
    shown = [*names]
    more = f' and {len(shown) - MOST_SHOWN} more' if len(shown) > MOST_SHOWN else ''
    return ', '.join(shown[:MOST_SHOWN]) + more
