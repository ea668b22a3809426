"""A decoder process on a system that cannot filter system calls."""

from transforms.decoding import child as decoder_child
from transforms.decoding import sandbox

if __name__ == "__main__":
    sandbox._restrict_calls = lambda uses_gpu: False
    decoder_child.main()
