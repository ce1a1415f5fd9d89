"""Tables of FreeSurfer, whole and broken."""

import pytest

from bids_synthsr.surfaces.stats import cortex_rows, read_stats, volume_rows

ASEG = """\
# Title Segmentation Statistics
# Measure BrainSeg, BrainSegVol, Brain Segmentation Volume, 1193318.000000, mm^3
# Measure BrainSegVol-to-eTIV, BrainSegVol-to-eTIV, Ratio, 0.740000, unitless
# ColHeaders  Index SegId NVoxels Volume_mm3 StructName normMean
  1   4      6563     6562.6  Left-Lateral-Ventricle           37.7
  2  17      4231     4231.3  Left-Hippocampus                  60.1
"""
SAMSEG = """\
# Measure Left-Hippocampus, 4000.1, mm^3
# Measure Intra-Cranial, 1500000.25, mm^3
"""
APARC = """\
# ColHeaders StructName NumVert SurfArea GrayVol ThickAvg ThickStd MeanCurv
bankssts  1449 987 2400 2.532 0.452 0.120
"""


def write(tmp_path, text, name='aseg.stats'):
    path = tmp_path / name
    path.write_text(text)
    return path


def test_volumes_of_recon_all(tmp_path):
    rows = volume_rows(write(tmp_path, ASEG))
    assert rows[1] == {'index': 17, 'name': 'Left-Hippocampus', 'volume_mm3': 4231.3}
    assert rows[2] == {'index': None, 'name': 'BrainSegVol', 'volume_mm3': 1193318.0}


def test_volumes_of_samseg_and_synthseg(tmp_path):
    rows = volume_rows(write(tmp_path, SAMSEG))
    assert rows[0] == {'index': 17, 'name': 'Left-Hippocampus', 'volume_mm3': 4000.1}
    text = 'subject,left hippocampus,total intracranial\nx,3999.5,1400000\n'
    rows = volume_rows(write(tmp_path, text, 'synthseg.vol.csv'))
    assert rows[0] == {'index': 17, 'name': 'left-hippocampus', 'volume_mm3': 3999.5}
    assert len(rows) == 2


def test_the_cortex(tmp_path):
    (row,) = cortex_rows(write(tmp_path, APARC))
    assert row['name'] == 'bankssts'
    assert row['n_vertices'] == 1449
    assert row['thickness_mm'] == '2.532'


@pytest.mark.parametrize(
    ('text', 'words'),
    [
        (ASEG[:-20] + '\n', 'line 6'),
        (ASEG.replace('1193318.000000', 'many'), 'line 2'),
        ('', 'no table'),
        (ASEG.replace('Volume_mm3', 'Volume'), 'lacks a volume'),
        (ASEG.replace('4231.3', 'n/a'), 'lacks a volume'),
    ],
)
def test_broken_tables_are_named(tmp_path, text, words):
    with pytest.raises(ValueError, match=words):
        volume_rows(write(tmp_path, text))


def test_a_cortex_without_thickness_is_named(tmp_path):
    with pytest.raises(ValueError, match='lacks a measure'):
        cortex_rows(write(tmp_path, APARC.replace('ThickAvg', 'Thick')))


def test_a_csv_of_no_subject_or_no_number_is_named(tmp_path):
    with pytest.raises(ValueError, match='0 rows'):
        volume_rows(write(tmp_path, 'subject,a\n', 'synthseg.vol.csv'))
    with pytest.raises(ValueError, match='no volume'):
        volume_rows(write(tmp_path, 'subject,a\nx,many\n', 'synthseg.vol.csv'))


def test_measures_of_three_and_of_five_parts(tmp_path):
    assert read_stats(write(tmp_path, ASEG)).measures == {'BrainSegVol': 1193318.0}
    assert read_stats(write(tmp_path, SAMSEG)).measures['Intra-Cranial'] == 1500000.25
