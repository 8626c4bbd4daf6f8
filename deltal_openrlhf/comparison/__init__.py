"""`deltal compare` trains several methods side by side and compares them. docs/reference/compare.md describes it.

spec.py                            the experiment's file
grid.py                            its runs: arm x start x method x seed, and those that choose learning rates
state.py                           the folder of a run: settings, result, progress
checks.py                          every set of flags, checked before anything starts
schedule.py, pool.py, worker.py    the next run and its learning rate; the processes that run them
loop.py, updates.py, inputs.py     engine: one process
graded.py, filtering.py            its responses; how a rollout is filled, with dynamic sampling
arguments.py                       the flags that it follows
pipeline.py                        engine: deltal train
curves.py, paired.py,              numbers with intervals -> comparison.json
interactions.py, summary.py
page.py, plots.py, answer.py       the report
run.py                             all of it
"""
