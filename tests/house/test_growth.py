"""What a new method and a new stage cost: one module and one entry each."""

import json
import sys
from dataclasses import replace
from types import ModuleType

import numpy as np
import pytest
from nipype.interfaces import utility as niu
from nipype.interfaces.base import traits
from nipype.pipeline import engine as pe
from phantoms import write_description, write_scan

from bids_synthsr.cli.bids_app import main
from bids_synthsr.interfaces.step import InputFields, OutputFields, Step
from bids_synthsr.methods.catalogue import METHODS, Method
from bids_synthsr.values.method import Image, MethodForecast, Synthesis
from bids_synthsr.workflows.stages import STAGES, Stage


@pytest.fixture
def bids(tmp_path):
    root = tmp_path / 'bids'
    write_description(root)
    for contrast in ('T1w', 'T2w'):
        write_scan(root / 'sub-01/anat', 'sub-01', contrast)
    return root


@pytest.fixture
def run(bids, tmp_path):
    """Run the program in this process, which alone knows what a test adds."""
    plugin = tmp_path / 'plugin.json'
    plugin.write_text(json.dumps({'plugin': 'Linear'}))
    out = tmp_path / 'out'

    def call(*arguments):
        quick = ['--output-resolution', '4', '--skip-bids-validation', '--nprocs', '1']
        folders = [str(bids), str(out), 'participant', '--work-dir', str(tmp_path / 'work')]
        return main([*folders, *quick, '--nipype-plugin-file', str(plugin), *arguments])

    return call


def module(name, **functions):
    """Make a module that holds functions."""
    made = ModuleType(name)
    made.__dict__.update(functions)
    return made


@pytest.fixture
def dummy_method(monkeypatch):
    """A method that paints half the reference's intensities; it reads the option least_quality."""

    def synthesize(observations, grid, *, least_quality):
        voxels = np.arange(np.prod(grid.shape), dtype=np.float32).reshape(grid.shape)
        image = Image('T1w', 'dummy', voxels * least_quality, grid)
        return Synthesis((image,), {'scans': [observations[0].contrast]}, ('Half is a dummy.',))

    dummy = module(
        'bids_synthsr.methods.dummy',
        synthesize=synthesize,
        forecast=lambda size: MethodForecast(1.5, 7 * size.output_millions),
        find_obstacle=lambda contrasts, *_: '' if 'T2w' in contrasts else 'A dummy needs a T2w.',
    )
    monkeypatch.setitem(sys.modules, dummy.__name__, dummy)
    entry = Method(
        name='dummy',
        module='dummy',
        desc='dummy',
        help='half of everything',
        summary='Half of the {reference}.',
        methods_text='Everything was halved with PyTorch{torch} [@pytorch].',
        options=('least_quality',),
    )
    monkeypatch.setitem(METHODS, 'dummy', entry)
    return entry


@pytest.mark.usefixtures('dummy_method')
def test_a_method_is_a_module_and_an_entry(run, bids, tmp_path, capsys):
    assert run('--method', 'dummy', '--dry-run') == 0
    assert 'forecast   1.5 GB' in capsys.readouterr().err
    assert run('--method', 'dummy') == 0
    out = tmp_path / 'out'
    sidecar = json.loads((out / 'sub-01/anat/sub-01_desc-dummy_T1w.json').read_text())
    assert sidecar['Method'] == 'dummy' and len(sidecar['Sources']) == 2
    page = (out / 'sub-01.html').read_text()
    assert 'Half of the T1w.' in page and 'Half is a dummy.' in page
    assert 'Everything was halved with PyTorch' in (out / 'logs/CITATION.md').read_text()
    assert run('--method', 'dummy', '--min-quality', '0.4', '--dry-run') == 0
    assert 'least_quality (0.6 to 0.4)' in capsys.readouterr().err
    (bids / 'sub-01/anat/sub-01_T2w.nii.gz').unlink()
    (bids / 'sub-01/anat/sub-01_T2w.json').unlink()
    assert run('--method', 'dummy') == 1
    assert 'A dummy needs a T2w.' in capsys.readouterr().err


@pytest.mark.usefixtures('dummy_method')
def test_an_option_redoes_the_exams_of_those_methods_alone_that_read_it(run, capsys):
    assert run('--method', 'cubic') == 0
    capsys.readouterr()
    assert run('--method', 'cubic', '--min-quality', '0.3', '--dry-run') == 0
    told = capsys.readouterr().err
    assert 'finished, nothing to do' in told
    assert '--min-quality has no effect: cubic estimates no quality' in told


class CountVoxels(Step):
    """Count the products of the stages before, and make a table of it."""

    class Inputs(InputFields):
        """What was made so far."""

        products = traits.List(mandatory=True)
        warnings = traits.List(mandatory=True)

    class Outputs(OutputFields):
        """The same, and a table."""

        products = traits.List()
        warnings = traits.List()

    def make(self, inputs, folder):
        table = folder / 'counts.json'
        table.write_text(json.dumps([{'images': len(inputs.products)}]))
        product = {
            'file': str(table),
            'kind': 'table',
            'suffix': 'counts',
            'entities': {'desc': 'counted'},
        }
        warnings = [*inputs.warnings, 'Products were counted.']
        return {'products': [*inputs.products, product], 'warnings': warnings}


def init_count_wf(*, setup):
    workflow = pe.Workflow(name='count_wf')
    fields = niu.IdentityInterface(['products', 'warnings'])
    inputnode = pe.Node(fields, name='inputnode')
    count = pe.Node(CountVoxels(), name='count', mem_gb=setup.forecast.outputs_gb)
    outputnode = pe.Node(niu.IdentityInterface(['products', 'warnings']), name='outputnode')
    both = [(field, field) for field in ('products', 'warnings')]
    workflow.connect([(inputnode, count, both), (count, outputnode, both)])
    return workflow


@pytest.fixture
def dummy_stage(monkeypatch):
    monkeypatch.setitem(sys.modules, 'counting', module('counting', init_count_wf=init_count_wf))
    stage = Stage('count', state='counted', last_step='count', builder='counting:init_count_wf')
    *first, last = STAGES.values()
    stages = {entry.name: entry for entry in (*first, stage, last)}
    before = dict(STAGES)
    STAGES.clear()
    STAGES.update(stages)
    yield stage
    STAGES.clear()
    STAGES.update(before)


@pytest.mark.usefixtures('dummy_stage')
def test_a_stage_is_a_workflow_and_an_entry(run, tmp_path, capsys):
    out = tmp_path / 'out'
    assert run('--method', 'cubic', '--stage', 'count') == 0
    assert 'sub-01  counted' in capsys.readouterr().err
    assert not list(out.glob('sub-01/**/*.nii.gz'))
    assert run('--method', 'cubic') == 0
    table = out / 'sub-01/anat/sub-01_desc-counted_counts.tsv'
    assert table.read_text() == 'images\n7\n'
    page = (out / 'sub-01.html').read_text()
    assert 'Products were counted.' in page and table.name in page
    record = json.loads((out / 'logs/exams/sub-01.json').read_text())
    assert str(table.relative_to(out)) in record['outputs']


def test_entries_are_frozen():
    with pytest.raises(AttributeError):
        METHODS['tv'].name = 'other'
    assert replace(METHODS['tv'], name='other').name == 'other'
