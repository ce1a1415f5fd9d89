"""Evaluations remove and replace what evaluations wrote, by their list, and nothing else."""

import json

import pytest
from doors import sub_command

from bids_synthsr.run.evaluation_output import EvaluationOutput, claim_output

evaluate = sub_command('evaluate')


def contents(folder):
    """All files below a folder, with what they hold."""
    return {path: path.read_bytes() for path in folder.rglob('*') if path.is_file()}


def others_crash(out):
    (out / 'logs/crash').mkdir(parents=True)
    (out / 'logs/crash/mine.txt').write_text('mine')


def others_page(out):
    out.mkdir()
    (out / 'simulate.html').write_text('mine')


def others_table_of_the_other_evaluation(out):
    out.mkdir()
    (out / 'leave-one-out.tsv').write_text('mine')


def others_results(out):
    (out / 'results').mkdir(parents=True)
    (out / 'results/a.jpg').write_text('mine')


def linked_logs(out):
    others_crash(out.parent / 'elsewhere')
    out.mkdir()
    (out / 'logs').symlink_to(out.parent / 'elsewhere/logs')


def dangling_page(out):
    out.mkdir()
    (out / 'simulate.tsv').symlink_to(out.parent / 'nowhere')


def list_of_others(out):
    others_results(out)
    (out / 'logs').mkdir()
    (out / 'logs/evaluation.json').write_text('{"made_by": "me", "files": ["results/a.jpg"]}')


@pytest.mark.parametrize(
    'make',
    [others_crash, others_page, others_table_of_the_other_evaluation, others_results, linked_logs,
     dangling_page, list_of_others],
)  # fmt: skip
def test_a_folder_with_files_of_others_is_refused(tmp_path, capsys, make):
    (tmp_path / 'heads').mkdir()
    (tmp_path / 'heads/a_T1w.nii.gz').touch()
    out = tmp_path / 'out'
    make(out)
    before = contents(tmp_path)
    command = ['simulate', str(tmp_path / 'heads'), str(out), '--methods', 'cubic']
    assert evaluate(command) == 2
    told = capsys.readouterr().err
    assert 'choose another folder' in told and len(told.splitlines()) == 1
    assert contents(tmp_path) == before and not (tmp_path / 'nowhere').exists()


@pytest.fixture
def run(tmp_path):
    """Let an evaluation write table, page and results of some comparisons."""
    numbers = iter(range(9))

    def run_(name, *comparisons):
        results = [tmp_path / f'results/{comparison}.json' for comparison in comparisons]
        crashes = tmp_path / f'logs/{next(numbers)}/crash'
        output = EvaluationOutput(tmp_path, name, tuple(results))
        with claim_output(tmp_path, name, results, crashes):
            assert crashes.is_dir()
            before = {path.name for path in tmp_path.glob('results/*')}
            (tmp_path / 'results').mkdir(exist_ok=True)
            for file in output.files:
                (tmp_path / file).write_text('{}')
        assert not crashes.parent.exists()  # it was empty
        return before

    return run_


def test_results_of_the_last_evaluation_go_and_copies_of_others_stay(run, tmp_path):
    run('simulate', 'a', 'b')
    for name in ('best.json', 'best.jpg', 'notes.txt'):  # of the form of a result, and not listed
        (tmp_path / 'results' / name).write_text((tmp_path / 'results/a.json').read_text())
    assert run('leave-one-out', 'c') == {'best.json', 'best.jpg', 'notes.txt'}
    assert (tmp_path / 'simulate.html').exists() and (tmp_path / 'leave-one-out.html').exists()
    assert run('simulate', 'a') == {'best.json', 'best.jpg', 'notes.txt'}


def test_a_result_of_others_is_not_replaced(run, tmp_path):
    run('simulate', 'a')
    (tmp_path / 'results/b.jpg').write_text('mine')
    with pytest.raises(ValueError, match=r'b\.jpg is there, and .* choose another folder'):
        run('simulate', 'a', 'b')
    assert (tmp_path / 'results/a.json').exists()


@pytest.mark.parametrize(
    'name',
    ['../precious.json', 'precious.json', 'results/../a.html', '/etc/x.json', 'results/x/a.json',
     'logs/evaluate.log'],
)  # fmt: skip
def test_a_list_names_files_of_evaluations_alone(tmp_path, name):
    output = EvaluationOutput(tmp_path / 'out', 'simulate', ())
    output.marker.parent.mkdir(parents=True)
    content = {'made_by': 'bids_synthsr', 'files': [name, 5, 'results/a.json']}
    output.marker.write_text(json.dumps(content))
    assert output.read_list() == ['results/a.json']


def test_two_comparisons_never_share_a_result(tmp_path):
    with pytest.raises(ValueError, match='name each method once'):
        EvaluationOutput(tmp_path, 'simulate', (tmp_path / 'results/a.json',) * 2).check()
