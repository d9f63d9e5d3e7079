"""The command line: `minidiff train | generate | edit | inpaint | outpaint | evaluate | info`."""

import sys

import typer

from minidiff.cli import editing, models

app = typer.Typer(help="Diffusion models from scratch.", no_args_is_help=True, pretty_exceptions_enable=False)
app.add_typer(models.app)
app.add_typer(editing.app)


def main() -> None:
    """Run the command line. An error that the user can mend is one line without a traceback."""
    try:
        app(standalone_mode=True)
    except (ValueError, TypeError, OSError, FloatingPointError) as error:
        sys.exit(f"minidiff: {error}")
    except KeyboardInterrupt:
        sys.exit("\nminidiff: stopped; --resume continues a training run from its last checkpoint")
