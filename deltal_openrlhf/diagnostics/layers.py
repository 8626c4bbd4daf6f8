"""The layer type of every parameter of a transformers model, by the class and the name of its module.

q k v qkv o    attention: queries, keys, values, all three fused, and the output projection
mlp            feed-forward layers; in a mixture of experts also experts and router
norm           layer norms, including those of queries and keys
embedding      tokens and positions, including a head that shares the token embedding's weight
head           the output layer, if it has a weight of its own
other          parameters with unknown names
"""

from torch import nn
from transformers import PreTrainedModel

ATTENTION = {
    **{"q_proj": "q", "k_proj": "k", "v_proj": "v"},
    **dict.fromkeys(("qkv_proj", "query_key_value", "c_attn", "Wqkv", "W_pack"), "qkv"),
    **dict.fromkeys(("o_proj", "out_proj", "c_proj", "dense"), "o"),
}
"""Modules within an attention block."""
ATTENTION_BLOCKS = ("attn", "self_attn", "attention", "self_attention")
MLP_BLOCKS = ("mlp", "feed_forward", "ffn", "experts", "block_sparse_moe", "fc1", "fc2")


def layer_types(model: PreTrainedModel) -> dict[str, str]:
    """Parameter name -> one of sample.TYPES, for the names of model.named_parameters(), which gives a shared weight once."""
    embedding, head = model.get_input_embeddings(), model.get_output_embeddings()
    modules = dict(model.named_modules())
    types = {}
    for name, _ in model.named_parameters():
        path = name.split(".")
        owner = modules[name.rpartition(".")[0]]
        types[name] = _type(owner, path[:-1], is_embedding=owner is embedding, is_head=owner is head)
    return types


def _type(owner: nn.Module, path: list[str], *, is_embedding: bool, is_head: bool) -> str:
    if is_embedding or isinstance(owner, nn.Embedding):
        return "embedding"
    if is_head:
        return "head"
    if "norm" in type(owner).__name__.lower():
        return "norm"
    if path[-1] in ATTENTION and any(block in ATTENTION_BLOCKS for block in path):
        return ATTENTION[path[-1]]
    if any(block in MLP_BLOCKS for block in path):
        return "mlp"
    return "other"
