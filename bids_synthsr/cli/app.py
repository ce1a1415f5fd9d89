"""The command ``bids_synthsr``."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

from bids_synthsr.cli.parser import parse_options


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the program; return 0 if all exams succeeded, 1 if some failed, 2 for wrong use."""
    command = list(sys.argv[1:] if arguments is None else arguments)
    options = parse_options(command)
    os.environ['NO_ET'] = '1'  # nipype looks for a newer version of itself otherwise
    from bids_synthsr.cli.run import run_app

    return run_app(options, command)


if __name__ == '__main__':
    sys.exit(main())
