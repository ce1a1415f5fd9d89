"""What the commands share: types of arguments, surroundings, and how errors end a command.

Doors parse and print. They alone read the arguments and the environment, which they hand on.
"""

from __future__ import annotations

import argparse
import atexit
import errno
import os
import re
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import chdir
from difflib import get_close_matches
from importlib import import_module
from pathlib import Path
from typing import Any, NoReturn

from bids_synthsr.dataset.errors import FailedExamError
from bids_synthsr.settings import SOME_FAILED, WRONG_USE
from bids_synthsr.values.text import plain_lines, plain_text
from bids_synthsr.values.words import find_word

NEUTRAL = '/'  # a folder whose files are those of the administrator
# errors of the system that no other use of the command would have prevented
BROKEN_OFF = (errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.ENOMEM, errno.EFBIG)
MEMORY = re.compile(r'(\d+\.?\d*|\.\d+)\s*(?:([kmgt])i?b?)?', re.IGNORECASE)
OPTION = re.compile(r'--?[^\W\d]')  # how an option begins, and no negative number
MAX_MESSAGE = 5000  # characters of a line
SHELLS = ('bash', 'zsh', 'tcsh')


def positive_int(text: str) -> int:
    """Read a whole number of at least 1."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f'{text!r} is not a whole number of at least 1')
    return int(text)


def whole_number(text: str) -> int:
    """Read a whole number of at least 0."""
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f'{text!r} is not a whole number of at least 0')
    return int(text)


def positive_float(text: str) -> float:
    """Read a finite number above 0."""
    try:
        number = float(text)
    except ValueError:
        number = 0
    if not 0 < number < float('inf'):
        raise argparse.ArgumentTypeError(f'{text!r} is not a number above 0')
    return number


def memory(text: str, unit: str = '') -> str:
    """Read an amount of memory and give it with its unit, ``16G``; as it is without one.

    Parameters
    ----------
    text
        Number with K, M, G or T, in any letter case and with or without ``B`` or ``iB``.
    unit
        Unit of a number that comes without one.
    """
    match = MEMORY.fullmatch(text.strip())
    if match is None or not 0 < float(match[1]) < float('inf'):
        raise argparse.ArgumentTypeError(
            f'{text!r} is not a number above 0, alone or with a unit: write 16G, or 16000M'
        )
    return f'{match[1]}{(match[2] or unit).upper()}'


def memory_in_gb(text: str) -> str:
    """Read an amount of memory in GB, or with a unit of its own."""
    return memory(text, 'G')


def memory_in_mb(text: str) -> str:
    """Read an amount of memory in MB, or with a unit of its own."""
    return memory(text, 'M')


def gigabytes(amount: str) -> float:
    """Turn an amount of memory as `memory` gives it into GB; one without a unit is in GB."""
    number, unit = amount.rstrip('KMGT'), amount[-1]
    return float(number) * {'K': 1e-6, 'M': 1e-3, 'T': 1e3}.get(unit, 1.0)


def add_memory(parser: argparse._ActionsContainer) -> None:
    """Add the options for the memory of all processes, in the spellings of fMRIPrep and MRIQC."""
    parser.add_argument(
        '--mem',
        type=memory,
        metavar='SIZE',
        help='memory for all, such as 16G or 16000M; a number alone is in GB [90 %% of free]',
    )
    parser.add_argument(
        '--mem-gb', '--mem_gb', dest='mem', type=memory_in_gb, metavar='GB', help='the same in GB'
    )
    parser.add_argument(
        '--mem-mb', '--mem_mb', dest='mem', type=memory_in_mb, metavar='MB', help='the same in MB'
    )


def contrast(text: str) -> str:
    """Read the BIDS suffix of a scan, in any letter case."""
    from bids_synthsr.values.exam import SUFFIXES  # with NumPy, which --help need not wait for

    try:
        return find_word(text, SUFFIXES)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f'contrast {error}') from error


class CommandParser(argparse.ArgumentParser):
    """Parser of a command and its sub-commands: options are written out in full.

    Of an abbreviation, what reads options before this parser does would not know.
    """

    def __init__(self, **arguments: Any) -> None:
        super().__init__(**{'allow_abbrev': False, **arguments})

    def parse_known_args(  # type: ignore[override]
        self,
        args: Sequence[str] | None = None,
        namespace: argparse.Namespace | None = None,
    ) -> tuple[argparse.Namespace, list[str]]:
        """Parse words; an option that there is not ends the command, with the one meant.

        argparse would take the value behind such an option for a folder, and complain of that.
        """
        words = sys.argv[1:] if args is None else [*args]
        unknown = next(self._unknown_options(words), None)
        if unknown is not None:
            self.error(f'unrecognized arguments: {unknown}{self._near(unknown)}')
        return super().parse_known_args(words, namespace)

    def _unknown_options(self, words: Iterable[str]) -> Iterator[str]:
        """Yield what looks like an option and is none; a sub-command judges what follows it."""
        known = self._option_string_actions
        for word in words:
            option = word.partition('=')[0]
            if word == '--' or (self._subparsers and not word.startswith('-')):
                return
            is_known = option in known or (not word.startswith('--') and word[:2] in known)
            if OPTION.match(word) and ' ' not in word and not is_known:
                yield option

    def _near(self, option: str) -> str:
        """Ask whether another option was meant; nothing where none comes near."""
        spelling = option.strip('-').replace('_', '-')
        by_spelling = {name.strip('-').replace('_', '-'): name
                       for name in reversed(self._option_string_actions)}  # fmt: skip
        near = get_close_matches(spelling, by_spelling, 1)
        return f'; did you mean {by_spelling[near[0]]}?' if near else ''

    def error(self, message: str) -> NoReturn:
        """End the command with a line for the error, and one for where help is."""
        message = plain_text(message, MAX_MESSAGE)  # it may quote what others wrote
        self.exit(WRONG_USE, f'{self.prog}: error: {message}\nFor help: {self.prog} --help\n')


class ReadableDefaults(argparse.ArgumentDefaultsHelpFormatter):
    """Help with the defaults as one would type them; without those that say nothing."""

    def _get_help_string(self, action: argparse.Action) -> str | None:
        if not is_telling(action.default):
            return action.help
        text = super()._get_help_string(action) or ''
        return text.replace('%(default)s', typed_default(action.default).replace('%', '%%'))


def is_telling(default: Any) -> bool:
    """Whether a default tells a reader anything."""
    return default not in (None, False, 0, [], (), '', argparse.SUPPRESS)


def typed_default(value: Any) -> str:
    """Write a default as one would type it."""
    if isinstance(value, tuple) and all(isinstance(item, str) for item in value):
        return '+'.join(value)  # one word of several
    if isinstance(value, list | tuple):
        return ' '.join(map(typed_default, value))
    return f'{value:g}' if isinstance(value, float) else str(value)


def add_device(parser: argparse._ActionsContainer) -> None:
    """Add the option for the device that networks run on."""
    parser.add_argument(
        '--device',
        default='auto',
        metavar='{auto,cpu,cuda,cuda:N}',
        help='where networks run; auto takes a GPU where there is one',
    )


class PrintCompletion(argparse.Action):
    """Print what a shell needs to complete the options of a command, and end."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,  # noqa: ARG002
        values: Any,
        option_string: str | None = None,  # noqa: ARG002
    ) -> NoReturn:
        """Print the script of a shell."""
        import shtab

        for each in _parsers(parser):
            for action in each._actions:
                if action.type is Path:
                    action.complete = shtab.FILE  # type: ignore[attr-defined]
        sys.stdout.write(shtab.complete(parser, values))
        parser.exit()


