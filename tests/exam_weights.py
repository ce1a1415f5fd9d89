"""A small network for exams, saved as its weights are."""

from __future__ import annotations

import torch

from bids_synthsr.dataset.weights import save_weights
from bids_synthsr.networks.exam_unet import ExamUNet
from bids_synthsr.synthesis.labels import freesurfer_table

WINDOW = (48, 48, 48)  # every one sees the brightest tissue, by which it is scaled


def weights_of(path, labels=None, **more):
    """Save a network as it is made, which is unsure of everything."""
    table = freesurfer_table().targets
    arguments = {'features': 8, 'levels': 2, 'classes': len(table)}
    torch.manual_seed(0)
    network = ExamUNet.from_arguments(arguments)
    torch.nn.init.zeros_(network.head.weight)
    torch.nn.init.zeros_(network.head.bias)
    with torch.no_grad():
        network.head.bias.view(-1, 8)[2 + table.index(2)] = 9  # white matter wherever one looks
        network.head.weight[:8].normal_(0, 0.1)  # its T1w is not flat
    description = {
        'network': 'exam_unet', 'arguments': arguments,
        'labels': table if labels is None else labels, 'recipe': {'samples': {'shape': WINDOW}},
        **more,
    }  # fmt: skip
    return save_weights(path, network.state_dict(), description)
