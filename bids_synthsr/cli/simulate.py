"""``bids_synthsr-evaluate simulate``: methods against heads that are known."""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bids_synthsr.cli.evaluation import choose_methods, close, place_of, run_workflow

if TYPE_CHECKING:
    from nipype.pipeline import engine as pe

T1W = re.compile(
    r'(?:sub-(?P<subject>[A-Za-z0-9]+)_)?(?:ses-(?P<session>[A-Za-z0-9]+)_)?.*T1w\.nii(\.gz)?$'
)


def simulate(options: argparse.Namespace) -> int:
    """Cut slices out of heads, let methods make these again; return the exit code."""
    from bids_synthsr.reports.evaluation import write_evaluation

    place = place_of(options, options.t1w)
    heads = find_heads(options.t1w, options.participant_label)
    cases = dict(list_cases(options.spacing, options.thickness, options.planes))
    if not cases:
        raise ValueError('No slices to simulate: give a --thickness of at most the --spacing')
    methods = choose_methods(options)
    results = [
        place.results / f'{head}_{case}_{method.replace("-", "_")}.json'
        for head in heads
        for case in cases
        for method in methods
    ]

    def build() -> pe.Workflow:
        from bids_synthsr.workflows.evaluate import init_simulate_wf

        return init_simulate_wf(
            heads=heads,
            cases=cases,
            methods=methods,
            place=str(place.results),
            num_threads=max(options.omp_nthreads, 1),
            work_dir=str(place.work),
        )

    run_workflow(build, list(heads), results, place, options)
    return close(results, place, 'simulate', write_evaluation)


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