def _parsers(parser: argparse.ArgumentParser) -> Iterator[argparse.ArgumentParser]:
    """Yield a parser and those of its sub-commands."""
    yield parser
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for child in action.choices.values():
                yield from _parsers(child)


def add_completion(parser: argparse.ArgumentParser) -> None:
    """Add the option that prints a script for tab completion."""
    parser.add_argument(
        '--print-completion',
        choices=SHELLS,
        action=PrintCompletion,
        help='print a script for tab completion in this shell, and end',
    )


def ignore_current_folder() -> None:
    """Keep Python, here and in all processes that this one starts, from importing what lies here.

    ``python -m`` puts the current folder, which may be a data set, before the standard library.
    """
    os.environ['PYTHONSAFEPATH'] = '1'
    if not sys.flags.safe_path and sys.path[:1] in ([''], [str(Path.cwd())]):
        del sys.path[0]


def find_folder_fault() -> str:
    """Describe why no command can be done in the current folder; empty where one can."""
    try:
        Path.cwd()
    except OSError:
        return 'The current folder has been removed: change to another one (cd), and try again.'
    if not os.access(os.curdir, os.X_OK):
        return 'The current folder must not be entered: change to another one (cd), and try again.'
    return ''


def import_elsewhere(modules: Iterable[str]) -> None:
    """Import libraries that obey files of the current folder: ``nipype.cfg``, ``matplotlibrc``."""
    with chdir(NEUTRAL):
        for module in modules:
            import_module(module)


