"""``bids_synthsr-evaluate simulate``: methods against heads that are known."""

from __future__ import annotations

import argparse
import csv
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any
from zlib import crc32

from bids_synthsr.cli.resolve import check_folders, environ, find_weights
from bids_synthsr.run.comparing import (
    choose_methods,
    close,
    given_weights,
    place_of,
    run_workflow,
)
from bids_synthsr.run.machine import choose_device

if TYPE_CHECKING:
    from nipype.pipeline import engine as pe

T1W = re.compile(
    r'(?:sub-(?P<subject>[A-Za-z0-9]+)_)?(?:ses-(?P<session>[A-Za-z0-9]+)_)?.*T1w\.nii(\.gz)?$'
)

MAP_SUFFIXES = ('dseg', 'seg', 'aseg', 'labels')  # of the names of label maps


def simulate(options: argparse.Namespace) -> int:
    """Cut slices out of heads, let methods make these again; return the exit code."""
    from bids_synthsr.evaluation.simulated_page import write_evaluation

    place = place_of(options, options.t1w)
    if options.labels is not None:
        check_folders(options.labels.resolve(), place.out, place.work)
    heads = heads_of(options)
    slices = dict(list_cases(options.spacing, options.thickness, options.planes))
    if not slices:
        raise ValueError('No slices to simulate: give a --thickness of at most the --spacing')
    needing = [exam for exam in options.exams if set(exam) != {'T1w'}]
    if needing and options.labels is None:
        raise ValueError(f'--exams {"+".join(needing[0])} is painted from labels: give --labels')
    cases = {
        re.sub(r'\W', '_', f'{"_".join(exam)}_{name}'): {
            **setting,
            'exam': list(exam),
            'able': [method for method in options.methods if can_take(method, exam)],
        }
        for exam in options.exams
        for name, setting in slices.items()
    }
    methods = choose_methods(options)
    results = [
        place.results / f'{head}_{case}_{method.replace("-", "_")}.json'
        for head in heads
        for case, setting in cases.items()
        for method in setting['able']
    ]

    def build() -> pe.Workflow:
        from bids_synthsr.workflows.simulated import init_simulate_wf

        return init_simulate_wf(
            heads=heads,
            cases=cases,
            methods=methods,
            segmenter=find_segmenter(options),
            place=str(place.results),
            num_threads=max(options.omp_nthreads, 1),
            work_dir=str(place.work),
        )

    run_workflow(build, list(heads), results, place, options)
    return close(results, place, 'simulate', write_evaluation)


def can_take(method: str, exam: Sequence[str]) -> bool:
    """Whether a method can make a T1w of an exam whose reference is its first scan."""
    return method != 'sr-t1' or exam[0] == 'T1w'


def find_segmenter(options: argparse.Namespace) -> dict[str, str] | None:
    """Say which network segments volumes, where structures are to be compared."""
    if not options.structures:
        return None
    weights = given_weights(options).get('synthsr')
    found = find_weights('synthsr', weights, environ())
    return {'weights': str(found), 'device': choose_device(options.device)}


def heads_of(options: argparse.Namespace) -> dict[str, dict[str, Any]]:
    """Find the heads: T1w images, or label maps with the T1w of the same name.

    Each gets a seed of its name, and the group of its person.
    """
    labels = options.labels
    if labels is None:
        heads = find_heads(options.t1w, options.participant_label)
    else:
        heads = find_maps(labels, options.t1w, options.participant_label)
    groups = read_groups(options.t1w / 'participants.tsv')
    return {
        name: {**head, 'group': groups.get(head['subject'], ''), 'seed': crc32(name.encode())}
        for name, head in heads.items()
    }


def read_groups(path: Path) -> dict[str, str]:
    """Read the column ``group`` of a participants.tsv; empty where there is none."""
    if not path.is_file():
        return {}
    with path.open(encoding='utf-8-sig', newline='') as file:
        rows = [*csv.DictReader(file, delimiter='\t')]
    return {row['participant_id'].removeprefix('sub-'): row.get('group') or '' for row in rows}


def find_maps(folder: Path, images: Path, labels: Sequence[str]) -> dict[str, dict[str, str]]:
    """Find label maps, and for each the T1w whose name begins like its own up to the last ``_``.

    Raises
    ------
    FileNotFoundError
        If there are none.
    """
    t1w = {path.name.split('.nii')[0]: path for path in images.rglob('*T1w.nii*')}
    wanted = {label.removeprefix('sub-') for label in labels}
    found: dict[str, dict[str, str]] = {}
    for path in sorted(folder.rglob('*.nii*')):
        name = path.name.split('.nii')[0]
        first, _, last = name.rpartition('_')
        subject = first if last in MAP_SUFFIXES or f'{first}_T1w' in t1w else name
        if path.name.endswith('T1w.nii.gz') or (
            wanted and not wanted & {name, subject.removeprefix('sub-')}
        ):
            continue
        own = subject.removeprefix('sub-')
        head = {'labels': str(path.resolve()), 'subject': own, 'session': ''}
        image = t1w.get(f'{subject}_T1w')
        found[re.sub(r'\W', '_', name)] = head | ({'image': str(image.resolve())} if image else {})
    if not found:
        among = f' of {", ".join(labels)}' if labels else ''
        raise FileNotFoundError(f'{folder} holds no label maps{among} (*.nii.gz)')
    return found


def find_heads(folder: Path, labels: Sequence[str]) -> dict[str, dict[str, str]]:
    """Find T1w images below a folder, by name; derivatives of a data set are no scans.

    Raises
    ------
    FileNotFoundError
        If there are none.
    ValueError
        If two have the same name.
    """
    wanted = {label.removeprefix('sub-') for label in labels}
    found: dict[str, dict[str, str]] = {}
    for path in sorted(folder.rglob('*T1w.nii*')):
        match = T1W.match(path.name)
        if match is None or 'derivatives' in path.relative_to(folder).parts:
            continue
        name = path.name.split('.nii')[0]
        subject = match['subject'] or name.removesuffix('_T1w')
        if wanted and subject not in wanted:
            continue
        key = re.sub(r'\W', '_', name)
        if key in found:
            raise ValueError(f'{path} has the name of {found[key]["image"]}: rename one of them')
        found[key] = {
            'image': str(path.resolve()),
            'subject': subject,
            'session': match['session'] or '',
        }
    if not found:
        among = f' of {", ".join(labels)}' if labels else ''
        raise FileNotFoundError(f'{folder} holds no T1w images{among} (*T1w.nii.gz)')
    return found


def list_cases(
    spacings: Sequence[float], thicknesses: Sequence[float | None], planes: Sequence[str]
) -> Iterator[tuple[str, dict[str, Any]]]:
    """List the scans to simulate of a head; slices thicker than their spacing are left out."""
    for spacing in spacings:
        thick = dict.fromkeys(spacing if mm is None else mm for mm in thicknesses)
        for thickness in thick:
            if not 0 < thickness <= spacing:
                continue
            for plane in planes:
                name = re.sub(r'\W', 'p', f'{plane}_{spacing:g}_{thickness:g}')
                yield name, {
                    'orientation': plane, 'spacing': spacing, 'thickness': thickness,
                }  # fmt: skip
