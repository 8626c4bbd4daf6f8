"""One HTML page of training runs, from what they leave in their folders: `deltal report RUN [RUN ...]`.

folder.py    reads metrics.jsonl, evals.jsonl, run_settings.json and rollouts/ of a run
panels.py    which curves there are, and their values
plots.py     draws a panel
samples.py   which saved responses are shown, and the weight of each
table.py     their table, which can be searched and sorted
summary.py   what a run was and where it stands, one row a fact
page.py      the page
"""
