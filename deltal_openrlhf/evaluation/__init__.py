"""`deltal eval`: accuracy of a checkpoint on evaluation files, with intervals, and the paired comparison of two results.

problems.py      the evaluation files -> problems
prompts.py       the token ids of their prompts, and whether the model has room for them
sampling.py      n responses to each problem with vLLM, each with a seed of its own
store.py         responses.jsonl: graded responses, appended as they finish, read back after an interruption
estimates.py     Avg@n and Pass@k of each set and of all of them
results.py       results.json from graded responses
report.py        tables and sample outputs for a reader
run.py           all of it in order
compare.py       two results.json -> paired differences
"""
