"""The methods by which volumes are made of an exam: an entry for each, and no other list of them.

Only the standard library is imported here, so that ``--help`` answers at once. A method is an
entry and the module that it names, which holds three functions:

``synthesize(observations, grid, **arguments) -> Synthesis``
    Make the volumes. Where the entry names a network, ``trained`` (see `LoadedNetwork`) and
    ``low_mem`` are among the arguments; so is every option that the entry names.
``forecast(scans) -> MethodForecast``
    Estimate memory and time from the headers of the scans, see `ExamSize`.
``find_obstacle(contrasts, acquisitions, spacing_mm) -> str``
    Describe why an exam cannot be processed, in a sentence; empty if it can.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import Any

from bids_synthsr.settings import PRECISIONS, MethodSettings


@dataclass(frozen=True)
class Method:
    """Description of a method.

    Parameters
    ----------
    name
        Name on the command line, such as ``sr-t1``.
    module
        Module of `bids_synthsr.methods` that computes it.
    desc
        BIDS ``desc-`` label of the main volume.
    help
        Text of ``--help``, a clause.
    summary
        Text of the report on what was made, in a sentence or two. Fields in braces are
        those of `bids_synthsr.reports.boilerplate`.
    methods_text
        Text for a paper, with citations; fields as in ``summary``.
    network
        Kind of network that it runs, as `bids_synthsr.dataset.weights.load_network` names it;
        empty for none.
    weights
        Name of the weights that come with the program; empty where users bring their own.
    beside
        Name of the method whose network, with the weights that come with the program, it runs as
        well, as its argument ``beside``; empty for none.
    precision
        Numbers that its network computes with where the choice is left to the program: ``auto``
        for those that the processor is fastest with.
    options
        Fields of `MethodSettings` that this method reads beside those of every method.
    spacing_of_weights
        Whether the voxels of the output are those that its network learned from.
    needs_fine
        Whether the reference must have fine voxels.
    only_mm
        Voxel size of the output, mm, if it can make no other; None for any.
    makes_t1w
        Whether the main volume is a T1w whatever the scans show; else it keeps the contrast of
        the reference.
    makes_every_contrast
        Whether it makes a volume for each contrast of the exam.
    further_volumes
        Names of the volumes that it makes beside those: BIDS suffixes, with ``desc`` where two
        have one.
    paints_lesions_over
        Whether its T1w shows healthy tissue where lesions are.
    reuses_memory
        Whether it makes many arrays of equal size one after the other, which is faster when the
        C library keeps what was freed.
    """

    name: str
    module: str
    desc: str
    help: str
    summary: str
    methods_text: str
    network: str = ''
    weights: str = ''
    beside: str = ''
    precision: str = 'auto'
    options: tuple[str, ...] = ()
    spacing_of_weights: bool = False
    needs_fine: bool = False
    only_mm: float | None = None
    makes_t1w: bool = False
    makes_every_contrast: bool = False
    further_volumes: tuple[str, ...] = ()
    paints_lesions_over: bool = False
    reuses_memory: bool = False

    @property
    def uses_device(self) -> bool:
        """Whether it can compute on a GPU."""
        return bool(self.network)

    def name_volumes(
        self, contrasts: Sequence[str], *, sharpens_others: bool = False
    ) -> list[str]:
        """Name the volumes that it may make beside the main one, of scans of these contrasts.

        Parameters
        ----------
        contrasts
            What the scans show, such as ``ce-gd_T1w``, the reference first.
        sharpens_others
            Whether each contrast becomes a volume beside the T1w.
        """
        main = 'T1w' if self.beside else contrasts[0]
        sharpened = {*contrasts} if self.makes_every_contrast or sharpens_others else set()
        if self.beside and contrasts[0].endswith(main):
            sharpened.add(contrasts[0])
        return [*sorted(sharpened - {main}), *self.further_volumes]

    def read_options(self, settings: MethodSettings) -> dict[str, Any]:
        """Take the options that it reads, by name, with a precision of its own where left open."""
        options = {option: getattr(settings, option) for option in self.options}
        if options.get('precision') == PRECISIONS[0]:
            options['precision'] = self.precision
        return options

    def load(self) -> Any:
        """Import the module of the method."""
        return import_module(f'bids_synthsr.methods.{self.module}')


_OF_ANY_EXAM = (
    'uncertainty',
    'dseg',
    'mask',
    'tissue_dseg',
    'label-GM_probseg',
    'label-WM_probseg',
    'label-CSF_probseg',
)
_ENTRIES = (
    Method(
        name='auto',
        module='automatic',
        desc='preproc',
        help='one T1w of every exam: acquired where its voxels are fine, else any-exam; sr-t1 or '
        'tv of a thick T1w beside it',
        summary=(
            'A T1w volume of {spacing:g} mm, {main}, with a brain mask, segmentations and volumes '
            'of structures, from {scans}, by a network.{beside}'
        ),
        methods_text=(
            '{main_text} Brain mask, segmentation and probabilities of tissue were predicted from '
            'all scans and their reliability maps by a convolutional network (weights {weights}), '
            'run in PyTorch{torch} [@pytorch] in windows around the brain. It was trained on '
            'scans of random contrast, drawn from label maps [@synthsr]. Volumes of structures '
            'are sums of their probabilities{calibration}.{beside_text}'
        ),
        network='exam_unet',
        weights='any-exam',
        beside='sr-t1',
        options=('least_quality', 'sharpen_others', 'precision'),
        only_mm=1.0,
        makes_t1w=True,
        paints_lesions_over=True,
        further_volumes=(*_OF_ANY_EXAM, 'sr_T1w', 'tv_T1w'),
        reuses_memory=True,
    ),
    Method(
        name='tv',
        module='total_variation',
        desc='tv',
        help='multi-channel total variation super-resolution of all scans, a volume for each '
        'contrast',
        summary=(
            'A volume of {spacing:g} mm for each contrast, from {scans}, by multi-channel total '
            'variation super-resolution.'
        ),
        methods_text=(
            'Super-resolved volumes, one for each contrast, were estimated from the scans on '
            'their own grids by multi-channel total variation [@tv]. Each volume, moved by the '
            'rigid transform, blurred by the slice profile and sampled at the slices of a scan, '
            'is to reproduce that scan within its noise, while the joint total variation of all '
            'contrasts is kept small. Computed with PyTorch{torch} [@pytorch].'
        ),
        makes_every_contrast=True,
    ),
    Method(
        name='sr-t1',
        module='sr_t1',
        desc='sr',
        help='super-resolution of a T1w reference by a network',
        summary=(
            'A volume of {spacing:g} mm from the {reference}, sharpened across its slices by a '
            'network, which adds to the interpolated scan: lesions stay. Other scans were not '
            'used.'
        ),
        methods_text=(
            'The T1w reference was interpolated on this grid by cubic splines, and a '
            'convolutional network (weights {weights}), run in PyTorch{torch} [@pytorch], added '
            'what it predicted that the interpolation misses between the slices. It was trained '
            'on T1w scans of 1 mm, of which thick slices were simulated.'
        ),
        network='slice_unet',
        options=('precision',),
        weights='sr-t1',
        only_mm=1.0,
    ),
    Method(
        name='any-exam',
        module='any_exam',
        desc='anyexam',
        help='a T1w, its uncertainty and a segmentation of all scans by a network',
        summary=(
            'A T1w volume of {spacing:g} mm, its uncertainty and a segmentation, from {scans}, by '
            'a network. It paints every voxel as what it takes it for, and lesions as healthy '
            'tissue.'
        ),
        methods_text=(
            'A 1 mm T1-weighted volume, its expected error and a segmentation were predicted from '
            'all scans and their reliability maps by a convolutional network (weights {weights}), '
            'run in PyTorch{torch} [@pytorch] in windows around the brain.{outside} It was '
            'trained on scans of random contrast, drawn from label maps [@synthsr]. Volumes of '
            'structures are sums of their probabilities{calibration}.'
        ),
        network='exam_unet',
        weights='any-exam',
        options=('least_quality', 'precision'),
        only_mm=1.0,
        makes_t1w=True,
        paints_lesions_over=True,
        further_volumes=_OF_ANY_EXAM,
        reuses_memory=True,
    ),
    Method(
        name='cubic',
        module='cubic',
        desc='cubic',
        help='interpolation of the reference, the baseline of every comparison',
        summary='A volume of {spacing:g} mm from the {reference} by cubic interpolation.',
        methods_text=(
            'The output is the reference scan, interpolated on this grid by cubic splines. It '
            'holds no information that the reference does not.'
        ),
    ),
    Method(
        name='cubic-dc',
        module='cubic_consistent',
        desc='cubicdc',
        help='the same, changed until its slices are those that were measured: a second baseline',
        summary=(
            'A volume of {spacing:g} mm from the {reference} by cubic interpolation, made '
            'consistent with its slices.'
        ),
        methods_text=(
            'The output is the reference scan, interpolated on this grid by cubic splines and '
            'then changed as little as it takes to give the measured slices, when blurred by '
            'the slice profile and sampled at their places, within their noise.'
        ),
    ),
    Method(
        name='self',
        module='self_supervised',
        desc='self',
        help='super-resolution of every contrast by what each scan shows within its own slices',
        summary=(
            'A volume of {spacing:g} mm for each contrast, from {scans}, sharpened across the '
            'slices by what was learned within them.'
        ),
        methods_text=(
            'Each scan was sharpened across its slices by a model that was trained on this scan '
            'alone [@smore]: its slices were blurred along an axis within them as the scanner '
            'blurs across them, and the model learned to undo that. It was applied in both sets '
            'of planes across the slices, and the mean was made consistent with the measured '
            'slices. Computed with PyTorch{torch} [@pytorch].'
        ),
        options=('effort',),
        makes_every_contrast=True,
    ),
    Method(
        name='synthsr',
        module='synthsr',
        desc='synthsr',
        help='the published SynthSR networks (needs their weight file)',
        summary='A T1w volume of {spacing:g} mm from {used} by a published SynthSR network.',
        methods_text=(
            'A 1 mm T1-weighted volume was synthesised from {used} by a published SynthSR network '
            '[@synthsr; {paper}] (weights {weights}), run in PyTorch{torch} [@pytorch] on the '
            'grid and with the intensity scaling of its reference implementation.'
        ),
        network='published',
        precision='float32',
        options=('ct', 'precision'),
        only_mm=1.0,
        makes_t1w=True,
        paints_lesions_over=True,
    ),
    Method(
        name='spacing',
        module='spaced',
        desc='spacing',
        help='slices between those of a scan, by a network that learned from such scans alone '
        '(experimental; needs weights of your own)',
        summary=(
            'A {reference} volume of {spacing:g} mm, in which a network put slices between those '
            'of the scan. They are as thick as the measured ones.'
        ),
        methods_text=(
            'Slices between those of the reference were predicted by a convolutional network '
            '(weights {weights}), run in PyTorch{torch} [@pytorch]. It had learned from stacks '
            'that a variational autoencoder made of thick slices [@xuan]. The slices are as thick '
            'as the measured ones.'
        ),
        network='spaced',
        options=('precision',),
        only_mm=1.0,
    ),
    Method(
        name='3t-7t',
        module='paired',
        desc='7t',
        help='a fine T1w made like that of another scanner, by a network that learned from pairs '
        '(needs weights of your own)',
        summary=(
            'A T1w volume of {spacing:g} mm from the {reference}, made like one of another '
            'scanner by a network. It was not acquired there.'
        ),
        methods_text=(
            'The T1w reference was interpolated on this grid by cubic splines, and a '
            'convolutional network (weights {weights}), run in PyTorch{torch} [@pytorch], added '
            'what it predicted that another scanner would show. It was trained on pairs of '
            'registered scans of the same people by both scanners [@seven].'
        ),
        network='paired',
        options=('precision',),
        spacing_of_weights=True,
        needs_fine=True,
    ),
)
METHODS: dict[str, Method] = {method.name: method for method in _ENTRIES}
DEFAULT = 'auto'


def names_of_networks() -> list[str]:
    """Name the methods that run a network, and so read ``--weights``."""
    return [method.name for method in METHODS.values() if method.network]
