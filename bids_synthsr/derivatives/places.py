"""The outputs: where they lie and what they are called.

No other module contains the name of an output. The space of the outputs is named by the contrast
of the reference, in whose frame they lie.
"""

from __future__ import annotations

import stat
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from bids_synthsr.dataset.filenames import EXAM, join_name, split_name
from bids_synthsr.dataset.files import TEMPORARY
from bids_synthsr.dataset.query import DESCRIPTION
from bids_synthsr.values.exam import SUFFIXES, UNIFORM

RELIABILITY = 'reliability'  # suffix of maps of where a scan measured
RESAMPLED = 'resampled'  # desc- of scans on the output grid
COMMON = 'subject'  # space- half-way between the sessions of a person
OF_SCAN = 'orig'  # space- of a scan's own grid, as BIDS calls it
LEFTOVER = f'{TEMPORARY}*'
STALE_S = 600  # a page or table takes a second to write


@dataclass(frozen=True)
class Derivatives:
    """Where the outputs of all exams lie.

    Parameters
    ----------
    root
        Path of the output folder.
    """

    root: Path

    @property
    def description(self) -> Path:
        """What the data set is."""
        return self.root / DESCRIPTION

    @property
    def descriptions(self) -> Path:
        """What the ``desc-`` labels stand for."""
        return self.root / 'descriptions.tsv'

    @property
    def ignored(self) -> Path:
        """List of the outputs that the specification does not know."""
        return self.root / '.bidsignore'

    @property
    def index(self) -> Path:
        """Page of all exams."""
        return self.root / 'index.html'

    @property
    def citation(self) -> Path:
        """Methods text of what its finished exams were made by."""
        return self.root / 'logs' / 'CITATION.md'

    @property
    def records(self) -> Path:
        """Folder of the records of exams."""
        return self.root / 'logs' / 'exams'

    def further_pages(self) -> list[str]:
        """Names of the pages of the group, of people and of surfaces that there are."""
        patterns = ('group.html', 'sub-*_longitudinal.html', 'sub-*_surfaces.html')
        return sorted(path.name for pattern in patterns for path in self.root.glob(pattern))

    def person_record(self, subject: str) -> Path:
        """What was compared of a person with several sessions."""
        return self.root / 'logs' / 'longitudinal' / f'sub-{subject}.json'

    def surface_record(self, exam: str) -> Path:
        """What a tool of surfaces has made of an exam, by the label of the exam."""
        return self.root / 'logs' / 'surfaces' / f'{exam}.json'

    @property
    def subjects(self) -> Path:
        """Folder that tools of surfaces fill, as in fMRIPrep."""
        return self.root / 'sourcedata' / 'freesurfer'

    @property
    def exported(self) -> Path:
        """Folder of finished exams as subjects of FreeSurfer."""
        return self.root / 'sourcedata' / 'exported'

    def surface_page(self, exam: str) -> Path:
        """Page of the surfaces of an exam, by its label."""
        return self.root / f'{exam}_surfaces.html'

    def person_page(self, subject: str) -> Path:
        """Page of what changed between the sessions of a person."""
        return self.root / f'sub-{subject}_longitudinal.html'

    @property
    def group_volumes(self) -> Path:
        """Table of the volumes of all exams."""
        return self.root / 'group_volumes.tsv'

    @property
    def group_surface_volumes(self) -> Path:
        """Table of the volumes that tools of surfaces measured in all exams."""
        return self.root / 'group_atlas-aseg_desc-recon_volumes.tsv'

    def group_cortex(self, measure: str) -> Path:
        """Table of a measure of the cortex in all exams, by its name."""
        return self.root / f'group_atlas-aparc_desc-{measure}_morph.tsv'

    @property
    def group_quality(self) -> Path:
        """Table of how good all exams are."""
        return self.root / 'group_qc.tsv'

    @property
    def group_harmonized(self) -> Path:
        """Table of the volumes without the effects of scanners."""
        return self.root / 'group_desc-combat_volumes.tsv'

    @property
    def group_effects(self) -> Path:
        """Table of the differences between two groups."""
        return self.root / 'group_effects.tsv'

    @property
    def group_tbm(self) -> Path:
        """Folder of the maps of tensor-based morphometry."""
        return self.root / 'group_tbm'

    @property
    def group_clusters(self) -> Path:
        """Table of the clusters in which two groups differ."""
        return self.group_tbm / 'clusters.tsv'

    @property
    def tbm_record(self) -> Path:
        """What was done for tensor-based morphometry, and of what."""
        return self.root / 'logs' / 'group' / 'tbm.json'

    @property
    def group_page(self) -> Path:
        """Page of all exams as a group."""
        return self.root / 'group.html'

    @property
    def group_ratings(self) -> Path:
        """What readers of the page of the group said of exams."""
        return self.root / 'group_ratings.json'

    @property
    def absences(self) -> Path:
        """Why participants have nothing that could be processed."""
        return self.root / 'logs' / 'absences.json'

    @property
    def locks(self) -> Path:
        """File of the locks of runs on exams."""
        return self.root / 'logs' / 'exams.lock'

    @property
    def index_lock(self) -> Path:
        """File that is locked while the index is written."""
        return self.root / 'logs' / 'index.lock'

    def run_logs(self, run_uuid: str) -> Path:
        """Folder of the logs, settings and crash files of a run."""
        return self.root / 'logs' / run_uuid

    def crashes(self, run_uuid: str) -> Path:
        """Folder of the crash files of a run."""
        return self.run_logs(run_uuid) / 'crash'

    def steps(self, run_uuid: str) -> Path:
        """What each step of a run cost, a JSON line per event."""
        return self.run_logs(run_uuid) / 'steps.jsonl'

    def run_facts(self, run_uuid: str) -> Path:
        """Command, settings, versions and machine of a run."""
        return self.run_logs(run_uuid) / 'run.json'

    def run_citation(self, run_uuid: str) -> Path:
        """Methods text of a run."""
        return self.run_logs(run_uuid) / 'CITATION.md'

    def run_plan(self, run_uuid: str) -> Path:
        """Exams that a run sets out to do, and its command."""
        return self.run_logs(run_uuid) / 'plan.json'

    def run_scans(self, run_uuid: str) -> Path:
        """What became of every scan and participant in a run."""
        return self.run_logs(run_uuid) / 'scans.tsv'

    def run_plans(self) -> list[Path]:
        """All plans that there are, by the names of the runs."""
        return sorted(self.records.parent.glob('*/plan.json'))

    def labels(self, desc: str) -> Path:
        """Names of the labels of a segmentation; ``desc`` is empty for that by tissue."""
        return self.root / join_name({'desc': desc} if desc else {}, 'dseg', '.tsv')

    def name_of(self, path: Path) -> str:
        """Path of an output relative to this folder."""
        return path.relative_to(self.root).as_posix()

    def uri(self, path: Path) -> str:
        """BIDS URI of an output."""
        return f'bids::{self.name_of(path)}'

    def exam(self, subject: str, session: str | None = None) -> ExamDerivatives:
        """Where the outputs of an exam lie."""
        return ExamDerivatives(self, subject, session)

    def exam_of(self, label: str) -> ExamDerivatives:
        """Where the outputs of an exam lie, by its label, such as ``sub-01_ses-2``.

        Raises
        ------
        ValueError
            If no exam can have this label.
        """
        match = EXAM.fullmatch(label)
        if match is None:
            raise ValueError(f'{label!r} is no label of an exam, such as sub-01_ses-2')
        return self.exam(match['subject'], match['session'])


