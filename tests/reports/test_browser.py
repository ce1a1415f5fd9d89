"""Reports in a real browser, without a network: they load, react and complain of nothing."""

import json
import re
import shutil
import subprocess

import pytest
from page_policy import allow_scripts

from bids_synthsr.cli.bids_app import main

BROWSERS = ('chromium', 'chromium-browser', 'google-chrome')
BROWSER = next(filter(None, map(shutil.which, BROWSERS)), None)
pytestmark = pytest.mark.skipif(BROWSER is None, reason='no Chromium is installed')

LISTEN = """<script>
window.requestAnimationFrame = (draw) => setTimeout(draw, 0); // dumped pages have no frames
const faults = [];
addEventListener('error', (event) => faults.push(event.message || 'something did not load'), true);
addEventListener('securitypolicyviolation', (event) => faults.push(event.blockedURI));
</script>"""
TELL = """<script>
addEventListener('load', () => setTimeout(async () => {
  const told = {};
  const frame = () => new Promise((go) => setTimeout(go, 60));
  try { await (async () => { %s })(); } catch (error) { faults.push(String(error)); }
  told.requests = performance.getEntriesByType('resource').map((entry) => entry.name)
    .filter((name) => !name.startsWith('data:'));
  const place = document.createElement('pre');
  place.id = 'told';
  place.textContent = JSON.stringify({ ...told, faults });
  document.body.append(place);
}, 200));
</script>"""
VIEW = """
const viewer = document.querySelector('.viewer');
const canvas = viewer.querySelector('canvas[data-axis="2"]');
const look = () => [canvas.toDataURL(), viewer.querySelector('output').textContent];
told.isShown = !viewer.hidden;
told.start = look();
const levels = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height).data;
told.brightest = Math.max(...levels.filter((_, index) => index % 4 === 0));
canvas.focus();
canvas.dispatchEvent(new KeyboardEvent('keydown', { key: 'ArrowDown' }));
await frame(); told.key = look();
canvas.dispatchEvent(new WheelEvent('wheel', { deltaY: 1, cancelable: true }));
await frame(); told.wheel = look();
const slider = viewer.querySelector('input[type=range][data-axis="2"]');
slider.value = 3;
slider.dispatchEvent(new Event('input'));
await frame(); told.slider = look();
told.unnamed = [...document.querySelectorAll('img, canvas, input, select')].filter((part) =>
  !part.hasAttribute('alt') && part.type !== 'hidden'
  && !part.getAttribute('aria-label') && !part.closest('label') && !part.labels?.length).length;
"""
SORT = """
told.pictures = [...document.images].map((image) => image.complete && image.naturalWidth > 90);
const labels = () => [...document.querySelectorAll('tbody tr')].filter((row) => !row.hidden)
  .map((row) => row.cells[0].textContent);
told.start = labels();
document.querySelectorAll('thead button')[0].click();
told.reversed = labels();
const state = document.querySelector('.filters select');
state.value = 'failed';
state.dispatchEvent(new Event('input', { bubbles: true }));
told.failed = labels();
state.value = '';
const words = document.querySelector('.filters input');
words.value = 'SUB-01';
words.dispatchEvent(new Event('input', { bubbles: true }));
told.found = labels();
told.shown = document.querySelector('.filters output').textContent;
"""


def browse(page, script, folder, width=1200, dark=False):
    """Run a script in a page; tell what it found, and what went wrong."""
    text = page.read_text(encoding='utf-8')
    tell = TELL % script
    text = text.replace('<head>', '<head>' + LISTEN, 1).replace('</body>', tell + '</body>')
    text = allow_scripts(text, LISTEN + tell)
    copy = page.with_name(f'copy-{page.name}')  # beside the pictures that it shows
    copy.write_text(text, encoding='utf-8')
    options = ['--headless', '--no-sandbox', '--disable-gpu', '--hide-scrollbars', '--dump-dom',
               '--virtual-time-budget=8000', f'--window-size={width},1400',
               '--host-resolver-rules=MAP * ~NOTFOUND', f'--user-data-dir={folder / "profile"}',
               *(['--blink-settings=preferredColorScheme=0'] if dark else [])]  # fmt: skip
    done = subprocess.run(
        [BROWSER, *options, copy.as_uri()],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    found = re.search(r'<pre id="told">(.*?)</pre>', done.stdout, re.DOTALL)
    assert found, done.stderr[-2000:]
    return json.loads(found[1].replace('&amp;', '&').replace('&lt;', '<').replace('&gt;', '>'))


@pytest.fixture(scope='module')
def out(tmp_path_factory):
    """Outputs of an exam that is good, and of one that failed."""
    from phantoms import write_description, write_scan

    folder = tmp_path_factory.mktemp('browser')
    write_description(folder / 'bids')
    for contrast in ('T1w', 'FLAIR'):
        write_scan(folder / 'bids/sub-01/anat', 'sub-01', contrast)
    broken = write_scan(folder / 'bids/sub-02/anat', 'sub-02', 'T1w')
    broken.write_bytes(b'')
    arguments = ['--method', 'cubic', '--output-resolution', '4', '--skip-bids-validation']
    places = [folder / 'bids', folder / 'out', 'participant', '-w', folder / 'work']
    assert main([*map(str, places), *arguments]) == 1
    return folder / 'out'


@pytest.mark.parametrize(('width', 'dark'), [(1200, False), (400, True)])
def test_report_of_an_exam_shows_its_voxels_and_reacts(out, tmp_path, width, dark):
    told = browse(out / 'sub-01.html', VIEW, tmp_path, width, dark)
    assert told['faults'] == [] and told['requests'] == []
    assert told['isShown'] and told['brightest'] > 100
    looks = [told[name] for name in ('start', 'key', 'wheel', 'slider')]
    assert len({picture for picture, _ in looks}) == 4
    assert len({place for _, place in looks}) == 4
    assert told['unnamed'] == 0


def test_report_of_a_failed_exam_loads(out, tmp_path):
    told = browse(out / 'sub-02.html', 'told.text = document.body.textContent;', tmp_path)
    assert told['faults'] == [] and told['requests'] == []
    assert 'The file is empty' in told['text']


def test_index_is_sorted_and_filtered(out, tmp_path):
    told = browse(out / 'index.html', SORT, tmp_path)
    assert told['faults'] == []
    assert told['requests'] == []  # but for the picture, a file of its own
    assert told['pictures'] == [True]
    assert told['start'] == ['sub-01', 'sub-02'] and told['reversed'] == ['sub-02', 'sub-01']
    assert told['failed'] == ['sub-02'] and told['found'] == ['sub-01']
    assert told['shown'] == '1 of 2 shown'
