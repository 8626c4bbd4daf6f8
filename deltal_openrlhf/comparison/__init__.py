"""`deltal compare`: training runs side by side. docs/compare.md.

spec.py, yaml_values.py     the experiment's file
grid.py                     its runs: arm x start x method x seed, and those that choose learning rates
state.py                    the folder of a run: settings, result, what is done
checks.py                   every set of flags, checked before anything starts
schedule.py, pool.py, worker.py    which run is next; the processes that run them
loop.py, updates.py, arguments.py  engine: one process
pipeline.py                 engine: deltal train
curves.py, paired.py, summary.py   numbers with intervals -> comparison.json
page.py, plots.py           the report
run.py                      all of it
"""
