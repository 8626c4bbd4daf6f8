"""Problems and prompts, written as the files that OpenRLHF reads."""
