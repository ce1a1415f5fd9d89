"""What the machine offers."""

import os

import pytest

from bids_synthsr.run import machine
from bids_synthsr.run.machine import available_cores, available_memory_gb, choose_device


def test_cores_are_those_this_process_may_use(tmp_path):
    assert available_cores({}, tmp_path) == len(os.sched_getaffinity(0))
    assert available_cores({'SLURM_CPUS_PER_TASK': '1'}, tmp_path) == 1
    assert available_cores({'SLURM_CPUS_ON_NODE': '999'}, tmp_path) == len(os.sched_getaffinity(0))


@pytest.mark.parametrize(('quota', 'cores'), [('100000', 1), ('50000', 1), ('max', None)])
def test_cores_of_a_container_are_its_quota(tmp_path, quota, cores):
    (tmp_path / 'cpu.max').write_text(f'{quota} 100000\n')
    assert available_cores({}, tmp_path) == (cores or len(os.sched_getaffinity(0)))
    (tmp_path / 'cpu.max').unlink()
    (tmp_path / 'cpu').mkdir()
    (tmp_path / 'cpu/cpu.cfs_quota_us').write_text(quota.replace('max', '-1'))
    (tmp_path / 'cpu/cpu.cfs_period_us').write_text('100000')
    assert available_cores({}, tmp_path) == (cores or len(os.sched_getaffinity(0)))


@pytest.mark.parametrize('name', machine.CGROUP_FILES)
def test_memory_of_a_container_is_its_limit(tmp_path, name):
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_text('100000000\n')
    assert available_memory_gb({}, tmp_path) == pytest.approx(0.09)


def test_memory_without_a_limit_is_that_of_the_machine(tmp_path):
    (tmp_path / 'memory.max').write_text('max\n')
    assert available_memory_gb({}, tmp_path) > 0.1


def test_memory_of_a_slurm_job_is_its_limit(tmp_path):
    assert available_memory_gb({'SLURM_MEM_PER_NODE': '100'}, tmp_path) == pytest.approx(
        0.0944, abs=1e-4
    )


def test_memory_of_a_slurm_job_may_be_told_per_core(tmp_path):
    job = {'SLURM_MEM_PER_CPU': '100', 'SLURM_CPUS_PER_TASK': '1'}
    assert available_memory_gb(job, tmp_path) == pytest.approx(0.0944, abs=1e-4)


def test_cpu_is_cpu():
    assert choose_device('cpu') == 'cpu'


@pytest.mark.parametrize('name', ['gpu', 'cuda:x', 'cpu:0'])
def test_unknown_devices_are_refused(name):
    with pytest.raises(ValueError, match=f'--device {name}: choose auto, cpu, cuda or cuda:N'):
        choose_device(name)


def test_a_gpu_that_is_not_there_is_refused():
    # no machine of ours has a hundred of them
    with pytest.raises(ValueError, match='--device cuda:99: PyTorch finds no such GPU'):
        choose_device('cuda:99')


def test_auto_without_a_driver_is_the_cpu(monkeypatch):
    monkeypatch.setattr(machine.Path, 'exists', lambda _: False)
    assert choose_device('auto') == 'cpu'
