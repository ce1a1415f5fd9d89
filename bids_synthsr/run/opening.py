"""A run begins: the output folder is prepared, and what is run is written down."""

from __future__ import annotations

import logging
import platform
import shlex
from collections.abc import Sequence
from importlib.metadata import version
from typing import Any

import tomli_w

from bids_synthsr.dataset.files import write_json, write_text
from bids_synthsr.derivatives.places import Derivatives
from bids_synthsr.derivatives.provenance import write_dataset_description
from bids_synthsr.reports.citation import write_run_citation
from bids_synthsr.run.messages import log_to_file
from bids_synthsr.run.plan import describe_method
from bids_synthsr.run.plugin import configure_engine
from bids_synthsr.run.request import Request
from bids_synthsr.settings import AS_IS, Settings

LOGGER = logging.getLogger('bids_synthsr')
LOG = 'bids_synthsr.log'  # of a run, main process and workers
VERSIONED = (
    'bids_synthsr', 'nipype', 'pybids', 'nibabel', 'nitransforms', 'picsl-greedy', 'SimpleITK',
    'numpy', 'scipy', 'torch',
)  # fmt: skip


def open_run(request: Request) -> None:
    """Prepare the output folder, and write down what is run."""
    settings = request.settings
    derivatives = Derivatives(settings.output_dir)
    logs = derivatives.run_logs(settings.run_uuid)
    log_to_file(logs / LOG)
    LOGGER.info('bids_synthsr %s', shlex.join(request.command))
    treats_lesions = settings.method.lesions != AS_IS
    write_dataset_description(derivatives, settings.input.bids_dir, treats_lesions)
    write_text(logs / 'config.toml', tomli_w.dumps(request.options))
    run = describe_run(settings, request.command)
    write_json(derivatives.run_facts(settings.run_uuid), run)
    write_run_citation(derivatives.run_citation(settings.run_uuid), run)
    crash_dir = derivatives.crashes(settings.run_uuid)
    crash_dir.mkdir()
    configure_engine(
        stops_on_first_crash=settings.run.stop_on_first_crash,
        monitors=settings.run.resource_monitor,
    )


def command_line(command: Sequence[str]) -> str:
    """Write the command as it is typed."""
    return shlex.join(['bids_synthsr', *command])


def describe_run(settings: Settings, command: Sequence[str]) -> dict[str, Any]:
    """Describe what is run where: command, settings that change results, versions, machine."""
    return {
        'command': command_line(command),
        'settings': describe_method(settings.method),
        'derivatives': [str(folder) for folder in settings.input.derivatives],
        'templates': [dict(template) for template in settings.method.templates],
        'device': settings.run.device,
        'machine': f'{platform.platform()}, {settings.run.nprocs} processes',
        'python': platform.python_version(),
        'versions': {name: version(name) for name in VERSIONED},
    }
