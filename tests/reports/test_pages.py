import html
import json
import re
import shutil
import subprocess
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest
from page_policy import allow_scripts

from bids_synthsr.derivatives.records import StepCost
from bids_synthsr.reports import embedding
from bids_synthsr.reports.boilerplate import MethodFacts, methods_text
from bids_synthsr.reports.content import (
    AlignedPair,
    ExamReport,
    Failure,
    FileRow,
    IndexRow,
    SelectionRow,
    StandardSpace,
    StructureRow,
    Volume,
)
from bids_synthsr.reports.pages import (
    SECTIONS,
    STATES,
    blocks,
    duration,
    write_index,
    write_report,
)
from bids_synthsr.reports.screen import to_bytes, to_screen, window_of
from bids_synthsr.values.grid import Grid

VOID = {'area', 'br', 'col', 'hr', 'img', 'input', 'link', 'meta', 'path', 'use', 'rect'}
EVIL = '<script>alert("x")</script> & $co.'


class Page(HTMLParser):
    """Elements of a page with their attributes; fails on tags that do not match."""

    def __init__(self, path):
        super().__init__()
        self.elements, self.open = [], []
        self.feed(path.read_text(encoding='utf-8'))
        assert not self.open, f'never closed: {self.open}'

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        if tag not in VOID:
            assert self.open.pop() == tag

    def all(self, tag):
        return [attributes for name, attributes in self.elements if name == tag]


def phantom(seed, shape=(16, 18, 14), vox2ras=None):
    draw = np.random.default_rng(seed)
    x, y, z = np.meshgrid(*(np.linspace(-1, 1, size) for size in shape), indexing='ij')
    head = 100 * ((x**2 + y**2 + z**2) < 0.8) * (1.5 + 0.5 * x + 0.3 * y - 0.4 * z)
    voxels = (head + draw.uniform(0, 3, shape)).astype(np.float32)
    return voxels, Grid(shape, np.diag([10.0, 10, 10, 1]) if vox2ras is None else vox2ras)


def full_report(name='T1w'):
    voxels, grid = phantom(0)
    other = phantom(1)[0]
    thick = Grid((16, 18, 7), np.diag([10.0, 10, 20, 1]))
    return ExamReport(
        label='sub-01_ses-1',
        state='failed',
        summary=f'Made from {name}.',
        warnings=(f'Look at {name}.',),
        selection=(
            SelectionRow(name, 'reference', 'The only T1w.', f'{name}.nii.gz'),
            SelectionRow('FLAIR', 'used', 'Usable.', warnings=('Thick slices.',)),
            SelectionRow('T2w', 'left out', 'Two slices only.'),
        ),
        natives=(Volume(name, voxels, grid, 2), Volume('FLAIR', other[:, :, ::2], thick, 2)),
        pairs=(
            AlignedPair('FLAIR', grid, voxels, other, other, 1.05, 1.21, 4.0, 2.0, 0.9, 'Fits.'),
            AlignedPair('T2w', grid, voxels, other, other, is_accepted=False),
        ),
        reliability=(Volume(name, voxels / voxels.max(), grid),),
        outputs=(
            Volume(f'Output {name}', voxels, grid),
            Volume('Output FLAIR', other, grid),
            Volume('Uncertainty', other / 10, grid),
        ),
        baseline=Volume('Cubic', other, grid),
        segmentation=Volume('Segmentation', 17.0 * (voxels > 100), grid),
        structures=(
            StructureRow('Hippocampus', (3.61, 3.5), 0.42),
            StructureRow('CSF', (300,), 9),
        ),
        quality={'expected_dice': 0.91, 'coverage': 0.99, 'agreement': 0.9, 'score': 0.81},
        spaces=(
            StandardSpace(name, Volume(name, voxels, grid), other, 0.97, 0.85),
            StandardSpace('MNI152NLin6Asym', Volume(name, voxels, grid), None, 0.97, 0.85),
        ),
        files=(
            FileRow('sub-01/anat/sub-01_desc-tv_T1w.nii.gz', f'Made of {EVIL}'),
            FileRow('x.tsv'),
        ),
        steps=(StepCost('Align', 5.2, 1.5), StepCost('Write', 0.0)),
        provenance={'Weights': name, 'Versions': {'numpy': '2.0'}, 'Contrasts': ['T1w', 'FLAIR']},
        methods=methods_text(MethodFacts('tv', ('T1w', 'FLAIR'))),
        failures=(Failure('align', f'{name} is broken.', 'Copy it.', '/crash.txt', 'Traceback'),),
    )


@pytest.fixture
def undrawn(monkeypatch):
    """Leave the drawing of pictures out where a test is about the page around them."""
    for kind in ('jpeg', 'png'):
        monkeypatch.setattr(embedding, kind, lambda figure, kind=kind: f'data:image/{kind},')


