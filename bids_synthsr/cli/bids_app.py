"""The command ``bids_synthsr``."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

from bids_synthsr.cli.options import parse_options


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the program; return 0 if all exams succeeded, 1 if some failed, 2 for wrong use."""
    if arguments is None:
        speak_utf8()
        # at once, and as the first process of a container, too, which has no default actions
        signal.signal(signal.SIGTERM, lambda number, _frame: sys.exit(128 + number))
    command = list(sys.argv[1:] if arguments is None else arguments)
    options = parse_options(command)
    os.environ['NO_ET'] = '1'  # nipype looks for a newer version of itself otherwise
    choose_cache(options.work_dir)
    from bids_synthsr.run.participant import run_app

    return run_app(options, command)


def speak_utf8() -> None:
    """Start Python again in its UTF-8 mode where the locale has another encoding."""
    if sys.getfilesystemencoding().lower() != 'utf-8':
        os.environ['PYTHONUTF8'] = '1'
        os.execv(sys.executable, [sys.executable, '-m', __spec__.name, *sys.argv[1:]])


def choose_cache(work_dir: Path) -> None:
    """Let Matplotlib keep its cache in the work folder where it cannot in the home.

    Of a home that may not even be looked into, as in a container that runs as somebody else, the
    libraries are told nothing: they fail when they look for their settings in it.
    """
    home = os.environ.get('HOME') or '/nowhere'
    has_home = os.access(home, os.W_OK)
    if Path(home).is_dir() and not os.access(home, os.X_OK):
        os.environ['HOME'] = str(work_dir.resolve())
    if 'MPLCONFIGDIR' not in os.environ and not has_home:
        os.environ['MPLCONFIGDIR'] = str(work_dir.resolve() / 'matplotlib')


if __name__ == '__main__':
    sys.exit(main())
