"""Networks with deterministic weights, made without checkpoint files."""

from model.config import LITE, REPNET_2020, REPNET_2025, RepNetConfig
from model.network import RepNet
from tests.reference import checkpoint_layout

CONFIGS = {"2020": REPNET_2020, "2025": REPNET_2025}


def make_published(variant: str) -> RepNet:
    """Returns a published network with the values of the stand-in checkpoint."""
    network = RepNet(CONFIGS[variant])
    for name, variable in network.variables_by_name().items():
        variable.assign(checkpoint_layout.value(name, tuple(variable.shape)))
    return network


def make_lite(config: RepNetConfig = LITE) -> RepNet:
    """Returns our own network with values of the same kind."""
    network = RepNet(config)
    for name, variable in network.variables_by_name().items():
        if name.rsplit("/", 1)[-1] in ("kernel", "gain", "bias", "gamma", "beta", "moving_mean", "moving_variance"):
            variable.assign(checkpoint_layout.value(name, tuple(variable.shape)))
    return network
