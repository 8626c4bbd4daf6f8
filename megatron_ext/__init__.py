"""Megatron-Core as a training backend of OpenRLHF's pipeline, with the same ∆L update: `deltal train --backend megatron`.

backend.py                         what deltal_openrlhf/backends.py loads
layout.py                          how model and batch are cut
flags.py, features.py, support.py  the command line: what there is, what is refused, which models and versions
model.py, export.py                Hugging Face to Megatron-Core and back
batching.py, logprob.py            responses in, log-probabilities out
engine.py                          one optimizer step
trainer.py, strategy.py, actor.py  what OpenRLHF's workers and controller talk to
checkpoint.py                      sharded checkpoints
parity/                            deltal parity
planning/                          deltal plan
modules.py, plain_modules.py       without Transformer Engine
bindings.py, cpu.py                what is relied on in Megatron-Core; running it without a GPU
"""
