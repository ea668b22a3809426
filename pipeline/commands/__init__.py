"""The commands of `repcount`, one file each."""
