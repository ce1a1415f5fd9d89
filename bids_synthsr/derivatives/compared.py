"""What is written of a person with several sessions: volumes in a common space, and a table."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from bids_synthsr.dataset.filenames import split_name
from bids_synthsr.dataset.files import write_rows
from bids_synthsr.dataset.images import load_volume, save_rigid, save_volume
from bids_synthsr.derivatives.further import begin_outputs
from bids_synthsr.derivatives.people import Person, SessionOutputs
from bids_synthsr.derivatives.places import (
    COMMON,
    Derivatives,
    ExamDerivatives,
    entities_of_common,
    name_of_space_transform,
)
from bids_synthsr.derivatives.products import ProductFile
from bids_synthsr.derivatives.saving import list_outputs, save_product
from bids_synthsr.derivatives.tables import read_table
from bids_synthsr.morphometry.changes import percent_change, shared_labels, volumes_over_time
from bids_synthsr.registration.within_person import (
    Change,
    CommonSpace,
    SessionT1w,
    carry_deformed,
    carry_rigidly,
)
from bids_synthsr.values.grid import Grid
from bids_synthsr.values.structures import STRUCTURES

AVERAGE, LONGITUDINAL = 'average', 'longitudinal'  # desc- of the mean T1w, and of the table
LOG_JACOBIAN = 'logjacobian'  # suffix of maps of growth
CUBIC = 3
TEXTS = {
    'rigid': 'Rigid transform, to resample the T1w of the session in the space half-way between '
    'the sessions.',
    'T1w': 'The T1w of the session in the space half-way between the sessions, interpolated once '
    'by cubic splines.',
    LOG_JACOBIAN: 'Natural logarithm of the factor by which each voxel is larger in this session '
    'than in the mean shape of all sessions; 0 outside of the brain.',
    AVERAGE: 'Mean of the T1w of all sessions, deformed to their mean shape.',
    'dseg': 'Segmentation that most sessions agree on, in their mean shape (values in the '
    'look-up table of its name).',
    LONGITUDINAL: 'Volumes of structures in each session, by one outline that is deformed to all '
    'of them.',
}
COLUMNS = {
    'days': 'Days since the first session, by sessions.tsv of the input.',
    'volume_mm3': 'Volume of the outline that all sessions share, deformed to the session.',
    'change_percent': 'Change of that volume since the first session of the table.',
    'own_volume_mm3': 'Volume of the segmentation of the session alone (its volumes.tsv).',
}
Products = Mapping[str, Sequence[ProductFile]]  # by session; those of all by ''


@dataclass(frozen=True, eq=False)
class ComparedSession:
    """A session in the common space.

    Parameters
    ----------
    outputs
        What its exam has written.
    t1w
        T1w and brain mask.
    to_session
        Rigid transform from the common space to the session.
    change
        How its shape differs from the mean of all.
    """

    outputs: SessionOutputs
    t1w: SessionT1w
    to_session: np.ndarray
    change: Change

    @property
    def label(self) -> str:
        """Label of the session."""
        return self.outputs.session


def load_sessions(sessions: Sequence[SessionOutputs]) -> list[SessionT1w]:
    """Read the T1w and the brain masks of sessions."""
    loaded = []
    for session in sessions:
        voxels, grid = load_volume(Path(session.t1w))
        loaded.append(SessionT1w(voxels, load_volume(Path(session.mask))[0], grid))
    return loaded


def change_products(
    sessions: Sequence[ComparedSession], space: CommonSpace, grid: Grid, folder: Path
) -> Products:
    """Make all that is kept of the comparison of sessions.

    Parameters
    ----------
    sessions
        The sessions in the common space.
    space
        The space half-way between them.
    grid
        Where their changes lie, around the brains.
    folder
        Folder that the files are written to.
    """
    masks = [
        carry_deformed(one.t1w.mask, one.t1w, one.to_session, (grid, one.change), 0)
        for one in sessions
    ]
    inside = np.any(masks, axis=0)
    products = {
        one.label: [*_session_products(one, space, (grid, inside), folder)] for one in sessions
    }
    return {**products, '': [*_shared_products(sessions, space, grid, folder)]}


def _session_products(
    session: ComparedSession, space: CommonSpace, brain: tuple[Grid, np.ndarray], folder: Path
) -> Iterator[ProductFile]:
    """Bring a session to the common space, and show where it has grown."""
    name = (session.label,)
    file = save_rigid(folder / f'{session.label}.txt', np.linalg.inv(session.to_session))
    suffix, entities = name_of_space_transform('T1w', COMMON)
    fit = {'Description': TEXTS['rigid'], 'LargestDisagreementMm': space.disagreement_mm}
    yield ProductFile(str(file), 'transform', suffix, entities, name, fit)
    voxels = session.t1w.voxels
    carried = carry_rigidly(voxels, session.t1w, session.to_session, space.grid, CUBIC)
    carried = carried.clip(voxels.min(), voxels.max())  # splines overshoot
    file = save_volume(folder / f'{session.label}-t1w.nii', carried, space.grid)
    desc = split_name(Path(session.outputs.t1w).name)[0].get('desc', '')
    described = {'Description': TEXTS['T1w'], 'Synthetic': session.outputs.made_by != 'acquired'}
    yield ProductFile(str(file), 'image', 'T1w', entities_of_common(desc), name, described)
    grid, inside = brain
    growth = _embedded(session.change.log_jacobian * inside, grid, space.grid)
    file = save_volume(folder / f'{session.label}-growth.nii', growth, space.grid)
    described = {'Description': TEXTS[LOG_JACOBIAN]}
    yield ProductFile(str(file), 'image', LOG_JACOBIAN, entities_of_common(), name, described)


def _shared_products(
    sessions: Sequence[ComparedSession], space: CommonSpace, grid: Grid, folder: Path
) -> Iterator[ProductFile]:
    """Average what all sessions show, and measure structures in each by one outline."""
    names = tuple(session.label for session in sessions)
    average = np.zeros(grid.shape, np.float32)
    labels = []
    for one in sessions:
        found = (grid, one.change)
        average += carry_deformed(one.t1w.voxels, one.t1w, one.to_session, found, 1)
        dseg = load_volume(Path(one.outputs.dseg))[0]
        labels.append(
            carry_deformed(dseg, one.t1w, one.to_session, found, 0).round().astype(np.int16)
        )
    average /= len(sessions)
    file = save_volume(folder / 'average.nii', _embedded(average, grid, space.grid), space.grid)
    described = {'Description': TEXTS[AVERAGE]}
    yield ProductFile(str(file), 'image', 'T1w', entities_of_common(AVERAGE), names, described)
    shared = _embedded(shared_labels(labels), grid, space.grid)
    file = save_volume(folder / 'dseg.nii', shared, space.grid)
    desc = split_name(Path(sessions[0].outputs.dseg).name)[0].get('desc', '')
    described = {'Description': TEXTS['dseg']}
    yield ProductFile(str(file), 'image', 'dseg', entities_of_common(desc), names, described)
    growths = [np.exp(one.change.log_jacobian) for one in sessions]
    rows = change_rows(
        [one.outputs for one in sessions],
        volumes_over_time(labels, growths, float(np.prod(grid.spacing))),
    )
    file = write_rows(folder / 'volumes.json', rows)
    described = {'Description': TEXTS[LONGITUDINAL], **COLUMNS}
    yield ProductFile(str(file), 'table', 'volumes', {'desc': LONGITUDINAL}, names, described)


def _embedded(voxels: np.ndarray, grid: Grid, whole: Grid) -> np.ndarray:
    """Lay voxels of a part of a grid into the whole, with 0 around them."""
    first = np.linalg.inv(whole.vox2ras) @ grid.vox2ras[:, 3]
    place = tuple(
        slice(start, start + size)
        for start, size in zip(first[:3].round().astype(int), grid.shape, strict=True)
    )
    result = np.zeros(whole.shape, voxels.dtype)
    result[place] = voxels
    return result


def change_rows(
    sessions: Sequence[SessionOutputs], volumes: Mapping[int, Sequence[float]]
) -> list[dict[str, Any]]:
    """Write the volumes of structures as rows of a table, structure by structure.

    Parameters
    ----------
    sessions
        The sessions, in their order.
    volumes
        Volume of the shared outline in each session, mm3, by label value.
    """
    own = [_own_volumes(Path(session.volumes)) for session in sessions]
    rows = []
    for index, sizes in volumes.items():
        if index not in STRUCTURES or not STRUCTURES[index].is_intracranial:
            continue
        changes = percent_change(sizes)
        for number, session in enumerate(sessions):
            rows.append(
                {
                    'index': index,
                    'name': STRUCTURES[index].name,
                    'session_id': f'ses-{session.session}',
                    'days': session.days,
                    'volume_mm3': float(sizes[number]),
                    'change_percent': changes[number],
                    'own_volume_mm3': own[number].get(index),
                }
            )
    return rows


def _own_volumes(path: Path) -> dict[int, float]:
    """Read the volumes that a session has alone, mm3, by label value."""
    return {
        int(row['index']): float(row['volume_mm3']) for row in read_table(path) if row['index']
    }


def begin_comparison(
    person: Person, products: Products, derivatives: Derivatives, run_uuid: str
) -> None:
    """Record that outputs are about to be written, before any of them is replaced."""
    paths = [
        path
        for session, listed in products.items()
        for path in list_outputs(listed, _place_of(person, session, derivatives))
    ]
    place = derivatives.person_record(person.subject)
    begin_outputs(place, person.label, paths, derivatives, run_uuid)


def _place_of(person: Person, session: str, derivatives: Derivatives) -> ExamDerivatives:
    """Where outputs of a session lie, and those of all sessions."""
    return derivatives.exam(person.subject, session or None)


def save_compared(person: Person, products: Products, derivatives: Derivatives) -> list[Path]:
    """Write the products of a person, each file whole or not at all; return their paths."""
    sources = {session.session: derivatives.uri(Path(session.t1w)) for session in person.sessions}
    shared = derivatives.exam(person.subject)
    frame = derivatives.uri(shared.path_of('T1w', entities_of_common(AVERAGE)))
    return [
        path
        for session, listed in products.items()
        for product in listed
        for path in save_product(product, _place_of(person, session, derivatives), sources, frame)
    ]
