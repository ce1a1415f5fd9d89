"""What was done, in the words of a paper, with its citations."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

from bids_synthsr.dataset.files import parse_json
from bids_synthsr.dataset.selection import parse_reference
from bids_synthsr.derivatives.records import Record
from bids_synthsr.methods.catalogue import DEFAULT, METHODS
from bids_synthsr.settings import AS_IS, FILL, KEEP

CITATION = re.compile(r'\[@([^]]+)\]')

DISTRIBUTIONS = {
    'program': 'bids_synthsr',
    'nipype': 'nipype',
    'pybids': 'pybids',
    'nibabel': 'nibabel',
    'greedy': 'picsl-greedy',
    'nitransforms': 'nitransforms',
    'torch': 'torch',
    'simpleitk': 'SimpleITK',
}  # of the programs that the texts name
INPUTS = (
    'Data in the Brain Imaging Data Structure [@bids] were processed with bids_synthsr{program}, '
    'which is built on nipype{nipype} [@nipype], PyBIDS{pybids} [@pybids] and '
    'NiBabel{nibabel} [@nibabel].'
)
EVERY_EXAM = 'Each exam, that is the usable {kind} scans of a session, was processed alone.'
REFERENCE = {  # by whether the user asked for one
    False: 'The reference of an exam was a T1w, or any scan where there was no T1w.',
    True: 'The reference of an exam was a scan that was asked for ({reference}).',
}
OF_SEVERAL = {  # by whether T1w may be among the scans that the reference is chosen from
    True: 'Of several, a T1w came first, above all one for which no contrast agent is named, and '
    'of equals the one whose coarsest axis was finest.',
    False: 'Of several, it was the one whose coarsest axis was finest.',
}
GIVEN_OF_EXAM = 'The transform of {scans} to the reference was given, and not found anew.'
GIVEN_OF_RUN = (
    'Transforms to the reference that were given were taken where they passed the check.'
)
GREEDY = (
    '{scans} aligned to the reference by rigid registration (6 degrees of freedom) '
    'with greedy{greedy} [@greedy], which maximised normalised mutual information [@nmi] first '
    'on isotropic voxels of 2 mm, from the image centres, then on the voxels of the scans.'
)
CHECK = (
    'Every fit was checked by how sharply the similarity peaks at it. The transforms are stored '
    'in ITK format, written with NiTransforms{nitransforms} [@nitransforms].'
)
GRID = (
    'The output grid has {spacing:g} mm isotropic voxels and covers {fov}. {scans} brought to '
    'this grid by one linear interpolation, together with a reliability map: 1 where a voxel was '
    'measured, 0 where it is interpolated [@synthsr].'
)
STANDARD = (
    'The T1w was registered to {spaces} [@templateflow; @mni] at 2 mm, within the brain: by an '
    'affine transform (greedy{greedy} [@greedy], local correlation), then by a symmetric '
    'diffeomorphism, the exponential of a stationary velocity field [@velocity] that maximised '
    'local correlation [@syn]. Outputs were brought there by one interpolation: cubic splines '
    'for the T1w, the nearest voxel for mask and segmentations, linear for probabilities.'
)
LESIONS_FILLED = (
    'Before the next step, lesions that masks mark were filled in every scan, with the mean of '
    'those voxels nearby whose surroundings look most like theirs in all scans '
    '[@guizard; @prados].'
)
LESIONS_KEPT = (
    'Then lesions that masks mark were put into a predicted T1w, and as label 77 into its '
    'segmentation. In the T1w they have the smoothest intensities that explain the slices of the '
    'T1w scans there, relative to white matter within some 10 mm, and typical ones where '
    'no T1w shows them.'
)
CAUTION = (
    'The output is computed, not acquired, and not meant for diagnosis: fine detail and '
    'abnormal tissue may be missing or altered in it.'
)
CAUTION_OF_ACQUIRED = (
    'The output is not meant for diagnosis: mask, segmentations and volumes are computed.'
)
CALIBRATION = {  # by whether it is known that the weights were calibrated
    True: ', multiplied by a factor for each structure, by which they add up to the true volumes '
    'of such scans',
    False: '',
    None: ', multiplied by a factor for each structure where the weights hold one',
}


MAIN = {  # of auto, by how the main volume was made: in a report, and in a paper
    'acquired': (
        'the T1w as it was acquired',
        (
            'The exam holds a plain T1w with voxels of at most 1.5 mm that shows the brain. '
            '{acquired} No network touched it.'
        ),
    ),
    'any-exam': (
        'predicted from all scans',
        (
            'The T1w volume and its expected error were predicted by a network from all scans.'
            '{outside}'
        ),
    ),
    '': (
        'acquired or predicted from all scans',
        (
            'Where an exam held a plain T1w with voxels of at most 1.5 mm that showed the brain, '
            '{acquired} Of all other exams the T1w volume and its expected error were '
            'predicted by a network from all scans.{outside}'
        ),
    ),
}
ACQUIRED = (
    '{subject} interpolated on this grid by cubic splines, corrected for its bias field in the '
    'brain by N4 [@n4] (SimpleITK{simpleitk} [@simpleitk]) and scaled to a median of 110 in the '
    'white matter; its expected error is that of the noise of the scan.'
)
BESIDE = {  # by the desc- of what auto made beside the main volume: in a report, and in a paper
    'sr': (
        'A T1w with the contrast of the scan lies beside it, sharpened across the slices.',
        (
            'Beside it, the T1w of thick slices was interpolated by cubic splines, and a '
            'convolutional network that was trained on T1w scans of 1 mm added what it predicted '
            'that the interpolation misses between the slices.'
        ),
    ),
    'tv': (
        'Super-resolved scans with their own contrasts lie beside it.',
        (
            'Beside it, scans were super-resolved with their own contrasts by multi-channel total '
            'variation [@tv].'
        ),
    ),
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
    main
        How ``auto`` made the main volume, ``acquired`` or ``any-exam``; empty where the text is
        for many exams.
    beside
        ``desc-`` labels of what it made beside that.
    is_calibrated
        Whether the probabilities of its segmentation were calibrated; None where not known.
    reference_reason
        Why the reference of one exam was chosen, a clause such as ``it was asked for``.
    reference
        Suffix or filter that named the reference; empty where the program chose.
    wanted
        Suffixes of the scans that were asked for; empty where all were.
    given
        Suffixes of the scans of one exam whose transforms were given, and not found by greedy.
    takes_transforms
        Whether transforms were given, where the text is for many exams.
    spacing
        Voxel size of the output, mm.
    fov
        Field of view of the output: ``reference`` or ``union``.
    weights
        Name of the file of weights and the start of its SHA-256; empty where there is none.
    lesions
        What became of lesions, one of `bids_synthsr.settings.LESIONS`.
    spaces
        Names of the standard spaces in which outputs are written, too.
    versions
        By distribution name, such as ``{'bids_synthsr': '0.1', 'picsl-greedy': '1.4'}``.
    """

    method: str
    contrasts: tuple[str, ...] = ()
    used: tuple[str, ...] = ()
    outside: tuple[str, ...] = ()
    main: str = ''
    beside: tuple[str, ...] = ()
    is_calibrated: bool | None = None
    reference_reason: str = ''
    reference: str = ''
    wanted: tuple[str, ...] = ()
    given: tuple[str, ...] = ()
    takes_transforms: bool = False
    spacing: float = 1.0
    fov: str = 'head'
    weights: str = ''
    lesions: str = AS_IS
    spaces: tuple[str, ...] = ()
    versions: Mapping[str, str] = field(default_factory=dict)


