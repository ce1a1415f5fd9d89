"""Sessions of one person compared: brought together, deformed to their mean, and written."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from nipype.interfaces.base import File, traits

from bids_synthsr.interfaces.step import InputFields, OutputFields, Results, Step


class AlignSessions(Step):
    """Find the space half-way between the sessions of a person."""

    class Inputs(InputFields):
        """What the exams have written."""

        sessions = traits.List(traits.Dict, mandatory=True, desc='fields of SessionOutputs')
        output_dir = traits.Str(mandatory=True, desc='output folder')

    class Outputs(OutputFields):
        """The space."""

        space = File(desc='fields of CommonSpace, JSON')

    def make(self, inputs: Any, folder: Path) -> Results:
        """Register every two sessions to each other."""
        from bids_synthsr.dataset.files import write_json
        from bids_synthsr.derivatives.compared import load_sessions
        from bids_synthsr.derivatives.people import SessionOutputs, check_unchanged
        from bids_synthsr.derivatives.places import Derivatives
        from bids_synthsr.registration.within_person import align_sessions
        from bids_synthsr.values.serial import as_plain

        sessions = [SessionOutputs(**fields) for fields in inputs.sessions]
        check_unchanged(sessions, Derivatives(Path(inputs.output_dir)))
        space = align_sessions(load_sessions(sessions))
        return {'space': write_json(folder / 'space.json', as_plain(space))}


class DeformSessions(Step):
    """Deform the sessions of a person to their mean, and measure structures in all of them."""

    class Inputs(InputFields):
        """Sessions, and the space between them."""

        sessions = traits.List(traits.Dict, mandatory=True, desc='fields of SessionOutputs')
        space = File(exists=True, mandatory=True, desc='fields of CommonSpace, JSON')

    class Outputs(OutputFields):
        """All that is kept."""

        products = traits.Dict(desc='fields of ProductFile, lists by session; of all: ""')

    def make(self, inputs: Any, folder: Path) -> Results:
        """Register the sessions, and carry what they show to the common space."""
        import torch

        from bids_synthsr.dataset.files import read_json
        from bids_synthsr.derivatives.compared import (
            ComparedSession,
            change_products,
            load_sessions,
        )
        from bids_synthsr.derivatives.people import SessionOutputs
        from bids_synthsr.registration.within_person import CommonSpace, find_changes
        from bids_synthsr.values.serial import read_dataclass

        torch.set_num_threads(1)  # more of them cost more than they bring
        outputs = [SessionOutputs(**fields) for fields in inputs.sessions]
        volumes = load_sessions(outputs)
        space = read_dataclass(CommonSpace, read_json(Path(inputs.space)), inputs.space)
        grid, changes = find_changes(volumes, space)
        sessions = [
            ComparedSession(*parts)
            for parts in zip(outputs, volumes, space.to_sessions, changes, strict=True)
        ]
        products = change_products(sessions, space, grid, folder)
        return {
            'products': {
                session: [product.as_plain() for product in listed]
                for session, listed in products.items()
            }
        }


class SaveComparison(Step):
    """Write what was found of a person: outputs, page, and last the record."""

    class Inputs(InputFields):
        """Products of the steps before."""

        subject = traits.Str(mandatory=True, desc='label of the person')
        sessions = traits.List(traits.Dict, mandatory=True, desc='fields of SessionOutputs')
        left = traits.Dict(usedefault=True, desc='why sessions are not among them, by label')
        products = traits.Dict(mandatory=True, desc='fields of ProductFile, lists by session')
        output_dir = traits.Str(mandatory=True, desc='output folder')
        run_uuid = traits.Str(mandatory=True, nohash=True, desc='name of the run')

    class Outputs(OutputFields):
        """What counts from now on."""

        record = File(desc='the record in the output folder')

    def make(self, inputs: Any, folder: Path) -> Results:  # noqa: ARG002
        """Write all, and remove what an earlier comparison left."""
        from bids_synthsr.dataset.files import flushed_beside
        from bids_synthsr.derivatives.compared import begin_comparison, save_compared
        from bids_synthsr.derivatives.further import publish_outputs
        from bids_synthsr.derivatives.people import Person, SessionOutputs
        from bids_synthsr.derivatives.places import Derivatives
        from bids_synthsr.derivatives.products import ProductFile
        from bids_synthsr.reports.change_page import write_change_page

        derivatives = Derivatives(Path(inputs.output_dir))
        sessions = tuple(SessionOutputs(**fields) for fields in inputs.sessions)
        person = Person(inputs.subject, sessions, dict(inputs.left))
        products = {
            session: [ProductFile(**fields) for fields in listed]
            for session, listed in inputs.products.items()
        }
        begin_comparison(person, products, derivatives, inputs.run_uuid)
        with flushed_beside():
            outputs = save_compared(person, products, derivatives)
            page = write_change_page(person, derivatives)
        record = publish_outputs(
            derivatives.person_record(person.subject), person.label, person.fingerprint,
            outputs, [page], derivatives, inputs.run_uuid,
        )  # fmt: skip
        return {'record': record}
