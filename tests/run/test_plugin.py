"""The engine outlives its workers: killed steps are tried again, and then told."""

import importlib
import time
from multiprocessing import forkserver
from pathlib import Path

import psutil
import pytest
import torch
from nipype.interfaces import utility as niu
from nipype.pipeline import engine as pe

from bids_synthsr.derivatives.records import read_steps
from bids_synthsr.interfaces.methods import Synthesize
from bids_synthsr.interfaces.parts import PartsNode
from bids_synthsr.interfaces.resampling import DefineGrid
from bids_synthsr.run.crashes import read_crashes
from bids_synthsr.run.forking import PRELOADED, start_forkserver, stop_forkserver
from bids_synthsr.run.plugin import ExamByExamPlugin, configure_engine, save_memory, send_crashes
from bids_synthsr.run.processing import EXAMS_PER_GPU
from bids_synthsr.run.steps import StepLog
from bids_synthsr.settings import MethodSettings
from bids_synthsr.values.method import Forecast
from bids_synthsr.workflows.base import init_configured_exam_wf
from bids_synthsr.workflows.stages import ExamSetup

EXAMS = ['sub_01', 'sub_02']


def touch(path, kills):
    """Write a file; die ``kills`` times before, as a process does when memory runs out."""
    import os
    import signal
    import time
    from pathlib import Path

    tries = Path(path + '.tries')
    done = len(tries.read_text()) if tries.exists() else 0
    tries.write_text('x' * (done + 1))
    if done < kills:
        time.sleep(0.2)  # the other exam is at work by then
        os.kill(os.getpid(), signal.SIGKILL)
    Path(path).write_text('done')
    return path


def use_threads():
    import torch

    torch.set_num_threads(2)
    return float(torch.linspace(0, 1, 10**6).sum())


def take_memory(gb):
    import numpy as np

    return float(np.ones(int(gb * 125e6)).sum())


def new_workflow(folder):
    workflow = pe.Workflow(name='run', base_dir=str(folder / 'work'))
    send_crashes(workflow, folder / 'crash')
    return workflow


def give(value):
    return value


def give_little(_value):
    return 0.01


@pytest.fixture
def run(tmp_path):
    """Run a step for each of two exams; the first is killed some times."""

    def run_(kills, n_procs=2):
        configure_engine()
        workflow = new_workflow(tmp_path)
        for exam in EXAMS:
            step = niu.Function(['path', 'kills'], ['path'], touch)
            node = pe.Node(step, name='step')
            node.inputs.path = str(tmp_path / exam)
            node.inputs.kills = kills if exam == EXAMS[0] else 0
            inner = pe.Workflow(name=exam)
            inner.add_nodes([node])
            workflow.add_nodes([inner])
        plugin = ExamByExamPlugin(EXAMS, {'n_procs': n_procs, 'memory_gb': 4}, tmp_path / 'log')
        workflow.run(plugin=plugin)

    return run_


@pytest.mark.skipif(not Path('/proc/self/clear_refs').exists(), reason='only Linux tells peaks')
def test_memory_of_every_step_is_measured_anew(tmp_path):
    configure_engine()
    inner = pe.Workflow(name=EXAMS[0])
    large, small = (pe.Node(niu.Function(['gb'], ['sum'], take_memory), name=name)
                    for name in ('large', 'small'))  # fmt: skip
    large.inputs.gb = 0.8
    inner.connect([(large, small, [(('sum', give_little), 'gb')])])
    workflow = new_workflow(tmp_path)
    workflow.add_nodes([inner])
    steps = StepLog(tmp_path / 'steps.jsonl', 1)
    arguments = {'n_procs': 1, 'memory_gb': 4, 'status_callback': steps}
    workflow.run(plugin=ExamByExamPlugin(EXAMS, arguments, tmp_path / 'log'))
    cost = {step.name: step.mem_peak_gb for step in read_steps(steps.path, 'sub-01')}
    assert 0.8 < cost['large'] < 1.3
    assert cost['small'] < 0.5


