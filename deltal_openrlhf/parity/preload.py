"""The imports of forkserver.py's server before its first fork. Importing this module makes them; nothing else should import it.

megatron_ext is not among them: without a GPU its import changes torch for the whole process (megatron_ext/cpu.py).
"""

import contextlib
import gc
import importlib
import warnings

from deltal_openrlhf.host.process import prepare
from deltal_openrlhf.standins import ray_vllm

MODULES = (
    "transformers",
    "deepspeed",
    "openrlhf.models",
    "openrlhf.trainer.ray.ppo_actor",
    "megatron.core.models.gpt",
    "deltal_openrlhf.parity.host_update",
)

for set_up in (prepare, ray_vllm.install):
    # What fails here fails in the process that needs it, and is said there. An exception would end the server.
    with contextlib.suppress(Exception):
        set_up()
with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    for name in MODULES:
        with contextlib.suppress(Exception):
            importlib.import_module(name)
gc.collect()
gc.freeze()  # a collection in a child would copy every page
