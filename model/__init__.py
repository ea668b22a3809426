"""RepNet: network, presets, checkpoints, scoring of frames, logits to counts, training of our own weights.

Knows nothing of Beam, buckets or tables.
"""
