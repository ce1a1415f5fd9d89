"""The outputs: their names, their sidecars, and what describes the data set that they form.

No other module knows the name of an output. ``T1w`` names the space of the output volume, as in
fMRIPrep, whichever scan is the reference.
"""

from __future__ import annotations

import csv
import json
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bids_synthsr import __version__
from bids_synthsr.dataset.filenames import join_name, split_name
from bids_synthsr.dataset.images import written_atomically
from bids_synthsr.dataset.query import DESCRIPTION
from bids_synthsr.values.exam import SUFFIXES
from bids_synthsr.values.structures import STRUCTURES

BIDS_VERSION = '1.10.0'
SPACE = 'T1w'
RAW = 'raw'  # name of the input data set in BIDS URIs
# outputs that the specification does not know; bids-validator-deno knows folders without a slash
NOT_BIDS = (
    '*.html',
    'logs',
    'figures',
    '*_selection.tsv',
    '*_volumes.tsv',
    '*_xfm.txt',
    '*_xfm.json',
    '.tmp-*',
)
LEFTOVER = '.tmp-*'  # names of `written_atomically`
STALE_S = 600  # a page or table takes a second to write


@dataclass(frozen=True)
class Derivatives:
    """Where the outputs of all exams lie.

    Parameters
    ----------
    root
        The output folder.
    """

    root: Path

    @property
    def description(self) -> Path:
        """What the data set is."""
        return self.root / DESCRIPTION

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
        """Methods text."""
        return self.root / 'logs' / 'CITATION.md'

    @property
    def records(self) -> Path:
        """Folder of the records of exams."""
        return self.root / 'logs' / 'exams'

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

    def steps(self, run_uuid: str) -> Path:
        """What each step of a run cost, a JSON line per event."""
        return self.run_logs(run_uuid) / 'steps.jsonl'

    def run_facts(self, run_uuid: str) -> Path:
        """Command, settings, versions and machine of a run."""
        return self.run_logs(run_uuid) / 'run.json'

    def run_plan(self, run_uuid: str) -> Path:
        """Exams that a run sets out to do, and its command."""
        return self.run_logs(run_uuid) / 'plan.json'

    def run_plans(self) -> list[Path]:
        """All plans that there are, oldest run first."""
        return sorted(self.records.parent.glob('*/plan.json'))

    def labels(self, desc: str) -> Path:
        """Names of the labels of a segmentation."""
        return self.root / join_name({'desc': desc}, 'dseg', '.tsv')

    def uri(self, path: Path) -> str:
        """BIDS URI of an output."""
        return f'bids::{path.relative_to(self.root).as_posix()}'

    def exam(self, subject: str, session: str | None = None) -> ExamDerivatives:
        """Where the outputs of an exam lie."""
        return ExamDerivatives(self, subject, session)

    def exam_of(self, label: str) -> ExamDerivatives:
        """Where the outputs of an exam lie, by its label, such as ``sub-01_ses-2``."""
        entities = dict(part.split('-', 1) for part in label.split('_'))
        return self.exam(entities['sub'], entities.get('ses'))


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
        return self._anat({'desc': 'scans'}, 'selection', '.tsv')

    def volumes(self, desc: str) -> Path:
        """Table of the volumes of structures."""
        return self._anat({'desc': desc}, 'volumes', '.tsv')

    def product(self, suffix: str, desc: str) -> Path:
        """Volume that a method made; images of another contrast than T1w say where they lie."""
        is_image = suffix in SUFFIXES and suffix != SPACE
        return self._anat({'space': SPACE} if is_image else {}, suffix, desc=desc)

    def resampled(self, scan: str) -> Path:
        """Scan on the output grid."""
        return self._of_scan(scan, {'space': SPACE, 'desc': 'preproc'})

    def reliability(self, scan: str) -> Path:
        """Where the scan measured what the output grid shows."""
        return self._of_scan(scan, {'space': SPACE, 'desc': 'reliability'})

    def transform(self, scan: str) -> Path:
        """Rigid transform from the scan to the output."""
        own, suffix, _ = split_name(scan)
        between = {'from': suffix, 'to': SPACE, 'mode': 'image'}
        return self._anat(own | between, 'xfm', '.txt')

    def _of_scan(self, scan: str, entities: Mapping[str, str]) -> Path:
        own, suffix, _ = split_name(scan)
        return self._anat({**own, **entities}, suffix)

    def _anat(
        self,
        entities: Mapping[str, str],
        suffix: str,
        extension: str = '.nii.gz',
        desc: str = '',
    ) -> Path:
        own = {**entities, **({'desc': desc} if desc else {})}
        return self.folder / 'anat' / join_name(self.entities | own, suffix, extension)


