"""Megatron-Core as a training backend of OpenRLHF's pipeline, with the same ∆L update: `deltal train --backend megatron`.

backend.py                         the backend that deltal_openrlhf/backends.py loads
layout.py                          how model and batch are cut
flags.py, features.py, support.py  the command line: flags, refusals, models and versions
model.py, export.py                Hugging Face to Megatron-Core and back
batching.py, logprob.py            responses in, log-probabilities out
engine.py                          one optimizer step
trainer.py, strategy.py, actor.py  the interface to OpenRLHF's workers and controller
checkpoint.py                      sharded checkpoints
parity/                            deltal parity
planning/                          deltal plan
modules.py, plain_modules.py       layers without Transformer Engine
bindings.py, cpu.py                the names of Megatron-Core that this package uses; running it without a GPU
"""
