"""`python -m dyhead` is the `dyhead` command."""

from dyhead.cli.main import main

if __name__ == "__main__":
    main()