@dataclass(frozen=True)
class ExamDerivatives:
    """Where the outputs of an exam lie.

    Scans are given by their names (`Scan.name`), which keep runs and acquisitions apart.
    """

    dataset: Derivatives
    subject: str
    session: str | None = None

    @property
    def entities(self) -> dict[str, str]:
        """The entities that all outputs share."""
        return {'sub': self.subject} | ({'ses': self.session} if self.session else {})

    @property
    def label(self) -> str:
        """Name of the exam."""
        return '_'.join(f'{key}-{value}' for key, value in self.entities.items())

    @property
    def folder(self) -> Path:
        """Folder of the exam."""
        return self.dataset.root.joinpath(
            *(f'{key}-{self.entities[key]}' for key in self.entities)
        )

    @property
    def anat(self) -> Path:
        """Folder of all outputs but report and figures."""
        return self.folder / 'anat'

    @property
    def figures(self) -> Path:
        """Folder of figures."""
        return self.folder / 'figures'

    @property
    def report(self) -> Path:
        """Page of the exam."""
        return self.dataset.root / f'{self.label}.html'

    @property
    def thumbnail(self) -> Path:
        """Small picture of the exam, for the index."""
        return self.figures / f'{self.label}_thumbnail.jpg'

    @property
    def record(self) -> Path:
        """What was done, and how it ended."""
        return self.dataset.records / f'{self.label}.json'

    @property
    def selection(self) -> Path:
        """Table of every scan, used or not, and why."""
        return self.path_of('selection', {'desc': 'scans'}, '.tsv')

    def volumes(self, desc: str) -> Path:
        """Table of the volumes of structures."""
        return self.path_of('volumes', {'desc': desc}, '.tsv')

    def synthesized(self, suffix: str, desc: str) -> Path:
        """Volume that a method made, the main one or another that nothing sets apart."""
        return self.path_of(suffix, {'desc': desc})

    def resampled(self, scan: str, reference: str) -> Path:
        """Scan on the output grid."""
        return self.path_of(*name_of_resampled(scan, reference))

    def reliability(self, scan: str, reference: str) -> Path:
        """Where the scan measured what the output grid shows."""
        return self.path_of(*name_of_reliability(scan, reference))

    def transform(self, scan: str, reference: str) -> Path:
        """Rigid transform from the scan to the output."""
        return self.path_of(*name_of_transform(scan, reference), '.txt')

    def path_of(
        self, suffix: str, entities: Mapping[str, str], extension: str = '.nii.gz'
    ) -> Path:
        """Path of any output.

        Parameters
        ----------
        suffix
            BIDS suffix of the output, such as ``T1w``.
        entities
            BIDS entities beside those of the exam, by short key.
        extension
            End of the file name, with its dot.
        """
        name = join_name(self.entities | dict(entities), suffix, extension)
        return self.anat / name


