"""The measurements that the README quotes. Each ends with one line of JSON: its name, both sides, the ratios, the machine."""
