"""What a process sees in place of a package that is not installed, and how a name of the host is replaced when it is imported.

    flash_attn.py   flash-attn's functions that the host imports, in plain torch (bert_padding.py): in every run without flash-attn
    ray_vllm.py     enough of Ray and vLLM to import the host's trainers: for `deltal verify`, which starts no actor
    on_import.py, patch.py   call a function right after an import; replace a name there

Importing this imports neither torch nor the host: vLLM and Ray load it in every process.
"""
