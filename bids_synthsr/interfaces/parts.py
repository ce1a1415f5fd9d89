"""A step of several parts, such as one for each scan."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from nipype.pipeline import engine as pe
from nipype.utils.filemanip import loadpkl, savepkl


class PartsNode(pe.MapNode):
    """nipype's MapNode, which leaves no environment behind where a part fails."""

    def run(self, updatehash: bool = False) -> Any:
        """Run all parts, and collect what they made."""
        try:
            return super().run(updatehash)
        except Exception:
            forget_environment(Path(self.output_dir()) / f'result_{self.name}.pklz')
            raise


def forget_environment(path: Path) -> None:
    """Take the environment out of the result of a step that this process has just written."""
    if path.is_file():
        result = loadpkl(path)
        if hasattr(result.runtime, 'environ'):
            result.runtime.environ = {}
            savepkl(str(path), result)
