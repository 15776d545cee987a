"""The `dyhead` command: one module per subcommand."""
