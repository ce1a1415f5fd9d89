"""Results of evaluations: a file for each comparison, one long table of all."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from bids_synthsr.dataset.files import read_object, write_text

COLUMNS = (
    'subject', 'session', 'method', 'contrasts', 'orientation', 'spacing', 'thickness',
    'structure', 'measure', 'value',
)  # fmt: skip

SIMULATED = ('truth', 'profile', 'noise_percent')  # columns of scans that were simulated
Setting = tuple[str, float, float, str]  # contrasts, spacing, thickness, profile
Case = tuple[str, str, str, str, Setting]


@dataclass(frozen=True)
class Result:
    """How close one method came for one scan of one head.

    Parameters
    ----------
    subject, session
        Labels without their prefixes; ``session`` may be empty.
    method
        Name of the method.
    contrasts
        Contrasts of the scans that the method got, joined by ``+``.
    orientation, spacing, thickness
        Plane of the slices that were simulated or left out, and their spacing and thickness, mm.
    measures
        Values by name, such as ``psnr``.
    picture
        JPEG file of slices: the truth, the scan where it was simulated, the volume of the method.
    left_out
        Name of the scan that was left out; empty where scans were simulated.
    structures
        By structure ``dice``, ``volume_mm3`` and ``reference_mm3``; for a scan that was left out
        the measures in the ``brain``; empty where there are none.
    group
        Group of the person; empty where there are no groups.
    truth
        What it was compared with: ``T1w``, or the scan itself at 1 mm, such as ``FLAIR scan``.
    profile, noise_percent
        Profile of the slices that were simulated, and their noise in percent of bright tissue.
    """

    subject: str
    session: str
    method: str
    contrasts: str
    orientation: str
    spacing: float
    thickness: float
    measures: Mapping[str, float]
    picture: Path
    left_out: str = ''
    structures: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    group: str = ''
    truth: str = 'T1w'
    profile: str = 'gaussian'
    noise_percent: float = 0.0

    @property
    def setting(self) -> Setting:
        """Contrasts, slice spacing and thickness, mm, and profile."""
        return self.contrasts, self.spacing, self.thickness, self.profile

    @property
    def case(self) -> Case:
        """Scan and setting, which are the same for all methods, and of one head alone."""
        head = self.picture.stem.removesuffix(self.method.replace('-', '_'))
        return head, self.subject, self.session, self.orientation, self.setting


def read_result(path: Path) -> Result:
    """Read the JSON that a comparison wrote, and find the picture beside it."""
    fields = read_object(path)
    return Result(**fields, picture=path.with_suffix('.jpg'))


def write_table(results: Sequence[Result], path: Path) -> Path:
    """Write a line per measure, as TSV; the last columns tell what was left out, or simulated.

    Parameters
    ----------
    results
        Results of all comparisons, in the order of the lines.
    path
        TSV file to be written.
    """
    leaves_out = any(result.left_out for result in results)
    lines = ['\t'.join((*COLUMNS, *(['left_out'] if leaves_out else SIMULATED)))]
    for result in results:
        facts = (
            result.subject, result.session or 'n/a', result.method, result.contrasts,
            result.orientation, f'{result.spacing:g}', f'{result.thickness:g}',
            'head' if leaves_out else 'brain',
        )  # fmt: skip
        simulated = [result.truth, result.profile, f'{result.noise_percent:g}']
        ending = [result.left_out] if leaves_out else simulated
        lines += [
            '\t'.join([*facts, name, f'{value:.6g}', *ending])
            for name, value in result.measures.items()
        ]
        lines += [
            '\t'.join([*facts[:-1], structure, name, f'{value:.6g}', *ending])
            for structure, measures in result.structures.items()
            for name, value in measures.items()
        ]
    return write_text(path, '\n'.join(lines) + '\n')


def by_setting(results: Sequence[Result]) -> dict[tuple[Setting, str], list[Result]]:
    """Put results of one setting and method together, in their order."""
    groups: dict[tuple[Setting, str], list[Result]] = {}
    for result in results:
        groups.setdefault((result.setting, result.method), []).append(result)
    return groups
