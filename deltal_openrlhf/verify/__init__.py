"""Checks that this machine computes the right update. This is what `deltal verify` runs.

    outcome.py     a part's budget, and one checked case: a line on the console, a line of JSON
    run.py         the parts in their order, each with its share of the time
    cases.py       the cases of a part on a number of ranks, as long as there is time
    machine.py     versions, two ceilings (matrix product, copy), and whether two ranks can talk
    gradients.py   the real DeepSpeed trainer against brute force, with mistakes that have to be noticed
    guards.py      a loss or gradient that is not finite stops before the update, with the optimizers of this machine
    sharded.py     the Megatron backend against one process
    logprob.py     log-probabilities in chunks against full logits and liger-kernel
    overhead.py    what ∆L and its guards cost: the stock host's trainer next to ours
    trainer.py     a trainer of the user's: one cut into micro batches against another; it is no part, and needs torch alone

Every part works in processes of its own (parity/spawn.py). It needs neither Ray nor vLLM nor flash-attn.
"""