def entities_of_synthesis(
    suffix: str, desc: str, others: Mapping[str, str], space: str
) -> dict[str, str]:
    """BIDS entities of a volume that a method made.

    Parameters
    ----------
    suffix, desc
        BIDS suffix and ``desc-`` label of the volume; the label may be empty.
    others
        Entities that set it apart from others of its suffix.
    space
        Name of the space for an image beside the main one; empty for that, which all else is in.
    """
    names_space = space and suffix in SUFFIXES
    return {
        **others,
        **({'space': space} if names_space else {}),
        **({'desc': desc} if desc else {}),
    }


def space_of(reference: str) -> str:
    """Name the space of a reference by its contrast: ``FLAIR`` of ``run-2_FLAIR``."""
    suffix = split_name(reference)[1]
    return 'T1w' if suffix == UNIFORM else suffix


def name_of_resampled(scan: str, reference: str) -> tuple[str, dict[str, str]]:
    """BIDS suffix and entities of a scan on the output grid."""
    entities, suffix, _ = split_name(scan)
    return suffix, {**entities, 'space': space_of(reference), 'desc': RESAMPLED}


def name_in_scan(scan: str) -> dict[str, str]:
    """BIDS entities of a segmentation on a scan's own grid: its ``desc-`` is the contrast."""
    entities, suffix, _ = split_name(scan)
    return {**entities, 'space': OF_SCAN, 'desc': suffix}


def name_of_reliability(scan: str, reference: str) -> tuple[str, dict[str, str]]:
    """Suffix and entities of a reliability map: its ``desc-`` is the contrast of the scan."""
    entities, suffix, _ = split_name(scan)
    return RELIABILITY, {**entities, 'space': space_of(reference), 'desc': suffix}


def name_of_transform(scan: str, reference: str) -> tuple[str, dict[str, str]]:
    """BIDS suffix and entities of the transform of a scan to the output."""
    entities, suffix, _ = split_name(scan)
    return 'xfm', {**entities, 'from': suffix, 'to': space_of(reference), 'mode': 'image'}


def name_of_space_transform(source: str, target: str) -> tuple[str, dict[str, str]]:
    """BIDS suffix and entities of a transform from one space to another."""
    return 'xfm', {'from': source, 'to': target, 'mode': 'image'}


def entities_of_common(desc: str = '') -> dict[str, str]:
    """BIDS entities of a volume in the space half-way between the sessions of a person."""
    return {'space': COMMON, **({'desc': desc} if desc else {})}


def sidecar_of(output: Path) -> Path:
    """Name the sidecar of an output."""
    stem = output.name.removesuffix('.gz').removesuffix('.gii')
    return output.with_name(stem).with_suffix('.json')


def remove_leftovers(exam: ExamDerivatives) -> None:
    """Remove what a killed run left half-written of an exam on which no other run works.

    In folders that exams share only what is old goes: another run may be writing the rest. What
    is no regular file is none of the program's, and stays.
    """
    shared = (exam.dataset.root, exam.dataset.records, exam.dataset.citation.parent)
    stale = time.time() - STALE_S
    for folder in (exam.anat, exam.figures, *shared):
        for file in folder.glob(LEFTOVER):
            with suppress(OSError):  # another run may have removed it
                status = file.lstat()
                is_left = folder not in shared or status.st_mtime < stale
                if stat.S_ISREG(status.st_mode) and is_left:
                    file.unlink()
