"""ZeRO-3's parameters, gathered by gloo: all of them are whole when the gathering has ended, not the last one only."""

from deltal_openrlhf.parity.spawn import run_on_ranks

SIZES = (2**24, 2**22, 2)
"""Of the parameters. The last one is there long before the first."""


def _gathered(rank: int) -> list[bool]:
    """Which parameters are whole as soon as they can be read."""
    import deepspeed
    import torch

    deepspeed.init_distributed(dist_backend="gloo", verbose=False)

    class Model(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.all = torch.nn.ParameterList(torch.ones(size) for size in SIZES)

    config = {"train_batch_size": 2, "zero_optimization": {"stage": 3}}
    with deepspeed.zero.Init(config_dict_or_path=config):
        model = Model()
    parameters = list(model.parameters())
    with deepspeed.zero.GatheredParameters(parameters):
        ends = [bool(parameter[0] == 1) and bool(parameter[-1] == 1) for parameter in parameters]
    return ends


def test_all_parameters_are_whole():
    assert run_on_ranks(2, _gathered, timeout=100) == [[True] * len(SIZES)] * 2
