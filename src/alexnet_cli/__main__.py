"""`python -m alexnet_cli` is the `alexnet` command."""

from alexnet_cli.cli.main import start

if __name__ == "__main__":
    start()
