"""The one door of the command line: whatever a command ends in leaves here as one line and an exit code.

0: done. 2: something that the user can mend. 130, 143: stopped (Ctrl-C, SIGTERM). 141: nobody reads the output.
Any other exception is a program's error and keeps its traceback.
"""

import codecs
import errno
import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import typer.main

from cllora.errors import UsageError, say
from cllora.registry import guess

Command = Any  # of click, or of the copy of it that typer has, depending on its version

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO)
PLAIN = str.maketrans({"−": "-", "–": "-", "…": "~", "±": "~", "×": "x", "─": "-", "━": "-", "’": "'"})
"""Signs that the tables use, for terminals without Unicode."""


class Terminated(KeyboardInterrupt):
    """SIGTERM: it ends a command just as Ctrl-C does."""


def ended(app: typer.Typer, words: list[str]) -> int:
    """Run a command to its end; returns the exit code."""
    try:
        with _sound_streams(), _terminated():
            code = _invoke(app, words)
            sys.stdout.flush()
        return code
    except UsageError as error:
        say(str(error))
    except KeyboardInterrupt as stop:
        say("; ".join(["stopped", *(str(part) for part in stop.args if part)]))
        return 143 if isinstance(stop, Terminated) else 130
    except BrokenPipeError:
        _drop_output()
        return 141
    except OSError as error:
        # A folder without permission, a name too long, a full disk; a run keeps what it has and goes on from there.
        kept = "; what was written is kept" if error.errno in FULL else ""
        say(f"{error.filename or 'the output'}: {error.strerror or error}{kept}")
        _drop_output()
    except MemoryError:
        say("there is not enough memory for this; take fewer or shorter texts, or a smaller model")
    return 2


def _invoke(app: typer.Typer, words: list[str]) -> int:
    """Run a command as typer does, but with this package's errors; Ctrl-C and closed pipes are left alone."""
    command: Command = typer.main.get_command(app)
    try:
        with command.make_context("cllora", list(words) or ["--help"]) as context:
            command.invoke(context)
    except typer.Exit as over:
        return over.exit_code if words else 2
    except Exception as error:
        # typer has click's exceptions, or a copy of its own, depending on its version: both have this.
        format_message = getattr(error, "format_message", None)
        if format_message is None:
            raise
        raise UsageError(_misused(error, format_message, command, words)) from None
    return 0


def _misused(error: Exception, format_message: Callable[[], str], command: Command, words: list[str]) -> str:
    """A command or an option that does not exist, or is used wrongly, on one line with a guess."""
    context: Command = getattr(error, "ctx", None)
    option = getattr(error, "option_name", None)
    if getattr(error, "possibilities", None) is not None or type(error).__name__ == "NoSuchOption":
        asked = context.command if context is not None else command
        options = [name for parameter in asked.params for name in parameter.opts if name.startswith("-")]
        return f"there is no option {option}; {guess(str(option), [*options, '--help'])}"
    if format_message().startswith("No such command"):
        name = next((word for word in words if not word.startswith("-")), words[0])
        return f"there is no command '{name}'; {guess(name, command.commands)}"
    where = context.command_path if context is not None else "cllora"
    text = " ".join(format_message().split()).rstrip(".")
    return f"{text[:1].lower()}{text[1:]}; see `{where} --help`"


@contextmanager
def _terminated() -> Iterator[None]:
    """SIGTERM as an exception, where nobody has decided otherwise."""

    def stop(*_: object) -> None:
        raise Terminated

    try:
        ours = signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
        before = signal.signal(signal.SIGTERM, stop) if ours else None
    except ValueError:  # not in the main thread, where signals cannot be caught
        ours = False
    try:
        yield
    finally:
        if ours:
            signal.signal(signal.SIGTERM, before)


@contextmanager
def _sound_streams() -> Iterator[None]:
    """A stream that is closed is nowhere, not the next file that is opened; and what it cannot show is written out."""
    for name in ("stdin", "stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, "r" if name == "stdin" else "w", encoding="utf-8"))  # noqa: SIM115
    codecs.register_error("cllora", _written_out)
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="cllora")
    yield


def _written_out(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    text = error.object[error.start : error.end].translate(PLAIN)
    return text.encode("ascii", "backslashreplace").decode(), error.end


def _drop_output() -> None:
    """Leave nothing for Python to write, and to fail at, when it ends."""
    try:
        sys.stdout.flush()
    except (OSError, ValueError):
        try:
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, sys.stdout.fileno())
        except (OSError, ValueError):
            pass
