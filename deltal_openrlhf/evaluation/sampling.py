"""Responses from vLLM. Each has a random generator of its own, seeded by (seed, set, position, sample).

So a response does not depend on the order of the work, on the rest of a batch, or on where an interrupted run resumes. vLLM's
probabilities, however, may differ in the last bits with the size of a batch. On a GPU, where kernels are chosen by batch size, a response
can change from some token on. It is then another draw from the same model.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from vllm import LLM


TOKENS_A_STEP = 4096
"""Prompt tokens that vLLM computes at once on a CPU, its own default there."""


class Request(NamedTuple):
    token_ids: list[int]
    seed: int


class Response(NamedTuple):
    text: str
    tokens: int  # with the end token
    finish_reason: str  # "stop", or "length" if it was cut off


def start(folder: Path, max_model_len: int, tensor_parallel_size: int, gpu_memory_utilization: float) -> "LLM":
    """Start vLLM with the checkpoint's own dtype. No other setting here changes the distribution of a response."""
    from vllm import LLM

    from deltal_openrlhf import cpu
    from deltal_openrlhf.host import remote_code

    # Graphs would be compiled by g++ first. A seeded request whose prompt is computed in parts makes vLLM 0.29 rewind its generator by a
    # call that generators of a CPU do not have.
    of_cpu: dict[str, Any] = {
        "enforce_eager": True,
        "enable_chunked_prefill": False,
        "max_num_batched_tokens": max(TOKENS_A_STEP, max_model_len),
    }
    return LLM(
        model=str(folder),
        max_model_len=max_model_len,
        tensor_parallel_size=tensor_parallel_size,
        gpu_memory_utilization=gpu_memory_utilization,
        trust_remote_code=remote_code.is_trusted(),
        **(of_cpu if cpu.is_needed() else {}),
    )


def work(llm: "LLM", steps: int, finished: int, tokens: int, max_new_tokens: int) -> tuple[int, float]:
    """(the engine's steps so far, those expected to be left) of the responses that sample() draws.

    steps: how often sample() has yielded. finished, tokens: the number of responses that ended, and their tokens.
    """
    # vLLM has no public count of the tokens of a request in progress; its detokenizer has.
    states = llm.llm_engine.output_processor.request_states.values()
    begun = [state.detokenizer.num_output_tokens() for state in states if state.detokenizer is not None]
    return steps, expected_steps(begun, finished, tokens, max_new_tokens)


def expected_steps(begun: Sequence[int], finished: int, tokens: int, max_new_tokens: int) -> float:
    """The engine's steps that are left. In one step, each response in progress gets one token.

    As far as anyone knows before, a response ends at each token with the same chance, finished / (all tokens so far): so it takes `mean`
    more, and at most what max_new_tokens leaves it. The longest of n takes mean x (1 + 1/2 + ... + 1/n). The steps are those of the longest
    one, or those of all tokens over the responses at once, whichever are more. Short responses end first, and the last ones take as many
    steps as many did before: neither the count of ended responses nor that of tokens would tell the time left.

    begun: the tokens so far of each unfinished response, 0 for those that wait.
    """
    if not begun:
        return 0.0
    made = tokens + sum(begun)
    mean = made / finished if finished else float(max_new_tokens)
    longest = min(mean * sum(1 / i for i in range(1, len(begun) + 1)), max_new_tokens - min(begun))
    at_once = sum(so_far > 0 for so_far in begun) or len(begun)
    return max(longest, sum(min(mean, max_new_tokens - so_far) for so_far in begun) / at_once)


def sample(
    llm: "LLM", requests: Sequence[Request], temperature: float, top_p: float, max_new_tokens: int
) -> Iterator[list[tuple[int, Response]]]:
    """Yield, after each step of the engine, the finished responses with the index of their request. llm: a new one."""
    from vllm import RequestOutput, SamplingParams, TokensPrompt

    parameters = [
        SamplingParams(temperature=temperature, top_p=top_p, max_tokens=max_new_tokens, seed=request.seed)
        for request in requests
    ]
    prompts = [TokensPrompt(prompt_token_ids=request.token_ids) for request in requests]
    llm.enqueue(prompts, parameters, use_tqdm=False)
    while llm.llm_engine.has_unfinished_requests():
        finished = []
        for output in llm.llm_engine.step():
            if isinstance(output, RequestOutput) and output.finished:
                i = int(output.request_id)  # vLLM counts an engine's requests from 0
                if output.prompt_token_ids != requests[i].token_ids:
                    raise RuntimeError(f"vLLM's output {output.request_id} belongs to another prompt")
                (completion,) = output.outputs
                response = Response(completion.text, len(completion.token_ids), str(completion.finish_reason))
                finished.append((i, response))
        yield finished
