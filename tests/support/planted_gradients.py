"""Gradients with known statistics, and the truth about batches of them, by code that shares nothing with the package.

    g_i = mean + turn (log L_i - log median) + prompt and own noise,    E|noise|^2 = c L_i^beta,    correlation of noise in a prompt: rho

Half of the responses to each prompt are right, at random, so that A_i = +-a for every response and group_norm; s_i = g_i / A_i.
"""

import math
from dataclasses import dataclass

import numpy as np

from deltal_openrlhf.diagnostics.sample import GradientSample


@dataclass(frozen=True)
class Planted:
    beta: float = 1.0
    mean: float = 3.0  # |mean|, the noise of a response of one token has size sqrt(c) = 1
    turn: float = 0.0  # times |mean|, at a right angle to it, for each unit of log L
    stretch: float = 0.0  # times |mean|, along it
    rho: float = 0.0
    tail: float = (
        0.0  # some responses are louder than others of their length: log-normal with this sigma, mean square 1
    )
    dimensions: int = 96
    n: int = 4
    median: float = 60.0
    spread: float = 0.7
    longest: int = 400

    def lengths(self, rng, prompts):
        drawn = rng.lognormal(math.log(self.median), self.spread, size=(prompts, self.n))
        return np.clip(np.rint(drawn), 4, self.longest)

    def mean_at(self, lengths):
        """[..., dimensions]"""
        away = np.log(lengths / self.median)
        out = np.zeros((*lengths.shape, self.dimensions))
        half = self.dimensions // 2
        # a little in both halves, which are two layer types
        out[..., 0] = out[..., half] = self.mean * (1 + self.stretch * away) / math.sqrt(2)
        out[..., 1] = out[..., half + 1] = self.mean * self.turn * away / math.sqrt(2)
        return out

    def gradients(self, rng, lengths):
        """[prompts, n, dimensions]"""
        prompts, n = lengths.shape
        shared = rng.normal(size=(prompts, 1, self.dimensions))
        own = rng.normal(size=(prompts, n, self.dimensions))
        noise = math.sqrt(self.rho) * shared + math.sqrt(1 - self.rho) * own
        size = np.sqrt(lengths**self.beta / self.dimensions)
        loud = np.exp(rng.normal(-(self.tail**2), self.tail, size=lengths.shape))  # E loud^2 = 1
        return self.mean_at(lengths) + (size * loud)[..., None] * noise

    def advantage(self):
        rewards = np.repeat([0.0, 1.0], self.n // 2)
        return 0.5 / rewards.std(ddof=1)

    def sample(self, seed, prompts):
        rng = np.random.default_rng(seed)
        lengths = self.lengths(rng, prompts)
        g = self.gradients(rng, lengths).reshape(-1, self.dimensions)
        rewards = rng.permuted(np.tile(np.repeat([0.0, 1.0], self.n // 2), (prompts, 1)), axis=1).reshape(-1)
        scores = g / (np.where(rewards > 0, 1, -1) * self.advantage())[:, None]
        half = self.dimensions // 2
        order = rng.permutation(len(scores))  # a sample may come in any order
        return GradientSample(
            lengths=lengths.reshape(-1).astype(int)[order],
            rewards=rewards[order],
            groups=np.repeat(np.arange(prompts), self.n)[order],
            truncated=(lengths.reshape(-1) >= self.longest)[order],
            grams={
                "q": (scores[:, :half] @ scores[:, :half].T)[np.ix_(order, order)].astype(np.float32),
                "mlp": (scores[:, half:] @ scores[:, half:].T)[np.ix_(order, order)].astype(np.float32),
            },
        )


def weights_by_hand(key, lengths, max_length, n):
    """x [batches, responses] of one step each, written out. lengths: [batches, responses]; two batches in a row are a rollout."""
    batches, count = lengths.shape
    if key == "token-mean":
        return np.ones_like(lengths) / lengths.sum(axis=1, keepdims=True)
    if key == "seq-mean-token-mean":
        return 1 / (count * lengths)
    if key == "seq-mean-token-sum-norm":
        return np.full_like(lengths, 1 / (count * max_length))
    _, alpha, scope = key.split("-")
    power = lengths ** -float(alpha)
    size = {"step": count, "rollout": 2 * count, "group": n}[scope]
    shared = power.reshape(-1, size)
    shared = shared / shared.mean(axis=1, keepdims=True)
    return shared.reshape(batches, count) / (max_length * count)


def truth(planted, keys, *, batch_prompts, max_length, batches=200_000, cosines=10_000, seed=99):
    """What the package estimates, for each key, from simulated batches; the last key is the reference.

    Means and squares need the lengths only: given them, E G = sum x m(L), and the noise has the variances and covariances planted.
    Cosines need whole batches.
    """
    rng = np.random.default_rng(seed)
    mean = {key: np.zeros(planted.dimensions) for key in keys}
    square = dict.fromkeys(keys, 0.0)
    for _ in range(0, batches, 10_000):
        lengths = planted.lengths(rng, 10_000 * batch_prompts)
        size = np.sqrt(lengths**planted.beta).reshape(10_000, batch_prompts, planted.n)
        lengths = lengths.reshape(10_000, -1)
        away = np.stack([np.ones_like(lengths), np.log(lengths / planted.median)], axis=-1)
        basis = planted.mean_at(np.array([planted.median, planted.median * math.e]))  # m(L) is linear in log L
        basis = np.stack([basis[0], basis[1] - basis[0]])
        for key in keys:
            x = weights_by_hand(key, lengths, max_length, planted.n)
            centre = np.einsum("br,bra->ba", x, away)
            noise = x.reshape(size.shape) * size
            mean[key] += centre.sum(axis=0) @ basis / batches
            square[key] += np.einsum("ba,ac,bc->", centre, basis @ basis.T, centre) / batches
            alone, together = (noise**2).sum(), (noise.sum(axis=2) ** 2).sum()
            quieter = math.exp(-(planted.tail**2))  # (E loud)^2
            square[key] += (alone + planted.rho * quieter * (together - alone)) / batches
    lengths = planted.lengths(rng, cosines * batch_prompts)
    g = planted.gradients(rng, lengths).reshape(cosines, -1, planted.dimensions)
    reference = mean[keys[-1]]
    size = {key: np.linalg.norm(mean[key]) for key in keys}
    out = {}
    for key in keys:
        batch = np.einsum("br,brd->bd", weights_by_hand(key, lengths.reshape(cosines, -1), max_length, planted.n), g)
        norms = np.linalg.norm(batch, axis=1)
        cosine = mean[key] @ reference / size[key] / size[keys[-1]]
        comparable = key.startswith("deltal") or key == keys[-1]
        out[key] = {
            "cv": math.sqrt(square[key] - size[key] ** 2) / size[key],
            "cosine": cosine,
            "relative_norm": size[key] / size[keys[-1]],
            "relative_bias": np.linalg.norm(mean[key] - reference) / size[keys[-1]]
            if comparable
            else math.sqrt(max(1 - cosine**2, 0)),
            "batch_cosine": (batch @ mean[key] / norms).mean() / size[key],
            "batch_cosine_reference": (batch @ reference / norms).mean() / size[keys[-1]],
            "norm": math.sqrt(square[key]),
        }
    for key in keys:
        out[key]["cv_ratio"] = out[key]["cv"] / out[keys[-1]]["cv"]
    return out
