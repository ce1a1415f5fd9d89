"""Which label values exist, which tissue each is, and which segmentation class it belongs to."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import torch

# Labels that the generator draws itself, outside FreeSurfer's numbers
LESION = 77  # FreeSurfer's white matter hypointensity
FAT, VESSEL, MENINGES, MASS_CORE, MASS_RIM, OEDEMA = 601, 602, 603, 604, 605, 606
# FreeSurfer's Epidermis, Adipose, Skull and Head-ExtraCerebral
EPIDERMIS, ADIPOSE, SKULL, HEAD_TISSUE = 118, 125, 165, 258
# classes that older weights know as part of another class
PART_OF = {EPIDERMIS: HEAD_TISSUE, ADIPOSE: HEAD_TISSUE}
WHITE_MATTER = (2, 41, 25, 57)
LATERAL_VENTRICLES = (4, 43, 5, 44)
CORTEX = (3, 42)
CSF, SOFT_TISSUE, SKIN = 24, 507, 511
ORBITS = (506, 508, 530)  # eyes, their muscles, optic nerves
BRAIN, AROUND_BRAIN, AIR = 'brain', 'head', 'air'  # values of `Label.region`


@dataclass(frozen=True)
class Label:
    """One value of a label map.

    Parameters
    ----------
    value
        Value of the label in a label map.
    name
        Name of the structure, as a reader understands it.
    tissue
        Generation class: labels of one class share the mean and sd that are drawn for it. One of
        `TISSUES`, or any name for which the prior has statistics.
    target
        Label value that stands for the structure in the segmentation; 0 is background.
    mirror
        Label value of the same structure on the other side; equal to ``value`` on the midline.
    region
        Part of the body: ``brain`` (with ventricles and CSF), ``head`` (around it) or ``air``.
    """

    value: int
    name: str
    tissue: str
    target: int
    mirror: int
    region: str


def look_up(lookup: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Replace each label by its entry of ``lookup (values,)``: the shape of ``labels``."""
    entries = lookup.to(labels.device).index_select(0, labels.flatten().int())
    return entries.view(labels.shape)


def is_one_of(labels: torch.Tensor, values: Sequence[int]) -> torch.Tensor:
    """Mark where a label is one of ``values``: bool, the shape of ``labels``."""
    marks = torch.zeros(max(*values, int(labels.max())) + 1, dtype=torch.bool)
    marks[list(values)] = True
    return look_up(marks, labels)


@dataclass(frozen=True)
class LabelTable:
    """All labels that may occur.

    Parameters
    ----------
    labels
        The labels in ascending order of their values.
    """

    labels: tuple[Label, ...]

    @cached_property
    def classes(self) -> tuple[str, ...]:
        """Generation classes, in the order in which statistics are drawn for them."""
        return tuple(dict.fromkeys(label.tissue for label in self.labels))

    @cached_property
    def targets(self) -> tuple[int, ...]:
        """Label values of the segmentation classes; 0, the background, first."""
        return tuple(sorted({0} | {label.target for label in self.labels}))

    @cached_property
    def target_names(self) -> tuple[str, ...]:
        """Names of the segmentation classes."""
        names = {label.value: label.name for label in self.labels}
        return tuple(names[value] for value in self.targets)

    @cached_property
    def target_tissues(self) -> tuple[str, ...]:
        """Generation classes of the labels after which the segmentation classes are called."""
        tissues = {label.value: label.tissue for label in self.labels}
        return tuple(tissues[value] for value in self.targets)

    @cached_property
    def class_of(self) -> torch.Tensor:
        """Generation class of each label value, int64."""
        return self._lookup({x.value: self.classes.index(x.tissue) for x in self.labels})

    @cached_property
    def target_of(self) -> torch.Tensor:
        """Index into `targets` of each label value, int64."""
        return self._lookup({x.value: self.targets.index(x.target) for x in self.labels})

    @cached_property
    def mirror_of(self) -> torch.Tensor:
        """Label of the other side for each label value, int16."""
        return self._lookup({x.value: x.mirror for x in self.labels}).short()

    @cached_property
    def is_brain(self) -> torch.Tensor:
        """Whether each label value belongs to the brain, its ventricles and CSF, bool."""
        return self._lookup({x.value: x.region == BRAIN for x in self.labels}).bool()

    def _lookup(self, values: Mapping[int, int]) -> torch.Tensor:
        table = torch.zeros(max(values) + 1, dtype=torch.int64)
        table[list(values)] = torch.tensor(list(values.values()), dtype=torch.int64)
        return table

    def with_tissues(self, tissues: Mapping[int, str]) -> LabelTable:
        """Give label values another generation class, to split a class or to share one."""
        self._refuse_unknown(tissues)
        return LabelTable(
            tuple(replace(x, tissue=tissues.get(x.value, x.tissue)) for x in self.labels)
        )

    def with_targets(self, targets: Mapping[int, int]) -> LabelTable:
        """Merge segmentation classes into others, or into the background (0)."""
        self._refuse_unknown([*targets, *targets.values()])
        return LabelTable(
            tuple(replace(x, target=targets.get(x.target, x.target)) for x in self.labels)
        )

    def _refuse_unknown(self, values: Iterable[int]) -> None:
        unknown = sorted(set(values) - {label.value for label in self.labels})
        if unknown:
            raise ValueError(f'Labels {unknown} are not in the table; it has {self._values()}')

    def _values(self) -> list[int]:
        return [label.value for label in self.labels if label.value < 1000]

    def check(self, labels: torch.Tensor, name: str) -> None:
        """Raise where a label map of that name holds a value that no class covers."""
        missing = sorted(set(labels.unique().tolist()) - {label.value for label in self.labels})
        if missing:
            raise ValueError(
                f'{name} holds labels {missing}, which no class covers. Set them to 0 or to a '
                f'label of the table ({self._values()}), or add them to the table.'
            )


