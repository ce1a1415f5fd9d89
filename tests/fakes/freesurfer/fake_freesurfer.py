"""FAKE FreeSurfer and FastSurfer: checks a command line, and writes files of the real one's form.

Nothing that it writes measures anything: volumes are counted by thresholds, and the surfaces are
ellipsoids. ``FAKE_FAIL`` names a directive at which it ends with an error, ``FAKE_PARTIAL`` one
after which it ends well without its last files, ``FAKE_KILL`` one in whose middle it is killed.
"""

from __future__ import annotations

import os
import signal
import socket
import sys
from pathlib import Path

import nibabel as nb
import numpy as np

THICKNESS = 2.5
LOG = 'FAKE_LOG'  # names a file that every command line is appended to


def fail(message: str) -> None:
    """End as the tools do for a wrong command line."""
    sys.stderr.write(f'FAKE: ERROR: {message}\n')
    sys.exit(2)


def options_of(words: list[str], known: dict[str, int]) -> dict[str, list[str]]:
    """Take a command line apart; flags that are not known, or come twice, end the program."""
    found: dict[str, list[str]] = {}
    rest = list(words)
    while rest:
        flag = rest.pop(0)
        if flag not in known:
            fail(f'flag {flag} unrecognized')
        if flag in found:
            fail(f'flag {flag} given twice')
        count = known[flag]
        if len(rest) < count:
            fail(f'flag {flag} needs {count} argument')
        found[flag] = [rest.pop(0) for _ in range(count)]
    return found


def check_paths(*paths: str) -> None:
    """Refuse what is not absolute, or is not there."""
    for path in paths:
        if not Path(path).is_absolute():
            fail(f'{path} is no absolute path')
        if not Path(path).exists():
            fail(f'{path} does not exist')


def obey(step: str) -> None:
    """Fail, or die, where the environment says so."""
    if os.environ.get('FAKE_FAIL') == step:
        fail(f'told to fail at {step}')
    if os.environ.get('FAKE_KILL') == step:
        os.kill(os.getpid(), signal.SIGKILL)


def save(path: Path, voxels: np.ndarray, affine: np.ndarray) -> None:
    """Write a volume of FreeSurfer."""
    path.parent.mkdir(parents=True, exist_ok=True)
    nb.MGHImage(voxels, affine).to_filename(str(path))


def prepare(subject: Path, volume: Path) -> None:
    """What ``-autorecon1`` leaves."""
    image = nb.load(str(volume))
    if not (subject / 'mri/orig/001.mgz').exists():
        save(subject / 'mri/orig/001.mgz', np.asarray(image.dataobj, np.float32), image.affine)
    own = nb.orientations.io_orientation(image.affine)
    wanted = nb.orientations.axcodes2ornt(('L', 'I', 'A'))
    image = image.as_reoriented(nb.orientations.ornt_transform(own, wanted))
    voxels = np.asanyarray(image.dataobj).astype(np.float32)
    voxels = (255 * voxels / max(voxels.max(), 1)).clip(0, 255).astype(np.uint8)
    for name in ('orig', 'nu', 'T1'):
        save(subject / f'mri/{name}.mgz', voxels, image.affine)


def segment(subject: Path, brain: Path, names: list[str]) -> dict[str, int]:
    """Label by thresholds, and count."""
    image = nb.load(str(brain))
    voxels = np.asanyarray(image.dataobj)
    labels = np.zeros(voxels.shape, np.int32)
    inside = voxels[voxels > 0]
    low, high = np.percentile(inside, (20, 60))
    # the first axis runs to the left
    is_left = np.arange(voxels.shape[0])[:, None, None] >= voxels.shape[0] / 2
    for is_side, (ventricle, cortex, white) in ((is_left, (4, 3, 2)), (~is_left, (43, 42, 41))):
        labels[(voxels > 0) & is_side & (voxels <= low)] = ventricle
        labels[(voxels > low) & is_side & (voxels <= high)] = cortex
        labels[(voxels > high) & is_side] = white
    for name in names:
        save(subject / name, labels, image.affine)
    table = {2: 'Left-Cerebral-White-Matter', 41: 'Right-Cerebral-White-Matter',
             3: 'Left-Cerebral-Cortex', 42: 'Right-Cerebral-Cortex',
             4: 'Left-Lateral-Ventricle', 43: 'Right-Lateral-Ventricle'}  # fmt: skip
    return {f'{label} {name}': int((labels == label).sum()) for label, name in table.items()}


