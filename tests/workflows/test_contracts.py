"""Every workflow documents its inputs and outputs: nipype accepts undeclared ones silently."""

import ast
import importlib
import inspect
import re
from pathlib import Path

import pytest

from bids_synthsr.dataset.templates import TemplateFiles
from bids_synthsr.evaluation.cases import SimulatedCase
from bids_synthsr.evaluation.head_files import HeadFiles
from bids_synthsr.evaluation.shape_cases import ShapeCase
from bids_synthsr.interfaces.methods import Synthesize
from bids_synthsr.settings import MethodSettings, TbmSettings
from bids_synthsr.values.method import Forecast
from bids_synthsr.workflows.align import init_align_wf
from bids_synthsr.workflows.exam import init_exam_wf
from bids_synthsr.workflows.lesions import init_filled_wf, init_kept_wf
from bids_synthsr.workflows.longitudinal import init_person_wf
from bids_synthsr.workflows.method import init_method_wf
from bids_synthsr.workflows.morphometry import init_tbm_wf
from bids_synthsr.workflows.outputs import init_outputs_wf
from bids_synthsr.workflows.simulated import init_case_wf, init_truth_wf
from bids_synthsr.workflows.simulated_shapes import init_changed_head_wf
from bids_synthsr.workflows.stages import ExamSetup
from bids_synthsr.workflows.standard import init_standard_wf
from bids_synthsr.workflows.surfaces import init_recon_wf

ROOT = Path(__file__).resolve().parents[2]
LABELLED = HeadFiles('head', '01', labels=Path(__file__))


def builders() -> list[tuple[str, str]]:
    found = []
    for path in sorted((ROOT / 'workflows').glob('*.py')):
        for node in ast.parse(path.read_text()).body:
            if isinstance(node, ast.FunctionDef) and re.fullmatch(r'init_\w+_wf', node.name):
                found.append((path.stem, node.name))
    return found


def builder_of(module: str, name: str):
    return getattr(importlib.import_module(f'bids_synthsr.workflows.{module}'), name)


def section(docstring: str, title: str) -> list[str]:
    """Field names of a numpydoc section, in order."""
    match = re.search(rf'^{title}\n-+\n(.*?)(?=\n\n\w+\n-+\n|\Z)', docstring, re.M | re.S)
    names = re.findall(r'^(\w[\w, ]*)$', match.group(1), re.M) if match else []
    return [name.strip() for line in names for name in line.split(',')]


@pytest.mark.parametrize(('module', 'name'), builders())
def test_builder_is_keyword_only_and_documented(module, name):
    function = builder_of(module, name)
    parameters = inspect.signature(function).parameters
    assert all(parameter.kind is parameter.KEYWORD_ONLY for parameter in parameters.values())
    assert len(parameters) <= 8
    assert section(inspect.getdoc(function), 'Parameters') == list(parameters)
    lines, _ = inspect.getsourcelines(function)
    assert len(lines) <= 100  # with docstring; the body stays under 60


def with_lesions(builder):
    synthesis = Synthesize(method='cubic')
    inner = init_method_wf(method=synthesis, n_procs=1, mem_gb=1, name='synthesis_wf')
    return builder(method_wf=inner, masks=[], mem_gb=1)


SMALL = {
    'init_align_wf': lambda: init_align_wf(mem_gb=1),
    'init_filled_wf': lambda: with_lesions(init_filled_wf),
    'init_kept_wf': lambda: with_lesions(init_kept_wf),
}


