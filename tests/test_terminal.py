"""The terminal: tables on any width, names that stay apart and steer nothing, and one line where nothing can go on."""

import io
import os
import signal
import subprocess
import sys
from dataclasses import replace

import pytest
from rich.console import Console

from cllora.catalog import Listing
from cllora.corpus.sources import open_sources
from cllora.errors import UsageError, visible
from cllora.model.source import gguf_file
from cllora.places import cache_folder, expanded
from cllora.reports.mixes import inspection_view, partition_view
from cllora.reports.sheet import Sheet, cell_len, cut_apart
from cllora.reports.terminal import results_table
from cllora.runs.inspect import inspect
from cllora.spec import DataSpec
from support.fixtures import refused
from support.synthetic import make_partition, make_study, write_study

WIDTHS = (40, 60, 80, 200)


def printed(shown, width, **how):
    written = io.StringIO()
    Console(width=width, file=written, markup=False, emoji=False, **how).print(shown)
    return written.getvalue()


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """The results of a study of three cells over two seeds."""
    folder = write_study(tmp_path_factory.mktemp("finished"), make_study((0.1, 1, "iid"), num_seeds=2))
    return results_table(folder)


@pytest.mark.parametrize("width", WIDTHS)
def test_results_name_every_cell_at_any_width(finished, width):
    text = printed(finished, width)
    lines = text.splitlines()
    assert max(map(cell_len, lines)) <= width
    parts = text.count("alpha ")
    for name in ("0.1", "1", "iid"):
        rows = [line.split() for line in lines if line.split()[:1] == [name]]
        assert len(rows) == max(1, parts - text.count("alpha = "))
    words = " ".join(text.split())
    for heading in ("global loss", "− base", "− control", "local", "spread", "worst", "MB", "saved"):
        assert heading in words


@pytest.mark.parametrize("width", WIDTHS)
def test_owners_stay_apart_at_any_width(tmp_path, width):
    names = [f"hospital-of-the-city-of-{city}-ward-{ward}" for city in ("berlin", "bremen") for ward in (1, 2)]
    for name in names:
        (tmp_path / f"{name}.txt").write_text("one two three four five six\n" * 9 + "a b c\n" * 9)
    text = printed(inspection_view(inspect([tmp_path / f"{name}.txt" for name in names]), []), width)
    assert max(map(cell_len, text.splitlines())) <= width
    shown = {line.split()[0] for line in text.splitlines() if line.startswith(" ho")}
    assert len(shown) == 4
    assert all("…" in name for name in shown)


@pytest.mark.parametrize("width", WIDTHS)
def test_clients_are_named_at_any_width(width):
    experiment = make_study(clients=4).cells()[0].experiment
    partition = make_partition(experiment)
    names = ("[bold]a[/bold]", "日本語の長い名前の所有者です", "\x1b[31mred\n", "d" * 60)
    clients = replace(partition.heterogeneity.clients, names=names)
    partition = replace(partition, measured=replace(partition.heterogeneity, clients=clients))
    text = printed(partition_view(partition, experiment), width)
    assert max(map(cell_len, text.splitlines())) <= width
    assert "[bold]a[/bold]" in text or "[bold" in text
    assert "\\x1b" in text
    assert "\x1b" not in text
    assert "ddd…ddd" in text
    assert "日本" in text


def test_names_are_cut_in_the_middle_where_they_stay_apart():
    assert cut_apart(["abcdefghijklmnop"], 9) == ["abcd…mnop"]
    assert cut_apart(["short", "abcdefghijklmnop"], 9) == ["short", "abcd…mnop"]
    pair = ["aaaaaaaaaaaaaaXbbbbbbb", "aaaaaaaaaaaaaaYbbbbbbb"]
    assert len(set(cut_apart(pair, 10))) == 2
    deep = ["a" * 30 + "X" + "b" * 30, "a" * 30 + "Y" + "b" * 30, "c" * 61]
    assert cut_apart(deep, 10) == [*deep[:2], "cccc…ccccc"]
    assert all(cell_len(name) <= 10 for name in cut_apart(["日本語の長い名前" * 3, "日本語の別の名前" * 3], 10))


