"""Decoding: from a listed video to chunks of frames. Imports nothing, so that the decoder process does not load Beam."""
