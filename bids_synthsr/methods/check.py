"""What is wrong with the settings of a method, before anything is read or made.

So are weights and ``ct`` of a method that reads none: they would do nothing, in silence.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from bids_synthsr.methods.catalogue import METHODS, Method, names_of_networks
from bids_synthsr.settings import (
    EFFORTS,
    FIELDS_OF_VIEW,
    KEEP,
    LESIONS,
    PRECISIONS,
    MethodSettings,
)
from bids_synthsr.values.words import find_word

COARSEST_MM = 5.0  # voxels larger than that are no longer super-resolution


def find_settings_fault(settings: MethodSettings) -> str:
    """Describe what is wrong with the settings of a method, in a sentence; empty if nothing is.

    Parameters
    ----------
    settings
        Settings of a method, with names as the user gave them.
    """
    fault = _unknown('--method', [settings.method], [*METHODS])
    return fault or next(_faults(settings, METHODS[settings.method]), '')


def _faults(settings: MethodSettings, method: Method) -> Iterator[str]:
    """List what is wrong with the settings of a method that there is."""
    resolution = settings.output_resolution
    yield from filter(None, [_unknown('--fov', [settings.fov], FIELDS_OF_VIEW)])
    if settings.contrasts:
        from bids_synthsr.values.exam import SUFFIXES  # with NumPy, which --help need not wait for

        yield from filter(None, [_unknown('--contrasts', settings.contrasts, SUFFIXES)])
    if not 0 < resolution <= COARSEST_MM:
        yield f'--output-resolution is {resolution} mm, not in 0 to {COARSEST_MM:g} mm'
    if method.only_mm is not None and resolution != method.only_mm:
        yield f'--output-resolution: {method.name} makes {method.only_mm:g} mm volumes only'
    if not 0 <= settings.least_quality <= 1:
        yield f'--min-quality is {settings.least_quality:g}, not from 0 to 1'
    yield from _unread(settings, method)
    choices = (
        ('--effort', settings.effort, EFFORTS),
        ('--precision', settings.precision, PRECISIONS),
        ('--lesions', settings.lesions, LESIONS),
    )
    for option, chosen, words in choices:
        yield from filter(None, [_unknown(option, [chosen], words)])
    if settings.lesions == KEEP:
        yield from filter(None, [_find_fault_of_keeping(method)])


def _unread(settings: MethodSettings, method: Method) -> Iterator[str]:
    """List the options that were given and that the method does not read."""
    if settings.ct and 'ct' not in method.options:
        yield f'--ct is for --method synthsr; {method.name} takes MRI and CT as they are'
    if settings.sharpen_others and 'sharpen_others' not in method.options:
        yield f'--sharpen-others is for --method auto; {method.name} has its own volumes'
    if settings.effort != MethodSettings.effort and 'effort' not in method.options:
        yield f'--effort is for --method self; {method.name} does not learn from the scan'
    if settings.precision != MethodSettings.precision and 'precision' not in method.options:
        networks = ', '.join(names_of_networks())
        yield f'--precision is for networks ({networks}); {method.name} runs none'
    if settings.weights is not None and not method.network:
        yield describe_unread_weights(method.name)


def _find_fault_of_keeping(method: Method) -> str:
    """Say why a method cannot keep lesions that masks mark; empty if it can."""
    if not method.paints_lesions_over:
        return f'--lesions keep: {method.name} keeps lesions by itself, so leave the option out'
    if 'dseg' not in method.further_volumes:
        return (
            f'--lesions keep: {method.name} makes no segmentation, by which it would be known '
            'where white matter is: choose any-exam'
        )
    return ''


def describe_unread_options(settings: MethodSettings) -> str:
    """Say which option has no effect with this method; empty if all that were given have one."""
    is_given = settings.least_quality != MethodSettings.least_quality
    if not is_given or 'least_quality' in METHODS[settings.method].options:
        return ''
    return f'--min-quality has no effect: {settings.method} estimates no quality'


def describe_unread_weights(method: str) -> str:
    """Say that a method runs no network, which weights could be for."""
    return f'--weights are for {", ".join(names_of_networks())}; {method} reads none'


def _unknown(option: str, names: Sequence[str], words: Sequence[str]) -> str:
    """Describe the first name that there is not, exactly as it is written; empty without one."""
    for name in names:
        if name not in words:
            try:
                return f'{option} {name}: write {find_word(name, words)}'
            except ValueError as error:
                return f'{option} {error}'
    return ''
