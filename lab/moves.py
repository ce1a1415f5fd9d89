"""Move every file to its place in the house, and rewrite imports: nothing else changes.

Run once from the root of commit 22117af, as ``python lab/moves.py``. It is kept as the
record of what moved where: ``git log --follow`` tells the rest.
"""

import re
import subprocess
from pathlib import Path

PACKAGE = 'bids_synthsr'
MODULES = {
    'data': 'values',
    'data.acquisition': 'values.acquisition',
    'data.exam': 'values.exam',
    'data.forecast': 'values.forecast',
    'data.grid': 'values.grid',
    'data.observation': 'values.observation',
    'data.structures': 'values.structures',
    'data.synthesis': 'values.synthesis',
    'imaging.acquisition': 'imaging.forward_model',
    'imaging.alignment': 'registration.fit',
    'imaging.slices': 'imaging.slice_encoding',
    'interfaces.alignment': 'interfaces.registration',
    'interfaces.left_out': 'interfaces.left_out',
    'methods.super_resolution': 'methods.sr_t1',
    'methods.synthsr': 'methods.any_exam',
    'methods.published': 'methods.synthsr',
    'synthesis.exams': 'evaluation.painting',
    'synthesis.slices': 'synthesis.scanning',
    'training.slices': 'synthesis.thick_slices',
    'dataset.demo': 'evaluation.phantoms',
    'dataset.derivatives': 'derivatives.places',
    'dataset.locks': 'derivatives.locks',
    'dataset.precomputed': 'derivatives.precomputed',
    'dataset.progress': 'derivatives.progress',
    'dataset.records': 'derivatives.records',
    'dataset.saving': 'derivatives.saving',
    'reports.evaluation': 'evaluation.simulated_page',
    'reports.left_out': 'evaluation.left_out_page',
    'reports.results': 'evaluation.results',
    'reports.structures': 'evaluation.volume_errors',
    'cli.app': 'cli.bids_app',
    'cli.closing': 'run.closing',
    'cli.crashes': 'run.crashes',
    'cli.engine': 'run.plugin',
    'cli.environment': 'run.machine',
    'cli.evaluation': 'run.comparing',
    'cli.leave_one_out': 'run.left_out',
    'cli.live': 'run.live',
    'cli.messages': 'run.messages',
    'cli.parser': 'cli.options',
    'cli.plain': 'cli.exam',
    'cli.plan': 'run.plan',
    'cli.run': 'run.participant',
    'cli.simulate': 'run.simulated',
    'cli.steps': 'run.steps',
    'workflows.evaluate': 'workflows.simulated',
    'workflows.leave_one_out': 'workflows.left_out',
}
PACKAGES = {
    'derivatives': 'The outputs: their places, names, sidecars, tables and records.',
    'evaluation': 'How good methods are: truth, comparisons, tables and pages.',
    'registration': 'One scan brought to another: what finds a transform, and what checks it.',
    'run': 'A run: find, plan, process, close. Called by the doors and by Python.',
}
TESTS = {
    'cli': ['app:bids_app', 'command_line', 'plain:exam', 'status', 'demo', 'evaluate'],
    'dataset': ['query', 'scan_faults', 'scans', 'selection', 'shipped_weights', 'validation',
                'weights'],
    'derivatives': ['derivatives:places', 'precomputed', 'records'],
    'evaluation': ['leave_one_out:left_out'],
    'house': ['container', 'layers', 'packaging'],
    'imaging': ['acquisition:forward_model', 'geometry', 'inference', 'interleaving', 'memory',
                'noise', 'resampling', 'similarity', 'windows'],
    'methods': ['automatic', 'cubic', 'forecast', 'low_mem', 'published:synthsr',
                'super_resolution:sr_t1', 'synthsr:any_exam', 'total_variation'],
    'morphometry': ['structures', 'volumes'],
    'networks': ['exam_unet', 'mixture', 'unet'],
    'registration': ['alignment:registration'],
    'reports': ['browser', 'reports_boilerplate:boilerplate', 'reports_pages:pages',
                'reports_screen:screen'],
    'run': ['crashes', 'engine:plugin', 'environment:machine', 'faults', 'kills', 'live',
            'stages', 'stopping'],
    'synthesis': ['synthesis_artefacts:artefacts', 'synthesis_contrast:contrast',
                  'synthesis_deformation:deformation', 'synthesis_estimation:estimation',
                  'synthesis_generator:generator', 'synthesis_labels:labels',
                  'synthesis_overlays:overlays', 'synthesis_reference:reference',
                  'synthesis_slices:scanning'],
    'training': ['calibration', 'training_classes:classes', 'training_losses:losses',
                 'training_muon:muon', 'training_recipe:recipe', 'training_run:run',
                 'training_samples:samples'],
    'workflows': ['workflow_contracts:contracts'],
}  # fmt: skip
BENCHMARKS = {
    'benchmarks/speed': ['devices', 'forecast', 'generator', 'networks', 'planning', 'published',
                         'training'],
    'benchmarks/endurance': ['faults', 'kills', 'thousand'],
    'lab': ['contrasts', 'gradients', 'polynomial', 'registration', 'super_resolution',
            'uncertainty'],
}  # fmt: skip


