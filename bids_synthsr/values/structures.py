"""The structures of a segmentation: FreeSurfer's numbers, names and colours."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Structure:
    """What a label stands for.

    Parameters
    ----------
    index
        Value in the segmentation.
    name
        As in FreeSurfer's look-up table.
    color
        ``#RRGGBB``, from there as well.
    """

    index: int
    name: str
    color: str

    @property
    def is_brain(self) -> bool:
        """Whether it belongs to the brain or its ventricles."""
        return self.index not in AROUND

    @property
    def is_intracranial(self) -> bool:
        """Whether it lies within the skull."""
        return self.is_brain or self.index == CSF

    @property
    def tissue(self) -> str:
        """Class of tissue, one of `TISSUES`; empty for what surrounds the brain."""
        if not self.is_intracranial:
            return ''
        return next((name for name, labels in _OF_TISSUE.items() if self.index in labels), 'GM')


BACKGROUND, CSF, EPIDERMIS, ADIPOSE, SKULL, HEAD_TISSUE = 0, 24, 118, 125, 165, 258
LESION = 77  # of the white matter
AROUND = (BACKGROUND, CSF, EPIDERMIS, ADIPOSE, SKULL, HEAD_TISSUE)  # the brain
# grey matter is all else within the skull; brain stem and ventral diencephalon, which are mostly
# tracts, count as white matter
_OF_TISSUE = {
    'WM': (2, 41, 7, 46, 16, 28, 60, 77, 85),
    'CSF': (4, 43, 5, 44, 14, 15, CSF),
}
TISSUES = ('GM', 'WM', 'CSF')  # values 1, 2 and 3 of a segmentation by tissue, as in fMRIPrep
# FreeSurferColorLUT.txt; the colour of Head-ExtraCerebral is our own: there it is black
_TABLE = """
0   Unknown                      #000000
2   Left-Cerebral-White-Matter   #f5f5f5
3   Left-Cerebral-Cortex         #cd3e4e
4   Left-Lateral-Ventricle       #781286
5   Left-Inf-Lat-Vent            #c43afa
7   Left-Cerebellum-White-Matter #dcf8a4
8   Left-Cerebellum-Cortex       #e69422
10  Left-Thalamus                #00760e
11  Left-Caudate                 #7abadc
12  Left-Putamen                 #ec0db0
13  Left-Pallidum                #0c30ff
14  3rd-Ventricle                #ccb68e
15  4th-Ventricle                #2acca4
16  Brain-Stem                   #779fb0
17  Left-Hippocampus             #dcd814
18  Left-Amygdala                #67ffff
24  CSF                          #3c3c3c
26  Left-Accumbens-area          #ffa500
28  Left-VentralDC               #a52a2a
41  Right-Cerebral-White-Matter  #f5f5f5
42  Right-Cerebral-Cortex        #cd3e4e
43  Right-Lateral-Ventricle      #781286
44  Right-Inf-Lat-Vent           #c43afa
46  Right-Cerebellum-White-Matter #dcf8a4
47  Right-Cerebellum-Cortex      #e69422
49  Right-Thalamus               #00760e
50  Right-Caudate                #7abadc
51  Right-Putamen                #ec0db0
52  Right-Pallidum               #0d30ff
53  Right-Hippocampus            #dcd814
54  Right-Amygdala               #67ffff
58  Right-Accumbens-area         #ffa500
60  Right-VentralDC              #a52a2a
77  WM-hypointensities           #c846ff
85  Optic-Chiasm                 #eaa91e
118 Epidermis                    #ff1493
125 Adipose                      #adff2f
165 Skull                        #787878
258 Head-ExtraCerebral           #c8a078
"""
STRUCTURES = {
    int(index): Structure(int(index), name, color)
    for index, name, color in (line.split() for line in _TABLE.strip().split('\n'))
}


def opposite(index: int) -> int:
    """Find the same structure on the other side; one of the midline is its own opposite."""
    name = STRUCTURES[index].name
    for side, other in (('Left-', 'Right-'), ('Right-', 'Left-')):
        if name.startswith(side):
            twin = other + name.removeprefix(side)
            return next(x.index for x in STRUCTURES.values() if x.name == twin)
    return index
