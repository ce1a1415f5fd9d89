"""Run bids_synthsr in a container, with paths as they are outside of it.

Options of this command stand before BIDS_DIR; everything after the analysis level goes to the
program as it is, but for paths, which are mounted. Needs nothing but Python.
"""

from __future__ import annotations

import argparse
import os
import shlex
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path
from typing import NoReturn

ENGINES = ('docker', 'podman', 'apptainer', 'singularity')
IMAGES = {'docker': 'synthsr', 'podman': 'synthsr'}
SIF = 'synthsr.sif'  # of Apptainer, in the current folder
READ = (  # files, and a folder
    '--weights', '--fs-license-file', '--bids-filter-file', '--config-file',
    '--nipype-plugin-file', '--use-plugin', '--lesion-masks',
)  # fmt: skip
READ_MANY = ('--derivatives', '-d')  # folders, or NAME=FOLDER
WRITE = (  # folders that are made
    '--work-dir', '-w', '--bids-database-dir', '--as-dataset', '--fs-subjects-dir',
)  # fmt: skip
HOMES = (  # variables that name what is mounted: templates, and for --recon tools and licence
    ('TEMPLATEFLOW_HOME', '/templateflow'), ('FREESURFER_HOME', '/opt/freesurfer'),
    ('FASTSURFER_HOME', '/opt/fastsurfer'), ('FS_LICENSE', '/opt/license.txt'),
)  # fmt: skip
GPU = {'docker': ('--gpus', 'all'), 'podman': ('--device', 'nvidia.com/gpu=all')}
PASSED_ON = (  # what a Slurm job may use
    'SLURM_MEM_PER_NODE', 'SLURM_MEM_PER_CPU', 'SLURM_CPUS_PER_TASK', 'SLURM_CPUS_ON_NODE',
)  # fmt: skip
SEPARATORS = ':,\n'  # of the parts of a mount and of mounts
WRONG_USE = 2


@dataclass
class Mounts:
    """What of the machine the container sees, and where."""

    read: dict[Path, str] = field(default_factory=dict)
    write: dict[Path, str] = field(default_factory=dict)

    def to_read(self, path: str, place: str = '') -> str:
        """Show a file or folder that must be there; return its path inside."""
        source = Path(path).resolve()
        if not source.exists():
            raise FileNotFoundError(f'{path} does not exist')
        check_name(source)
        name = place or f'/in/{len(self.read)}/{source.name}'
        return self.read.setdefault(source, name)

    def to_write(self, path: str, place: str = '') -> str:
        """Make a folder and show it; return its path inside."""
        source = Path(path).resolve()
        check_name(source)
        source.mkdir(parents=True, exist_ok=True)  # docker would make it root's
        return self.write.setdefault(source, place or f'/made/{len(self.write)}')


class CommandParser(argparse.ArgumentParser):
    """Parser that ends a command with a line for the error, and one for where help is."""

    def error(self, message: str) -> NoReturn:
        """End the command; of options that there are not, name those that may be meant."""
        words = message.partition('unrecognized arguments: ')[2].split()
        known = [*self._option_string_actions]
        near = [hit for word in words for hit in get_close_matches(word, known, 1)]
        hint = f'; did you mean {near[0]}?' if near else ''
        self.exit(
            WRONG_USE, f'{self.prog}: error: {message}{hint}\nFor help: {self.prog} --help\n'
        )


def check_name(source: Path) -> None:
    """Refuse a path that would end in the middle of a mount.

    Raises
    ------
    ValueError
        With what to do.
    """
    for sign in SEPARATORS:
        if sign in str(source):
            raise ValueError(
                f'{source} has a {sign!r} in its name, which separates the parts of a mount: '
                'rename it'
            )