def move(source: str, target: str) -> None:
    """Move a file with git, making the folder."""
    if source != target:
        Path(target).parent.mkdir(parents=True, exist_ok=True)
        subprocess.run(['git', 'mv', source, target], check=True)


def path_of(module: str) -> str:
    """Give the file of a module of the package."""
    if module.startswith('workflows.'):
        return module.replace('.', '/') + '.py'
    return f'{PACKAGE}/{module.replace(".", "/")}.py'


def move_modules() -> None:
    """Move the modules, those whose names are taken through a name of their own."""
    move('bids_synthsr/data/__init__.py', 'bids_synthsr/values/__init__.py')
    for folder, text in PACKAGES.items():
        init = Path(PACKAGE, folder, '__init__.py')
        init.parent.mkdir(exist_ok=True)
        init.write_text(f'"""{text}"""\n')
    for old in MODULES:
        if '.' in old:
            move(path_of(old), path_of(old) + '.moving')
    for old, new in MODULES.items():
        if '.' in old:
            move(path_of(old) + '.moving', path_of(new))


def move_tests_and_benchmarks() -> None:
    """Move the tests to folders that mirror the package, and benchmarks by what they measure."""
    for folder, names in TESTS.items():
        for name in names:
            old, _, new = name.partition(':')
            target = Path('tests', folder, f'test_{new or old}.py')
            move(f'tests/test_{old}.py', str(target))
            text = re.sub(
                r'parents\[(\d)\]', lambda m: f'parents[{int(m[1]) + 1}]', target.read_text()
            )
            target.write_text(text.replace('.parents[4]', '.parents[3]'))
    for folder, names in BENCHMARKS.items():
        for name in names:
            target = Path(folder, f'{name}.py')
            move(f'benchmarks/{name}.py', str(target))
            if folder != 'lab':
                text = target.read_text().replace('.parents[1]', '.parents[2]')
                target.write_text(text)


def rewrite(text: str) -> str:
    """Rewrite names of modules and of benchmarks."""
    text = re.sub(
        r'\bbids_synthsr\.(\w+)(?:\.(\w+))?',
        lambda m: _renamed(m[0], m[1], m[2]),
        text,
    )
    for folder, names in BENCHMARKS.items():
        for name in names:
            text = text.replace(f'benchmarks/{name}.py', f'{folder}/{name}.py')
    return text


def _renamed(whole: str, package: str, module: str | None) -> str:
    if package == 'data' and module is None:
        return whole  # the folder of data files
    new = MODULES.get(f'{package}.{module}') if module else None
    return f'{PACKAGE}.{new}' if new else whole


def main() -> None:
    """Move and rewrite."""
    move_modules()
    move_tests_and_benchmarks()
    for folder in (PACKAGE, 'workflows', 'tests', 'system_tests', 'benchmarks', 'lab', 'docker'):
        for path in Path(folder).rglob('*.py'):
            if path.name != Path(__file__).name:
                path.write_text(rewrite(path.read_text()))
    for name in ('setup.cfg', 'Makefile', 'pyproject.toml'):
        path = Path(name)
        path.write_text(rewrite(path.read_text()))


if __name__ == '__main__':
    main()
