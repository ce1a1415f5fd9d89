"""Every broken scan that was met, through the whole program: it does what its page says."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
ROW = re.compile(r'^\| (?!---)(.+) \| (finished|failed) \| (.*) ?\|$', re.MULTILINE)


def rows(text):
    return {fault: (state, told.strip()) for fault, state, told in ROW.findall(text)}


def test_page_of_faults_tells_what_the_program_tells():
    if os.geteuid() == 0 and not shutil.which('setpriv'):
        pytest.skip('without setpriv, an administrator may read everything')
    done = subprocess.run(
        [sys.executable, ROOT / 'benchmarks/endurance/faults.py'],
        capture_output=True,
        text=True,
        check=True,
    )
    made = rows(done.stdout)
    told = rows((ROOT / 'docs/reference/faults.md').read_text())
    good = {name for name in made if name.startswith('none')}
    assert len(good) == 3 and all(made[name] == ('finished', '') for name in good)
    assert told == {name: row for name, row in made.items() if name not in good}
    assert 'Exit code 1' in done.stdout
