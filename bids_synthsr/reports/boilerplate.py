"""What was done, in the words of a paper, with its citations."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib.resources import files

from bids_synthsr.methods.catalogue import METHODS

CITATION = re.compile(r'\[@([^]]+)\]')

DISTRIBUTIONS = {
    'program': 'bids_synthsr',
    'nipype': 'nipype',
    'pybids': 'pybids',
    'nibabel': 'nibabel',
    'greedy': 'picsl-greedy',
    'nitransforms': 'nitransforms',
    'torch': 'torch',
}  # of the programs that the texts name
INPUTS = (
    'Data in the Brain Imaging Data Structure [@bids] were processed with bids_synthsr{program}, '
    'which is built on nipype{nipype} [@nipype], PyBIDS{pybids} [@pybids] and '
    'NiBabel{nibabel} [@nibabel].'
)
EVERY_EXAM = 'Each exam, that is the usable anatomical scans of a session, was processed alone.'
DEFAULT_REFERENCE = (
    'the T1w scan with the smallest voxels among those that name no contrast agent, without a T1w '
    'scan the one with the smallest voxels'
)
ALIGNMENT = (
    'The other scans were aligned to the reference by rigid registration (6 degrees of freedom) '
    'with greedy{greedy} [@greedy], which maximised normalised mutual information [@nmi] first '
    'on isotropic voxels of 2 mm, from the image centres, then on the voxels of the scans. Every '
    'fit was checked by how sharply the similarity peaks at it. The transforms are stored '
    'in ITK format, written with NiTransforms{nitransforms} [@nitransforms].'
)
GRID = (
    'The output grid has {spacing:g} mm isotropic voxels and covers {fov}. {scans} brought to '
    'this grid by one linear interpolation, together with a reliability map: 1 where a voxel was '
    'measured, 0 where it is interpolated [@synthsr].'
)
CAUTION = (
    'The output is computed, not acquired, and not meant for diagnosis: fine detail and '
    'abnormal tissue may be missing or altered in it.'
)
CALIBRATION = {  # by whether it is known that the weights were calibrated
    True: ', multiplied by a factor for each structure, by which they add up to the true volumes '
    'of such scans',
    False: '',
    None: ', multiplied by a factor for each structure where the weights hold one',
}


@dataclass(frozen=True)
class MethodFacts:
    """What the methods text depends on.

    Parameters
    ----------
    method
        Name of a method in the catalogue.
    contrasts
        Suffixes of the aligned scans, reference first; empty where the text is for many exams.
    used
        Suffixes of those that the method took; empty where it took all.
    outside
        Suffixes of those of which it made what lies outside of the brain; empty where not known.
    is_calibrated
        Whether the probabilities of its segmentation were calibrated; None where not known.
    reference_reason
        Why the reference was chosen, a clause such as ``the T1w with the smallest voxels``.
    spacing
        Voxel size of the output, mm.
    fov
        Field of view of the output: ``reference`` or ``union``.
    weights
        Name of the file of weights and the start of its SHA-256; empty where there is none.
    versions
        By distribution name, such as ``{'bids_synthsr': '0.1', 'picsl-greedy': '1.4'}``.
    """

    method: str
    contrasts: tuple[str, ...] = ()
    used: tuple[str, ...] = ()
    outside: tuple[str, ...] = ()
    is_calibrated: bool | None = None
    reference_reason: str = ''
    spacing: float = 1.0
    fov: str = 'reference'
    weights: str = ''
    versions: Mapping[str, str] = field(default_factory=dict)


def summary_text(facts: MethodFacts) -> str:
    """Describe in a sentence or two what was made of the scans of one exam."""
    count, reference = len(facts.contrasts), facts.contrasts[0]
    scans = f'the {reference}' if count == 1 else f'{count} scans ({_join_names(facts.contrasts)})'
    summary = METHODS[facts.method].summary.format(
        spacing=facts.spacing, scans=scans, reference=reference, used=_source_scans(facts)
    )
    return summary if count == 1 else f'{summary} It lies in the frame of the {reference}.'


def methods_text(facts: MethodFacts) -> str:
    """Describe what was run, in Markdown: paragraphs, then the references as first cited."""
    paragraphs = [_inputs(facts), _grid(facts), _method(facts), CAUTION]
    cited: dict[str, None] = {}

    def cite(match: re.Match[str]) -> str:
        keys = [key.strip().lstrip('@') for key in match[1].split(';')]
        cited.update(dict.fromkeys(keys))
        return '(' + '; '.join(_references()[key]['cite'] for key in keys) + ')'

    text = '\n\n'.join(CITATION.sub(cite, paragraph) for paragraph in paragraphs)
    entries = [
        f'{number}. {_references()[key]["text"]} https://doi.org/{_references()[key]["doi"]}'
        for number, key in enumerate(cited, 1)
    ]
    return text + '\n\n### References\n\n' + '\n'.join(entries) + '\n'


def citation_markdown(facts: MethodFacts) -> str:
    """Make the ``CITATION.md`` of a run; ``facts`` without contrasts describe all its exams."""
    return (
        '# Methods\n\nThis text may be copied into a paper as it is; it describes what this '
        'version ran with these settings.\n\n' + methods_text(facts)
    )


def _inputs(facts: MethodFacts) -> str:
    """Describe the input and how it was aligned."""
    opening = INPUTS.format(**_versions(facts))
    if len(facts.contrasts) == 1:
        return f'{opening} The exam has one usable scan, {facts.contrasts[0]}.'
    alignment = ALIGNMENT.format(**_versions(facts))
    if not facts.contrasts:
        reason = facts.reference_reason or DEFAULT_REFERENCE
        return f'{opening} {EVERY_EXAM} The reference of an exam was {reason}. {alignment}'
    reason = f' ({facts.reference_reason})' if facts.reference_reason else ''
    inventory = f'{len(facts.contrasts)} usable scans: {_join_names(facts.contrasts)}'
    return (
        f'{opening} The exam has {inventory}. '
        f'Reference was {facts.contrasts[0]}{reason}. {alignment}'
    )


def _grid(facts: MethodFacts) -> str:
    """Describe the output grid."""
    fov = {'reference': 'the field of view of the reference', 'union': 'all scans'}[facts.fov]
    scans = 'The scan was' if len(facts.contrasts) == 1 else 'Every scan was'
    return GRID.format(spacing=facts.spacing, fov=fov, scans=scans)


def _method(facts: MethodFacts) -> str:
    """Describe what the method did."""
    return METHODS[facts.method].methods_text.format(
        used=_source_scans(facts),
        outside=_outside(facts),
        calibration=CALIBRATION[facts.is_calibrated],
        paper='@hyperfine' if len(facts.used) == 2 else '@synthsr_public',
        weights=facts.weights or 'as named in the provenance of each output',
        **_versions(facts),
    )


def _source_scans(facts: MethodFacts) -> str:
    return f'the {_join_names(facts.used)}' if facts.used else 'the scans that it can take'


def _outside(facts: MethodFacts) -> str:
    """Name the scans that the T1w outside of the brain was predicted from, if not all."""
    if facts.used and facts.outside in ((), facts.used):
        return ''
    scans = f'the {_join_names(facts.outside)} alone,' if facts.outside else 'those scans alone'
    return (
        f' Outside of the brain the T1w was predicted from {scans} with which the error expected '
        'there was least.'
    )


def _versions(facts: MethodFacts) -> dict[str, str]:
    """Versions as they follow the name of a program: `` 1.4``, or nothing where not known."""
    return {
        name: f' {facts.versions[distribution]}' if distribution in facts.versions else ''
        for name, distribution in DISTRIBUTIONS.items()
    }


def _join_names(names: tuple[str, ...]) -> str:
    return ' and '.join([', '.join(names[:-1]), names[-1]] if len(names) > 1 else names)


@cache
def _references() -> dict[str, dict[str, str]]:
    source = files('bids_synthsr') / 'data' / 'report' / 'references.json'
    return json.loads(source.read_text(encoding='utf-8'))
