"""The command ``geodiffrecon``: points to cubes, models, maps and scores.

Loading this package loads neither torch nor GDAL, so that ``--help`` answers at once; each
command imports what it needs when it runs.
"""

import json
from typing import Annotated

import typer

from .. import __version__
from ..progress import PROTOCOL
from .comparing import compare_command
from .gridding import bin_points_command
from .interpolating import map_command
from .looking import demo_command, doctor_command, info_command
from .mapping import reconstruct_command
from .modelling import fit_command
from .plotting import plot_command
from .scoring import evaluate_command

app = typer.Typer(
    help="Complete, fine maps with calibrated errors from sparse, coarse observations.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,  # loading rich would double the time to the first help page
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)


def _version(context: typer.Context, wanted: bool) -> None:
    as_json = context.params["as_json"]
    if as_json and not wanted:
        raise typer.BadParameter(
            "it belongs to --version; commands report as JSON with --progress json.",
            param_hint="--json",
        )
    if wanted:
        about = {"version": __version__, "protocol": PROTOCOL}
        typer.echo(json.dumps(about) if as_json else f"geodiffrecon {__version__}")
        raise typer.Exit


@app.callback()
def _common(
    # Eager, so that the callback of --version knows it wherever it stands.
    as_json: Annotated[
        bool, typer.Option("--json", is_eager=True, help="With --version: for programs.")
    ] = False,
    version: Annotated[
        bool, typer.Option("--version", "-v", callback=_version, help="Say the version.")
    ] = False,
) -> None: ...


app.command("map")(map_command)
app.command("demo")(demo_command)
app.command("bin")(bin_points_command)
app.command("fit")(fit_command)
app.command("reconstruct")(reconstruct_command)
app.command("evaluate")(evaluate_command)
app.command("compare")(compare_command)
app.command("plot")(plot_command)
app.command("info")(info_command)
app.command("doctor")(doctor_command)


def main() -> None:
    """Run the command line; exit codes are 0, 1 (data or parameters), 2 (usage), 130."""
    app(prog_name="geodiffrecon")
