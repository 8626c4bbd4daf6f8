"""The `deltal` command: one file a subcommand."""