@pytest.fixture(scope='module')
def full_page(tmp_path_factory):
    return write_report(full_report(), tmp_path_factory.mktemp('full') / 'exam.html')


def assert_self_contained(path):
    text = path.read_text(encoding='utf-8')
    for tag, attributes in Page(path).elements:
        loaded = ['src', 'srcset', 'data', 'poster', 'action', 'xlink:href']
        for name in loaded + ['href'] * (tag != 'a'):
            value = attributes.get(name) or ''
            assert value.startswith(('data:', '#')) or not value, f'<{tag} {name}={value[:60]}>'
        assert tag not in ('iframe', 'object', 'embed')
    assert '@import' not in text
    assert not re.search(r'url\((?!["\']?(data:|#))', text)
    assert "default-src 'none'" in text, 'the browser itself refuses every request'


def test_page_needs_no_other_file(full_page):
    assert_self_contained(full_page)


def test_sections_come_in_their_order(full_page):
    anchors = [section.get('id') for section in Page(full_page).all('section')]
    assert anchors == [section.anchor for section in SECTIONS]
    text = full_page.read_text(encoding='utf-8')
    assert text.index('Look at T1w.') < text.index('Made from T1w.') < text.index('id="scans"')


def test_segmentation_tells_volumes_and_quality(full_page):
    text = full_page.read_text(encoding='utf-8')
    assert all(told in text for told in ('Hippocampus', '3.61', '3.50', '0.42', '300.00'))
    assert '<dt>Quality</dt><dd>0.81</dd>' in text
    assert 'Sagittal: segmentation' in text and 'Axial: uncertainty' in text


def test_everything_has_a_name_for_those_who_do_not_see_it(full_page):
    page = Page(full_page)
    assert all('alt' in image for image in page.all('img'))
    labelled = {label.get('for') for label in page.all('label')}
    for field in page.all('input'):
        assert field.get('id') in labelled or field['type'] == 'range'  # inside its label
    assert all(canvas['aria-label'] for canvas in page.all('canvas'))
    names = [attributes['id'] for _, attributes in page.elements if 'id' in attributes]
    assert len(names) == len(set(names))


def test_minimum_of_every_state_renders(tmp_path):
    for state, words in STATES.items():
        path = write_report(ExamReport('sub-02', state), tmp_path / f'{state}.html')
        assert_self_contained(path)
        assert not Page(path).all('section')
        assert words in path.read_text(encoding='utf-8')


@pytest.mark.parametrize('field', [section.needs for section in SECTIONS])
def test_any_part_may_be_missing(field, tmp_path, undrawn):
    report = full_report()
    for name in ('selection', 'natives', 'pairs', 'reliability', 'outputs', 'steps', 'failures'):
        if getattr(report, name) is field(report):
            report = replace(report, **{name: ()})
    assert_self_contained(write_report(replace(report, baseline=None), tmp_path / 'exam.html'))


def test_names_are_escaped(tmp_path, undrawn):
    exam = write_report(full_report(EVIL), tmp_path / 'exam.html')
    index = write_index([IndexRow(EVIL, 'failed', EVIL, 'x.html')], tmp_path / 'index.html')
    for path in (exam, index):
        text = path.read_text(encoding='utf-8')
        assert len(Page(path).all('script')) == 1, 'only the script of the page itself'
        assert EVIL not in text
        assert '&lt;script&gt;alert(' in text


def test_output_on_another_grid_than_the_baseline_stands_alone(tmp_path, undrawn):
    voxels, grid = phantom(0, (12, 12, 12), np.diag([15.0, 15, 15, 1]))
    report = replace(full_report(), baseline=Volume('Elsewhere', voxels, grid))
    path = write_report(report, tmp_path / 'exam.html')
    assert 'Elsewhere' not in path.read_text(encoding='utf-8')


def test_index_lists_exams_with_state_reason_link_and_time(tmp_path):
    rows = [
        IndexRow('sub-01', 'complete', '', 'sub-01.html', 192.0),
        IndexRow('sub-02', 'failed', 'No usable scan.'),
    ]
    path = write_index(rows, tmp_path / 'index.html')
    assert_self_contained(path)
    assert [link['href'] for link in Page(path).all('a')] == ['#main', './sub-01.html']
    text = path.read_text(encoding='utf-8')
    assert '3 min 12 s' in text
    assert 'No usable scan.' in text
    assert '2 exams' in text


def test_index_of_a_run_that_goes_on_is_loaded_again(tmp_path):
    rows = [IndexRow('sub-01', 'complete', '', 'sub-01.html', 192.0)]
    path = write_index(rows, tmp_path / 'index.html', work='1 finished. At work: <sub-02>.')
    assert_self_contained(path)
    text = path.read_text(encoding='utf-8')
    assert 'http-equiv="refresh" content="20"' in text
    assert 'A run is at work.' in text and 'At work: &lt;sub-02&gt;.' in text
    ended = write_index(rows, path).read_text(encoding='utf-8')
    assert 'refresh' not in ended and 'at work' not in ended