def build_parser() -> argparse.ArgumentParser:
    """Describe the command line."""
    parser = CommandParser(prog='synthsr-docker', description=__doc__, allow_abbrev=False)
    parser.add_argument('--engine', choices=ENGINES, default='docker', help='[docker]')
    parser.add_argument('--image', help=f'[synthsr; {SIF} for Apptainer]')
    parser.add_argument('--gpu', action='store_true', help='let the container use NVIDIA GPUs')
    parser.add_argument('--dry-run', action='store_true', help='only print the command')
    parser.add_argument('bids_dir', help='root folder of a BIDS data set')
    parser.add_argument('output_dir', help='folder for derivatives and reports')
    parser.add_argument('analysis_level', metavar='{participant}', help='see bids_synthsr --help')
    parser.add_argument(
        'options', nargs=argparse.REMAINDER, help='of bids_synthsr, see its --help'
    )
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Become the engine that runs the program, so that signals and exit code are its own."""
    options = build_parser().parse_args(arguments)
    try:
        command = build_command(options, os.environ, has_terminal=sys.stdin.isatty())
    except (OSError, ValueError) as error:
        print(f'synthsr-docker: {error}', file=sys.stderr)
        return WRONG_USE
    if options.dry_run:
        print(shlex.join(command))
        return 0
    try:
        os.execvp(command[0], command)
    except FileNotFoundError:
        print(f'synthsr-docker: there is no {command[0]} here: --engine', file=sys.stderr)
        return WRONG_USE


def build_command(
    options: argparse.Namespace, environ: Mapping[str, str], *, has_terminal: bool
) -> list[str]:
    """Build the command of the engine.

    Raises
    ------
    OSError
        If something that must be there is not, or a folder cannot be made.
    ValueError
        If a path cannot be mounted.
    """
    mounts = Mounts()
    places = [
        mounts.to_read(options.bids_dir, '/data'),
        mounts.to_write(options.output_dir, '/out'),
    ]
    own = translate(options.options, mounts)
    if not {'-w', '--work-dir'} & {word.partition('=')[0] for word in own}:
        own += ['--work-dir', mounts.to_write('work', '/work')]  # the program's own default
    inside = [*places, options.analysis_level, *own]
    known = [f'{name}={environ[name]}' for name in PASSED_ON if name in environ]
    homes = HOMES if any(word.partition('=')[0] == '--recon' for word in own) else HOMES[:1]
    for name, place in homes:
        if environ.get(name):
            known.append(f'{name}={mounts.to_read(environ[name], place)}')
    image = options.image or IMAGES.get(options.engine, SIF)
    if options.engine in GPU:
        outside = _docker(options.engine, options.gpu, mounts, known, has_terminal)
    else:
        outside = _apptainer(options.engine, options.gpu, mounts, known)
    return [*outside, image, *inside]


def translate(options: Sequence[str], mounts: Mounts) -> list[str]:
    """Replace the paths among the program's options by those inside the container."""
    inside, option = [], ''
    for word in options:
        if word.startswith('-'):
            option, _, value = word.partition('=')
            inside.append(f'{option}={_place(option, value, mounts)}' if value else word)
        else:
            inside.append(_place(option, word, mounts))
            option = option if option in READ_MANY else ''
    return inside


def _place(option: str, value: str, mounts: Mounts) -> str:
    """Give a value of an option as it is inside."""
    if option in READ_MANY and '=' in value and not Path(value).exists():
        name, _, folder = value.partition('=')
        return f'{name}={mounts.to_read(folder)}'
    if option in (*READ, *READ_MANY):
        return mounts.to_read(value)
    return mounts.to_write(value) if option in WRITE else value


def _docker(
    engine: str, gpu: bool, mounts: Mounts, known: Sequence[str], has_terminal: bool
) -> list[str]:
    """Command of docker or podman: the caller's user, no network, nothing writable but mounts."""
    command = [engine, 'run', '--rm', '--network', 'none', '--read-only', '--tmpfs', '/tmp']
    command += ['--user', f'{os.getuid()}:{os.getgid()}']
    if engine == 'podman' and os.getuid() != 0:
        command += ['--userns', 'keep-id']
    command += ['--interactive', '--tty'] if has_terminal else []
    command += GPU[engine] if gpu else ()
    for variable in known:
        command += ['--env', variable]
    for source, place in mounts.read.items():
        command += ['--volume', f'{source}:{place}:ro']
    for source, place in mounts.write.items():
        command += ['--volume', f'{source}:{place}']
    return command


def _apptainer(engine: str, gpu: bool, mounts: Mounts, known: Sequence[str]) -> list[str]:
    """Command of Apptainer, which runs as the caller in a read-only image anyway."""
    command = [engine, 'run', '--containall', '--pwd', '/tmp', *(['--nv'] if gpu else [])]
    for variable in known:
        command += ['--env', variable]
    for source, place in mounts.read.items():
        command += ['--bind', f'{source}:{place}:ro']
    for source, place in mounts.write.items():
        command += ['--bind', f'{source}:{place}']
    return command


if __name__ == '__main__':
    sys.exit(main())
