"""A recipe for trainings of seconds."""

EXAM = """
description = 'A small exam network.'
steps = 8

[network]
name = 'exam_unet'
arguments = { features = 8, levels = 2 }

[samples]
source = 'generator'
prior = 'clinical-2d'
shape = [16, 16, 16]

[prior]
shape = { crop_jitter = 2 }

[loss]
laplace = 1.0
dice = 1.0
cross_entropy = 0.5

[optimizer]
name = 'adamw'
learning_rate = 1e-3
schedule = 'cosine'
warmup_steps = 2
weight_decay = 1e-4
clip_norm = 1.0
average = 0.9

[intervals]
log_steps = 1
validation_steps = 4
validation_batches = 2
checkpoint_steps = 3
"""
