"""Tables: what is read is what was written."""

from bids_synthsr.dataset.files import write_text
from bids_synthsr.derivatives.tables import labels_text, read_table, table_text


def test_table_is_read_as_it_was_written(tmp_path):
    rows = [
        {'scan': 'T1w', 'reason': '', 'mm3': 2.25},
        {'scan': 'FLAIR', 'reason': 'Tab\tand\nline, "quoted", ü.', 'mm3': None},
    ]
    path = write_text(tmp_path / 'scans.tsv', table_text(rows))
    assert read_table(path) == [
        {'scan': 'T1w', 'reason': '', 'mm3': '2.2'},
        {'scan': 'FLAIR', 'reason': 'Tab and line, "quoted", ü.', 'mm3': ''},
    ]
    assert 'n/a' in path.read_text(encoding='utf-8')


def test_labels_are_sorted_and_named():
    header, *rows = labels_text([17, 0], 'anyexam').splitlines()
    assert header.split('\t') == ['index', 'name', 'color']
    assert [row.split('\t')[:2] for row in rows] == [['0', 'Unknown'], ['17', 'Left-Hippocampus']]


def test_a_segmentation_without_desc_is_by_tissue():
    rows = [row.split('\t')[:3] for row in labels_text([0, 1, 2, 3], '').splitlines()[1:]]
    assert [(row[0], row[2]) for row in rows] == [
        ('0', 'BG'),
        ('1', 'GM'),
        ('2', 'WM'),
        ('3', 'CSF'),
    ]