@pytest.mark.parametrize('n_procs', [1, 2])
def test_step_whose_worker_was_killed_is_done_by_another(run, tmp_path, n_procs):
    run(1, n_procs)
    assert all((tmp_path / exam).read_text() == 'done' for exam in EXAMS)
    assert not (tmp_path / 'crash').exists()


def test_step_that_is_killed_again_fails_and_the_other_exam_is_done(run, tmp_path):
    # with one process: a step that shares its workers with the culprit can fall with it twice
    with pytest.raises(RuntimeError, match='killed, twice'):
        run(9, n_procs=1)
    assert (tmp_path / 'sub_02').read_text() == 'done'
    assert not (tmp_path / 'sub_01').exists()
    (crash,) = read_crashes(tmp_path / 'crash')
    assert (crash.exam, crash.step) == ('sub-01', 'step')
    assert crash.message.startswith('The process of this step was killed, twice')
    assert '--low-mem' in crash.message


def test_workers_do_not_inherit_threads_of_the_main_process(tmp_path):
    """Forked after PyTorch's threads had worked, a step with PyTorch would wait for ever."""
    configure_engine()
    torch.set_num_threads(2)
    torch.linspace(0, 1, 10**6).sum()
    workflow = new_workflow(tmp_path)
    inner = pe.Workflow(name='sub_01')
    inner.add_nodes([pe.Node(niu.Function([], ['total'], use_threads), name='step')])
    workflow.add_nodes([inner])
    try:
        workflow.run(
            plugin=ExamByExamPlugin(['sub_01'], {'n_procs': 1, 'memory_gb': 4}, tmp_path / 'log')
        )
    finally:
        torch.set_num_threads(1)


def test_error_that_cannot_be_handed_over_does_not_hang_the_run(tmp_path):
    """An input that does not fit its trait fails before the step runs, without a result."""
    configure_engine()
    workflow = new_workflow(tmp_path)
    inner = pe.Workflow(name='sub_01')
    first = pe.Node(niu.Function(['value'], ['path'], give), name='first')
    first.inputs.value = str(tmp_path / 'nowhere')
    second = pe.Node(niu.Rename(format_string='x'), name='second')
    inner.connect(first, 'path', second, 'in_file')
    workflow.add_nodes([inner])
    with pytest.raises(RuntimeError):
        workflow.run(
            plugin=ExamByExamPlugin(['sub_01'], {'n_procs': 1, 'memory_gb': 4}, tmp_path / 'log')
        )
    assert Path(tmp_path / 'crash').is_dir()


def refuse_one(value):
    if value == 1:
        raise ValueError('one is refused')
    return value


def test_a_part_that_fails_costs_its_exam_and_no_other(tmp_path):
    """nipype names a part without its workflow, so the whole step has to stand for it."""
    configure_engine()
    workflow = new_workflow(tmp_path)
    for exam, values in zip(EXAMS, ([0, 1, 1], [0, 2, 3]), strict=True):
        inner = pe.Workflow(name=exam)
        parts = PartsNode(niu.Function(['value'], ['value'], refuse_one), ['value'], name='parts')
        parts.inputs.value = values
        last = pe.Node(niu.Function(['value'], ['path'], give), name='last')
        inner.connect(parts, 'value', last, 'value')
        workflow.add_nodes([inner])
    steps, failed = StepLog(tmp_path / 'steps.jsonl', 2), []
    arguments = {'n_procs': 1, 'memory_gb': 4, 'status_callback': steps}
    plugin = ExamByExamPlugin(EXAMS, arguments, tmp_path / 'log', failed.append)
    with pytest.raises(RuntimeError, match=r'one is refused|raised'):
        workflow.run(plugin=plugin)
    crashes = read_crashes(tmp_path / 'crash')
    assert {(crash.exam, crash.step, crash.message) for crash in crashes} == {
        ('sub-01', 'parts', 'one is refused')
    }
    assert set(failed) == {'sub_01'}
    assert steps.progress.failed == {'sub-01'}
    assert [step.name for step in read_steps(steps.path, 'sub-02')] == ['parts', 'last']


