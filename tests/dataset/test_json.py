"""JSON of anybody is read within limits."""

import math
import os

import pytest

from bids_synthsr.dataset.files import (
    read_json,
    read_object,
    write_json,
    write_text,
)


def test_a_pipe_is_refused_and_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / 'pipe.json')
    with pytest.raises(OSError, match='no regular file'):
        read_json(tmp_path / 'pipe.json')


def test_a_device_is_refused(tmp_path):
    (tmp_path / 'zero.json').symlink_to('/dev/zero')
    with pytest.raises(OSError, match='no regular file'):
        read_json(tmp_path / 'zero.json')


def test_a_large_file_is_refused(tmp_path):
    (tmp_path / 'large.json').write_text('[' + '1,' * 1000 + '1]')
    with pytest.raises(ValueError, match='larger'):
        read_json(tmp_path / 'large.json', max_bytes=1000)


def test_deep_brackets_are_refused(tmp_path):
    (tmp_path / 'deep.json').write_text('[' * 200_000 + ']' * 200_000)
    with pytest.raises(ValueError, match='deep'):
        read_json(tmp_path / 'deep.json')


def test_huge_numbers_can_be_used(tmp_path):
    (tmp_path / 'numbers.json').write_text('[' + '9' * 400 + ', 12, ' + '8' * 30 + ']')
    huge, small, large = read_json(tmp_path / 'numbers.json')
    assert huge == math.inf and small == 12 and large == pytest.approx(8.9e29, rel=0.01)


def test_only_objects_are_objects(tmp_path):
    (tmp_path / 'list.json').write_text('[1]')
    with pytest.raises(ValueError, match='not an object'):
        read_object(tmp_path / 'list.json')


def test_a_lone_surrogate_is_written_and_read_back(tmp_path):
    write_json(tmp_path / 'odd.json', {'name': 'a\ud800b'})
    assert read_json(tmp_path / 'odd.json') == {'name': 'a\ud800b'}
    assert '\\ud800' in write_text(tmp_path / 'odd.txt', '\ud800').read_text()


def test_times_of_files_stay_whole(tmp_path):
    write_json(tmp_path / 'times.json', {'mtime_ns': 1795907714150397199, 'least': -(2**63) + 1})
    times = read_json(tmp_path / 'times.json')
    assert times == {'mtime_ns': 1795907714150397199, 'least': -(2**63) + 1}
    assert all(isinstance(time, int) for time in times.values())
