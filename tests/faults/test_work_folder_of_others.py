"""Runs that share a work folder, and what is lost, damaged or planted in it."""

import gzip
import json
import os
import pickle
import shutil
import subprocess
import sys
from pathlib import Path

import nibabel as nb
import numpy as np
import pytest
from phantoms import write_description, write_scan

from bids_synthsr.cli.bids_app import main
from bids_synthsr.run.work_folder import WORKFLOW, WorkFolder

COMMAND = Path(sys.executable).with_name('bids_synthsr')
QUICK = ['participant', '--method', 'cubic', '--output-resolution', '5', '--nprocs', '1',
         '--skip-bids-validation']  # fmt: skip

HOLDER = """
import sys
from pathlib import Path
from bids_synthsr.derivatives.locks import ExamLocks
locks = ExamLocks(Path(sys.argv[1]))
print(locks.claim('sub-01'), flush=True)
sys.stdin.read()
"""


def run(bids, out, work, *arguments):
    return main([str(bids), str(out), *QUICK, '-w', str(work), *arguments])


def make(root, scale=1.0):
    """Write a data set of one exam, whose intensities tell it from others."""
    write_description(root)
    path = write_scan(root / 'sub-01/anat', 'sub-01', 'T1w')
    image = nb.load(path)
    nb.save(nb.Nifti1Image(np.asarray(image.dataobj) * scale, image.affine, image.header), path)
    return root


def volume(out):
    (path,) = out.rglob('*_desc-cubic_T1w.nii.gz')
    return np.asarray(nb.load(path).dataobj)


def folder_of(bids, out, work):
    return WorkFolder(work, bids, out).root / WORKFLOW / 'sub_01'


@pytest.fixture(scope='module')
def undisturbed(tmp_path_factory):
    """The volume of an exam that nothing happens to."""
    folder = tmp_path_factory.mktemp('undisturbed')
    assert run(make(folder / 'bids'), folder / 'out', folder / 'work') == 0
    return volume(folder / 'out')


def test_data_sets_with_equal_labels_are_kept_apart(tmp_path, undisturbed):
    a, b = make(tmp_path / 'a'), make(tmp_path / 'b', 3.0)
    work = tmp_path / 'work'
    for stage in ('synthesize', 'report'):
        for bids in (a, b):
            assert run(bids, tmp_path / f'out-{bids.name}', work, '--stage', stage) == 0
    assert np.array_equal(volume(tmp_path / 'out-a'), undisturbed)
    assert np.allclose(
        volume(tmp_path / 'out-b'), 3 * undisturbed, atol=0.01
    )  # rounding of float32
    assert len(list(work.iterdir())) == 2


def test_lost_blocks_and_torn_results_never_reach_the_output(tmp_path, undisturbed):
    bids, out, work = make(tmp_path / 'bids'), tmp_path / 'out', tmp_path / 'work'
    assert run(bids, out, work, '--stage', 'synthesize') == 0
    exam = folder_of(bids, out, work)
    (made,) = exam.rglob('synthesize/volume-0.nii')
    made.write_bytes(bytes(made.stat().st_size))
    (result,) = exam.rglob('result_select.pklz')
    result.write_bytes(b'')
    (part,) = exam.rglob('_resample0/resampled.nii')
    part.write_bytes(part.read_bytes()[:1000])
    assert run(bids, out, work) == 0
    assert np.array_equal(volume(out), undisturbed)
    (log,) = [path for path in out.rglob('bids_synthsr.log') if 'done again' in path.read_text()]
    for step in ('select', '_resample0', 'synthesize'):
        assert f'sub-01: the kept step {step} is done again' in log.read_text()


def snapshot(*folders):
    return {path: path.read_bytes() for f in folders for path in f.rglob('*') if path.is_file()}


def test_clean_workdir_removes_what_the_program_made_and_nothing_else(tmp_path, monkeypatch):
    bids = make(tmp_path / 'all/bids')
    out, above = tmp_path / 'all/out', tmp_path / 'all'
    (above / 'thesis.txt').write_text('years of work')
    monkeypatch.chdir(above)
    assert run(bids, out, above) == 0
    other = snapshot(bids, out / 'sub-01')
    for work in (above, out, Path()):
        kept = folder_of(bids, out, work.resolve()) / 'kept'
        kept.parent.mkdir(parents=True, exist_ok=True)
        kept.touch()
        (kept.parents[2]).chmod(0o700)
        if work == out:  # made by hand: nothing says that the program made it
            shutil.rmtree(kept.parents[2])
        assert run(bids, out, work, '--clean-workdir') == 0
        assert not kept.exists()
        assert snapshot(bids, out / 'sub-01') == other
        assert (above / 'thesis.txt').read_text() == 'years of work'


class Planted:
    """Runs a command when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


def test_planted_result_is_never_unpickled(tmp_path, capsys):
    bids, out, work = make(tmp_path / 'bids'), tmp_path / 'out', tmp_path / 'work'
    pwned = tmp_path / 'pwned'
    assert run(bids, out, work, '--stage', 'register') == 0
    for path in folder_of(bids, out, work).rglob('*.pklz'):
        with gzip.open(path, 'wb') as file:
            pickle.dump(Planted(pwned), file)
    WorkFolder(work, bids, out).root.chmod(0o777)
    assert run(bids, out, work) == 2
    assert 'can be written to by others: remove it, or choose another' in capsys.readouterr().err
    assert not pwned.exists()


def test_neither_environment_nor_names_of_patients_are_kept(tmp_path):
    bids, out, work = make(tmp_path / 'bids'), tmp_path / 'out', tmp_path / 'work'
    sidecar = bids / 'sub-01/anat/sub-01_T1w.json'
    fields = json.loads(sidecar.read_text())
    sidecar.write_text(json.dumps({**fields, 'PatientName': 'Erika^Musterfrau'}))
    broken = write_scan(bids / 'sub-02/anat', 'sub-02', 'T1w')
    broken.write_bytes(broken.read_bytes()[:-300])
    command = [COMMAND, bids, out, *QUICK, '-w', work]
    variables = {**os.environ, 'AWS_SECRET_ACCESS_KEY': 'hunter2-hunter2'}
    assert subprocess.run(command, env=variables, check=False).returncode == 1
    files = [path for path in tmp_path.rglob('*') if path.is_file() and bids not in path.parents]
    assert len(files) > 50
    for path in files:
        is_zipped = path.suffix in ('.gz', '.pklz')
        content = gzip.decompress(path.read_bytes()) if is_zipped else path.read_bytes()
        for secret in (b'hunter2-hunter2', b'Musterfrau'):
            assert secret not in content, path


def test_exam_on_which_a_run_of_other_folders_works_is_told_and_not_touched(tmp_path, capsys):
    bids, out, work = make(tmp_path / 'bids'), tmp_path / 'out', tmp_path / 'work'
    folder = WorkFolder(work, bids, out)
    folder.open()
    holder = subprocess.Popen(
        [sys.executable, '-c', HOLDER, folder.locks], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert holder.stdout.readline()
    assert run(bids, out, work) == 1
    holder.communicate()
    assert 'another run works on an exam of this name' in capsys.readouterr().err
    assert run(bids, out, work) == 0
