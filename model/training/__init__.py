"""Training of our own weights from clips that code draws: `motion` moves, `drawing` paints, `clips` labels, `train` learns."""
