"""A real Slurm of one node: the recipes of docs/howto/cluster.md, word for word.

Needs the rights of an administrator, and Debian's packages slurm-wlm and munge.
"""

import json
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
from phantoms import write_description, write_scan

ROOT = Path(__file__).parents[1]
BIN = Path(sys.executable).parent
CONFIG = """
ClusterName=test
SlurmctldHost=localhost(127.0.0.1)
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge/munge.sock
CryptoType=crypto/munge
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/ctld.log
SlurmdLogFile={folder}/d.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SchedulerType=sched/backfill
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
ReturnToService=2
MpiDefault=none
NodeName=localhost NodeAddr=127.0.0.1 CPUs={cpus} RealMemory=8000 State=UNKNOWN
PartitionName=main Nodes=localhost Default=YES MaxTime=INFINITE State=UP
"""
pytestmark = pytest.mark.skipif(
    os.geteuid() != 0 or not shutil.which('slurmctld') or not shutil.which('munged'),
    reason='needs an administrator, slurm-wlm and munge',
)


def call(*command, **options):
    return subprocess.run([*map(str, command)], capture_output=True, text=True, **options)


@pytest.fixture(scope='module')
def cluster(tmp_path_factory):
    """Start Slurm; give the environment in which its commands find it."""
    folder = tmp_path_factory.mktemp('slurm')
    for path in (folder, *list(folder.parents)[:2]):
        path.chmod(0o755)  # munge's own user looks into them
    for name in ('state', 'spool', 'munge'):
        (folder / name).mkdir()
    key = folder / 'munge.key'
    key.write_bytes(os.urandom(1024))
    key.chmod(0o400)
    (folder / 'munge').chmod(0o711)
    for path in (key, folder / 'munge'):
        shutil.chown(path, 'munge', 'munge')
    munge = folder / 'munge'
    call('runuser', '-u', 'munge', '--', 'munged', '--force', f'--key-file={key}',
         f'--socket={munge}/munge.sock', f'--pid-file={munge}/pid', f'--log-file={munge}/log',
         f'--seed-file={munge}/seed', check=True)  # fmt: skip
    config = folder / 'slurm.conf'
    config.write_text(CONFIG.format(folder=folder, cpus=os.cpu_count()))
    environ = {**os.environ, 'SLURM_CONF': str(config), 'PATH': f'{BIN}:{os.environ["PATH"]}'}
    environ.pop('LOGNAME', None)
    call('slurmctld', env=environ, check=True)
    call('slurmd', '-N', 'localhost', env=environ, check=True)
    wait(lambda: 'idle' in call('sinfo', env=environ).stdout, 60)
    yield environ
    for name in ('slurmd.pid', 'slurmctld.pid', 'munge/pid'):
        call('kill', (folder / name).read_text().strip())


def wait(condition, seconds):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.5)


@pytest.fixture
def folder(tmp_path):
    """Three exams, and one whose only scan is cut short."""
    write_description(tmp_path / 'bids')
    for number in range(1, 5):
        name = f'sub-{number:02d}'
        scan = write_scan(tmp_path / f'bids/{name}/anat', name, 'T1w')
    scan.write_bytes(scan.read_bytes()[:-300])
    return tmp_path


def recipe(name):
    """Text of a file that docs/howto/cluster.md shows under its name."""
    text = (ROOT / 'docs/howto/cluster.md').read_text()
    return re.search(rf'`{re.escape(name)}`:\n\n```\w*\n(.*?)```', text, re.DOTALL)[1]


def check(folder, environ):
    """Three exams are whole, the fourth has failed, and everything that tells so does."""
    out = folder / 'out'
    for number in range(1, 4):
        record = json.loads((out / f'logs/exams/sub-{number:02d}.json').read_text())
        assert record['state'] == 'finished'
        assert all((out / name).is_file() for name in record['outputs'])
    told = call('synthsr', 'status', out, env=environ)
    assert told.returncode == 1
    assert '4 exams: 3 finished, 1 failed, 0 missing' in told.stdout
    assert 'sub-04  failed    No usable anatomical scan' in told.stdout
    assert '--participant-label 04' in told.stdout
    assert not list(out.rglob('.tmp-*'))
    index = (out / 'index.html').read_text()
    assert all(f'sub-{number:02d}' in index for number in range(1, 5))


def test_steps_as_jobs(cluster, folder):
    (folder / 'slurm.yml').write_text(recipe('slurm.yml'))
    command = re.search(r'^(bids_synthsr .*--nipype-plugin-file.*)', page(), re.MULTILINE)[1]
    done = call(*command.split(), '--method', 'cubic', '--output-resolution', '4',
                '--skip-bids-validation', cwd=folder, env=cluster)  # fmt: skip
    assert done.returncode == 1, done.stderr
    assert '3 of 4 exams finished, 1 failed' in done.stderr
    check(folder, cluster)
    batches = (folder / 'work').rglob('batchscript*.sh')
    assert len(list(batches)) > 3 * 5  # it was Slurm that ran the steps


def page():
    return (ROOT / 'docs/howto/cluster.md').read_text()


def test_exams_as_tasks_of_an_array(cluster, folder):
    script = recipe('array.sh')
    options = '--method cubic --output-resolution 4 --skip-bids-validation'
    (folder / 'array.sh').write_text(
        script.replace('out participant', f'out participant {options}')
    )
    lines = re.search(r'```bash\n(bids_synthsr [^\n]*--dry-run.*?)```', page(), re.DOTALL)[1]
    done = call('bash', '-ec', lines, cwd=folder, env=cluster)
    assert done.returncode == 0, done.stderr
    job = re.search(r'Submitted batch job (\d+)', done.stdout)[1]
    wait(lambda: job not in call('squeue', env=cluster).stdout, 300)
    outputs = {path.name: path.read_text() for path in folder.glob('synthsr-*.out')}
    assert len(outputs) == 4
    check(folder, cluster)
    assert sum('1 of 1 exams finished' in told for told in outputs.values()) == 3
    assert sum('Slurm: exit code 1' in told for told in outputs.values()) == 1
    begun = [path.stat().st_mtime for path in folder.glob('out/logs/*/config.toml')]
    assert len(begun) == 4


def test_stages_as_jobs_that_wait_for_each_other(cluster, folder):
    script = recipe('stages.sh')
    options = '--method cubic --output-resolution 4 --skip-bids-validation'
    script = script.replace('out participant', f'out participant {options}').replace(
        '--gpus=1', ''
    )
    (folder / 'stages.sh').write_text(script)
    done = call('bash', 'stages.sh', cwd=folder, env=cluster)
    assert done.returncode == 0, done.stderr
    wait(lambda: 'synthsr' not in call('squeue', '-o', '%j', env=cluster).stdout, 300)
    check(folder, cluster)
    states = [
        {json.loads(line)['step'] for line in path.read_text().splitlines()}
        for path in sorted(folder.glob('out/logs/*/steps.jsonl'))
    ]
    assert len(states) == 3
    assert 'synthesize' not in states[0] and 'record' not in states[1] and 'record' in states[2]