def end_forkserver(path):
    """End the process that started this one, the first time; then go on as its orphan."""
    import os
    import signal
    import time
    from pathlib import Path

    mark = Path(path)
    if not mark.exists():
        mark.touch()
        os.kill(os.getppid(), signal.SIGKILL)
        time.sleep(5)
        mark.write_text('an orphan worked on')
    return path


def test_step_is_done_again_when_what_starts_workers_is_killed(tmp_path):
    configure_engine()
    workflow = new_workflow(tmp_path)
    inner = pe.Workflow(name='sub_01')
    first, second = (
        pe.Node(niu.Function(['path'], ['path'], end_forkserver), name) for name in ('one', 'two')
    )
    first.inputs.path = str(tmp_path / 'mark')
    inner.connect(first, 'path', second, 'path')
    workflow.add_nodes([inner])
    workflow.run(
        plugin=ExamByExamPlugin(['sub_01'], {'n_procs': 1, 'memory_gb': 4}, tmp_path / 'log')
    )
    assert (tmp_path / 'mark').read_text() == ''
    assert not (tmp_path / 'crash').exists()


def take_turn(path, low_mem, use_gpu):
    """Write when this began and ended."""
    import time
    from pathlib import Path

    begun = time.time()
    time.sleep(0.5)
    Path(path).write_text(f'{begun} {time.time()}')
    return path


def test_two_exams_share_a_gpu_and_a_third_waits(tmp_path):
    configure_engine()
    workflow = new_workflow(tmp_path)
    exams = [f'sub_{number}' for number in range(4)]
    for exam in exams:
        node = pe.Node(niu.Function(['path', 'low_mem', 'use_gpu'], ['path'], take_turn), 'step')
        node.inputs.trait_set(path=str(tmp_path / exam), low_mem=False, use_gpu=True)
        inner = pe.Workflow(name=exam)
        inner.add_nodes([node])
        workflow.add_nodes([inner])
    arguments = {'n_procs': 4, 'n_gpu_procs': EXAMS_PER_GPU, 'memory_gb': 4}
    workflow.run(plugin=ExamByExamPlugin(exams, arguments, tmp_path / 'log'))
    spans = [tuple(map(float, (tmp_path / exam).read_text().split())) for exam in exams]
    at_once = [sum(begun <= time < ended for begun, ended in spans) for time, _ in spans]
    assert max(at_once) == EXAMS_PER_GPU


def test_networks_on_a_gpu_are_counted_as_such(tmp_path):
    for device, use_gpu, n_procs in (('cpu', False, 4), ('cuda:0', True, 1)):
        weights = tmp_path / 'w.safetensors'
        weights.touch()
        method = MethodSettings(method='sr-t1', weights=weights)
        need = Forecast(1, 1, 1, 1, 1, 1)
        setup = ExamSetup({}, {}, method, need, num_threads=4, device=device)
        step = init_configured_exam_wf(setup=setup).get_node('method_wf.synthesize')
        assert (step.is_gpu_node(), step.n_procs) == (use_gpu, n_procs)


def test_a_killed_step_is_tried_again_with_less_memory():
    node = pe.Node(Synthesize(method='any-exam'), 'step')
    save_memory(node)
    assert node.inputs.low_mem is True
    for other in (niu.Function(['low_mem'], ['path'], touch), DefineGrid()):
        step = pe.Node(other, 'step')
        before = step.inputs.get()
        save_memory(step)
        assert step.inputs.get() == before


def test_what_workers_are_forked_from_imports_what_there_is():
    """Names of modules that are wrong would be passed over, and every step be slower."""
    assert all(importlib.import_module(name) for name in PRELOADED)


def test_process_that_workers_are_forked_from_can_be_ended():
    start_forkserver()
    pid = forkserver._forkserver._forkserver_pid
    stop_forkserver()
    end = time.monotonic() + 20
    while psutil.Process(pid).status() != psutil.STATUS_ZOMBIE:
        assert time.monotonic() < end
        time.sleep(0.1)
    start_forkserver()  # and starts again
    assert forkserver._forkserver._forkserver_pid not in (None, pid)
