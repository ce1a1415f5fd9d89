"""The steps of an exam as a drawing, for those who want to see what is run."""

from __future__ import annotations

import logging
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from nipype.pipeline import engine as pe

LOGGER = logging.getLogger('bids_synthsr')
GRAPH = 'graph.dot'  # beside it lies graph.svg where Graphviz is installed


def draw_graph(workflow: pe.Workflow, folder: Path) -> None:
    """Write the graph of a workflow; where that fails, the run goes on without it.

    Parameters
    ----------
    workflow
        Workflow of an exam.
    folder
        Folder for the file in the language of Graphviz, and for the picture.
    """
    kind = 'svg' if shutil.which('dot') else 'dot'
    try:
        workflow.write_graph(str(folder / GRAPH), graph2use='colored', format=kind)
    except (OSError, RuntimeError) as error:
        LOGGER.warning('The graph of the steps could not be drawn: %s', error)
