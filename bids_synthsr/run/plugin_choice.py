"""The plugin of nipype that a user names: checked before anything is made."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from nipype.pipeline import plugins

from bids_synthsr.values.words import find_word

ENDING = 'Plugin'  # of the classes of nipype
KEYS = ('plugin', 'plugin_args')
COUNTS, AMOUNTS = ('n_procs', 'n_gpu_procs', 'max_jobs'), ('memory_gb',)


def check_plugin(choice: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the choice of a plugin as it is.

    Parameters
    ----------
    choice
        Content of the file: ``plugin``, its name, and ``plugin_args``, its arguments.

    Raises
    ------
    ValueError
        If nipype has no such plugin, or the arguments cannot be what it needs.
    """
    fault = next(_plugin_faults(choice), None)
    if fault:
        raise ValueError(f'--nipype-plugin-file: {fault}')
    return choice


def _plugin_faults(choice: Mapping[str, Any]) -> Iterator[str]:
    """List what is wrong with the choice of a plugin."""
    names = [name.removesuffix(ENDING) for name in dir(plugins) if name.endswith(ENDING)]
    for key in choice:
        yield from _unknown_word(str(key), KEYS)
    if 'plugin' in choice:
        yield from _unknown_word(str(choice['plugin']), names)
    arguments = choice.get('plugin_args', {})
    if not isinstance(arguments, dict):
        yield f'plugin_args are {arguments!r:.60}, not keys with values'
        return
    for name in COUNTS:
        value = arguments.get(name, 1)
        if not isinstance(value, int) or isinstance(value, bool) or value < 1:
            yield f'{name} is {value!r:.60}, not a whole number of at least 1'
    for name in AMOUNTS:
        value = arguments.get(name, 1)
        if not isinstance(value, int | float) or isinstance(value, bool) or not value > 0:
            yield f'{name} is {value!r:.60}, not a number above 0'


def _unknown_word(word: str, words: list[str] | tuple[str, ...]) -> Iterator[str]:
    """Yield that there is no such word, exactly as it is written."""
    if word not in words:
        try:
            yield f'{word} is written {find_word(word, words)}'
        except ValueError as error:
            yield str(error)