# left, right (- on the midline), name, tissue, target left, target right
_BRAIN = """
2    41   white-matter                    white-matter        2   41
3    42   cortex                          cortex              3   42
4    43   lateral-ventricle               ventricle           4   43
5    44   inferior-lateral-ventricle      ventricle           5   44
7    46   cerebellum-white-matter         cerebellum-white    7   46
8    47   cerebellum-cortex               cerebellum-cortex   8   47
10   49   thalamus                        thalamus            10  49
11   50   caudate                         caudate             11  50
12   51   putamen                         putamen             12  51
13   52   pallidum                        pallidum            13  52
17   53   hippocampus                     hippocampus         17  53
18   54   amygdala                        amygdala            18  54
25   57   periventricular-white-matter    periventricular     2   41
26   58   accumbens                       accumbens           26  58
28   60   ventral-dc                      ventral-dc          28  60
30   62   vessel                          vessel              2   41
31   63   choroid-plexus                  choroid-plexus      4   43
136  163  choroid-plexus-of-body          choroid-plexus      4   43
137  164  choroid-plexus-of-temporal-horn choroid-plexus      5   44
14   -    third-ventricle                 ventricle           14  -
15   -    fourth-ventricle                ventricle           15  -
16   -    brain-stem                      brain-stem          16  -
24   -    csf                             csf                 24  -
72   -    fifth-ventricle                 ventricle           14  -
77   -    lesion                          lesion              77  -
80   -    non-white-matter-hypointensity  lesion              77  -
85   -    optic-chiasm                    optic-chiasm        85  -
"""
_CORPUS_CALLOSUM = range(251, 256)  # no label tells its halves apart: all counts as left
_CORTEX = ((1000, 2000, 36), (11100, 12100, 76))  # first left, first right, number: aparc, a2009s
# Whole-head maps: clusters of intensity, named after where they lie (looked up in 20 maps)
_HEAD = {
    502: ('pituitary-and-carotids', 'pituitary'),
    506: ('eyes', 'eye'),
    SOFT_TISSUE: ('soft-tissue', 'muscle'),
    508: ('eye-muscles', 'muscle'),
    509: ('nasal-mucosa', 'mucosa'),
    SKIN: ('skin', 'skin'),
    512: ('spinal-cord', 'cord'),
    514: ('dura-and-sinuses', 'dura'),
    515: ('bone', 'bone'),
    516: ('marrow', 'marrow'),
    530: ('optic-nerves', 'nerve'),
}
_TARGET_OF = {SKIN: EPIDERMIS, 515: SKULL, 516: SKULL}  # the others are other head tissue
_TARGETS = {
    EPIDERMIS: ('epidermis', 'skin'),
    ADIPOSE: ('adipose', 'fat'),
    SKULL: ('skull', 'bone'),
    HEAD_TISSUE: ('other-head-tissue', 'muscle'),
}
_DRAWN = {
    FAT: ('fat', 'fat', ADIPOSE, AROUND_BRAIN),
    VESSEL: ('drawn-vessel', 'vessel', 0, BRAIN),
    MENINGES: ('meninges', 'dura', HEAD_TISSUE, AROUND_BRAIN),
    MASS_CORE: ('mass-core', 'mass-core', LESION, BRAIN),
    MASS_RIM: ('mass-rim', 'mass-rim', LESION, BRAIN),
    OEDEMA: ('oedema', 'oedema', LESION, BRAIN),
}


def freesurfer_table() -> LabelTable:
    """Make the table of FreeSurfer's numbers and of the whole-head maps of SynthSeg (502 to 530).

    Cortical parcels count as cortex of their side; 25, 57, 136, 137, 163 and 164 of SynthSeg's
    maps lie where the white matter around the ventricles and the choroid plexus are. The head
    around the brain is called skull, adipose (drawn fat), epidermis or other head tissue.
    """
    labels = [Label(0, 'background', 'air', 0, 0, AIR)]
    labels += [label for line in _BRAIN.strip().split('\n') for label in _sides(line)]
    labels += [Label(x, 'callosum', 'white-matter', 2, x, BRAIN) for x in _CORPUS_CALLOSUM]
    for left, right, number in _CORTEX:
        for parcel in range(number):
            pair = left + parcel, right + parcel
            labels.append(Label(pair[0], 'left-parcel', 'cortex', 3, pair[1], BRAIN))
            labels.append(Label(pair[1], 'right-parcel', 'cortex', 42, pair[0], BRAIN))
    labels += [
        Label(x, name, tissue, x, x, AROUND_BRAIN) for x, (name, tissue) in _TARGETS.items()
    ]
    labels += [
        Label(x, name, tissue, _TARGET_OF.get(x, HEAD_TISSUE), x, AROUND_BRAIN)
        for x, (name, tissue) in _HEAD.items()
    ]
    labels += [
        Label(x, name, tissue, target, x, region)
        for x, (name, tissue, target, region) in _DRAWN.items()
    ]
    return LabelTable(tuple(sorted(labels, key=lambda label: label.value)))


def _sides(line: str) -> list[Label]:
    """Read one line of the table: a structure on the midline, or a pair."""
    left, right, name, tissue, target_left, target_right = line.split()
    if right == '-':
        return [Label(int(left), name, tissue, int(target_left), int(left), BRAIN)]
    return [
        Label(int(left), f'left-{name}', tissue, int(target_left), int(right), BRAIN),
        Label(int(right), f'right-{name}', tissue, int(target_right), int(left), BRAIN),
    ]
