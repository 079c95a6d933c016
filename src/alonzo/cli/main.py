"""`alonzo`: the table of commands. Each is imported only when it is run."""

from __future__ import annotations

import importlib
import sys
from typing import Any

import click

#: Command -> where it is, and what `alonzo --help` says of it.
COMMANDS: dict[str, tuple[str, str]] = {
    "up": ("alonzo.cli.up:up", "Run a server in the foreground."),
    "env": ("alonzo.cli.env:env", "Print what points any AWS tool at the server."),
    "doctor": ("alonzo.cli.doctor:doctor", "Say what this machine can enforce, and what is missing."),
    "invoke": ("alonzo.cli.invoke:invoke", "Invoke a function and show its answer."),
    "logs": ("alonzo.cli.logs:logs", "Show a function's log."),
    "cost": ("alonzo.cli.cost:cost", "Show what the invocations would have cost on AWS."),
    "events": ("alonzo.cli.events:events", "Show what waits, runs or has failed in the queue."),
    "runtime": ("alonzo.cli.runtime:runtime", "List and prepare managed runtimes."),
    "demo": ("alonzo.cli.demo:demo", "Put a picture into a bucket and watch it become a thumbnail."),
}


class Commands(click.Group):
    """Finds commands in the table, and says every error in plain words with exit code 1."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        module, _, name = COMMANDS[cmd_name][0].partition(":")
        command = getattr(importlib.import_module(module), name)
        assert isinstance(command, click.Command)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and args[0] not in COMMANDS and not args[0].startswith("-"):
            import difflib

            near = difflib.get_close_matches(args[0], COMMANDS, n=1)
            hint = f"Did you mean {near[0]!r}?" if near else "`alonzo --help` lists them."
            raise click.ClickException(f"There is no command {args[0]!r}. {hint}")
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in COMMANDS.items()])

    def main(self, *args: Any, **kwargs: Any) -> Any:
        kwargs["standalone_mode"] = False
        try:
            code = super().main(*args, **kwargs)
        except click.ClickException as error:
            click.echo(_sentence(error), err=True)
            sys.exit(1)
        except (click.Abort, KeyboardInterrupt):
            sys.exit(130)
        except BrokenPipeError:
            # Whoever read us has gone; the interpreter must not complain when it flushes at exit.
            sys.stdout = None
            sys.exit(141)
        sys.exit(code if isinstance(code, int) else 0)


def _sentence(error: click.ClickException) -> str:
    if isinstance(error, click.UsageError) and error.ctx is not None:
        return f"{error.format_message()} See `{error.ctx.command_path} --help`."
    return error.format_message()


def _version(ctx: click.Context, _param: click.Parameter, wanted: bool) -> None:
    if wanted and not ctx.resilient_parsing:
        from alonzo import __version__

        click.echo(f"alonzo {__version__}")
        ctx.exit()


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--version", is_flag=True, expose_value=False, is_eager=True, callback=_version, help="Show the version and exit."
)
def main() -> None:
    """AWS Lambda that you run yourself: isolated, durable, metered, without Docker."""


if __name__ == "__main__":
    main(prog_name="alonzo")
