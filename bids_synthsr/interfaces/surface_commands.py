"""Command lines of the tools that reconstruct surfaces, as interfaces of nipype.

nipype has one for ``recon-all`` alone. The others are written down here by the help texts and
sources of the tools: FreeSurfer 7.4 (``recon-all-clinical.sh``, ``run_samseg``), FastSurfer 2.3.
"""

from __future__ import annotations

from typing import Any

from nipype.interfaces.base import CommandLine, CommandLineInputSpec, TraitedSpec, traits


class _NoOutputs(TraitedSpec):
    """A tool fills its folder; what must stand in it is checked by `SubjectFolder`."""


class _ReconAllInputs(CommandLineInputSpec):
    """Inputs of ``recon-all``, in the order of its help text."""

    directives = traits.List(
        traits.Enum('autorecon1', 'autorecon2', 'autorecon3'),
        argstr='-%s...', position=0, mandatory=True, desc='parts to do, in their order',
    )  # fmt: skip
    subject = traits.Str(argstr='-subjid %s', position=1, mandatory=True, desc='its folder')
    subjects_dir = traits.Str(argstr='-sd %s', position=2, mandatory=True, desc='of all subjects')
    t1w = traits.Str(argstr='-i %s', position=3, desc='T1w; only for a new subject')
    keeps_skull = traits.Bool(argstr='-noskullstrip', desc='the brain mask is given')
    large = traits.Bool(argstr='-cw256', desc='the field of view is wider than 256 mm')
    threads = traits.Int(argstr='-openmp %d', desc='threads')


class ReconAll(CommandLine):
    """``recon-all`` of FreeSurfer, part by part.

    nipype's own interface reads ``FREESURFER_HOME`` when it is imported, and decides by itself
    which steps to leave out of a subject that is there. Here a part is done as a whole.
    """

    _cmd = 'recon-all'
    input_spec, output_spec = _ReconAllInputs, _NoOutputs


class _ClinicalInputs(CommandLineInputSpec):
    """Inputs of ``recon-all-clinical.sh``: four words in a fixed order."""

    volume = traits.Str(argstr='%s', position=0, mandatory=True, desc='T1w or thick-slice scan')
    subject = traits.Str(argstr='%s', position=1, mandatory=True, desc='its folder')
    threads = traits.Int(argstr='%d', position=2, mandatory=True, desc='threads')
    subjects_dir = traits.Str(argstr='%s', position=3, mandatory=True, desc='of all subjects')


class ReconAllClinical(CommandLine):
    """``recon-all-clinical.sh`` of FreeSurfer, for scans of any contrast and resolution."""

    _cmd = 'recon-all-clinical.sh'
    input_spec, output_spec = _ClinicalInputs, _NoOutputs


class _FastSurferInputs(CommandLineInputSpec):
    """Inputs of ``run_fastsurfer.sh``; all paths must be absolute."""

    subject = traits.Str(argstr='--sid %s', position=0, mandatory=True, desc='its folder')
    subjects_dir = traits.Str(argstr='--sd %s', position=1, mandatory=True, desc='of all subjects')
    t1w = traits.Str(argstr='--t1 %s', position=2, mandatory=True, desc='T1w of 1 mm')
    license = traits.Str(argstr='--fs_license %s', mandatory=True, desc='licence of FreeSurfer')
    threads = traits.Int(argstr='--threads %d', desc='threads')
    device = traits.Enum('cpu', 'cuda', argstr='--device %s', desc='where the network runs')
    as_root = traits.Bool(argstr='--allow_root', desc='the user is root, as in containers')


class FastSurfer(CommandLine):
    """``run_fastsurfer.sh``: segmentation by a network, surfaces by FreeSurfer's programs."""

    _cmd = 'run_fastsurfer.sh'
    input_spec, output_spec = _FastSurferInputs, _NoOutputs


class _SamsegInputs(CommandLineInputSpec):
    """Inputs of ``run_samseg``; all volumes must lie on one grid."""

    volumes = traits.List(traits.Str, argstr='-i %s...', mandatory=True, desc='scans of one exam')
    folder = traits.Str(argstr='-o %s', mandatory=True, desc='folder of the subject')
    threads = traits.Int(argstr='--threads %d', desc='threads')


class Samseg(CommandLine):
    """``run_samseg`` of FreeSurfer: a segmentation by a model of shape and intensity."""

    _cmd = 'run_samseg'
    input_spec, output_spec = _SamsegInputs, _NoOutputs


def command_of(kind: type[CommandLine], executable: str, **inputs: Any) -> CommandLine:
    """Make a command of the executable that was found, and not of one that PATH names."""
    command = kind(command=executable, **inputs)
    command.terminal_output = 'file_split'
    return command
