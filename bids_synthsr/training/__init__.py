"""The loop that trains networks, its losses, samples and checkpoints."""
