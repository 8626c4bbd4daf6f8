"""The same step in one process: transformers and autograd, one response at a time, weights by definition. It uses nothing of
Megatron-Core.
"""

from typing import Any

import torch
from torch import Tensor

from deltal_openrlhf.parity.reference import reference_loss, reference_weights
from megatron_ext.parity.cases import ADAM, MAX_NORM, ShardedCase, build_model, make_rows


def train(case: ShardedCase) -> dict[str, Any]:
    """gradient, sgd, adam: by Hugging Face name; loss; norm."""
    model = build_model(case)
    batch = make_rows(case)
    everyone = list(range(len(batch)))
    weights = reference_weights(case.loss, batch, everyone)
    tokens = sum(int(row["mask"].sum()) for row in batch)
    total = 0.0
    for i in everyone:
        if batch[i]["mask"].any():
            loss = reference_loss(case.loss, model, batch[i], weights[i], tokens)
            total += loss.item()
            if loss.requires_grad:
                loss.backward()
    named: dict[str, Any] = dict(model.named_parameters())
    gradient = _as_saved({name: p.grad for name, p in named.items()})
    sgd = _as_saved({name: p.detach() - p.grad for name, p in named.items()})
    norm = torch.nn.utils.clip_grad_norm_(model.parameters(), MAX_NORM).item()
    groups: list[dict[str, Any]] = [{"params": [p for p in named.values() if p.dim() > 1]}]
    groups += [{"params": [p for p in named.values() if p.dim() == 1], "weight_decay": 0.0}]  # biases and norms
    torch.optim.AdamW(groups, **ADAM).step()
    adam = _as_saved({name: p.detach() for name, p in named.items()})
    return {"gradient": gradient, "sgd": sgd, "adam": adam, "loss": total, "norm": norm}


def _as_saved(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Copies, under the names of a saved model: transformers keeps the experts of a layer in one tensor, files and vLLM know each."""
    saved: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        layer, _, kind = name.rpartition(".experts.")
        if kind == "gate_up_proj":
            for i, both in enumerate(tensor):
                gate, up = both.chunk(2)
                saved |= {f"{layer}.experts.{i}.gate_proj.weight": gate, f"{layer}.experts.{i}.up_proj.weight": up}
        elif kind == "down_proj":
            saved |= {f"{layer}.experts.{i}.down_proj.weight": down for i, down in enumerate(tensor)}
        else:
            saved[name] = tensor
    return {name: tensor.clone() for name, tensor in saved.items()}


def largest_difference(got: dict[str, Tensor], wanted: dict[str, Tensor]) -> float:
    """The largest difference of one element. Raises ValueError if names differ."""
    _check_names(got, wanted)
    return max((got[name] - wanted[name]).abs().max().item() for name in wanted)


def relative_difference(got: dict[str, Tensor], wanted: dict[str, Tensor]) -> float:
    """||got - wanted|| / ||wanted|| over all tensors. Raises ValueError if names differ."""
    _check_names(got, wanted)
    apart = sum((got[name].double() - wanted[name].double()).square().sum().item() for name in wanted)
    whole = sum(wanted[name].double().square().sum().item() for name in wanted)
    return (apart / whole) ** 0.5


def _check_names(got: dict[str, Tensor], wanted: dict[str, Tensor]) -> None:
    if got.keys() != wanted.keys():
        raise ValueError(f"tensors differ in name: {sorted(got.keys() ^ wanted.keys())[:4]}")
