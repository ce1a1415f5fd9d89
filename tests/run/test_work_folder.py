"""The work folder: whose it is, who may write to it, and which kept steps count."""

import gzip
import json
import os
import pickle
import stat
import time

import pytest

from bids_synthsr.derivatives.locks import ExamLocks
from bids_synthsr.interfaces.lists import FirstItem
from bids_synthsr.interfaces.receipts import RECEIPT, find_damage, write_receipt
from bids_synthsr.run.work_folder import (
    MARKER,
    WORKFLOW,
    UnsafeFolderError,
    WorkFolder,
    find_fault,
    mend_exam,
)


@pytest.fixture
def work(tmp_path):
    return WorkFolder(tmp_path / 'work', tmp_path / 'bids', tmp_path / 'out')


def test_every_pair_of_input_and_output_has_a_folder(tmp_path):
    pairs = [('a', 'out'), ('b', 'out'), ('a', 'other'), ('a/o', 'ut'), ('out', 'a')]
    roots = {WorkFolder(tmp_path, tmp_path / a, tmp_path / b).root for a, b in pairs}
    assert len(roots) == len(pairs)
    assert all(root.parent == tmp_path for root in roots)
    again = WorkFolder(tmp_path, tmp_path / 'a', tmp_path / 'out').root
    assert again in roots


def test_folder_is_made_for_its_owner_alone_and_says_whose_it_is(work):
    before = os.umask(0)
    try:
        work.open()
    finally:
        os.umask(before)
    assert stat.S_IMODE(work.root.stat().st_mode) == 0o700
    marker = json.loads((work.root / MARKER).read_text())
    assert marker == {
        'made_by': 'bids_synthsr', 'input': str(work.source), 'output': str(work.output)
    }  # fmt: skip
    work.root.chmod(0o755)
    work.open()
    assert stat.S_IMODE(work.root.stat().st_mode) == 0o700


@pytest.mark.parametrize('mode', [0o770, 0o707, 0o777])
def test_folder_that_others_may_write_to_is_refused(work, mode):
    work.open()
    work.root.chmod(mode)
    with pytest.raises(UnsafeFolderError, match=r'can be written to by others: remove it, or'):
        work.open()


def test_folder_of_another_user_is_refused(work, monkeypatch):
    work.open()
    monkeypatch.setattr(os, 'geteuid', lambda: 12345)
    with pytest.raises(UnsafeFolderError, match='belongs to another user'):
        work.open()


def test_link_in_place_of_the_folder_is_refused(work, tmp_path):
    work.work_dir.mkdir()
    work.root.symlink_to(tmp_path)
    with pytest.raises(UnsafeFolderError, match='is no folder'):
        work.open()


def test_folder_that_something_else_made_is_refused(work):
    work.root.mkdir(parents=True, mode=0o700)
    work.open()  # it is empty
    (work.root / MARKER).unlink()
    (work.root / 'file').touch()
    with pytest.raises(UnsafeFolderError, match='did not make it'):
        work.open()


def test_work_dir_that_everybody_may_write_to_is_refused_unless_it_is_sticky(work):
    work.work_dir.mkdir()
    work.work_dir.chmod(0o777)
    with pytest.raises(UnsafeFolderError, match=r'written to by everybody: .*chmod o-w'):
        work.open()
    assert not work.root.exists()
    work.work_dir.chmod(0o1777)
    work.open()


def test_emptying_removes_exams_on_which_nobody_works_and_nothing_else(work, tmp_path):
    work.open()
    foreign = [work.work_dir / 'thesis.txt', work.root / WORKFLOW / 'notes', tmp_path / 'out/x']
    exams = {name: work.root / WORKFLOW / name for name in ('sub_01', 'sub_02_ses_1')}
    old = work.root / 'bids_synthsr_0_0_1_wf/sub_01'
    for folder in (*exams.values(), old):
        folder.mkdir(parents=True)
        (folder / 'result.nii').touch()
    (exams['sub_01'] / 'link').symlink_to(tmp_path / 'out', target_is_directory=True)
    for path in foreign:
        path.parent.mkdir(exist_ok=True)
        path.touch()
    child = os.fork()  # locks are those of a process
    ready, done = (tmp_path / name for name in ('ready', 'done'))
    if not child:
        with ExamLocks(work.locks) as theirs:
            theirs.claim('sub-02_ses-1')
            ready.touch()
            while not done.exists():
                time.sleep(0.01)
        os._exit(0)
    while not ready.exists():
        time.sleep(0.01)
    with ExamLocks(work.locks) as locks:
        work.empty(locks)
    done.touch()
    os.waitpid(child, 0)
    assert not exams['sub_01'].exists()
    assert not old.exists()
    assert exams['sub_02_ses_1'].exists()
    assert all(path.exists() for path in foreign)


