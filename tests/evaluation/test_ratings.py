"""Blinded ratings: a page that tells nothing, and statistics with known answers."""

import json
import math
import re

import numpy as np
import pytest
from phantoms import centred, head

from bids_synthsr.cli.synthsr import main
from bids_synthsr.dataset.images import save_volume
from bids_synthsr.evaluation.ratings import (
    COLUMNS,
    Rating,
    draw_items,
    fleiss_kappa,
    summarise_ratings,
    wilson_interval,
)

GRID = centred((40, 44, 36), np.diag([4.0, 4.0, 4.0, 1.0]))
NAMES = ['sub-01_T1w.nii.gz', 'sub-02_T1w.nii.gz', 'sub-03_T1w.nii.gz']


def test_kappa_of_known_tables():
    # Fleiss 1971 on the example of ten items and fourteen raters that textbooks print
    table = [
        [0, 0, 0, 0, 14], [0, 2, 6, 4, 2], [0, 0, 3, 5, 6], [0, 3, 9, 2, 0], [2, 2, 8, 1, 1],
        [7, 7, 0, 0, 0], [3, 2, 6, 3, 0], [2, 5, 3, 2, 2], [6, 5, 2, 1, 0], [0, 2, 2, 3, 7],
    ]  # fmt: skip
    assert fleiss_kappa(table) == pytest.approx(0.210, abs=5e-4)
    assert fleiss_kappa([[3, 0], [0, 3]]) == 1
    assert math.isnan(fleiss_kappa([])) and math.isnan(fleiss_kappa([[1, 0], [0, 1]]))
    assert math.isnan(fleiss_kappa([[2, 0], [2, 0]]))  # all say one thing: chance alone


def test_interval_of_a_share():
    low, high = wilson_interval(15, 20)
    assert (low, high) == pytest.approx((0.5313, 0.8881), abs=1e-3)
    assert wilson_interval(0, 5)[0] == 0 and wilson_interval(5, 5)[1] == pytest.approx(1)
    assert all(map(math.isnan, wilson_interval(0, 0)))


def test_questions_are_in_random_order_and_repeats_come_later():
    names = [f'{number}.nii' for number in range(30)]
    for seed in range(20):
        items = draw_items(names, 6, seed)
        assert len(items) == 36 and items == draw_items(names, 6, seed)
        first = [item.name for item in items if not item.is_repeat]
        assert sorted(first) == sorted(names) and first != names
        seen = set()
        for item in items:
            assert (item.name in seen) == item.is_repeat
            seen.add(item.name)
        assert 5 < sum(item.a == 'first' for item in items) < 31
    assert len(draw_items(names[:2], 9, 0)) == 4


def test_a_summary_counts_what_was_preferred():
    def rating(rater, item, preference, scores=(2, 4), is_repeat=False):
        return Rating(rater, item, f'{item % 3}.nii', preference, scores, is_repeat)

    letters = {'s': 'second', 'f': 'first', 'n': 'none'}
    ratings = [
        rating(name, item, letters[letter])
        for name, answers in (('x', 'ssn'), ('y', 'sfn'))
        for item, letter in enumerate(answers)
    ]
    ratings += [rating('x', 3, 'second', is_repeat=True), rating('y', 3, 'none', is_repeat=True)]
    summary = summarise_ratings(ratings)
    assert (summary['raters'], summary['answers']) == (2, 6)
    assert (summary['first'], summary['second'], summary['none']) == (1, 3, 2)
    assert summary['share_of_second'] == 0.75
    assert (summary['score_first'], summary['score_second']) == (2, 4)
    assert summary['same_again'] == 0.5
    assert 0 < summary['kappa'] < 1


@pytest.fixture
def folders(tmp_path):
    for number, name in enumerate(NAMES):
        voxels = head(GRID, 'T1w')
        noise = np.random.default_rng(number).normal(0, 0.1, voxels.shape) * voxels
        images = {'made_by_net': voxels + noise / 5, 'acquired_7T': voxels + noise}
        for folder, image in images.items():
            (tmp_path / folder).mkdir(exist_ok=True)
            save_volume(tmp_path / folder / name, image.astype(np.float32), GRID)
    return ['--first', str(tmp_path / 'made_by_net'), '--second', str(tmp_path / 'acquired_7T')]


def test_the_page_tells_nothing_and_answers_are_told_apart(folders, tmp_path, capsys):
    out = tmp_path / 'rate'
    assert main(['evaluate', 'rate', str(out), *folders, '--repeats', '1', '--seed', '5']) == 0
    page = (out / 'rating.html').read_text()
    telling = ('made_by_net', 'acquired_7T', 'sub-0', 'rating_key', 'first"', 'second"', 'http:')
    for word in telling:
        assert word not in page, word
    assert page.count('class="rated"') == 4
    pictures = re.findall(r'src="(data:image/png[^"]+)"', page)
    assert len(pictures) == 8 and len(set(pictures)) == 6  # a repeat shows the same again

    key = json.loads((out / 'rating_key.json').read_text())
    lines = ['\t'.join(COLUMNS)]
    for number, item in enumerate(key['items'], 1):
        better = 'a' if item['a'] == 'second' else 'b'
        scores = ('5', '2') if better == 'a' else ('2', '5')
        lines.append('\t'.join(['Ann', str(number), better, *scores, '']))
    answers = tmp_path / 'ratings_Ann.tsv'
    answers.write_text('\n'.join(lines) + '\n')
    capsys.readouterr()
    assert main(['evaluate', 'rate', str(out), '--read', str(answers)]) == 0
    said = capsys.readouterr().err
    assert 'share_of_second: 1' in said and 'same_again: 1' in said
    assert 'score_first: 2' in said and 'score_second: 5' in said
    header, row = (out / 'ratings_summary.tsv').read_text().splitlines()
    summary = dict(zip(header.split('\t'), row.split('\t'), strict=True))
    assert (summary['answers'], summary['second'], summary['kappa']) == ('3', '3', 'n/a')
    assert summary['share_low'] == '0.4385'  # with digits that tell something
    assert len((out / 'ratings.tsv').read_text().splitlines()) == 5

    assert main(['evaluate', 'rate', str(out), '--read', str(answers), str(answers)]) == 2
    assert 'answered a question twice' in capsys.readouterr().err
    lines[1] = lines[1].replace('\t5', '\t9')
    answers.write_text('\n'.join(lines))
    assert main(['evaluate', 'rate', str(out), '--read', str(answers)]) == 2
    assert 'line 2: the preference must be a, b or none, and scores 1 to 5' in (
        capsys.readouterr().err
    )


@pytest.mark.parametrize(
    ('options', 'said'),
    [
        ([], 'needs --first and --second'),
        (['--read', 'x.tsv', '--first', '.'], 'leave --first and --second out'),
        (['--read', 'x.tsv'], 'holds no rating_key.json'),
    ],
)
def test_wrong_use(tmp_path, capsys, options, said):
    assert main(['evaluate', 'rate', str(tmp_path / 'out'), *options]) == 2
    assert said in capsys.readouterr().err


def test_versions_of_two_places_are_refused(folders, tmp_path, capsys):
    far = centred((40, 44, 36), np.diag([4.0, 4.0, 4.0, 1.0]))
    far.vox2ras[:3, 3] += 300
    path = tmp_path / 'acquired_7T' / NAMES[1]
    save_volume(path, head(GRID, 'T1w'), far)
    assert main(['evaluate', 'rate', str(tmp_path / 'out'), *folders]) == 2
    assert 'sub-02_T1w.nii.gz: the two versions do not lie in one place' in capsys.readouterr().err
