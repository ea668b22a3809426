"""Short clips of drawn people exercising, with their true counts: what `make run` counts out of the box."""
