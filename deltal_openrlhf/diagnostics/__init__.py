"""`deltal diagnose`: bias and variance of the aggregation methods on the gradients of your own model, with intervals.

From a model and prompts to the Gram matrices of per-response gradients:

    sources.py       responses, either sampled here or saved by a training run
    responses.py     sampled and graded responses, appended batch by batch
    rewarding.py     their rewards
    obstacles.py     what stands in the way of an answer, told before any gradient
    excerpts.py      a few of them for the reader
    layers.py        parameters -> layer types
    gradients.py     score vectors of single responses
    sketch.py        gradients by layer type, whole or as a count sketch
    plan.py          memory and disk that all of it takes
    score_rows.py    the score vectors of all responses, on the disk
    gram.py          their Gram matrices by layer type
    folder.py        the folder of one diagnosis, whose stages resume
    run.py           the whole command

From the Gram matrices to the findings (numpy, scipy and the weights of aggregation.py; no gradient is needed again):

    sample.py        GradientSample: lengths, rewards, prompts and Gram matrices of one sample of responses
    advantages.py    rewards -> advantages, as the host's estimators compute them
    methods.py       the compared estimators: weights of one optimizer step and advantages
    lengths.py       how many responses have which length, and their mean reward
    variance.py      Var(g) against response length: exponent, bins
    covariance.py    mean correlation of two gradients, of one prompt and of different prompts
    settings.py      what is computed from a sample
    partitions.py    random partitions of the prompts into batches
    batches.py       moments of batch gradients over partitions, and with any one prompt left out
    estimators.py    moments -> CV, bias, cosines and norms of each method, with the intervals of statistics/jackknife.py
    study.py         all methods on the same partitions
    recommend.py     what the intervals say about alpha
    analyse.py       all of it: GradientSample -> findings

From the findings to the report:

    answer.py        the answer in sentences
    plots.py         the figures
    length_plots.py  the figures about lengths
    method_plots.py  the figures that compare methods
    resolved.py      what they say about rows that are not resolved
    tables.py        the numbers
    definitions.py   the meaning of the terms
    page.py          the page that holds all of it
"""
