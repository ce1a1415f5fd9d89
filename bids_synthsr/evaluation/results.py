"""What evaluations found: a file for each comparison, one long table of all."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from bids_synthsr.derivatives.places import write_text

COLUMNS = (
    'subject', 'session', 'method', 'contrasts', 'orientation', 'spacing', 'thickness',
    'structure', 'measure', 'value',
)  # fmt: skip

Setting = tuple[str, float, float]  # contrasts, spacing, thickness
Case = tuple[str, str, str, Setting]


@dataclass(frozen=True)
class Result:
    """How close one method came for one scan of one head.

    Parameters
    ----------
    subject, session
        Labels; ``session`` may be empty.
    method
        Its name.
    contrasts
        Of the scans that were given.
    orientation, spacing, thickness
        Of the slices that were simulated or left out; mm.
    measures
        By name, such as ``psnr``.
    picture
        JPEG: truth above, what was made below.
    left_out
        Name of the scan that was left out; empty where scans were simulated.
    structures
        By structure ``dice``, ``volume_mm3`` and ``reference_mm3``; for a scan that was left out
        the measures in the ``brain``; empty where there are none.
    group
        Of the person; empty where there are no groups.
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

    @property
    def setting(self) -> Setting:
        """Contrasts, slice spacing and thickness, mm."""
        return self.contrasts, self.spacing, self.thickness

    @property
    def case(self) -> Case:
        """What all methods got in the same way."""
        return self.subject, self.session, self.orientation, self.setting


def read_result(path: Path) -> Result:
    """Read what a comparison wrote."""
    told = json.loads(path.read_text(encoding='utf-8'))
    return Result(**told, picture=path.with_suffix('.jpg'))


def write_table(results: Sequence[Result], path: Path) -> Path:
    """Write a line per measure, as TSV; the last column is the scan that was left out, if any."""
    leaves_out = any(found.left_out for found in results)
    lines = ['\t'.join((*COLUMNS, 'left_out') if leaves_out else COLUMNS)]
    for found in results:
        facts = (
            found.subject, found.session or 'n/a', found.method, found.contrasts,
            found.orientation, f'{found.spacing:g}', f'{found.thickness:g}',
            'head' if leaves_out else 'brain',
        )  # fmt: skip
        ending = [found.left_out] if leaves_out else []
        lines += [
            '\t'.join([*facts, name, f'{value:.6g}', *ending])
            for name, value in found.measures.items()
        ]
        lines += [
            '\t'.join([*facts[:-1], structure, name, f'{value:.6g}', *ending])
            for structure, measures in found.structures.items()
            for name, value in measures.items()
        ]
    return write_text(path, '\n'.join(lines) + '\n')


def by_setting(results: Sequence[Result]) -> dict[tuple[Setting, str], list[Result]]:
    """Put results of one setting and method together, in their order."""
    groups: dict[tuple[Setting, str], list[Result]] = {}
    for found in results:
        groups.setdefault((found.setting, found.method), []).append(found)
    return groups
