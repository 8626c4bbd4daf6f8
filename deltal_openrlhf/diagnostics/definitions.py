"""The meaning of the report's terms."""

DEFINITIONS = """\
s_i, g_i = A_i s_i
    s_i is the gradient of Σ_t log π(y_t) over the L_i trained tokens of response i, A_i its advantage.
G = Σ_i x_i A_i s_i
    The gradient of one batch, which is one optimizer step. A method is the weights x_i and the advantages.
Var(g) = E|g − E g|² = c·L^β
    Fitted to responses without binning. Pairs of responses to different prompts remove what E g adds. With advantage, responses whose
    advantage is 0 are left out: prompts whose rewards are all equal take no part.
Dr. GRPO norm
    x_i = 1 / (N M): the plain mean of the responses' gradients. Bias is measured against its mean, E G_ref.
GRPO norm, DAPO norm
    x_i = 1 / (N L_i) and x_i = 1 / Σ_j L_j.
∆L α
    x_i = L_i^−α / (M Σ_j L_j^−α). The sum runs over the scope: the step, the rollout batch, or the responses to one prompt.
∆L α above 1
    Measured to show the trend of the noise. Training does not offer it.
OPO
    Dr. GRPO norm with A_i = r_i − Σ_j L_j r_j / Σ_j L_j over the prompt's responses, not divided by a standard deviation (arXiv
    2505.23585). Its CV differs from Dr. GRPO norm's for both reasons.
λ-GRPO
    DAPO norm with each x_i times n softmax(h^λ)_i, h = 1 + z / 9, z the length standardised within the prompt (arXiv 2510.06870). λ is
    learned there and fixed here.
Balanced aggregation
    For each prompt, the token means over its responses of positive and of negative advantage, weighted by their numbers. Then the mean
    over prompts (arXiv 2605.04077).
CV = √E|G − E G|² / |E G|
    Coefficient of variation of a batch gradient, from disjoint batches. The square of the mean is taken between independent batches.
Cosine, relative norm
    cos(E G, E G_ref) and |E G| / |E G_ref|.
Relative bias
    |E G − E G_ref| / |E G_ref|. If a method has another scale by design (*), E G is first multiplied by the number that fits best.
Detectable bias
    The relative bias that these data would have shown with 80 % chance, by an interval that lies above 0.
Cosine of a batch
    E cos(G, E G): noise alone. E cos(G, E G_ref): noise and bias together, the quality of one step's direction.
Norm
    √E|G|², the length of one plain SGD step. Short and long are batches of the third of the prompts with the shortest and longest
    responses.
ESS
    Effective sample size (Σ x_i)² / Σ x_i² of one batch, in responses.
Correlation
    Mean of ⟨g, g′⟩ / (|g| |g′|) over pairs of responses, to the same prompt and to different prompts. Independent responses to
    different prompts share the mean gradient and lie above 0. Dependence is the excess of the same prompt over them.
Intervals
    95 %, over prompts: a bootstrap for β and the bins, and a jackknife that leaves out one prompt for the rest. They are not corrected for
    their number.
Not resolved
    The data cannot decide. The interval of β is wider than 1, that of a ratio or cosine includes 1, or that of a bias or correlation
    includes 0. For a CV, the mean gradient is not distinguishable from 0. Such rows are in the tables and in no plot.
"""