@dataclass(frozen=True)
class Provenance:
    """What the outputs of an exam come from.

    Parameters
    ----------
    sources
        BIDS URIs of the scans that could be used, by their names, reference first.
    space
        BIDS URI of the main volume, in whose space all outputs lie.
    """

    sources: Mapping[str, str]
    space: str

    def product(
        self, uri: str, used: Sequence[str], method: str, facts: Mapping[str, Any] | None = None
    ) -> dict[str, Any]:
        """Describe a volume that a method made.

        Parameters
        ----------
        uri
            BIDS URI of the volume.
        used
            Names of the scans that it was made of.
        method
            Its name.
        facts
            What the method tells: iterations, weights and their SHA-256.
        """
        reference = next(iter(self.sources.values()))
        return {
            'Description': f'{_kind_of(uri)}, computed by bids_synthsr (method {method}) from '
            'the scans under Sources. It was not acquired and is not meant for diagnosis.',
            'Synthetic': True,
            'Sources': [self.sources[name] for name in used],
            'SpatialReference': reference if uri == self.space else self.space,
            'SkullStripped': False,
            'Method': method,
            'MethodDetails': dict(facts or {}),
            'GeneratedBy': generator(),
            **({'Type': 'Brain'} if uri.endswith('_mask.nii.gz') else {}),
        }

    def resampled(self, scan: str) -> dict[str, Any]:
        """Describe a scan on the output grid."""
        return self._of_scan(scan, 'The acquired scan, interpolated linearly, once.')

    def reliability(self, scan: str) -> dict[str, Any]:
        """Describe a reliability map."""
        return self._of_scan(scan, '1 where the scan was measured, 0 where it is interpolated.')

    def transform(self, scan: str, fit: Mapping[str, Any]) -> dict[str, Any]:
        """Describe a transform and how well the scan fits the reference by it."""
        description = 'Rigid transform, to resample the scan in the space of the output.'
        described = self._of_scan(scan, description)
        reference = next(iter(self.sources.values()))
        return {
            'Description': description,
            'Sources': [*described['Sources'], reference],
            'GeneratedBy': described['GeneratedBy'],
            'Fit': dict(fit),
        }

    def _of_scan(self, scan: str, description: str) -> dict[str, Any]:
        return {
            'Description': description,
            'Sources': [self.sources[scan]],
            'SpatialReference': self.space,
            'SkullStripped': False,
            'GeneratedBy': generator(),
        }


def _kind_of(uri: str) -> str:
    """Tell what a product is, by its name."""
    kinds = {
        '_dseg.nii.gz': 'Segmentation (the numbers of FreeSurfer)',
        '_mask.nii.gz': 'Brain mask (brain, ventricles and CSF)',
        'desc-uncertainty_T1w.nii.gz': 'Expected absolute error of the T1w (Laplace scale, in '
        'its units)',
    }
    return next((kind for end, kind in kinds.items() if uri.endswith(end)), 'Synthetic image')


def labels_text(indices: Iterable[int]) -> str:
    """Write the look-up table of a segmentation as BIDS wants it."""
    rows = [STRUCTURES[index] for index in sorted(indices)]
    lines = ['index\tname\tcolor', *(f'{row.index}\t{row.name}\t{row.color}' for row in rows)]
    return '\n'.join(lines) + '\n'


