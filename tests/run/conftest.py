"""A method that makes a brain of a phantom at once, for runs whose later parts are looked at."""

import json
import sys
from types import ModuleType

import numpy as np
import pytest
from phantoms import draw_brain, write_description

from bids_synthsr.cli.bids_app import main
from bids_synthsr.methods.catalogue import METHODS, Method
from bids_synthsr.values.grid import Grid
from bids_synthsr.values.method import Image, MethodForecast, Synthesis, Table

SPACING = 3.0
BRIGHT = 200  # a scan that is brighter shows the brain with larger ventricles
LABELS = (2, 3, 4)


def draw_labels(brain, growth):
    """White matter, cortex and ventricles of a drawn brain."""
    at = np.indices(brain.shape) - np.array(brain.shape)[:, None, None, None] / 2
    labels = np.where(brain > 90, 2, np.where(brain > 0, 3, 0))
    labels[(np.sqrt((at**2).sum(0)) < 5 * growth) & (brain > 0)] = 4
    return labels.astype(np.int16)


@pytest.fixture
def brainy(monkeypatch):
    """A method that makes T1w, mask and segmentation of a brain, whatever the scans show."""

    def synthesize(observations, grid):
        is_grown = observations[0].voxels.max() > BRIGHT
        brain = draw_brain((38, 44, 36), (15, 18, 13.5))
        labels = draw_labels(brain, 1.25 if is_grown else 1.0)
        brain = np.where(labels == 4, 20, brain).astype(np.float32)
        where = Grid(brain.shape, np.diag([SPACING] * 3 + [1.0]))
        mask = (labels > 0).astype(np.uint8)
        tissue = np.where(labels == 4, 3, np.where(labels == 2, 2, mask)).astype(np.int16)
        rows = [{'index': x, 'name': str(x), 'volume_mm3': 27.0 * int((labels == x).sum()),
                 'uncertainty_mm3': 1.0} for x in LABELS]  # fmt: skip
        return Synthesis((
            Image('T1w', 'brainy', brain + 1, where),
            Image('mask', 'brain', mask, where),
            Image('dseg', 'brainy', labels, where, labels=LABELS),
            Image('dseg', '', tissue, where, labels=(1, 2, 3)),
            Table('volumes', 'brainy', rows),
        ), {'scans': [x.contrast for x in observations]})  # fmt: skip

    module = ModuleType('bids_synthsr.methods.brainy')
    module.synthesize = synthesize
    module.forecast = lambda size: MethodForecast(1.0, 1.0)
    module.find_obstacle = lambda *_: ''
    monkeypatch.setitem(sys.modules, module.__name__, module)
    monkeypatch.setitem(METHODS, 'brainy', Method(
        name='brainy', module='brainy', desc='brainy', help='a brain', summary='A brain.',
        methods_text='A brain was drawn.', further_volumes=('mask',),
    ))  # fmt: skip


@pytest.fixture
def run_brainy(brainy, tmp_path):
    """Run the program in this process, on a data set at ``bids`` of the temporary folder."""
    write_description(tmp_path / 'bids')
    plugin = tmp_path / 'plugin.json'
    plugin.write_text(json.dumps({'plugin': 'Linear'}))

    def call(*arguments):
        return main([
            str(tmp_path / 'bids'), str(tmp_path / 'out'), 'participant', '--method', 'brainy',
            '--work-dir', str(tmp_path / 'work'), '--output-resolution', '4', '--nprocs', '1',
            '--skip-bids-validation', '--nipype-plugin-file', str(plugin), *arguments,
        ])  # fmt: skip

    return call
