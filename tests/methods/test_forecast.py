"""What an exam will take, told from its headers.

How near that is, benchmarks/speed/forecast.py says.
"""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from bids_synthsr.cli.bids_app import main
from bids_synthsr.methods.catalogue import METHODS
from bids_synthsr.methods.exam_size import ExamSize
from bids_synthsr.methods.forecast import forecast_exam
from bids_synthsr.methods.total_variation import sampling_points
from bids_synthsr.run import plan
from bids_synthsr.run.plan import describe_small_memory
from bids_synthsr.run.processing import EXAMS_AT_ONCE, _parts
from bids_synthsr.settings import MethodSettings, RunSettings
from bids_synthsr.values.exam import Acquisition, Scan
from bids_synthsr.values.grid import Grid
from bids_synthsr.values.method import Forecast


def geometry(axis=2, spacing=4.0, size=220.0):
    """Slices of a head, 1 mm in plane."""
    voxel = np.ones(3)
    voxel[axis] = spacing
    grid = Grid(tuple((size / voxel).astype(int)), np.diag([*voxel, 1]))
    return grid, Acquisition(axis, spacing, spacing)


def forecast(contrasts, geometries, *, method, **size):
    return forecast_exam(METHODS[method], ExamSize(contrasts, geometries, **size))


AXIAL, SAGITTAL = geometry(), geometry(axis=0)


@pytest.mark.parametrize('method', METHODS)
def test_larger_heads_take_more(method):
    small = forecast(['T1w'], [geometry(size=160)], method=method)
    large = forecast(['T1w'], [geometry(size=240)], method=method)
    assert large.memory_gb > small.memory_gb > 0.3
    assert large.cpu_s > small.cpu_s > 0
    assert forecast(['T1w'], [AXIAL], method=method, spacing_mm=2).memory_gb < large.memory_gb


@pytest.mark.parametrize('method', ['sr-t1', 'synthsr'])
def test_networks_take_more_in_32_bits(method):
    in_16, in_32 = (forecast(['T1w'], [AXIAL], method=method, in_16_bits=x) for x in (True, False))
    assert in_32.memory_gb > in_16.memory_gb + 0.5


@pytest.mark.parametrize('fastest', ['float32', 'bfloat16'])
def test_forecasts_are_of_the_numbers_that_a_network_computes_with(monkeypatch, fastest):
    monkeypatch.setattr(plan, 'fastest_precision', lambda _: fastest)
    grid, slices = AXIAL
    scan = Scan(Path('sub-01_T1w.nii.gz'), 'T1w', grid=grid, acquisition=slices)

    def take(method, precision='auto'):
        settings = MethodSettings(method=method, precision=precision)
        return plan.forecast_scans([scan], settings, 1).memory_gb

    for method in ('sr-t1', 'synthsr'):
        assert take(method, 'float32') > take(method, 'bfloat16') + 0.5
    assert take('sr-t1') == take('sr-t1', fastest)
    assert take('synthsr') == take('synthsr', 'float32')  # the published numbers


def test_auto_takes_what_the_network_takes_and_what_is_made_beside_it():
    contrasts, scans = ['T1w', 'T2w'], [AXIAL, SAGITTAL]
    auto, network, sharpened = (
        forecast(contrasts, scans, method=method) for method in ('auto', 'any-exam', 'sr-t1')
    )
    assert auto.synthesize_gb == max(network.synthesize_gb, sharpened.synthesize_gb)
    assert auto.cpu_s > network.cpu_s + 0.4 * sharpened.cpu_s
    alone = forecast(['FLAIR'], [AXIAL], method='auto')
    assert alone.synthesize_gb == forecast(['FLAIR'], [AXIAL], method='any-exam').synthesize_gb


def test_total_variation_takes_more_for_contrasts_and_threads():
    one = forecast(['T1w'], [AXIAL], method='tv').memory_gb
    three = forecast(['T1w', 'T2w', 'FLAIR'], [AXIAL] * 3, method='tv')
    assert three.memory_gb > one + 1
    more = forecast(['T1w', 'T2w', 'FLAIR'], [AXIAL] * 3, method='tv', num_threads=3)
    assert more.memory_gb > three.memory_gb
    assert three.cpu_s > 2 * forecast(['T1w'], [AXIAL], method='tv').cpu_s


def test_union_of_fields_of_view_takes_more():
    grid, acquisition = AXIAL
    vox2ras = grid.vox2ras.copy()
    vox2ras[2, 3] += 60
    scans = [AXIAL, (Grid(grid.shape, vox2ras), acquisition)]
    own = forecast(['T1w', 'T2w'], scans, method='cubic')
    both = forecast(['T1w', 'T2w'], scans, method='cubic', fov='union')
    assert both.memory_gb > own.memory_gb


def test_sampling_points_cover_the_slices_and_what_they_reach():
    assert sampling_points(AXIAL, 1.0) == pytest.approx(220 * 220 * 232 / 1e6)
    assert sampling_points(AXIAL, 2.0) == pytest.approx(sampling_points(AXIAL, 1.0) / 8)


def test_dry_run_tells_memory_and_time(bids_dir, tmp_path, capsys):
    assert main([str(bids_dir), str(tmp_path / 'out'), 'participant', '--dry-run']) == 0
    told = capsys.readouterr().err
    assert told.count('  forecast  ') == 2 and 'of one core; the largest takes' in told


def test_exam_that_needs_more_than_there_is_is_told_and_tried(bids_dir, tmp_path, capsys):
    arguments = ['--method', 'cubic', '--output-resolution', '4', '--mem', '0.3',
                 '--participant-label', '02', '--skip-bids-validation']  # fmt: skip
    out = tmp_path / 'out'
    assert (
        main([str(bids_dir), str(out), 'participant', '-w', str(tmp_path / 'w'), *arguments]) == 0
    )
    told = capsys.readouterr().err
    assert 'sub-02: forecast to take 0.' in told and 'there are 0.3' in told
    assert '--method cubic' in told


def test_memory_that_suffices_is_not_told():
    need = Forecast(1, 2, 3, 4, 3, 60)
    assert need.memory_gb == 4
    assert describe_small_memory({'sub-01': need}, 4.0) == []
    assert len(describe_small_memory({'sub-01': need}, 3.9)) == 1


@pytest.mark.parametrize(
    ('exams', 'nprocs', 'plugin', 'sizes'),
    [
        (3, 2, {}, [3]),
        (150, 2, {}, [EXAMS_AT_ONCE, EXAMS_AT_ONCE, 150 - 2 * EXAMS_AT_ONCE]),
        (150, 8, {}, [128, 22]),
        (150, 2, {'plugin': 'SLURM'}, [150]),
    ],
)
def test_exams_are_done_in_parts(exams, nprocs, plugin, sizes):
    plans = [SimpleNamespace(number=number) for number in range(exams)]
    parts = list(_parts(plans, RunSettings(nprocs=nprocs, plugin=plugin)))
    assert [len(part) for part in parts] == sizes
    assert [plan for part in parts for plan in part] == plans