def test_empty_index_renders(tmp_path):
    assert '0 exams' in write_index([], tmp_path / 'index.html').read_text(encoding='utf-8')


@pytest.mark.parametrize(
    ('seconds', 'text'),
    [
        (0, '0.0 s'),
        (9.94, '9.9 s'),
        (9.96, '10 s'),
        (59.7, '1 min 00 s'),
        (192, '3 min 12 s'),
        (7500, '2 h 05 min'),
    ],
)
def test_durations_read_as_people_tell_them(seconds, text):
    assert duration(seconds) == text


def test_blocks_of_markdown():
    text = 'One\ntwo.\n\n### Title\n\n1. a\n2. b\n'
    assert list(blocks(text)) == [
        ('paragraph', ['One two.']),
        ('heading', ['Title']),
        ('list', ['a', 'b']),
    ]


# On a busy machine a headless browser draws its frames later than its virtual clock promises.
FRAMES = '<head><script>window.requestAnimationFrame = (draw) => setTimeout(draw, 16);</script>'
PROBE = """<script>
const viewer = document.querySelector('.viewer');
const wanted = {0: 4, 1: 11, 2: 3};
for (const slider of viewer.querySelectorAll('input[type=range]')) {
  slider.value = wanted[slider.dataset.axis];
  slider.dispatchEvent(new Event('input'));
}
function read(canvas) {
  const data = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height).data;
  return [...data].filter((_, index) => index % 4 === 0);
}
setTimeout(() => {
  const seen = [...viewer.querySelectorAll('canvas')].map((canvas) => (
    {row: canvas.dataset.row, axis: canvas.dataset.axis, width: canvas.width, pixels: read(canvas)}
  ));
  const found = {seen, position: viewer.querySelector('output').textContent};
  const probe = document.createElement('pre');
  probe.id = 'probe';
  probe.textContent = JSON.stringify(found);
  document.body.append(probe);
}, 3000);
</script></body>"""


@pytest.fixture(scope='module')
def probed(tmp_path_factory):
    """What a browser shows in the viewer of a left-handed grid after its sliders were moved."""
    browser = shutil.which('chromium') or shutil.which('google-chrome')
    if browser is None:
        pytest.skip('no Chromium on this machine')
    folder = tmp_path_factory.mktemp('browser')
    vox2ras = np.array([[0, 0, -9.0, 50], [10, 0, 0, -80], [0, 8, 0, -60], [0, 0, 0, 1]])
    voxels, grid = phantom(0, (18, 14, 16), vox2ras)
    voxels += 20  # no margin to crop: the whole volume is shown
    volumes = (Volume('first', voxels, grid), Volume('second', voxels[::-1], grid))
    page = write_report(ExamReport('sub-01', 'complete', outputs=volumes), folder / 'exam.html')
    text = page.read_text(encoding='utf-8').replace('<head>', FRAMES).replace('</body>', PROBE)
    page.write_text(allow_scripts(text, FRAMES + PROBE), encoding='utf-8')
    flags = '--headless --no-sandbox --disable-gpu --disable-quic --no-first-run '
    flags += '--disable-background-networking --disable-component-update --disable-sync '
    command = [browser, *flags.split(), f'--user-data-dir={folder / "profile"}']
    command += ['--virtual-time-budget=20000', '--dump-dom', page.as_uri()]
    dom = subprocess.run(command, capture_output=True, text=True, timeout=100, check=True).stdout
    found = re.search(r'<pre id="probe">(.*?)</pre>', dom, re.DOTALL)
    assert found, dom[-2000:]
    return json.loads(html.unescape(found[1])), volumes


def test_viewer_shows_the_slices_of_the_volume(probed):
    found, volumes = probed
    assert len(found['seen']) == 6
    for canvas in found['seen']:
        screen = to_screen(volumes[int(canvas['row'])].voxels, volumes[0].grid)
        axis = int(canvas['axis'])
        wanted = np.moveaxis(screen.voxels, axis, 0)[(4, 11, 3)[axis]].T
        shown = np.reshape(canvas['pixels'], (-1, canvas['width'])).astype(float)
        assert shown.shape == wanted.shape
        # JPEG of a noisy edge: some grey values; a slice beside it differs by far more
        difference = np.abs(shown - to_bytes(wanted, window_of(screen.voxels))).mean()
        assert difference < 10


def test_viewer_tells_where_the_crosshair_is(probed):
    found, volumes = probed
    screen = to_screen(volumes[0].voxels, volumes[0].grid)
    ras = screen.vox2ras @ (4, 11, 3, 1)
    numbers = [float(text) for text in re.findall(r'-?[\d.]+', found['position'])]
    np.testing.assert_allclose(numbers, ras[:3], atol=0.06)  # shown to 0.1 mm
