"""Fixtures that all tests share."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from phantoms import PATTERN, write_description, write_scan

torch.set_num_threads(1)  # tests run side by side


@pytest.fixture
def bids_dir(tmp_path: Path) -> Path:
    """Two exams: three contrasts, and a FLAIR alone."""
    root = tmp_path / 'bids'
    write_description(root)
    for contrast in PATTERN:
        write_scan(root / 'sub-01/anat', 'sub-01', contrast)
    write_scan(root / 'sub-02/anat', 'sub-02', 'FLAIR')
    return root
