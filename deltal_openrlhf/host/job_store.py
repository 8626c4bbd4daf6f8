"""Short texts that all processes of a run share, on every node, as keys of this job in Ray's key-value store."""

_NAMESPACE = "deltal_openrlhf"


def put(name: str, value: str) -> None:
    """Store a text. Without Ray this does nothing, because checks and tests run workers and controllers in one process."""
    import ray

    if ray.is_initialized():
        from ray.experimental import internal_kv

        internal_kv._internal_kv_put(_key(name), value.encode(), namespace=_NAMESPACE)


def get(name: str) -> str | None:
    """A stored text. None for an unknown name, and without Ray."""
    import ray

    if not ray.is_initialized():
        return None
    from ray.experimental import internal_kv

    value = internal_kv._internal_kv_get(_key(name), namespace=_NAMESPACE)
    return None if value is None else value.decode()


def _key(name: str) -> bytes:
    import ray

    return f"{ray.get_runtime_context().get_job_id()}/{name}".encode()
