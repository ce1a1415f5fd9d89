"""Files are on the disk before they have their name."""

import errno
import os

import pytest

from bids_synthsr.dataset.files import (
    flushed_beside,
    unflushed,
    write_text,
    written_atomically,
)


def test_content_is_flushed_before_it_is_named(tmp_path, monkeypatch):
    path, flushed = tmp_path / 'a.txt', []

    def fsync(handle):
        assert not path.exists()
        flushed.append(os.read(os.dup(handle), 100))

    monkeypatch.setattr(os, 'fsync', fsync)
    write_text(path, 'whole')
    assert flushed == [b'whole'] and path.read_text() == 'whole'


def test_disk_that_fails_while_it_is_flushed_leaves_the_file_as_it_was(tmp_path, monkeypatch):
    path = write_text(tmp_path / 'a.txt', 'before')

    def fail(_):
        raise OSError(errno.ENOSPC, 'No space left on device')

    monkeypatch.setattr(os, 'fsync', fail)
    with pytest.raises(OSError, match='No space'):
        write_text(path, 'after')
    assert path.read_text() == 'before' and list(tmp_path.iterdir()) == [path]


def test_file_system_that_cannot_flush_is_no_fault(tmp_path, monkeypatch):
    def refuse(_):
        raise OSError(errno.EINVAL, 'Invalid argument')

    monkeypatch.setattr(os, 'fsync', refuse)
    with written_atomically(tmp_path / 'a.txt') as temporary:
        temporary.write_text('whole')
    assert (tmp_path / 'a.txt').read_text() == 'whole'


def test_files_of_a_step_do_not_wait_for_the_disk(tmp_path, monkeypatch):
    flushed = []
    monkeypatch.setattr(os, 'fsync', flushed.append)
    step, output = tmp_path / 'step', tmp_path / 'out'
    with unflushed(step):
        write_text(step / 'volume.txt', 'kept')
        assert not flushed
        write_text(output / 'volume.txt', 'an output')
        assert len(flushed) == 1
    write_text(step / 'volume.txt', 'after the block')
    assert len(flushed) == 2


def test_files_flushed_beside_are_on_the_disk_at_the_end_of_the_block(tmp_path, monkeypatch):
    flushed = []
    monkeypatch.setattr(os, 'fsync', lambda handle: flushed.append(os.read(os.dup(handle), 100)))
    with flushed_beside():
        for name in ('a', 'b'):
            write_text(tmp_path / name, name)
    assert flushed == [b'a', b'b']


def test_disk_that_fails_beside_the_work_fails_the_block(tmp_path, monkeypatch):
    def fail(_):
        raise OSError(errno.EIO, 'Input/output error')

    monkeypatch.setattr(os, 'fsync', fail)
    with pytest.raises(OSError, match='Input/output'), flushed_beside():
        write_text(tmp_path / 'a.txt', 'lost')
