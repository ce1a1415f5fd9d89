"""A training and its pictures never write through links; its broken maps are one sentence."""

import os

import pytest
from doors import sub_command
from label_phantoms import write_heads

from bids_synthsr.dataset.files import open_to_append
from bids_synthsr.dataset.images import load_grid, load_volume
from bids_synthsr.training.journal import append_line

train = sub_command('train')


@pytest.mark.parametrize('link', [os.link, os.symlink])
def test_a_gallery_does_not_write_through_a_link(tmp_path, link):
    _, images = write_heads(tmp_path, 1)
    image = images / 'sub-0_T1w.nii.gz'
    before = image.read_bytes()
    link(image, tmp_path / 'pic.png')
    shape = '--set', 'samples.shape=[16,16,16]', 'samples.batch=1'
    command = ['gallery', 'sr-t1', '--images', str(images), '--rows', '1', *shape]
    train([*command, '--out', str(tmp_path / 'pic.png')])
    assert image.read_bytes() == before
    assert (tmp_path / 'pic.png').read_bytes()[:4] in (b'\x89PNG', before[:4])


@pytest.mark.parametrize('link', [os.link, os.symlink])
def test_lines_are_not_added_through_a_link(tmp_path, link):
    (tmp_path / 'input.csv').write_text('step,loss\n1,2\n')
    link(tmp_path / 'input.csv', tmp_path / 'metrics.csv')
    append_line(tmp_path / 'metrics.csv', {'loss': 3, 'step': 2})
    append_line(tmp_path / 'metrics.csv', {'loss': 4, 'step': 3})
    assert (tmp_path / 'input.csv').read_text() == 'step,loss\n1,2\n'
    assert (tmp_path / 'metrics.csv').read_text() == 'step,loss\n1,2\n2,3\n3,4\n'


def test_what_is_added_to_is_a_file_of_its_own(tmp_path):
    (tmp_path / 'log').symlink_to(tmp_path / 'nowhere')
    with open_to_append(tmp_path / 'log') as file:
        file.write('a\udcff\n')
    assert not (tmp_path / 'nowhere').exists()
    assert (tmp_path / 'log').read_text() == 'a\\udcff\n'
    os.mkfifo(tmp_path / 'pipe')
    with pytest.raises(OSError):
        open_to_append(tmp_path / 'pipe')


def test_folders_of_a_training_are_no_links(tmp_path, capsys):
    (tmp_path / 't').mkdir()
    maps, images = write_heads(tmp_path, 1)
    (tmp_path / 't/pictures').symlink_to(images)
    command = ['run', 'any-exam', '--label-maps', str(maps), '--out', str(tmp_path / 't')]
    assert train([*command, '--max-steps', '0']) == 2
    assert 'pictures is a link or no folder' in capsys.readouterr().err


def no_image(path):
    path.write_text('x')


def cut(path):
    path.write_bytes(path.read_bytes()[:2000])


def pipe(path):
    path.unlink()
    os.mkfifo(path)


@pytest.mark.parametrize('damage', [no_image, cut, pipe])
def test_a_broken_label_map_is_wrong_use(tmp_path, capsys, damage):
    maps, _ = write_heads(tmp_path, 1)
    damage(path := maps / 'sub-0_dseg.nii.gz')
    command = ['run', 'any-exam', '--label-maps', str(maps), '--out', str(tmp_path / 't')]
    assert train([*command, '--max-steps', '0']) == 2
    told = capsys.readouterr().err
    assert str(path) in told and len(told.splitlines()) == 1
    with pytest.raises((ValueError, OSError), match='sub-0_dseg'):
        load_volume(path)
    if damage is not cut:
        with pytest.raises((ValueError, OSError), match='sub-0_dseg'):
            load_grid(path)


def test_the_name_of_a_label_map_forges_no_line(tmp_path, capsys):
    name = 'a\x1b[2J\nforged: all is well_dseg.nii.gz'
    (tmp_path / 'maps').mkdir()
    (tmp_path / 'maps' / name).write_text('x')
    command = ['run', 'any-exam', '--label-maps', str(tmp_path / 'maps'), '--max-steps', '0']
    assert train([*command, '--out', str(tmp_path / 't')]) == 2
    told = capsys.readouterr().err
    assert '\x1b' not in told and not any(x.startswith('forged') for x in told.splitlines())
