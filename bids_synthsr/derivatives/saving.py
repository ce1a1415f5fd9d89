"""From the work folder to derivatives: what was made of an exam, named, described and recorded."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from bids_synthsr.dataset.images import load_volume, save_volume, written_atomically
from bids_synthsr.dataset.selection import leave_out, read_selection, write_selection
from bids_synthsr.derivatives.places import (
    ExamDerivatives,
    Provenance,
    labels_text,
    raw_uri,
    sidecar_of,
    volumes_text,
    write_json,
    write_text,
)

LABEL_TYPES = {'dseg': np.int16, 'mask': np.uint8}  # by suffix: whole numbers


@dataclass(frozen=True)
class MadeFiles:
    """What was made of an exam, in the work folder.

    Parameters
    ----------
    selection
        Table of every scan, before alignment.
    names
        Of the scans that were used, reference first; ``scan2ref``, ``resampled`` and
        ``reliability`` are theirs.
    fits
        How every scan fits, those left out included.
    volumes, entities
        Products of the method, the main volume first, and their ``suffix`` and ``desc``.
    facts
        What the method tells.
    """

    selection: Path
    names: Sequence[str]
    scan2ref: Sequence[Path]
    resampled: Sequence[Path]
    reliability: Sequence[Path]
    fits: Sequence[Mapping[str, Any]]
    volumes: Sequence[Path]
    entities: Sequence[Mapping[str, str]]
    facts: Path


def save_outputs(
    made: MadeFiles, exam: ExamDerivatives, sources: Mapping[str, Path], bids_dir: Path
) -> tuple[list[Path], list[str]]:
    """Write the derivatives of an exam, each file whole or not at all.

    Parameters
    ----------
    made
        What was made.
    exam
        Where its outputs lie.
    sources
        Files of its scans by their names.
    bids_dir
        The input data set.

    Returns
    -------
    outputs
        Paths of all files written.
    warnings
        What a reader must know, one sentence each.
    """
    rows = read_selection(made.selection)
    left_out = [fit for fit in made.fits if fit['status'] == 'failed']
    for fit in left_out:
        rows = leave_out(rows, fit['name'], fit['reason'])
    facts = json.loads(made.facts.read_text(encoding='utf-8'))
    warnings = [f'{row["scan"]}: {row["warnings"]}' for row in rows if row['warnings']]
    warnings += [f'{fit["name"]}: {fit["reason"]}' for fit in made.fits if fit['status'] != 'good']
    warnings += facts.pop('warnings')
    used = [made.names[index] for index in facts.pop('used')]
    main = exam.product(**made.entities[0])
    provenance = Provenance(
        {name: raw_uri(sources[name], bids_dir) for name in made.names}, exam.dataset.uri(main)
    )
    outputs = [write_selection(exam.selection, rows)]
    outputs += _save_products(made, exam, provenance, used, facts)
    outputs += _save_scans(made, exam, provenance)
    outputs += _save_transforms(made, exam, provenance)
    return outputs, warnings


def _save_products(
    made: MadeFiles,
    exam: ExamDerivatives,
    provenance: Provenance,
    used: Sequence[str],
    facts: Mapping[str, Any],
) -> list[Path]:
    """Write the volumes that the method made of the scans that it used, and its tables."""
    facts = dict(facts)
    outputs = _save_tables(facts.pop('volumes', None), facts.get('labels'), made, exam)
    for volume, entities in zip(made.volumes, made.entities, strict=True):
        path = exam.product(**entities)
        method = facts.get('method', entities['desc'])
        described = provenance.product(exam.dataset.uri(path), used, method, facts)
        voxels, grid = load_volume(volume)
        stored = LABEL_TYPES.get(entities['suffix'], np.float32)
        outputs += [
            save_volume(path, voxels.astype(stored), grid),
            write_json(sidecar_of(path), described),
        ]
    return outputs


def _save_tables(
    volumes: Sequence[Mapping[str, Any]] | None,
    labels: Sequence[int] | None,
    made: MadeFiles,
    exam: ExamDerivatives,
) -> list[Path]:
    """Write the volumes of structures, and the names of labels, which all exams share."""
    desc, outputs = made.entities[0]['desc'], []
    if labels:
        write_text(exam.dataset.labels(desc), labels_text(labels))
    if volumes:
        outputs.append(write_text(exam.volumes(desc), volumes_text(volumes)))
    return outputs


def _save_scans(made: MadeFiles, exam: ExamDerivatives, provenance: Provenance) -> list[Path]:
    """Write scans and reliability maps on the output grid."""
    outputs = []
    for name, resampled, reliability in zip(
        made.names, made.resampled, made.reliability, strict=True
    ):
        image, map_ = exam.resampled(name), exam.reliability(name)
        outputs += [
            save_volume(image, *load_volume(resampled), stored=np.int16),
            write_json(sidecar_of(image), provenance.resampled(name)),
            save_volume(map_, *load_volume(reliability), stored=np.uint8),  # steps of 0.004
            write_json(sidecar_of(map_), provenance.reliability(name)),
        ]
    return outputs


def _save_transforms(made: MadeFiles, exam: ExamDerivatives, provenance: Provenance) -> list[Path]:
    """Write the transforms of all scans but the reference, with how well they fit."""
    outputs = []
    fits = {fit['name']: fit for fit in made.fits}
    for name, scan2ref in [*zip(made.names, made.scan2ref, strict=True)][1:]:
        path = exam.transform(name)
        with written_atomically(path) as temporary:
            shutil.copyfile(scan2ref, temporary)
        described = provenance.transform(name, fits[name])
        outputs += [path, write_json(path.with_suffix('.json'), described)]
    return outputs
