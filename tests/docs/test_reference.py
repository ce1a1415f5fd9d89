"""Pages of the reference say what the code says."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from documented_commands import load_generated

from bids_synthsr.derivatives.compared import LOG_JACOBIAN
from bids_synthsr.derivatives.places import (
    COMMON,
    Derivatives,
    entities_of_common,
    entities_of_synthesis,
    name_in_scan,
    name_of_space_transform,
)
from bids_synthsr.derivatives.surfaces import RECON, SURFACES
from bids_synthsr.methods.acquired import COARSEST_MM, LEAST_PERCENT
from bids_synthsr.methods.catalogue import METHODS
from bids_synthsr.methods.sr_t1 import TRAINED_MM
from bids_synthsr.registration.fit import GOOD_PEAK, MIN_OVERLAP, STEP, STEP_DEG
from bids_synthsr.settings import SOME_FAILED, SUCCESS, WRONG_USE
from bids_synthsr.surfaces.tools import TOOLS
from bids_synthsr.values.structures import TISSUES
from bids_synthsr.workflows.stages import STAGES

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / 'docs'


def text_of(name):
    return (ROOT / name).read_text(encoding='utf-8')


@pytest.fixture(scope='module')
def generated():
    return load_generated()


def test_every_command_is_on_the_page_of_options(generated):
    listed = re.findall(r'^```\{options\} (.+)$', text_of('docs/reference/options.md'), re.M)
    parsers = generated.parsers()
    below = {' '.join(words.split()[:-1]) for words in parsers}
    assert sorted(listed) == sorted(words for words in parsers if words not in below)


def test_generated_texts_hold_what_the_code_holds(generated):
    options = generated.options_text('bids_synthsr')
    assert '| `--min-quality` `SCORE` |' in options and '| `0.6` |' in options
    assert all(f'| `{name}` |' in generated.methods_text('') for name in METHODS)
    assert '| `sr-t1` | `slice_unet` |' in generated.recipes_text('')
    assert '| 17 | Left-Hippocampus |' in generated.structures_text('')
    fields = generated.fields_text('bids_synthsr.training.recipe:OptimizerRecipe')
    assert '| `warmup_steps` | `0` | ' in fields and '``' not in fields


@pytest.mark.parametrize('page', ['README.md', 'docs/reference/methods.md', 'CHANGES.md'])
def test_every_method_is_named(page):
    for name in METHODS:
        assert f'`{name}`' in text_of(page), name


def test_names_of_outputs(tmp_path):
    """What the page lists of an exam is what the code names, and nothing else."""
    page = text_of('docs/reference/outputs.md').split('## Of an exam')[1].split('## Sidecars')[0]
    listed = set(re.findall(r'^\| `(_[^`]+)` \|', page, re.M))
    exam = Derivatives(tmp_path).exam('01', '1')
    named = [exam.synthesized('T1w', method.desc) for method in METHODS.values() if method.desc]
    named += [exam.synthesized('uncertainty', desc) for desc in ('preproc', 'anyexam')]
    named += [
        exam.path_of(suffix, entities_of_synthesis(suffix, desc, {}, 'T1w'))
        for suffix, desc in (('FLAIR', 'tv'), ('T1w', 'tv'), ('T1w', 'sr'))
    ]
    named += [exam.path_of('dseg', {}), exam.path_of('probseg', {'label': TISSUES[0]})]
    named += [exam.synthesized('dseg', 'anyexam'), exam.synthesized('mask', 'brain')]
    named += [exam.volumes('anyexam'), exam.selection, exam.transform('FLAIR', 'T1w')]
    named += [exam.resampled('FLAIR', 'T1w'), exam.reliability('FLAIR', 'T1w')]
    space = {'space': 'MNI152NLin2009cAsym'}
    named += [
        exam.path_of(suffix, {**space, 'res': '2', 'desc': desc})
        for suffix, desc in (('T1w', 'preproc'), ('mask', 'brain'))
    ]
    named += [
        exam.path_of(*name_of_space_transform(*spaces), '.h5')
        for spaces in (('T1w', space['space']), (space['space'], 'T1w'))
    ]
    named += [exam.path_of(suffix, name_in_scan('FLAIR')) for suffix in ('dseg', 'mask')]
    named += [exam.path_of(*x) for x in (
        ('T1w', entities_of_common('preproc')), (LOG_JACOBIAN, entities_of_common()),
        (*name_of_space_transform('T1w', COMMON), '.txt'),
    )]  # fmt: skip
    recon = {'atlas': 'aseg', 'desc': RECON}
    named += [exam.path_of('dseg', {'desc': x}) for tool in TOOLS.values()
              for x in tool.segmentations]  # fmt: skip
    named += [exam.path_of('volumes', recon, '.tsv')]
    cortex = {'hemi': 'L', 'atlas': 'aparc', 'desc': RECON}
    named += [exam.path_of('morph', cortex, '.tsv')]
    named += [exam.path_of(name, {'hemi': 'L'}, '.surf.gii') for name in SURFACES]
    named += [exam.path_of('thickness', {'hemi': 'L'}, '.shape.gii')]
    assert listed == {path.name.removeprefix(exam.label) for path in named}


def test_exit_codes():
    rows = re.findall(r'^\| (\d+) \| (.+)', text_of('docs/reference/exit-codes.md'), re.M)
    codes = {int(code): text for code, text in rows}
    assert codes[SUCCESS].startswith('all exams finished')
    assert 'some exams failed' in codes[SOME_FAILED] and 'wrong use' in codes[WRONG_USE]
    assert 'Ctrl-C' in codes[130] and 'SIGTERM' in codes[143]


def test_limits_of_the_check_of_alignments():
    page = text_of('docs/explanation/alignment.md')
    assert (
        f'| at least {GOOD_PEAK} |' in page
        and f'| at least {MIN_OVERLAP:.0%} |' in page.replace(' %', '%')
    )
    assert f'{STEP:g} mm away along each axis, and {STEP_DEG:g} degrees away' in page


def test_what_auto_chooses():
    low, high = TRAINED_MM
    assert f'slices {low:g} to {high:g} mm apart' in text_of('docs/reference/methods.md')
    page = text_of('docs/explanation/auto.md')
    assert f'less than {low:g} or more than {high:g} mm apart' in page
    assert f'no axis above {COARSEST_MM:g} mm' in page
    assert f'less than {LEAST_PERCENT:g} % of the brain' in page


def test_stages():
    page = text_of('docs/howto/cluster.md')
    assert re.findall(r'^\| `--stage (\w+)`', page, re.M) == list(STAGES)


def test_structures_are_counted_right():
    """The background is no structure."""
    from bids_synthsr.values.structures import STRUCTURES

    assert f'probabilities of {len(STRUCTURES) - 1} structures' in text_of(
        'docs/explanation/any-exam.md'
    )