def volumes_text(volumes: Iterable[Mapping[str, Any]]) -> str:
    """Write volumes of structures as a table."""
    lines = ['index\tname\tvolume_mm3\tuncertainty_mm3']
    lines += [
        f'{row["index"] or "n/a"}\t{row["name"]}\t{row["volume_mm3"]:.1f}'
        f'\t{row["uncertainty_mm3"]:.1f}'
        for row in volumes
    ]
    return '\n'.join(lines) + '\n'


def read_volumes(path: Path) -> list[dict[str, str]]:
    """Read such a table again, as text."""
    with path.open(encoding='utf-8', newline='') as file:
        return [*csv.DictReader(file, delimiter='\t')]


def raw_uri(path: Path, bids_dir: Path) -> str:
    """BIDS URI of a scan of the input data set."""
    return f'bids:{RAW}:{path.relative_to(bids_dir.resolve()).as_posix()}'


def generator() -> dict[str, str]:
    """Name the program and its version."""
    return {'Name': 'bids_synthsr', 'Version': __version__}


def sidecar_of(image: Path) -> Path:
    """Name the sidecar of an image."""
    return image.with_name(image.name.removesuffix('.nii.gz') + '.json')


def write_json(path: Path, content: Mapping[str, Any]) -> Path:
    """Write JSON, whole or not at all."""
    return write_text(path, json.dumps(content, indent=2, ensure_ascii=False) + '\n')


def write_text(path: Path, text: str) -> Path:
    """Write text, whole or not at all."""
    with written_atomically(path) as temporary:
        temporary.write_text(text, encoding='utf-8')
    return path


def write_dataset_description(derivatives: Derivatives, bids_dir: Path) -> None:
    """Describe the output as a BIDS derivative of ``bids_dir``, and list what is not BIDS in it.

    Lines that a user added to ``.bidsignore`` stay.
    """
    raw = json.loads((bids_dir / DESCRIPTION).read_text(encoding='utf-8-sig'))
    link = _link(derivatives.root.resolve(), bids_dir.resolve())
    doi = str(raw.get('DatasetDOI') or '').removeprefix('doi:').removeprefix('https://doi.org/')
    source = {'DOI': f'doi:{doi}', 'URL': f'https://doi.org/{doi}'} if doi else {'URL': link}
    content = {
        'Name': f'1 mm volumes of {raw.get("Name") or bids_dir.name}',
        'BIDSVersion': BIDS_VERSION,
        'DatasetType': 'derivative',
        'GeneratedBy': [generator()],
        'SourceDatasets': [source],
        'DatasetLinks': {RAW: link},
    }
    write_json(derivatives.description, content)
    file = derivatives.ignored
    present = file.read_text(encoding='utf-8').splitlines() if file.is_file() else []
    write_text(file, '\n'.join(dict.fromkeys([*present, *NOT_BIDS])) + '\n')


def _link(root: Path, bids_dir: Path) -> str:
    """Link to the input: relative where it holds the output, so that both can move together."""
    if root.is_relative_to(bids_dir):
        return '/'.join(['..'] * len(root.relative_to(bids_dir).parts))
    return bids_dir.as_uri()


def remove_leftovers(exam: ExamDerivatives) -> None:
    """Remove what a killed run left half-written of an exam on which no other run works.

    In folders that exams share only what is old goes: another run may be writing the rest.
    """
    shared = (exam.dataset.root, exam.dataset.records, exam.dataset.citation.parent)
    stale = time.time() - STALE_S
    found = [
        file
        for folder in (exam.folder / 'anat', exam.figures, *shared)
        for file in folder.glob(LEFTOVER)
        if folder not in shared or file.stat().st_mtime < stale
    ]
    for file in found:
        file.unlink(missing_ok=True)