def facts_of_settings(
    settings: Mapping[str, Any], versions: Mapping[str, str], takes_transforms: bool
) -> MethodFacts:
    """Collect what the methods text depends on, as far as settings tell.

    Parameters
    ----------
    settings
        Settings that change results, as `describe_method` describes them.
    versions
        Versions of programs by distribution name.
    takes_transforms
        Whether transforms were given.
    """
    return MethodFacts(
        method=settings.get('method', ''),
        reference=settings.get('reference') or '',
        wanted=tuple(settings.get('contrasts', ())),
        takes_transforms=takes_transforms,
        spacing=settings.get('output_resolution', 1.0),
        fov=settings.get('fov', 'reference'),
        lesions=settings.get('lesions', AS_IS),
        spaces=tuple(template['space'] for template in settings.get('templates', ())),
        versions=versions,
    )


def facts_of_record(record: Record, run: Mapping[str, Any]) -> MethodFacts:
    """Collect what the methods text of a finished exam depends on, as far as records tell.

    Parameters
    ----------
    record
        Record of the exam; its fingerprint holds the settings.
    run
        What is known of the run that made it; may be empty.
    """
    settings = record.fingerprint.get('settings') or run.get('settings', {})
    versions = run.get('versions') or {'bids_synthsr': record.fingerprint.get('version', '')}
    facts = facts_of_settings(settings, versions, bool(settings.get('transforms')))
    names = [Path(name).name for name in record.outputs]
    beside = [desc for desc in BESIDE if any(f'_desc-{desc}_' in name for name in names)]
    return replace(
        facts,
        lesions=facts.lesions if settings.get('lesion_masks') else AS_IS,
        main=record.main if record.main in MAIN else '',
        beside=tuple(beside) if facts.method == DEFAULT else (),
    )


