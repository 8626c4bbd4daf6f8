"""∆L normalization (arXiv 2509.07558) for OpenRLHF's Ray PPO pipeline."""

__version__ = "0.1.0"
