"""Decoding: from the name of a video to chunks of its frames. Imports nothing: the decoder process must not load Beam."""