def write_volumes(path: Path, counts: dict[str, int]) -> None:
    """Write ``aseg.stats``."""
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = [
        '# Title Segmentation Statistics', '# FAKE: nothing here measures anything',
        '# Measure EstimatedTotalIntraCranialVol, eTIV, Intracranial Volume, 1500000.0, mm^3',
        '# Measure SurfaceHoles, SurfaceHoles, Total number of defect holes, 23, unitless',
        '# ColHeaders  Index SegId NVoxels Volume_mm3 StructName normMean normStdDev',
    ]  # fmt: skip
    for number, (key, count) in enumerate(counts.items(), 1):
        label, name = key.split()
        lines.append(f'{number:3d} {label:>4} {count} {count:.1f} {name} 50.0 5.0')
    path.write_text('\n'.join(lines) + '\n')


def write_cortex(subject: Path) -> None:
    """Write surfaces, thickness and tables of both hemispheres."""
    image = nb.load(str(subject / 'mri/orig.mgz'))
    width, height, length = np.array(image.shape) * image.header.get_zooms()
    points, triangles = sphere()
    for side, shift in (('lh', -1), ('rh', 1)):
        center = np.array([shift * width / 4, 0, 0])
        (subject / 'surf').mkdir(exist_ok=True)
        for name, grow in (('white', 0.0), ('pial', THICKNESS)):
            radii = np.array([width / 5, length / 4, height / 5]) + grow
            file = str(subject / f'surf/{side}.{name}')
            nb.freesurfer.write_geometry(file, points * radii + center, triangles)
        thickness = np.full(len(points), THICKNESS, np.float32)
        nb.freesurfer.write_morph_data(str(subject / f'surf/{side}.thickness'), thickness)
        columns = 'StructName NumVert SurfArea GrayVol ThickAvg ThickStd MeanCurv GausCurv'
        lines = ['# FAKE', f'# ColHeaders {columns} FoldInd CurvInd']
        for area in ('bankssts', 'cuneus', 'insula'):
            lines.append(f'{area} 1200 820 2100 {THICKNESS:.3f} 0.500 0.120 0.030 12 1.5')
        (subject / f'stats/{side}.aparc.stats').write_text('\n'.join(lines) + '\n')


def sphere(count: int = 40) -> tuple[np.ndarray, np.ndarray]:
    """Make a sphere of triangles."""
    around, down = np.meshgrid(
        np.linspace(0, 2 * np.pi, count, endpoint=False), np.linspace(0.01, np.pi - 0.01, count)
    )
    points = np.stack([
        np.sin(down) * np.cos(around), np.sin(down) * np.sin(around), np.cos(down)
    ]).reshape(3, -1).T  # fmt: skip
    number = np.arange(count * count).reshape(count, count)
    first, beside = number[:-1], np.roll(number, -1, 1)[:-1]
    below, across = number[1:], np.roll(number, -1, 1)[1:]
    triangles = [np.stack([first, below, beside], -1), np.stack([beside, below, across], -1)]
    return points, np.concatenate([x.reshape(-1, 3) for x in triangles]).astype(np.int32)


def running(subject: Path) -> Path:
    """Take the lock of a subject, as the tools do."""
    lock = subject / 'scripts/IsRunning.lh+rh'
    lock.parent.mkdir(parents=True, exist_ok=True)
    if lock.exists():
        fail(f'it appears that recon-all is already running for {subject.name}')
    lock.write_text(f'HOST {socket.gethostname()}\nPROCESSID {os.getpid()}\n')
    return lock


