"""RepNet: network, presets, checkpoints, scoring of frames, logits to counts, training of our own weights.

Reads and writes checkpoints on the local disk and on Cloud Storage; knows nothing of Beam or tables.
"""
