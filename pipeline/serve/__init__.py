"""The HTTP service of `repcount serve`: counts one video by request, with the answer of `repcount count`."""
