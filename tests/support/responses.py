"""Graded responses, as `deltal eval` stores them."""

from deltal_openrlhf.evaluation.store import Record


def record(position, sample, response="r\u2028\r\n\ud800é", **changes):
    """A wrong response to a problem of set s; its text has what files are broken by."""
    fields = {"set": "s", "position": position, "sample": sample, "response": response, "tokens": 3}
    return Record(
        **{**fields, "finish_reason": "stop", "answer": None, "status": "different", "correct": False, **changes}
    )
