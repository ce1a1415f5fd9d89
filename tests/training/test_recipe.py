"""Recipes: what they may say, and what they say wrong."""

import dataclasses
import json

import numpy as np
import pytest

from bids_synthsr.synthesis.estimation import estimate_contrast_prior
from bids_synthsr.synthesis.labels import freesurfer_table
from bids_synthsr.synthesis.worlds import prior_by_name
from bids_synthsr.training.prior_files import contrast_as_toml
from bids_synthsr.training.recipe import load_recipe, recipe_from, shipped_recipes
from bids_synthsr.training.sources import generator_prior
from bids_synthsr.training.task import Task

SMALL = """
description = 'A small one'
steps = 4

[network]
name = 'exam_unet'
arguments = { features = 8, levels = 2 }

[samples]
source = 'generator'
prior = 'paper'
shape = [16, 16, 16]

[loss]
l1 = 1.0
"""


@pytest.fixture
def write(tmp_path):
    def write_recipe(text):
        path = tmp_path / 'recipe.toml'
        path.write_text(text, encoding='utf-8')
        return str(path)

    return write_recipe


def test_shipped_recipes_are_those_of_the_paper_and_ours():
    assert shipped_recipes() == [
        '3t-7t',
        '3t-7t-gan',
        'any-exam',
        'flair-axial-5mm',
        'hyperfine-t1-t2',
        'spacing',
        'spacing-vae',
        'spgr-t1-t2-flair',
        'sr-t1',
        't1-coronal-3mm',
        't1-coronal-5mm',
        't1-coronal-7mm',
        't1-segmenter',
    ]


@pytest.mark.parametrize('name', shipped_recipes())
def test_shipped_recipe_makes_a_task(name):
    recipe = load_recipe(name)
    task = Task(recipe)
    assert recipe.description.endswith('.')
    if recipe.network.name == 'unet':
        assert task.arguments['in_channels'] == 2 * generator_prior(recipe).slots
    assert all(side % 8 == 0 for side in recipe.samples.shape)


def test_paper_recipes_have_slices_of_3_mm():
    for spacing in (3, 5, 7):
        scans = generator_prior(load_recipe(f't1-coronal-{spacing}mm')).scans
        acquisition = scans[0].acquisition
        thickness = acquisition.slice_spacing[0] * acquisition.thickness_per_spacing[0]
        assert acquisition.slice_spacing == (spacing, spacing)
        assert thickness == pytest.approx(3, abs=1e-3)


def test_any_exam_takes_up_to_eight_scans():
    assert generator_prior(load_recipe('any-exam')).slots == 8


def test_recipe_survives_the_header_of_its_weights(write):
    recipe = load_recipe(write(SMALL))
    assert recipe_from(json.loads(json.dumps(dataclasses.asdict(recipe)))) == recipe


def test_changes_replace_what_the_file_says(write):
    changes = ['steps=7', 'optimizer.name=adamw', 'loss.l2 = 0.5', 'samples.shape=[8, 8, 8]']
    recipe = load_recipe(write(SMALL), changes)
    assert (recipe.steps, recipe.optimizer.name, recipe.loss.l1) == (7, 'adamw', 1.0)
    assert (recipe.loss.l2, recipe.samples.shape) == (0.5, (8, 8, 8))
    with pytest.raises(ValueError, match="Cannot read the change 'steps 7': write"):
        load_recipe(write(SMALL), ['steps 7'])


def test_prior_of_a_recipe_changes_the_named_one(write):
    text = SMALL + '[prior]\nblur_sd = 0.7\nshape = { rotation_deg = 3 }\n'
    prior, named = generator_prior(load_recipe(write(text))), prior_by_name('paper')
    assert (prior.blur_sd, prior.shape.rotation_deg) == (0.7, 3.0)
    assert prior.shape.scaling == named.shape.scaling
    assert prior.scans == named.scans


