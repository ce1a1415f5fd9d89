"""Validating the input with bids-validator-deno, and describing the result in a few lines.

The validator carries its schema, so it needs no network; only a data set with HED tags makes it
fetch theirs. As in fMRIPrep, errors stop the program and warnings do not. Two kinds of errors
do not stop it either: those outside of what it reads, and those of a single scan, such as an
unreadable file, which it judges itself, so that one bad scan does not stop all exams.
"""

from __future__ import annotations

import re
import subprocess
import sysconfig
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bids_synthsr.dataset.errors import DatasetError
from bids_synthsr.dataset.files import parse_json

COMMAND = Path(sysconfig.get_path('scripts')) / 'bids-validator-deno'
TIMEOUT_S = 3600  # 1,000 exams of three scans take 20 s from a local disk
MAX_FILES = 3  # files of an error
SKIP = 'use --skip-bids-validation to go on without validation'
READ_HERE = re.compile(r'/[^/]*$|/sub-(?P<subject>[^/]+)/(?:ses-[^/]+/)?(?:anat/)?[^/]*$')
COLOURS = re.compile(r'\x1b\[[0-9;]*m')
JUDGED_PER_SCAN = {
    'DUPLICATE_FILES',
    'EMPTY_FILE',
    'FILE_READ',
    'INVALID_GZIP',
    'INVALID_JSON_ENCODING',
    'INVALID_LOCATION',
    'JSON_INVALID',
    'JSON_NOT_AN_OBJECT',
    'NIFTI_HEADER_UNREADABLE',
    'SIDECAR_WITHOUT_DATAFILE',
    'SYMLINK_BROKEN',
    'SYMLINK_CYCLE',
    'T1W_FILE_WITH_TOO_MANY_DIMENSIONS',
}


@dataclass(frozen=True)
class Fault:
    """All errors of one kind.

    Parameters
    ----------
    code
        Code of the validator, such as ``NOT_INCLUDED``.
    message
        What the code means, a sentence.
    files
        Where it was found, relative to the root with a slash before.
    """

    code: str
    message: str
    files: tuple[str, ...]

    def __str__(self) -> str:
        more = f' and {len(self.files) - MAX_FILES} more' if len(self.files) > MAX_FILES else ''
        return f'{self.code}: {self.message} In {", ".join(self.files[:MAX_FILES])}{more}'


def validate(bids_dir: Path, participants: Sequence[str] = ()) -> tuple[Fault, ...]:
    """Validate a data set.

    Parameters
    ----------
    bids_dir
        Root of the data set.
    participants
        Labels of those that are processed; empty takes all. Faults of others do not stop.

    Returns
    -------
    faults
        Errors that do not stop the program but are reported.

    Raises
    ------
    DatasetError
        With the errors that do, a line for each kind; or if the validator cannot be run.
    """
    errors = run_validator(bids_dir)
    stopping = [error for error in errors if _stops(error, participants)]
    if stopping:
        lines = [str(fault) for fault in summarise(stopping)]
        raise DatasetError('\n'.join([f'{bids_dir} is not valid BIDS; {SKIP}', *lines]))
    return summarise(errors)


@dataclass(frozen=True)
class Issue:
    """An error of the validator in one place."""

    code: str
    message: str
    file: str


def run_validator(bids_dir: Path) -> list[Issue]:
    """Run the validator and list its errors.

    Raises
    ------
    DatasetError
        If it is not installed, fails, or takes longer than an hour.
    """
    command = [str(COMMAND), '--ignoreWarnings', '--format', 'json', str(bids_dir)]
    try:
        process = subprocess.run(command, capture_output=True, timeout=TIMEOUT_S, check=False)
        result = parse_json(process.stdout.decode(errors='replace'))['issues']
    except FileNotFoundError as error:
        raise DatasetError(
            f'The BIDS validator is not installed ({COMMAND}): '
            f'"pip install bids-validator-deno", or {SKIP}'
        ) from error
    except subprocess.TimeoutExpired as error:
        raise DatasetError(
            f'The BIDS validator took longer than {TIMEOUT_S / 60:.0f} minutes: {SKIP}'
        ) from error
    except (ValueError, KeyError, TypeError) as error:
        text = COLOURS.sub('', process.stderr.decode(errors='replace'))
        lines = text.splitlines() or ['no message']
        raise DatasetError(f'The BIDS validator failed ({lines[0]}): {SKIP}') from error
    messages = result['codeMessages']
    return [
        Issue(issue['code'], messages.get(issue['code'], ''), _location(issue))
        for issue in result['issues']
    ]


def _location(issue: Mapping[str, Any]) -> str:
    """File of an issue, with the field that is missing in it."""
    location = issue.get('location') or ', '.join(issue.get('affects') or [])
    return f'{location} [{issue["subCode"]}]' if issue.get('subCode') else location


def _stops(issue: Issue, participants: Sequence[str]) -> bool:
    """Whether an error concerns what the program reads and cannot judge by itself."""
    match = READ_HERE.match(issue.file)
    if not match or (match['subject'] and issue.code in JUDGED_PER_SCAN):
        return False
    return not participants or not match['subject'] or match['subject'] in participants


def summarise(issues: Iterable[Issue]) -> tuple[Fault, ...]:
    """Gather issues by code, the most frequent first."""
    files: dict[tuple[str, str], list[str]] = defaultdict(list)
    for issue in issues:
        files[issue.code, issue.message].append(issue.file)
    faults = [Fault(code, _first_sentence(text), tuple(files[code, text])) for code, text in files]
    return tuple(sorted(faults, key=lambda fault: -len(fault.files)))


def _first_sentence(message: str) -> str:
    return message.partition('. ')[0].rstrip('.') + '.'