def summary_text(facts: MethodFacts) -> str:
    """Describe in a sentence or two what was made of the scans of one exam."""
    count, reference = len(facts.contrasts), facts.contrasts[0]
    scans = f'the {reference}' if count == 1 else f'{count} scans ({_join_names(facts.contrasts)})'
    summary = METHODS[facts.method].summary.format(
        spacing=facts.spacing,
        scans=scans,
        reference=reference,
        used=_source_scans(facts),
        main=MAIN[facts.main][0],
        beside=''.join(f' {BESIDE[desc][0]}' for desc in dict.fromkeys(facts.beside)),
    )
    return summary if count == 1 else f'{summary} It lies in the frame of the {reference}.'


def methods_text(facts: MethodFacts) -> str:
    """Describe what was run, in Markdown: paragraphs, then the references as first cited."""
    caution = CAUTION_OF_ACQUIRED if facts.main == 'acquired' else CAUTION
    before = [LESIONS_FILLED] if facts.lesions == FILL else []
    after = [LESIONS_KEPT] if facts.lesions == KEEP else []
    paragraphs = [_inputs(facts), _grid(facts), *before, _method(facts), *after]
    if facts.spaces:
        spaces = _join_names(tuple(dict.fromkeys(facts.spaces)))
        paragraphs.append(STANDARD.format(spaces=spaces, **_versions(facts)))
    paragraphs.append(caution)
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


def _inputs(facts: MethodFacts) -> str:
    """Describe the input and how it was aligned."""
    scans = _describe_scans(facts) if facts.contrasts else _describe_exams(facts)
    sentences = [INPUTS.format(**_versions(facts)), *scans]
    if len(facts.contrasts) != 1:
        sentences += _describe_alignment(facts)
    return ' '.join(sentences)


def _describe_exams(facts: MethodFacts) -> list[str]:
    """Describe what the exams of a run or folder are, and what their references."""
    is_named = bool(facts.reference)
    suffix = parse_reference(facts.reference).get('suffix', 'T1w') if is_named else 'T1w'
    return [
        EVERY_EXAM.format(kind=_join_names(facts.wanted) or 'anatomical'),
        REFERENCE[is_named].format(reference=facts.reference),
        OF_SEVERAL[suffix == 'T1w'],
    ]


def _describe_scans(facts: MethodFacts) -> list[str]:
    """Describe what the scans of one exam are, and which of them is the reference."""
    kind = f' of the contrasts asked for ({_join_names(facts.wanted)})' if facts.wanted else ''
    count, names = len(facts.contrasts), _join_names(facts.contrasts)
    if count == 1:
        return [f'The exam has one usable scan{kind}, {names}.']
    reason = f': {facts.reference_reason}' if facts.reference_reason else ''
    return [
        f'The exam has {count} usable scans{kind}: {names}.',
        f'Reference was {facts.contrasts[0]}{reason}.',
    ]


def _describe_alignment(facts: MethodFacts) -> list[str]:
    """Describe which scans were aligned by greedy, and which by transforms that were given."""
    versions, moved = _versions(facts), facts.contrasts[1:]
    given = [GIVEN_OF_RUN] if facts.takes_transforms else []
    if facts.given:
        given = [GIVEN_OF_EXAM.format(scans=f'the {_join_names(facts.given)}')]
    rest = 'All others were' if given else 'The other scans were'
    is_all_given = bool(moved) and len(facts.given) == len(moved)
    found = [] if is_all_given else [GREEDY.format(scans=rest, **versions)]
    return [*given, *found, CHECK.format(**versions)]


def _grid(facts: MethodFacts) -> str:
    """Describe the output grid."""
    fov = {
        'head': 'what the scans show of the head',
        'reference': 'the field of view of the reference',
        'union': 'all scans',
    }[facts.fov]
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
        main_text=_main(facts),
        beside_text=''.join(f' {text}' for text in _beside(facts)),
        **_versions(facts),
    )


def _main(facts: MethodFacts) -> str:
    """Describe how auto made the main volume."""
    subject = 'it was' if not facts.main else 'It was'
    acquired = ACQUIRED.format(subject=subject, **_versions(facts))
    return MAIN[facts.main][1].format(acquired=acquired, outside=_outside(facts))


def _beside(facts: MethodFacts) -> list[str]:
    """Describe what auto made beside the main volume; all that it may where not known."""
    descs = dict.fromkeys(facts.beside) if facts.main else BESIDE
    return [BESIDE[desc][1] for desc in descs]


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
    """Join names to a list in words; empty for none."""
    return ' and '.join([', '.join(names[:-1]), names[-1]] if len(names) > 1 else names)


@cache
def _references() -> dict[str, dict[str, str]]:
    source = files('bids_synthsr') / 'data' / 'report' / 'references.json'
    return dict(parse_json(source.read_text(encoding='utf-8')))
