"""The commands of the documents that take minutes, word for word, on scans of the demo."""

import pytest
from documented_commands import FAST, SLOW, replace_phantoms, run, write_surroundings


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp('reader')
    write_surroundings(folder)
    done = run('synthsr demo make demo', folder)
    assert done.returncode == 0, done.stderr
    replace_phantoms(folder)
    return folder


def test_commands_run_in_the_order_of_the_documents(folder):
    for command in (*FAST, *SLOW):
        done = run(command, folder)
        assert done.returncode == 0, f'{command}\n{done.stdout}{done.stderr}'
    assert (folder / 't1_1mm.nii.gz').is_file() and (folder / 't1_tv_FLAIR.nii.gz').is_file()
    assert (folder / 'out/sub-01.html').is_file() and (folder / 'out2/index.html').is_file()
    assert (folder / 'evaluation/leave-one-out.html').is_file()
