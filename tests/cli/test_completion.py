"""Tab completion: scripts that shells take."""

import subprocess

import pytest

from bids_synthsr.cli import bids_app, synthsr
from bids_synthsr.cli.door import SHELLS


@pytest.mark.parametrize('shell', SHELLS)
@pytest.mark.parametrize(
    ('main', 'name'), [(bids_app.main, 'bids_synthsr'), (synthsr.main, 'synthsr')]
)
def test_script_is_printed_for_every_shell(main, name, shell, capsys):
    with pytest.raises(SystemExit) as stop:
        main(['--print-completion', shell])
    assert stop.value.code == 0
    script = capsys.readouterr().out
    assert name in script and ('leave-one-out' in script) == (name == 'synthsr')


def test_bash_completes_sub_commands_and_methods(capsys):
    with pytest.raises(SystemExit):
        synthsr.main(['--print-completion', 'bash'])
    script = capsys.readouterr().out
    complete = '\nCOMP_WORDS=(synthsr exam --method s); COMP_CWORD=3\n_shtab_synthsr\n'
    shown = 'printf "%s\\n" "${COMPREPLY[@]}"'
    done = subprocess.run(
        ['bash', '-c', script + complete + shown], capture_output=True, text=True, check=False
    )
    assert {'sr-t1', 'synthsr'} <= set(done.stdout.split()), done.stderr