def build(name):
    if name in SMALL:
        return SMALL[name]()
    if name == 'init_method_wf':
        return init_method_wf(method=Synthesize(method='cubic'), n_procs=1, mem_gb=1)
    if name == 'init_truth_wf':
        return init_truth_wf(head=LABELLED, segmenter=None, num_threads=1)
    if name in ('init_outputs_wf', 'init_standard_wf'):
        setup = ExamSetup(
            exam={'subject': '01', 'session': None},
            fingerprint={},
            method=MethodSettings(),
            forecast=Forecast(1, 1, 1, 1, 1, 1),
            folders={'bids_dir': 'in', 'output_dir': 'out', 'run_uuid': '1'},
        )
        builder = init_outputs_wf if name == 'init_outputs_wf' else init_standard_wf
        return builder(setup=setup)
    if name == 'init_person_wf':
        person = {'subject': '01', 'sessions': [], 'left': {}}
        return init_person_wf(person=person, output_dir='out', run_uuid='1')
    if name == 'init_tbm_wf':
        return init_tbm_wf(exams=[{}], chosen=[0], template={}, comparison={})
    if name == 'init_recon_wf':
        fields = ('exam', 'volume', 'sha256', 'uri', 't1w', 'mask')
        setup = dict.fromkeys(('subjects_dir', 'output_dir', 'run_uuid', 'device'), 'x')
        setup |= {'tool': {}, 'overwrites': False, 'resumes': True, 'num_threads': 1, 'mem_gb': 1}
        return init_recon_wf(exam=dict.fromkeys(fields, 'sub-01'), setup=setup)
    if name == 'init_changed_head_wf':
        template = TemplateFiles('X', 2, 'a', '', 'a')
        slices = ('axial', 5.0, 5.0)
        return init_changed_head_wf(
            head=LABELLED,
            is_changed=True,
            case=ShapeCase((LABELLED,), (True,), {}, slices, template, TbmSettings(), 0),
            methods={},
            segmenter={'weights': __file__},
            num_threads=1,
        )
    if name == 'init_case_wf':
        return init_case_wf(
            head=LABELLED,
            case=SimulatedCase('case', ('T1w',), 'axial', 5.0, 3.0, ('sr-t1', 'cubic')),
            methods={
                'sr-t1': (Synthesize(method='cubic'), 1.0),
                'cubic': (Synthesize(method='cubic'), 1.0),
            },
            segmenter={'weights': __file__},
            results_dir='out',
            num_threads=1,
        )
    return init_exam_wf(
        align_wf=build('init_align_wf'), method_wf=build('init_method_wf'), mem_gb=1
    )


WITH_FIELDS = (
    init_align_wf, init_exam_wf, init_filled_wf, init_kept_wf, init_person_wf, init_method_wf,
    init_tbm_wf, init_outputs_wf, init_truth_wf,
    init_case_wf, init_changed_head_wf, init_standard_wf, init_recon_wf,
)  # fmt: skip


@pytest.mark.parametrize('builder', WITH_FIELDS)
def test_documented_fields_are_those_of_the_nodes(builder):
    workflow = build(builder.__name__)
    for title, node in (('Inputs', 'inputnode'), ('Outputs', 'outputnode')):
        found = workflow.get_node(node)
        fields = found.interface._fields if found else []
        assert section(inspect.getdoc(builder), title) == list(fields)


def test_every_builder_with_fields_is_among_them():
    documented = [
        name
        for module, name in builders()
        if re.search('(Inputs|Outputs)\n---', inspect.getdoc(builder_of(module, name)))
    ]
    assert documented == [builder.__name__ for builder in WITH_FIELDS]


@pytest.mark.parametrize('builder', WITH_FIELDS)
def test_every_connection_joins_fields_that_exist(builder):
    graph = build(builder.__name__)._graph
    for source, target, data in graph.edges(data=True):
        for out_field, in_field in data['connect']:
            assert_has(source, 'outputs', out_field)
            assert_has(target, 'inputs', in_field)


def assert_has(node, side, field):
    """A field of a node, or of a node inside a workflow."""
    if '.' in field:
        inner, field = field.rsplit('.', 1)
        node = node.get_node(inner)
    if side == 'inputs':
        names = set(node.inputs.copyable_trait_names())
    else:
        names = set(node.interface._outputs().copyable_trait_names())
    assert field in names, f'{node} has no {side} {field}'