def test_a_sheet_of_long_ids_keeps_all_its_columns():
    columns = {f"column {c}": [f"{c}{i}" for i in range(3)] for c in "abcdef"}
    text = printed(Sheet({"id": [f"{'x' * 40}{i}{'y' * 40}" for i in range(3)], **columns}), 40)
    for i in range(3):
        for c in "abcdef":
            assert f"{c}{i}" in text
    assert max(map(cell_len, text.splitlines())) <= 40


def test_lists_show_what_stands_in_brackets(command):
    rows = [("mine", "a number in [0, 1] :smile: [bold]b[/bold]", "x=[red]")]
    for width in (40, 200):
        words = " ".join(printed(Listing("features", rows), width).split())
        assert "[0, 1] :smile: [bold]b[/bold]" in words
        assert "x=[red]" in words


def test_what_steers_a_terminal_is_written_out():
    assert visible("a\x1b[2Jb\u202ec\u200bd\r\n") == "a\\x1b[2Jb\\u202ec\\u200bd\\r\\n"
    assert visible("né 日本 👩‍👩‍👧") == "né 日本 👩‍👩‍👧"


NOWHERE = "~no-such-user/x"


@pytest.mark.parametrize(
    ("words", "parts"),
    [
        (["rnu"], ["no command 'rnu'", "did you mean 'run'"]),
        (["run", "demo", "--ot", "x"], ["no option --ot", "did you mean '--out'"]),
        (["run"], ["missing argument 'STUDY'", "cllora run --help"]),
        (["list", "a", "b"], ["unexpected extra"]),
        (["list", "featurs"], ["did you mean 'features'"]),
        (["run", "demo", "--out", NOWHERE], ["no home folder for ~no-such-user/x"]),
        (["run", "demo", "--out", "file"], ["cannot write to file", "--out"]),
        (["report", NOWHERE], ["no home folder"]),
        (["report", "file"], ["file holds no run"]),
        (["inspect", NOWHERE, "file"], ["no home folder"]),
        (["inspect", "file", "b", "--by", "mtld", "--by", "mtld"], ["--by mtld is given twice"]),
        (["inspect", "file", "b", "--by", "010"], ["--by 010", "leading zeros"]),
        (["export", NOWHERE], ["no home folder"]),
        (["export", "file"], ["not the folder of a run"]),
        (["show", "folder"], ["folder is a folder"]),
        (["show", NOWHERE], ["no home folder"]),
        (["show", "x" * 300], ["too long"]),
        (["show", "x" * 300 + ".yaml"], ["too long"]),
        (["show", "demo", "--load", NOWHERE], ["load: there is no file ~no-such-user/x"]),
        (["show", "demo", "--load", "folder"], ["load: there is no file"]),
        (["show", "a\x1b[2J\nb"], ["a\\x1b[2J b"]),
    ],
)
def test_what_cannot_go_on_ends_in_one_line(command, tmp_path, monkeypatch, words, parts):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").write_text("")
    (tmp_path / "folder").mkdir()
    refused(command(*words), *parts)


def test_texts_a_base_and_a_cache_of_nobody(monkeypatch):
    with pytest.raises(UsageError, match=r"^model\.name: there is no home folder"):
        gguf_file(NOWHERE)
    with pytest.raises(UsageError, match=r"^data\.path: there is no home folder"):
        open_sources(DataSpec(path=f"{NOWHERE}.jsonl"))
    monkeypatch.setenv("CLLORA_CACHE", NOWHERE)
    with pytest.raises(UsageError, match="CLLORA_CACHE"):
        cache_folder()
    assert str(expanded("~")) == os.path.expanduser("~")


@pytest.mark.parametrize("words", [["show", "demo"], ["list"], ["partition", "demo"], ["report", "x"], ["export", "x"]])
@pytest.mark.parametrize(
    ("error", "code", "line"),
    [
        (KeyboardInterrupt(), 130, "cllora: stopped"),
        (PermissionError(13, "Permission denied", "there"), 2, "cllora: there: Permission denied"),
        (OSError(28, "No space left on device"), 2, "cllora: the output: No space left on device; what was written is"),
        (BrokenPipeError(32, "Broken pipe"), 141, ""),
        (MemoryError(), 2, "cllora: there is not enough memory"),
    ],
)
def test_every_command_has_the_same_door(command, monkeypatch, words, error, code, line):
    from cllora import catalog, cli, presets, reports

    def fails(*_, **__):
        raise error

    for module, name in ((presets, "find_study"), (reports, "report"), (cli, "expanded"), (catalog, "registries")):
        monkeypatch.setattr(module, name, fails)
    ended, out, err = command(*words)
    assert (ended, out) == (code, "")
    assert err.startswith(line)
    assert len(err.splitlines()) == bool(line)


