"""How near a network that learned from pairs of scans comes to the scan that it is to make.

Two things are compared beside it: the scan that it is given as it is, and that scan with the
histogram of the wanted one, which takes contrast alone.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from bids_synthsr.dataset.files import write_text
from bids_synthsr.dataset.images import save_volume
from bids_synthsr.derivatives.tables import table_text
from bids_synthsr.evaluation.comparisons import compare_with_truth
from bids_synthsr.imaging.geometry import output_grid
from bids_synthsr.imaging.resampling import resample
from bids_synthsr.imaging.similarity import match_histogram, ssim_parts
from bids_synthsr.methods import any_exam
from bids_synthsr.methods.paired import TrainedPairNetwork, make_other
from bids_synthsr.morphometry.quality import dice_between
from bids_synthsr.networks.exam_unet import TrainedExamUNet
from bids_synthsr.synthesis.heads import SHOWN_INTENSITY
from bids_synthsr.training.cohort import PairFiles
from bids_synthsr.training.pairs import RegisteredPair, register_pair
from bids_synthsr.training.pictures import GREY, Tile, draw_sheet, save_figure
from bids_synthsr.values.exam import Acquisition
from bids_synthsr.values.method import Observation

AS_IS, MATCHED, MADE, WANTED = 'as it is', 'histogram matched', 'network', 'wanted'
PLACES = {AS_IS: 'given', MADE: 'network', WANTED: 'wanted'}  # folders of volumes
TABLE, PICTURE = 'pairs.tsv', 'pairs.png'
MEASURES = ('psnr', 'ssim', 'luminance', 'contrast', 'structure', 'l1')
MOST_ROWS = 12  # of the picture

logger = logging.getLogger(__name__)


@dataclass
class PairJudgement:
    """What came of the pairs.

    Parameters
    ----------
    rows
        Measures of each version of each pair, by name.
    files
        Table and picture that were written.
    failures
        Why pairs were left out, a sentence each.
    """

    rows: list[dict[str, str | float]] = field(default_factory=list)
    files: list[Path] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)

    def summary(self) -> Iterator[str]:
        """Sum up each version in a line, and say how often the network is best."""
        for version in dict.fromkeys(row['version'] for row in self.rows):
            means = ', '.join(
                f'{name} {np.mean([float(row[name]) for row in self._of(version)]):.4g}'
                for name in self.rows[0]
                if name not in ('pair', 'version')
            )
            yield f'{version}: {means}'
        made = self._of(MADE)
        for name in ('psnr', 'ssim'):
            best = [max(float(row[name]) for row in self._of_pair(one['pair'])) for one in made]
            count = sum(float(one[name]) == top for one, top in zip(made, best, strict=True))
            yield f'{name} is best by the network in {count} of {len(made)} pairs'

    def _of(self, version: str | float) -> list[dict[str, str | float]]:
        return [row for row in self.rows if row['version'] == version]

    def _of_pair(self, pair: str | float) -> list[dict[str, str | float]]:
        return [row for row in self.rows if row['pair'] == pair]


def judge_pairs(
    files: Sequence[PairFiles],
    trained: TrainedPairNetwork,
    folder: Path,
    segmenter: TrainedExamUNet | None = None,
    saves: bool = False,
    show: Callable[[str], None] = logger.info,
) -> PairJudgement:
    """Compare what a network makes of each pair with the wanted scan.

    Parameters
    ----------
    files
        Files of pairs that the network did not learn from.
    trained
        The network with its weights.
    folder
        Folder for table and picture.
    segmenter
        Network that segments T1w, to compare the structures of all versions; None for not.
    saves
        Whether the volumes are kept, in a folder for each version, on one grid.
    show
        Takes a line for each pair that is done.
    """
    judgement, tiles = PairJudgement(), list[list[Tile]]()
    for number, pair in enumerate(files, 1):
        try:
            registered = register_pair(pair, trained.spacing_mm)
        except ValueError as error:
            judgement.failures.append(f'{pair.given}: {error}')
            continue
        versions = make_versions(registered, trained)
        mask = registered.wanted > SHOWN_INTENSITY
        scores = _segment(versions, registered, segmenter) if segmenter else {}
        for version in (AS_IS, MATCHED, MADE):
            fitted, measures = compare_with_truth(versions[version], registered.wanted, mask)
            measures |= ssim_parts(fitted, registered.wanted, mask)
            row = {name: round(measures[name], 5) for name in MEASURES}
            judgement.rows.append(
                {'pair': pair.given.name, 'version': version, **row, **scores.get(version, {})}
            )
        for version, place in PLACES.items() if saves else ():
            path = folder / place / pair.given.name
            save_volume(path, versions[version].astype(np.float32), registered.grid)
        if len(tiles) < MOST_ROWS:
            tiles.append(_tiles(pair.given.name, versions))
        show(f'{number} of {len(files)} pairs done')
    if judgement.rows:
        text = table_text([_as_text(row) for row in judgement.rows])
        judgement.files.append(write_text(folder / TABLE, text))
        judgement.files.append(save_figure(folder / PICTURE, draw_sheet(tiles)))
    return judgement


def make_versions(pair: RegisteredPair, trained: TrainedPairNetwork) -> dict[str, np.ndarray]:
    """Make all versions of a scan that are compared, and the wanted one: ``(I, J, K)`` each."""
    made, _ = make_other(pair.given, trained.network)
    mask = pair.wanted > SHOWN_INTENSITY
    matched = match_histogram(pair.given, pair.wanted, mask)
    return {AS_IS: pair.given, MATCHED: matched, MADE: made, WANTED: pair.wanted}


def _as_text(row: Mapping[str, str | float]) -> dict[str, str]:
    """Write the numbers of a row with as many digits as differ between versions."""
    return {name: x if isinstance(x, str) else f'{x:.5g}' for name, x in row.items()}


def _segment(
    versions: Mapping[str, np.ndarray], pair: RegisteredPair, segmenter: TrainedExamUNet
) -> dict[str, dict[str, float]]:
    """Compare the structures in each version with those in the wanted scan: mean Dice."""
    grid = output_grid(pair.grid, any_exam.NETWORK_MM)
    slices = Acquisition(2, any_exam.NETWORK_MM, any_exam.NETWORK_MM)
    found = {}
    for version in (AS_IS, MADE, WANTED):
        fine = resample(versions[version], pair.grid, grid)
        scan = Observation('T1w', fine, grid, slices, np.eye(4))
        images = any_exam.synthesize([scan], grid, trained=segmenter).images
        found[version] = next(x.voxels for x in images if x.desc == any_exam.DESC and x.labels)
    found[MATCHED] = found[AS_IS]  # a curve changes no border
    return {
        version: {'dice': round(dice_between(found[version], found[WANTED], segmenter.labels), 4)}
        for version in (AS_IS, MATCHED, MADE)
    }


def _tiles(name: str, versions: Mapping[str, np.ndarray]) -> list[Tile]:
    """Show the middle slice of each version."""
    index = versions[WANTED].shape[2] // 2
    return [
        (f'{name}\n{version}' if version == AS_IS else version, volume[:, :, index], GREY)
        for version, volume in versions.items()
    ]
