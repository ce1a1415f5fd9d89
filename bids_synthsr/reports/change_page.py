"""The page of what changed between the sessions of a person."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from bids_synthsr.dataset.filenames import split_name
from bids_synthsr.dataset.images import load_volume
from bids_synthsr.derivatives.compared import AVERAGE, LOG_JACOBIAN, LONGITUDINAL
from bids_synthsr.derivatives.people import Person, SessionOutputs
from bids_synthsr.derivatives.places import Derivatives, entities_of_common
from bids_synthsr.derivatives.tables import read_table
from bids_synthsr.morphometry.changes import both_sides, percent_change
from bids_synthsr.morphometry.volumes import MAIN
from bids_synthsr.reports import embedding, figures
from bids_synthsr.reports.pages import Picture, write_page
from bids_synthsr.reports.screen import PLANES

DRAWN = ('ventricles', 'hippocampus', 'cortex', 'white-matter', 'thalamus', 'putamen')
MM3_PER_ML = 1000
HOW_SURE = (
    'Slices of other directions, another contrast or another scanner change what is measured, '
    'too: compare sessions of one protocol, and take a few percent for noise.'
)


@dataclass(frozen=True)
class StructureChange:
    """How a structure changed, both sides together.

    Parameters
    ----------
    name
        Name of the structure.
    volumes_ml
        Its volume in each session, ml.
    changes
        Change since the first session, percent; None where it is not there.
    """

    name: str
    volumes_ml: tuple[float, ...]
    changes: tuple[float | None, ...]


def write_change_page(person: Person, derivatives: Derivatives) -> Path:
    """Write the page of a person from what was written of all sessions.

    Parameters
    ----------
    person
        The person and the sessions that were compared.
    derivatives
        Where the outputs lie.
    """
    table = derivatives.exam(person.subject).volumes(LONGITUDINAL)
    structures = read_changes(table, person.sessions)
    names = [_name_of(session) for session in person.sessions]
    drawn = {
        x.name: [change or 0.0 for change in x.changes] for x in structures if x.name in DRAWN
    }
    chart = Picture(
        embedding.svg(figures.change_chart(drawn, names), 'changes'),
        f'Change of {", ".join(drawn)} since the first session, in percent.',
    )
    return write_page(
        'longitudinal.html',
        derivatives.person_page(person.subject),
        person=person,
        names=names,
        structures=structures,
        chart=chart,
        warnings=[*describe_doubts(person)],
        pictures=[*_pictures(person, derivatives)],
    )


def describe_doubts(person: Person) -> Iterator[str]:
    """Tell what a reader of the comparison must know, a sentence each."""
    for session, reason in person.left.items():
        yield f'ses-{session} is not compared: {reason}.'
    if len({session.made_by for session in person.sessions}) > 1:
        made = ', '.join(f'ses-{x.session} {x.made_by}' for x in person.sessions)
        yield (
            f'The T1w were made in different ways ({made}): what looks like a change may be one '
            'of method.'
        )
    if any(session.days is None for session in person.sessions):
        yield (
            'When the sessions were acquired is not known (acq_time in sessions.tsv): they stand '
            'in the order of their labels.'
        )
    yield HOW_SURE


def read_changes(path: Path, sessions: Sequence[SessionOutputs]) -> list[StructureChange]:
    """Read the table of a person, for the main structures.

    Parameters
    ----------
    path
        Table of the volumes of all sessions.
    sessions
        The sessions, in their order.
    """
    volumes: dict[int, dict[str, float]] = {}
    for row in read_table(path):
        volumes.setdefault(int(row['index']), {})[row['session_id']] = float(row['volume_mm3'])
    ordered = {
        index: [of_session.get(f'ses-{x.session}', 0.0) for x in sessions]
        for index, of_session in volumes.items()
    }
    found = []
    for name, labels in MAIN.items():
        if any(label in ordered for label in labels):
            sizes = both_sides(ordered, labels)
            changes = tuple(percent_change(sizes))
            found.append(StructureChange(name, tuple(x / MM3_PER_ML for x in sizes), changes))
    return found


def _name_of(session: SessionOutputs) -> str:
    days = '' if session.days is None else f', day {session.days:.0f}'
    return f'ses-{session.session}{days}'


def _pictures(person: Person, derivatives: Derivatives) -> Iterator[Picture]:
    """Show the sessions below each other, and where each has grown."""
    shared = derivatives.exam(person.subject)
    average, grid = load_volume(shared.path_of('T1w', entities_of_common(AVERAGE)))
    t1ws, growths = [], []
    for session in person.sessions:
        place = derivatives.exam(person.subject, session.session)
        desc = split_name(Path(session.t1w).name)[0].get('desc', '')
        t1ws.append(load_volume(place.path_of('T1w', entities_of_common(desc)))[0])
        growths.append(load_volume(place.path_of(LOG_JACOBIAN, entities_of_common()))[0])
    rows = ', '.join(f'ses-{session.session}' for session in person.sessions)
    for axis in (2, 1, 0):
        title = f'{PLANES[axis].capitalize()}: {rows}, from top to bottom'
        drawn = figures.rows_of_slices(t1ws, grid, axis)
        yield Picture(embedding.jpeg(drawn), f'{title}.', title)
    for session, growth in zip(person.sessions, growths, strict=True):
        figure = figures.growth_slices(average, growth, grid, 2)
        title = f'Growth of ses-{session.session} against the mean of all sessions'
        yield Picture(
            embedding.jpeg(figure),
            f'{title}: red has grown, blue has shrunk.',
            title,
            f'Full red: {100 * (np.exp(figures.MOST_GROWTH) - 1):.0f} % larger.',
        )
