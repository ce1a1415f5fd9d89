"""Weights of networks: safetensors of our own, Keras files of the published networks.

Nothing that can hold code is ever opened, and nothing is ever downloaded.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache
from importlib.resources import files
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from bids_synthsr.dataset.files import open_regular, parse_json, sha256, written_atomically
from bids_synthsr.dataset.guessing import guess_contrast
from bids_synthsr.dataset.keras import read_keras
from bids_synthsr.imaging.slice_encoding import CHANNELS
from bids_synthsr.methods.catalogue import METHODS, Method
from bids_synthsr.methods.paired import TrainedPairNetwork
from bids_synthsr.methods.spaced import TrainedSpacingNetwork
from bids_synthsr.networks.exam_unet import TrainedExamUNet
from bids_synthsr.networks.loaded import LoadedNetwork
from bids_synthsr.networks.registry import (
    EXAM_UNET,
    SLICE_UNET,
    UNET,
    build_network,
    network_shapes,
)
from bids_synthsr.networks.slice_unet import SliceUNet
from bids_synthsr.networks.unet import UNet
from bids_synthsr.settings import MethodSettings
from bids_synthsr.values.structures import STRUCTURES
from bids_synthsr.values.text import plain_text

# sources of the samples of networks that learned from pairs of images, and from stacks of slices
PAIRS, STACKS = 'pairs', 'stacks'
DESCRIPTION = 'bids_synthsr'  # key of the JSON text in the header of a safetensors file
HDF5_START = b'\x89HDF\r\n\x1a\n'
PICKLE_STARTS = (b'PK\x03\x04', b'\x80')  # PyTorch's archives, pickles of protocol 2 and later
PICKLE_SUFFIXES = ('.pt', '.pth', '.ckpt', '.pkl', '.pickle')

MAX_CAUTION = 2000  # characters
COUNTER = '.num_batches_tracked'  # of a batch normalisation: of no use, and not in every file

SHIPPED = Path(str(files('bids_synthsr') / 'data')) / 'weights'

WEIGHTS_VARIABLE = 'BIDS_SYNTHSR_WEIGHTS'
# By input channels; so called in the authors' repository, and in lower case by FreeSurfer
PUBLISHED_NAMES = {1: 'SynthSR_v10_210712.h5', 2: 'SynthSR_v10_210712_hyperfine.h5'}


@dataclass(frozen=True, eq=False)
class Weights:
    """What a file of weights holds.

    Parameters
    ----------
    tensors
        By the names of the network's ``state_dict``.
    description
        ``network`` (its name), ``arguments`` (of its constructor), and what else is known:
        recipe, data, licence. JSON types.
    file
        Its name (``weights``) and ``sha256``, for provenance.
    """

    tensors: Mapping[str, torch.Tensor]
    description: Mapping[str, Any] = field(default_factory=dict)
    file: Mapping[str, str] = field(default_factory=dict)


def load_weights(path: Path) -> Weights:
    """Read a file of weights, safetensors or Keras h5, distinguished by their content."""
    if not path.is_file():
        raise FileNotFoundError(f'{path}: there is no such file of weights')
    with open_regular(path) as file:
        start = file.read(16)
    if start.startswith(HDF5_START):
        tensors, description = read_keras(path)
    elif start[8:9] == b'{':
        tensors, description = _read_safetensors(path)
    elif start.startswith(PICKLE_STARTS) or path.suffix.lower() in PICKLE_SUFFIXES:
        raise ValueError(
            f'{path} is a pickle, and reading a pickle can run any code. Weights must be '
            'safetensors or Keras h5: convert it where its source is trusted'
        )
    else:
        raise ValueError(
            f'{path} is neither safetensors nor Keras h5: it starts with {start!r}. A text is '
            'what git-lfs and git-annex leave in place of a file that they did not fetch'
        )
    return Weights(tensors, description, {'weights': path.name, 'sha256': sha256(path)})


def save_weights(
    path: Path, tensors: Mapping[str, torch.Tensor], description: Mapping[str, Any]
) -> Path:
    """Write safetensors with a description (see `Weights`) in the header, whole or not at all."""
    metadata = {DESCRIPTION: json.dumps(description)}
    contiguous = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    with written_atomically(path) as temporary:
        save_file(contiguous, temporary, metadata)
    return path


def _read_safetensors(path: Path) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    """Read tensors, which must be finite, and description."""
    try:
        with safe_open(path, 'pt') as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except SafetensorError as error:
        raise ValueError(f'{path} is damaged: {error}') from error
    if DESCRIPTION not in metadata:
        raise ValueError(f'{path} does not tell its network: bids_synthsr did not write it')
    try:
        description = parse_json(metadata[DESCRIPTION])
    except ValueError as error:
        raise ValueError(f'{path}: its header is no JSON: {error}') from error
    if not isinstance(description, dict):
        raise ValueError(f'{path}: its header describes no network')
    return tensors, description


def load_network(kind: str, path: Path) -> LoadedNetwork[Any] | TrainedExamUNet:
    """Make the network of a file of weights, in evaluation mode on the CPU.

    The last one is kept: checked at the door, it is there when it is needed.

    Parameters
    ----------
    kind
        What the network must be: ``slice_unet``, ``exam_unet``, ``paired``, ``spaced`` or
        ``published``.
    path
        File of its weights.

    Raises
    ------
    FileNotFoundError, ValueError
        If there is no such file, or if it holds no such network.
    """
    load = {
        SLICE_UNET: load_slice_unet,
        EXAM_UNET: load_exam_unet,
        'paired': load_paired,
        'spaced': load_spaced,
        'published': load_published,
    }
    if not path.is_file():
        raise FileNotFoundError(f'{path}: there is no such file of weights')
    status = path.stat()
    return _load_once(load[kind], path, status.st_size, status.st_mtime_ns)


@lru_cache(maxsize=1)
def _load_once(
    load: Callable[[Path], LoadedNetwork[Any] | TrainedExamUNet], path: Path, *_stamps: int
) -> LoadedNetwork[Any] | TrainedExamUNet:
    """Load a network whose file has this size and time."""
    return load(path)


def load_published(path: Path) -> LoadedNetwork[UNet]:
    """Make a published network with its weights."""
    weights = load_weights(path)
    name, arguments = (weights.description.get(key) for key in ('network', 'arguments'))
    channels = arguments.get('in_channels') if isinstance(arguments, dict) else None
    if name != UNET or channels not in (*PUBLISHED_NAMES,):
        raise ValueError(f'{path} is no published network but {name} with arguments {arguments}')
    return LoadedNetwork(*_with_weights(weights, path))


def load_slice_unet(path: Path) -> LoadedNetwork[SliceUNet]:
    """Make a super-resolution network with the weights of an export."""
    weights = _exported(path, SLICE_UNET, 'sr-t1', 'sr-t1')
    source = _samples_of(weights).get('source')
    if source == PAIRS:
        raise ValueError(f'{path} learned from pairs of images: it is for --method 3t-7t')
    if source == STACKS:
        raise ValueError(f'{path} learned from stacks of slices: it is for --method spacing')
    return LoadedNetwork(*_with_weights(weights, path))


def load_paired(path: Path) -> TrainedPairNetwork:
    """Make a network that learned from pairs of images with the weights of an export."""
    weights = _exported(path, SLICE_UNET, '3t-7t', '3t-7t')
    samples = _samples_of(weights)
    if samples.get('source') == STACKS:
        raise ValueError(f'{path} learned from stacks of slices: it is for --method spacing')
    spacing_mm = samples.get('spacing_mm', 0.0)
    is_size = isinstance(spacing_mm, int | float) and 0 < spacing_mm < math.inf
    arguments = weights.description.get('arguments')
    takes_one = isinstance(arguments, dict) and arguments.get('channels') == 1
    if samples.get('source') != PAIRS or not (is_size and takes_one):
        raise ValueError(
            f'{path} did not learn from pairs of images: train such a network with: synthsr train '
            'run 3t-7t'
        )
    network, file = _with_weights(weights, path)
    return TrainedPairNetwork(network, file, float(spacing_mm))


def load_spaced(path: Path) -> TrainedSpacingNetwork:
    """Make a network that learned from stacks of slices with the weights of an export."""
    weights = _exported(path, SLICE_UNET, 'spacing', 'spacing')
    arguments = weights.description.get('arguments')
    takes_slices = isinstance(arguments, dict) and arguments.get('channels') == CHANNELS
    if _samples_of(weights).get('source') != STACKS or not takes_slices:
        raise ValueError(
            f'{path} did not learn from stacks of slices: train such a network with: synthsr '
            'train run spacing'
        )
    try:
        contrasts = {guess_contrast(name) for name in weights.description['data']['training']}
    except (KeyError, TypeError, ValueError):
        contrasts = set()
    if not contrasts:
        raise ValueError(f'{path} does not tell from which contrast it learned: train it again')
    network, file = _with_weights(weights, path)
    return TrainedSpacingNetwork(network, file, tuple(sorted(contrasts)))


def load_exam_unet(path: Path) -> TrainedExamUNet:
    """Make a network for exams with the weights of an export."""
    weights = _exported(path, EXAM_UNET, 'any-exam', 'any-exam')
    labels = _labels_of(weights, path)
    network, file = _with_weights(weights, path)
    caution = plain_text(str(weights.description.get('caution', '')), MAX_CAUTION)
    shape, odds = _sample_shape(weights, path), _odds_of(weights, path)
    return TrainedExamUNet(network, labels, shape, file, caution, odds)


def _labels_of(weights: Weights, path: Path) -> list[int]:
    """Read the label of each class of the segmentation."""
    labels = weights.description.get('labels') or []
    if not isinstance(labels, list):
        raise ValueError(f'{path}: the labels in its header are {labels!r:.50}, not a list')
    unknown = [x for x in labels if not isinstance(x, int) or x not in STRUCTURES]
    if not labels or unknown:
        fault = f'labels {unknown}, which this version does not know' if unknown else 'no labels'
        raise ValueError(f'{path} names {fault}; export it with this version of "synthsr train"')
    return labels


def _samples_of(weights: Weights) -> Mapping[str, Any]:
    """Read the section of the recipe of a training that describes its samples; may be empty."""
    recipe = weights.description.get('recipe')
    samples = recipe.get('samples') if isinstance(recipe, dict) else None
    return samples if isinstance(samples, dict) else {}


def _sample_shape(weights: Weights, path: Path) -> tuple[int, int, int]:
    """Read the shape of the samples of a training, voxels."""
    try:
        first, second, third = weights.description['recipe']['samples']['shape']
    except (KeyError, TypeError, ValueError):
        first = second = third = 0
    if not all(isinstance(side, int) and side > 0 for side in (first, second, third)):
        raise ValueError(f'{path}: its header holds no recipe with samples.shape')
    return first, second, third


def _odds_of(weights: Weights, path: Path) -> list[float]:
    """Read the factor of each class by which its probabilities are calibrated; may be empty."""
    odds = weights.description.get('odds') or []
    numbers = odds if isinstance(odds, list) else [None]
    if not all(isinstance(x, int | float) and 0 < x < math.inf for x in numbers):
        raise ValueError(f'{path}: the odds in its header are {odds!r:.50}, not positive numbers')
    return odds


def _exported(path: Path, network: str, method: str, recipe: str) -> Weights:
    """Read weights that must be an export of a training of our own network."""
    weights = load_weights(path)
    name = weights.description.get('network')
    if name != network:
        raise ValueError(
            f'{path} is no network for {method} ({network}) but {name}; train one with: '
            f'synthsr train run {recipe}'
        )
    if any(name.startswith('network.') for name in weights.tensors):
        raise ValueError(
            f'{path} is a checkpoint of a training; make weights of it with: synthsr train '
            f'export {path.parent} --out FILE.safetensors'
        )
    return weights


def _with_weights(weights: Weights, path: Path) -> tuple[Any, dict[str, str]]:
    """Make the network that a header describes; return it with name and SHA-256 of its file.

    It is made only where the tensors of the file have its shapes, so that its size is that of the
    file, whatever the header says.
    """
    name, arguments = (weights.description.get(key) for key in ('network', 'arguments'))
    if not isinstance(arguments, dict):
        raise ValueError(f'{path}: its header holds no arguments of the network {name}')
    try:
        shapes = network_shapes(str(name), arguments)
    except ValueError as error:
        raise ValueError(f'{path}: its header describes no network: {error}') from error
    check_shapes(weights.tensors, shapes, path)
    network = build_network(str(name), arguments)
    network.load_state_dict({name: value.float() for name, value in weights.tensors.items()})
    return network.eval(), dict(weights.file)


def check_shapes(
    tensors: Mapping[str, torch.Tensor], shapes: Mapping[str, torch.Size], path: Path
) -> None:
    """Check that tensors are finite, and those of a network.

    Parameters
    ----------
    tensors
        Tensors of a file by their names.
    shapes
        Shapes that the tensors of the network have, by their names.
    path
        Path of the file, for the message.

    Raises
    ------
    ValueError
        Naming the first tensor that is missing, unknown, of another shape or not finite.
    """
    for name in sorted({*tensors, *shapes}):
        if name.endswith(COUNTER):
            continue
        if name not in tensors or name not in shapes:
            fault = 'is missing' if name in shapes else 'is none of its tensors'
        elif tensors[name].shape != shapes[name]:
            sizes = (list(tensors[name].shape), list(shapes[name]))
            fault = 'has shape {}, not {}'.format(*sizes)
        elif not torch.isfinite(tensors[name]).all():
            fault = 'holds NaN or infinite numbers'
        else:
            continue
        raise ValueError(f'{path} does not fit the network that it names: {name} {fault}')


def find_weights(method: Method, weights: Path | None, environ: Mapping[str, str]) -> Path | None:
    """Find the file of weights of a method, where it has any, and try to read it.

    Parameters
    ----------
    method
        Entry of the method in the catalogue.
    weights
        File that the user gave; None for the one that ships or is installed.
    environ
        Environment variables, by which published networks are found.

    Raises
    ------
    FileNotFoundError, ValueError
        If there is none, or none that the method can use.
    """
    if not method.network:
        return None
    if method.weights:
        path = find_shipped(method, weights)
    elif method.network == 'published':
        path = find_published(weights, environ)
    elif weights is None:
        raise FileNotFoundError(
            f'--method {method.name} needs --weights FILE: make them with "synthsr train run '
            f'{method.name}" and "synthsr train export"'
        )
    else:
        path = weights
    load_network(method.network, path.resolve())
    if method.beside:
        find_shipped(METHODS[method.beside])
    return path.resolve()


def with_weights(settings: MethodSettings, environ: Mapping[str, str]) -> MethodSettings:
    """Find and check the weights that a method reads, and take the voxels that they stand for.

    Parameters
    ----------
    settings
        Settings as the user gave them.
    environ
        Environment variables, by which published networks are found.

    Raises
    ------
    FileNotFoundError, ValueError
        If there is none, or none that the method can use.
    """
    method = METHODS[settings.method]
    weights = find_weights(method, settings.weights, environ)
    settings = replace(settings, weights=weights)
    if weights is None or not method.spacing_of_weights:
        return settings
    trained: Any = load_network(method.network, weights)
    if settings.output_resolution not in (MethodSettings.output_resolution, trained.spacing_mm):
        raise ValueError(
            f'--output-resolution: {weights.name} makes volumes of {trained.spacing_mm:g} mm only'
        )
    return replace(settings, output_resolution=trained.spacing_mm)


def find_shipped(method: Method, weights: Path | None = None, folder: Path = SHIPPED) -> Path:
    """Find the weights of one of our own networks: what the user gave, else what we ship."""
    if weights is not None and not weights.is_file():
        raise FileNotFoundError(f'--weights {weights}: there is no such file')
    path = weights or folder / f'{method.weights}.safetensors'
    if not path.is_file():
        raise FileNotFoundError(
            f'--method {method.name} needs --weights FILE: this installation holds none; make '
            f'them with "synthsr train run {method.weights}" and "synthsr train export"'
        )
    return path


def find_published(weights: Path | None, environ: Mapping[str, str], channels: int = 1) -> Path:
    """Find the file of a published network.

    Looked at are, in this order and without trying the next where one is given but wrong:
    ``weights``, ``$BIDS_SYNTHSR_WEIGHTS`` (files, or folders that hold a file of the published
    name), and the folder ``models`` of a FreeSurfer installation.

    Parameters
    ----------
    weights
        What the user gave.
    environ
        Environment variables, as a mapping.
    channels
        1 for the general network, 2 for that of T1w and T2w.
    """
    name = PUBLISHED_NAMES[channels]
    if weights is not None:
        return _file_at(weights, name, '--weights')
    if environ.get(WEIGHTS_VARIABLE):
        return _file_at(Path(environ[WEIGHTS_VARIABLE]), name, f'${WEIGHTS_VARIABLE}')
    if environ.get('FREESURFER_HOME'):
        models = Path(environ['FREESURFER_HOME']) / 'models'
        return _file_at(models, name, '$FREESURFER_HOME/models')
    raise FileNotFoundError(
        f'No published network: neither --weights nor ${WEIGHTS_VARIABLE} (a file, or a folder '
        f"with {name} from the authors' repository) nor $FREESURFER_HOME is given"
    )


def _file_at(path: Path, name: str, source: str) -> Path:
    """Take the file ``path``, or the published one in the folder ``path``."""
    candidates = [path / name, path / name.lower()] if path.is_dir() else [path]
    for candidate in candidates:
        if candidate.is_file():
            return candidate
    looked = ' or '.join(map(str, candidates))
    raise FileNotFoundError(f'{source} names no published network: there is no {looked}')