def test_a_programs_error_keeps_its_traceback(command, monkeypatch):
    from cllora import presets

    def broken(*_):
        raise KeyError("a bug")

    monkeypatch.setattr(presets, "find_study", broken)
    with pytest.raises(KeyError):
        command("show", "demo")


@pytest.mark.parametrize("name", ["spec.json", "partition.json", "rounds.jsonl", "environment.json"])
def test_a_broken_file_in_a_run_is_one_line(command, tmp_path, name):
    folder = write_study(tmp_path, make_study((0.1,)))
    run = next(path.parent for path in sorted(folder.glob("*/rounds.jsonl")))
    (run / name).write_text('{"a": \n')
    result = command("report", folder)
    if name != "rounds.jsonl":
        refused(result, name)
    assert "Traceback" not in result[2]


def test_nobody_who_listens_and_nothing_to_write_to():
    """Processes of their own, as Python too writes when it ends; of few commands, as all have the same door."""
    lines = (
        "cllora show demo | true; echo ${PIPESTATUS[0]}",
        "cllora --help >&-; echo $?",
        "cllora rnu 2>&-; echo $?",
        "cllora --help > /dev/full; echo $?",
    )
    script = "\n".join(lines).replace("cllora ", f"{sys.executable} -m cllora ")
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, timeout=120)
    assert done.stdout.split() == ["141", "0", "2", "2"]
    assert len(done.stderr.splitlines()) == 1
    assert "No space left" in done.stderr


def test_without_unicode_or_colour(command, monkeypatch):
    shown = []
    for words in (["list", "strategies"], ["show", "demo", "--set", "data.text='日本'"]):
        with monkeypatch.context() as patch:
            written = io.BytesIO()
            patch.setattr(sys, "stdout", io.TextIOWrapper(written, encoding="ascii"))
            assert command(*words)[::2] == (0, "")
            shown.append(written.getvalue().decode("ascii"))
    assert "fedadam" in shown[0]
    assert 'text: "\\u65E5\\u672C"' in shown[1]


def test_a_terminal_that_can_do_little(command, monkeypatch):
    for name, value in (("COLUMNS", "40"), ("TERM", "dumb"), ("NO_COLOR", "1"), ("FORCE_COLOR", "1")):
        monkeypatch.setenv(name, value)
    out = command("list", "strategies")[1]
    assert "\nfedadam\n" in out
    assert "\x1b" not in out.replace("\x1b[1m", "").replace("\x1b[3m", "").replace("\x1b[0m", "")
    assert max(map(len, out.splitlines())) <= 50


def test_a_file_is_written_whole(command, monkeypatch):
    monkeypatch.delenv("COLUMNS", raising=False)
    out = command("list", "partitioners")[1]
    assert len([line for line in out.splitlines() if line.startswith("client_mix")]) == 1
    assert max(map(len, out.splitlines())) > 120


def test_a_signal_is_one_line_and_its_code(command, tmp_path):
    slow = tmp_path / "slow.py"
    own = "import os, signal, time\nos.kill(os.getpid(), signal.{})\ntime.sleep(60)\n"
    slow.write_text(own.format("SIGTERM"))
    words = [sys.executable, "-m", "cllora", "show", "demo", "--load", str(slow)]
    done = subprocess.run(words, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout, done.stderr) == (143, "", "cllora: stopped\n")
    slow.write_text(own.format("SIGINT"))
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        assert command("show", "demo", "--load", slow) == (130, "", "cllora: stopped\n")
    finally:
        signal.signal(signal.SIGINT, before)


def test_two_own_files_of_one_name_are_two(command, tmp_path):
    from cllora.registry import load_plugins

    files = []
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        files.append(tmp_path / folder / "mine.py")
        files[-1].write_text(f"with open({str(tmp_path / folder / 'count')!r}, 'a') as file:\n    file.write('x')\n")
    for _ in range(2):
        load_plugins(str(file) for file in files)
    assert [(tmp_path / folder / "count").read_text() for folder in ("a", "b")] == ["x", "x"]