def open_streams() -> None:
    """Open standard streams that the shell has closed (``2>&-``): messages go nowhere then.

    Otherwise the next file that is opened, such as a log, would take their number.
    """
    while (handle := os.open(os.devnull, os.O_RDWR)) <= 2:
        os.set_inheritable(handle, True)
    os.close(handle)
    for number, (name, mode) in enumerate((('stdin', 'r'), ('stdout', 'w'), ('stderr', 'w'))):
        if getattr(sys, name) is None:
            setattr(sys, name, os.fdopen(number, mode, encoding='utf-8', closefd=False))


def use_utf8(module: str) -> None:
    """Start Python again in its UTF-8 mode where the locale has another encoding.

    Parameters
    ----------
    module
        Full name of the module of the command, which is run anew.
    """
    if sys.getfilesystemencoding().lower() != 'utf-8':
        os.environ['PYTHONUTF8'] = '1'
        os.execv(sys.executable, [sys.executable, '-P', '-m', module, *sys.argv[1:]])


def silence_telemetry() -> None:
    """Keep nipype from looking for a newer version of itself in the network."""
    os.environ['NO_ET'] = '1'


def choose_cache() -> None:
    """Let Matplotlib keep its cache in a private temporary folder where it cannot in the home.

    Of a home that may not even be looked into, as in a container that runs as somebody else, the
    libraries are not configured: they fail when they look for their settings in it. The folder
    goes when the program ends.
    """
    home = os.environ.get('HOME') or '/nowhere'
    is_closed = Path(home).is_dir() and not os.access(home, os.X_OK)
    needs_cache = 'MPLCONFIGDIR' not in os.environ and not os.access(home, os.W_OK)
    if not (is_closed or needs_cache):
        return
    try:
        folder = tempfile.mkdtemp(prefix='bids_synthsr-cache-')
    except OSError:  # Matplotlib says so itself, and works without
        return
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    if is_closed:
        os.environ['HOME'] = folder
    if needs_cache:
        os.environ['MPLCONFIGDIR'] = folder


def end_with_message(prog: str, command: Callable[[], int]) -> int:
    """Run a command; what stops it ends it with a sentence and the exit code that tells the truth.

    Parameters
    ----------
    prog
        Name of the command, with which the sentence begins.
    command
        Function that does the work and returns the exit code.
    """
    try:
        return command()
    except KeyboardInterrupt as stop:
        from bids_synthsr.run.plugin import STOPPED, exit_code_of

        name, code = exit_code_of(stop)
        sys.stderr.write(STOPPED % name + '\n')
        return code
    except FailedExamError as error:
        sys.stderr.write(f'{prog}: {plain_lines(str(error), MAX_MESSAGE)}\n')
        return SOME_FAILED
    except (ValueError, OSError) as error:
        sys.stderr.write(f'{prog}: {plain_lines(describe_failure(error), MAX_MESSAGE)}\n')
        return SOME_FAILED if getattr(error, 'errno', None) in BROKEN_OFF else WRONG_USE


def describe_failure(error: Exception) -> str:
    """Describe an error in words: of the system, the file and what is wrong with it."""
    if isinstance(error, OSError) and error.strerror and error.filename is not None:
        return f'{error.filename}: {error.strerror}'
    return str(error)


def environ() -> Mapping[str, str]:
    """The environment, which doors hand on; nothing else reads it."""
    return os.environ
