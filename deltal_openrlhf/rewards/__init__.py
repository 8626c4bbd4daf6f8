"""Verifiable rewards: pure checkers, and the files that OpenRLHF's --reward.remote_url takes."""