def recon_all(words: list[str]) -> None:
    """FAKE ``recon-all``."""
    known = {'-autorecon1': 0, '-autorecon2': 0, '-autorecon3': 0, '-subjid': 1, '-sd': 1,
             '-i': 1, '-noskullstrip': 0, '-cw256': 0, '-openmp': 1}  # fmt: skip
    given = options_of(words, known)
    for flag in ('-subjid', '-sd', '-openmp'):
        if flag not in given:
            fail(f'{flag} is missing')
    check_paths(*given['-sd'], *given.get('-i', []))
    subject = Path(given['-sd'][0]) / given['-subjid'][0]
    if '-i' in given and (subject / 'mri/orig/001.mgz').exists():
        fail('you are trying to re-run an existing subject with (possibly) new input data (-i)')
    if '-i' not in given and not (subject / 'mri/orig/001.mgz').exists():
        fail('no run data found')
    lock = running(subject)
    if '-autorecon1' in given:
        obey('autorecon1')
        prepare(subject, Path(given.get('-i', [str(subject / 'mri/orig/001.mgz')])[0]))
    if '-autorecon2' in given:
        brain = subject / 'mri/brainmask.mgz'
        if not brain.exists():
            fail(f'cannot find {brain}')
        obey('autorecon2')
        counts = segment(subject, brain, ['mri/aseg.mgz'])
        write_volumes(subject / 'stats/aseg.stats', counts)
    if '-autorecon3' in given:
        obey('autorecon3')
        if os.environ.get('FAKE_PARTIAL') == 'autorecon3':
            lock.unlink()
            return
        counts = segment(subject, subject / 'mri/brainmask.mgz', ['mri/aparc+aseg.mgz'])
        write_volumes(subject / 'stats/wmparc.stats', counts)
        write_cortex(subject)
        (subject / 'scripts/recon-all.done').write_text('FAKE\n')
    lock.unlink()


def clinical(words: list[str]) -> None:
    """FAKE ``recon-all-clinical.sh``."""
    if len(words) != 4 or not words[2].isdigit():
        fail('usage: recon-all-clinical.sh INPUT_SCAN SUBJECT_ID THREADS SUBJECT_DIR')
    check_paths(words[0], words[3])
    subject = Path(words[3]) / words[1]
    lock = running(subject)
    obey('clinical')
    prepare(subject, Path(words[0]))
    counts = segment(subject, subject / 'mri/orig.mgz', ['mri/synthseg.mgz'])
    (subject / 'stats').mkdir(exist_ok=True)
    names = [key.split()[1].lower().replace('-', ' ') for key in counts]
    lines = [','.join(['subject', *names]), ','.join(['FAKE', *map(str, counts.values())])]
    (subject / 'stats/synthseg.vol.csv').write_text('\n'.join(lines) + '\n')
    write_cortex(subject)
    lock.unlink()


def fastsurfer(words: list[str]) -> None:
    """FAKE ``run_fastsurfer.sh``."""
    known = {'--sid': 1, '--sd': 1, '--t1': 1, '--fs_license': 1, '--threads': 1, '--device': 1,
             '--allow_root': 0}  # fmt: skip
    given = options_of(words, known)
    check_paths(*given['--sd'], *given['--t1'], *given['--fs_license'])
    if os.getuid() == 0 and '--allow_root' not in given:
        fail('you are trying to run FastSurfer as root')
    subject = Path(given['--sd'][0]) / given['--sid'][0]
    if subject.exists():
        fail(f'{subject} is there already')
    obey('fastsurfer')
    prepare(subject, Path(given['--t1'][0]))
    names = ['mri/aseg.mgz', 'mri/aparc.DKTatlas+aseg.mapped.mgz']
    write_volumes(subject / 'stats/aseg.stats', segment(subject, subject / 'mri/T1.mgz', names))
    write_cortex(subject)


def samseg(words: list[str]) -> None:
    """FAKE ``run_samseg``."""
    given = options_of(words, {'-i': 1, '-o': 1, '--threads': 1})
    check_paths(*given['-i'], *given['-o'])
    subject = Path(given['-o'][0])
    obey('samseg')
    prepare(subject, Path(given['-i'][0]))
    counts = segment(subject, subject / 'mri/T1.mgz', ['seg.mgz'])
    lines = [f'# Measure {key.split()[1]}, {count}.0, mm^3' for key, count in counts.items()]
    if os.environ.get('FAKE_KILL') == 'samseg-stats':
        (subject / 'samseg.stats').write_text('\n'.join(lines[:2]) + '\n')
        os.kill(os.getpid(), signal.SIGKILL)
    (subject / 'samseg.stats').write_text('\n'.join(lines) + '\n')


COMMANDS = {
    'recon-all': recon_all,
    'recon-all-clinical.sh': clinical,
    'run_fastsurfer.sh': fastsurfer,
    'run_samseg': samseg,
}


if __name__ == '__main__':
    name = Path(sys.argv[0]).name
    if LOG in os.environ:
        with Path(os.environ[LOG]).open('a') as log:
            log.write(' '.join([name, *sys.argv[1:]]) + '\n')
    if not Path(os.environ.get('FS_LICENSE', '')).is_file():
        fail('there is no licence')
    sys.stdout.write(f'FAKE {name}\n')
    COMMANDS[name](sys.argv[1:])
