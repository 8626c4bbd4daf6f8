"""The aggregations in other trainers. Each module needs its trainer, and says so in one line where it is missing or has changed.

    trl.py          a subclass of GRPOTrainer
    verl.py         an actor configuration and engines, which verl's own configuration names
    skyrl.py        a subclass of RayPPOTrainer
    slime.py        a converter for --custom-convert-samples-to-train-data-path
    checks.py       is the trainer there as its adapter needs it, and are its settings allowed?
    weights.py      x_i of every optimizer step of a rollout batch

All rest on one property. The token losses of PPO, with dual clip too, of CISPO and of GSPO are positively homogeneous in the advantage:
l(x A) = x l(A) for x >= 0. A trainer that sums token losses and gets the advantages x_i A_i computes sum_i x_i S_i, the aggregation
(aggregation.py). The x_i are computed once per optimizer step, over all its responses and ranks, before it is cut into micro batches.
"""
