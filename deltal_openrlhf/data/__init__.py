"""Problems and prompts, written as the JSON lines that OpenRLHF reads."""
