"""Memory that is kept for the next array, and given back."""

import sys
from pathlib import Path

import pytest
import torch

from bids_synthsr.imaging.memory import reusing_memory

pytestmark = pytest.mark.skipif(sys.platform != 'linux', reason='glibc alone can be told')


def resident_gb():
    return int(Path('/proc/self/statm').read_text().split()[1]) * 4096 / 1e9


def faults():
    return int(Path('/proc/self/stat').read_text().rsplit(')', 1)[1].split()[7])


def test_freed_memory_is_used_again_and_given_back_at_the_end():
    before = resident_gb()
    with reusing_memory():
        for _ in range(12):  # small things settle among the large ones
            torch.ones(2**26)  # 256 MB
        kept, count = resident_gb(), faults()
        for _ in range(4):
            torch.ones(2**26)
        assert faults() - count < 65536  # a single one anew has as many pages
    assert kept - before > 0.2
    assert resident_gb() - before < 0.1
