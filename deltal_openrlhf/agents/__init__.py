"""Agents for the host's --train.agent_func_path: what answers a policy over several turns, and what its episodes are worth."""