@pytest.fixture
def exam(tmp_path):
    """A step, and another one of two parts, as nipype leaves them."""
    root = tmp_path / 'sub_01'
    for name in ('select', 'align/mapflow/_align0', 'align/mapflow/_align1'):
        folder = root / 'exam_wf' / name
        folder.mkdir(parents=True)
        (folder / 'volume.nii').write_bytes(bytes(range(256)) * 40)
        (folder / 'selection.json').write_text('[]')
        write_receipt(folder)
        write_result(folder)
        (folder / '_0xabc.json').write_text('[]')
    write_result(root / 'exam_wf/align')
    return root


def write_result(folder):
    with gzip.open(folder / f'result_{folder.name}.pklz', 'wb') as file:
        pickle.dump([0] * 1000, file)


def zero(path):
    path.write_bytes(bytes(path.stat().st_size))


def cut(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def empty(path):
    path.write_bytes(b'')


def flip(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def replace_by_pipe(path):
    path.unlink()
    os.mkfifo(path)


def replace_by_link(path):
    path.rename(path.with_suffix('.moved'))
    path.symlink_to(path.with_suffix('.moved'))


DAMAGES = (zero, cut, empty, flip, os.unlink, replace_by_pipe, replace_by_link)


def test_whole_steps_are_kept(exam):
    before = sorted(exam.rglob('*'))
    assert mend_exam(exam) == []
    assert sorted(exam.rglob('*')) == before
    assert mend_exam(exam.with_name('sub_02')) == []


@pytest.mark.parametrize('damage', DAMAGES)
@pytest.mark.parametrize('name', ['volume.nii', 'selection.json', RECEIPT, 'result_select.pklz'])
def test_step_that_is_not_whole_is_done_again_and_no_other(exam, damage, name):
    if (damage, name) == (os.unlink, 'result_select.pklz'):
        pytest.skip('without a result nipype does it again by itself')
    step, other = exam / 'exam_wf/select', exam / 'exam_wf/align'
    damage(step / name)
    (line,) = mend_exam(exam)
    assert line.startswith('the kept step select is done again: ')
    assert not list(step.iterdir())
    assert (other / 'result_align.pklz').is_file()
    assert mend_exam(exam) == []


def test_part_that_is_not_whole_is_done_again_and_collected_anew(exam):
    step = exam / 'exam_wf/align'
    zero(step / 'mapflow/_align1/volume.nii')
    (line,) = mend_exam(exam)
    assert '_align1 is done again: volume.nii has another content' in line
    assert not (step / 'result_align.pklz').exists()
    assert not list((step / 'mapflow/_align1').iterdir())
    assert find_fault(step / 'mapflow/_align0') == ''


def test_collected_results_that_are_torn_cost_no_part(exam):
    step = exam / 'exam_wf/align'
    empty(step / 'result_align.pklz')
    (line,) = mend_exam(exam)
    assert 'result_align.pklz cannot be read' in line
    assert find_fault(step / 'mapflow/_align0') == find_fault(step / 'mapflow/_align1') == ''


def test_result_of_another_user_is_not_read(exam, monkeypatch):
    monkeypatch.setattr(os, 'geteuid', lambda: 12345)
    assert 'belongs to another user' in find_fault(exam / 'exam_wf/select')


def test_file_in_place_of_an_exam_is_removed(exam):
    file = exam.with_name('sub_02')
    file.touch()
    assert mend_exam(file) == []
    assert not file.exists()


def test_step_that_runs_alone_leaves_no_receipt(tmp_path, monkeypatch):
    """It may run in any folder, whose files are not its own."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / 'another.nii').touch()
    FirstItem(entries=[1, 2]).run()
    assert [path.name for path in tmp_path.iterdir()] == ['another.nii']


@pytest.mark.parametrize('content', ['[]', '{}', '{"files": 3}', '{"files": {"volume.nii": 1}}'])
def test_odd_receipt_confirms_nothing(tmp_path, content):
    (tmp_path / RECEIPT).write_text(content)
    assert 'its receipt cannot be confirmed' in find_damage(tmp_path)


def test_emptying_follows_no_link(work, tmp_path):
    precious = tmp_path / 'precious/sub_photos'
    precious.mkdir(parents=True)
    work.open()
    (work.root / WORKFLOW).symlink_to(precious.parent)
    with ExamLocks(work.locks) as locks:
        work.empty(locks)
    assert precious.is_dir()
    assert (work.root / WORKFLOW).is_symlink()