def test_estimated_prior_fits_into_a_recipe(write):
    table = freesurfer_table()
    labels = np.array([[[0, 2] * 20, [3, 24] * 20]] * 2)
    scans = [labels * 2.0 + number for number in range(2)]
    estimated = estimate_contrast_prior(scans, [labels] * 2, [1.0, 1.0], table)
    text = contrast_as_toml(estimated, 'from two scans')
    recipe = load_recipe(write(SMALL + '[[prior.scans]]\nsuffix = "T1w"\n' + text))
    read = generator_prior(recipe).scans[0].contrast
    assert read.kind == 'gaussian'
    for one, other in zip(read.statistics, estimated.statistics, strict=True):
        assert one.name == other.name
        assert one.mean == pytest.approx(other.mean, abs=0.005)  # written with two decimals


@pytest.mark.parametrize(
    ('old', 'new', 'message'),
    [
        ('steps = 4', 'step = 4', "unknown key 'step'; did you mean 'steps'"),
        ('l1 = 1.0', 'l1 = 1.0\nlaplas = 1', "loss: unknown key 'laplas'; did you mean 'laplace'"),
        ('l1 = 1.0', 'l1 = "much"', "recipe: loss.l1 is 'much', not a number"),
        ('l1 = 1.0', 'l1 = 0', 'no term of the loss has a weight'),
        ('l1 = 1.0', 'evenness = 1.0', 'no term of the loss has a weight'),
        ('steps = 4', 'steps = true', 'recipe: steps is True, not a whole number'),
        ('steps = 4', '', 'recipe: steps is missing'),
        ('[16, 16, 16]', '[16, 16]', r'shape is \[16, 16\], not 3 values'),
        ("'generator'", "'generators'", "samples.source is 'generators'; choose one of generator"),
        (
            'steps = 4',
            'steps = 4\noptimizer.name = "sgd"',
            "optimizer.name is 'sgd'; choose one of adam, adamw, muon",
        ),
        ("'exam_unet'", "'exams'", "network.name is 'exams'; choose one of unet"),
        (
            '[loss]',
            '[prior]\nblur = 1\n[loss]',
            "prior: unknown key 'blur'; did you mean 'blur_sd'",
        ),
        ("'paper'", "'papers'", "No prior is named 'papers'"),
        ('levels = 2', 'level = 2', "arguments: unknown key 'level'; did you mean 'levels'"),
        ('levels = 2', 'levels = 2, classes = 3', "unknown key 'classes'"),
        (
            '[16, 16, 16]',
            '[16, 18, 16]',
            r'\[16, 18, 16\].*multiples of 4, such as \[16, 16, 16\]',
        ),
        (
            "'generator'",
            "'slices'",
            "exam_unet does not train on samples from 'slices': set samples.source to generator",
        ),
    ],
)
def test_wrong_recipe_is_reported(write, old, new, message):
    with pytest.raises(ValueError, match=message):
        Task(load_recipe(write(SMALL.replace(old, new, 1)))).build()


def test_residual_on_a_scan_that_is_not_there(write):
    unet = SMALL.replace("'exam_unet'", "'unet'\nresidual = 1")
    with pytest.raises(ValueError, match='residual is scan 1, but an exam has 1'):
        Task(load_recipe(write(unet)))


def test_slices_segment_nothing(write):
    text = SMALL.replace("'exam_unet'", "'slice_unet'").replace("'generator'", "'slices'")
    text = text.replace("prior = 'paper'\n", '')
    with pytest.raises(ValueError, match='slice_unet predicts no segmentation'):
        Task(load_recipe(write(text), ['loss.dice=1']))


def test_recipe_that_is_not_there():
    with pytest.raises(
        FileNotFoundError,
        match='nowhere is neither a recipe file nor one of 3t-7t, 3t-7t-gan, any-exam',
    ):
        load_recipe('nowhere')


def test_thinning_is_for_networks_that_fold():
    with pytest.raises(ValueError, match='thinned is for an exam_unet of stride 2'):
        Task(load_recipe('t1-coronal-5mm', ['samples.thinned=true']))
    with pytest.raises(ValueError, match='a loss without ssim'):
        Task(load_recipe('any-exam', ['loss.ssim=1']))
