"""What a diagnosis takes in memory, on the disk and on a GPU, and what follows from it."""

import pytest

from deltal_openrlhf.diagnostics.plan import ModelShape, make_plan

GPT2 = ModelShape(
    {"qkv": 21_261_312, "o": 7_087_104, "mlp": 56_669_184, "embedding": 39_383_808, "norm": 38_400}, 38_597_376, 50_257
)


def test_the_plan_follows_the_memory():
    """Of a GPT-2: 256 whole rows would take 127 GB, sketched ones at most 34 MB."""
    assert make_plan(GPT2, 256, 400, "auto").width is None and make_plan(GPT2, 256, 4, "auto").width == 8192
    assert make_plan(GPT2, 256, 4, "full").rows_bytes == 256 * 4 * GPT2.parameters
    even = ModelShape(dict.fromkeys(("q", "k", "v", "o", "mlp", "embedding", "norm", "head"), 10**7), 10**6, 10**4)
    assert [make_plan(even, 512, memory, "auto").width for memory in (0.3, 0.2, 0.1, 0.07)] == [8192, 4096, 2048, 2048]
    bounded = make_plan(GPT2, 256, 2, "auto")
    assert 3 * 4 * bounded.tokens_a_pass * GPT2.vocabulary <= 0.25 * 2e9


def test_the_plan_follows_what_a_gpu_has_free():
    free = make_plan(GPT2, 256, 40, "auto")
    assert make_plan(GPT2, 256, 40, "auto", 80 * 10**9) == free  # of an H100
    # 1.3 GB there take model and gradients; of the other 3.7 GB logits get a quarter, though 40 are allowed.
    bounded = make_plan(GPT2, 256, 40, "auto", 5 * 10**9)
    assert bounded.width == free.width and bounded.tokens_a_pass < free.tokens_a_pass
    assert 0.7e9 < 3 * 4 * bounded.tokens_a_pass * GPT2.vocabulary <= 0.25 * 5e9
    with pytest.raises(ValueError, match=r"the GPU has 1.2 GB free; 124,439,808 parameters in float32"):
        make_plan(GPT2, 256, 40, "auto", 12 * 10**8)


def test_a_plan_that_does_not_fit_says_what_would():
    with pytest.raises(ValueError) as error:
        make_plan(GPT2, 256, 0.1, "auto")
    least = float(str(error.value).split("allowed is ")[1].split()[0])
    assert 0.3 < least < 0.6 and make_plan(GPT2, 256, least, "auto")
    with pytest.raises(ValueError, match="does not suffice"):
        make_plan(GPT2, 256, least * 0.8, "auto")
    with pytest.raises(ValueError, match="does not suffice"):
        make_plan(GPT2, 20_000, 4, "auto")  # Gram matrices of 1.6 GB each
