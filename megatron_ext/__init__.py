"""Megatron-Core as a training backend with ∆L. For a later release: nothing is here yet."""
