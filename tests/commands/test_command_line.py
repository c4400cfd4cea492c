"""The commands, as typed: what they print, write and end with."""

from __future__ import annotations

import csv
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import bpgpu as bp
from bpgpu.commands import check, main
from bpgpu.commands.parity import parity, within


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def write(path: Path, head: list[str], rows: list[list[Any]]) -> str:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(head)
        writer.writerows(rows)
    return path.name


def flowers(folder: Path, name: str = "flowers.csv") -> str:
    """Two numbers and a word, which decide the kind."""
    rng = np.random.default_rng(0)
    rows: list[list[Any]] = []
    for _ in range(120):
        length, width = rng.normal(size=2)
        colour = str(rng.choice(["red", "blue"]))
        kind = "rose" if colour == "red" else "iris" if length > 0 else "violet"
        rows.append([f"{length:.4f}", f"{width:.4f}", colour, kind])
    return write(folder / name, ["length", "width", "colour", "kind"], rows)


def prices(folder: Path) -> str:
    rng = np.random.default_rng(1)
    x = rng.normal(size=(200, 2))
    rows = [[f"{a:.5f}", f"{b:.5f}", f"{1000 + 300 * a - 50 * b:.3f}"] for a, b in x]
    return write(folder / "prices.csv", ["size", "age", "price"], rows)


def failing(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    """The error of a command that ends with 2, in one paragraph and without a traceback."""
    assert main(arguments) == 2
    error = capsys.readouterr().err
    assert error.startswith(f"bpgpu {arguments[0]}: ")
    assert "Traceback" not in error
    return error


def test_train_saves_a_model_that_predict_uses(folder: Path, capsys: Any) -> None:
    name = flowers(folder)
    assert main(["train", name, "--target", "kind", "--lr", "0.01"]) == 0
    out = capsys.readouterr().out
    assert "'kind' is 3 classes" in out
    assert float(out.partition("score    ")[2].partition("%")[0]) > 80
    assert (folder / "flowers.safetensors").exists()
    assert (folder / "flowers.png").exists()
    assert main(["predict", "flowers.safetensors", name, "--out", "answers.csv"]) == 0
    with (folder / "answers.csv").open() as file:
        answers = list(csv.DictReader(file))
    with (folder / name).open() as file:
        truth = [row["kind"] for row in csv.DictReader(file)]
    assert list(answers[0]) == ["kind", "P(iris)", "P(rose)", "P(violet)"]
    assert np.mean([a["kind"] == t for a, t in zip(answers, truth, strict=True)]) > 0.85
    assert sum(float(answers[0][f"P({k})"]) for k in ("iris", "rose", "violet")) == pytest.approx(
        1, abs=1e-3
    )


def test_a_target_of_numbers_is_regressed(folder: Path, capsys: Any) -> None:
    name = prices(folder)
    assert (
        main(["train", name, "--target", "price", "--lr", "0.01", "--save", "p.safetensors"]) == 0
    )
    out = capsys.readouterr().out
    assert float(out.partition("R2 ")[2].split()[0]) > 0.95
    assert main(["predict", "p.safetensors", name]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "price"
    assert len(lines) == 201
    assert 200 < np.std([float(x) for x in lines[1:]]) < 400


def test_whole_numbers_are_classes_if_they_are_few(folder: Path, capsys: Any) -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=100)
    name = write(folder / "n.csv", ["x", "y"], [[f"{a:.4f}", 7 if a > 0 else 3] for a in x])
    assert main(["train", name, "--target", "y", "--epochs", "3"]) == 0
    assert "'y' is 2 classes" in capsys.readouterr().out
    assert main(["train", name, "--target", "y", "--epochs", "3", "--task", "regression"]) == 0
    assert "'y' is a number" in capsys.readouterr().out


def test_words_that_training_has_not_seen_are_told(folder: Path, capsys: Any) -> None:
    name = flowers(folder)
    main(["train", name, "--target", "kind", "--epochs", "2"])
    new = write(folder / "new.csv", ["colour", "width", "length"], [["green", 0.5, 1.0]])
    capsys.readouterr()
    assert main(["predict", "flowers.safetensors", new]) == 0
    told = capsys.readouterr()
    assert "column 'colour' has words that training has not seen" in told.err
    assert "'green'" in told.err
    assert len(told.out.splitlines()) == 2


def test_what_is_wrong_with_the_table_is_told(folder: Path, capsys: Any) -> None:
    name = flowers(folder)
    assert "no file 'absent.csv'" in failing(["train", "absent.csv", "--target", "y"], capsys)
    error = failing(["train", name, "--target", "knid"], capsys)
    assert "there is no column 'knid'" in error
    assert "length, width, colour, kind" in error
    assert "Did you mean 'kind'?" in error
    hole = write(folder / "hole.csv", ["a", "b"], [[1, 2], ["", 3]])
    error = failing(["train", hole, "--target", "b"], capsys)
    assert "line 3, column 'a': a value is missing" in error
    mixed = write(folder / "mixed.csv", ["a", "b"], [[1, 2], ["many", 3]])
    error = failing(["train", mixed, "--target", "b"], capsys)
    assert "'many' is no number" in error
    (folder / "empty.csv").write_text("")
    assert "holds no rows" in failing(["train", "empty.csv", "--target", "b"], capsys)
    same = write(folder / "same.csv", ["a", "b"], [[i, "x"] for i in range(30)])
    assert "the same in all rows" in failing(["train", same, "--target", "b"], capsys)
    short = write(folder / "short.csv", ["a", "b"], [[i, i % 2] for i in range(5)])
    assert "10 are needed" in failing(["train", short, "--target", "b"], capsys)
    names = write(folder / "names.csv", ["n", "b"], [[f"name{i}", i % 2] for i in range(90)])
    assert "leave it out with --drop 'n'" in failing(["train", names, "--target", "b"], capsys)
    assert sorted(p.suffix for p in folder.iterdir()) == [".csv"] * 7


def test_outputs_that_cannot_be_written_are_told_before_training(folder: Path, capsys: Any) -> None:
    name = flowers(folder)
    common = ["train", name, "--target", "kind"]
    assert "there is no folder" in failing([*common, "--save", "none/m.safetensors"], capsys)
    assert "is a folder" in failing([*common, "--save", str(folder)], capsys)
    assert "there is no folder" in failing([*common, "--plot", "none/m.png"], capsys)
    if Path("/dev/full").exists():
        assert "is a device" in failing([*common, "--save", "/dev/full"], capsys)
    if hasattr(os, "geteuid") and os.geteuid() != 0:
        (folder / "shut").mkdir(mode=0o500)
        assert "may not be written" in failing([*common, "--save", "shut/m"], capsys)


def test_devices_and_models_that_are_none(folder: Path, capsys: Any) -> None:
    name = flowers(folder)
    assert "device" in failing(["train", name, "--target", "kind", "--device", "gpu7"], capsys)
    (folder / "other.safetensors").write_bytes(b"nothing")
    assert "other.safetensors" in failing(["predict", "other.safetensors", name], capsys)
    bp.save(folder / "weights.safetensors", model=bp.nn.Linear(1, 1))
    error = failing(["predict", "weights.safetensors", name], capsys)
    assert "holds no model of a table" in error
    main(["train", name, "--target", "kind", "--epochs", "1"])
    lacking = write(folder / "lacking.csv", ["length", "width"], [[1, 2]])
    capsys.readouterr()
    error = failing(["predict", "flowers.safetensors", lacking], capsys)
    assert "there is no column 'colour'" in error


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["fly"],
        ["train", "a.csv"],
        ["train", "a.csv", "--target", "y", "--epochs", "0"],
        ["train", "a.csv", "--target", "y", "--lr", "fast"],
        ["train", "a.csv", "--target", "y", "--hidden", "6x"],
        ["parity", "--model", "tree"],
    ],
    ids=" ".join,
)
def test_options_that_are_wrong_end_with_2(arguments: list[str], capsys: Any) -> None:
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 2
    assert "usage:" in capsys.readouterr().err


def test_info_and_check(capsys: Any) -> None:
    assert main(["info"]) == 0
    assert "chosen by 'auto'" in capsys.readouterr().out
    assert main(["check", "--device", "cpu"]) == 0
    out = capsys.readouterr().out
    assert out.count("\nok ") == 4


def test_a_check_that_fails_ends_with_1(capsys: Any, monkeypatch: Any) -> None:
    def broken(device: Any) -> tuple[bool, str]:
        raise bp.errors.DeviceError("no kernel image")

    monkeypatch.setitem(check.TESTS, "product", broken)
    assert main(["check", "--device", "cpu"]) == 1
    assert "FAILED  product    DeviceError: no kernel image" in capsys.readouterr().out


def test_parity_finds_a_wrong_gradient() -> None:
    """A layer whose float32 gradient is off by a factor, as a wrong kernel's would be."""

    class Off(bp.nn.Linear):
        def forward(self, x: Any) -> Any:
            y = super().forward(x)
            return y * 1.01 if "float32" in str(y.dtype) else y

    batch = (np.float32([[1, 2], [3, 5], [2, 1]]), np.asarray([0, 1, 0]))
    fine = parity(lambda: bp.nn.Sequential(bp.nn.Linear(2, 3), bp.nn.Linear(3, 2)), batch, "cpu")
    assert all(map(within, fine))
    found = parity(lambda: bp.nn.Sequential(bp.nn.Linear(2, 3), Off(3, 2)), batch, "cpu")
    assert [d.path for d in found if not within(d)][-1] == "1"


def test_parity_prints_a_table(capsys: Any) -> None:
    assert main(["parity", "--model", "mlp", "--steps", "2", "--device", "cpu"]) == 0
    out = capsys.readouterr().out
    assert "no GPU is compared" in out
    assert out.count(" ok") == 6


def test_as_a_module_in_a_process_of_its_own(folder: Path) -> None:
    name = flowers(folder)
    command = [sys.executable, "-m", "bpgpu", "train", name, "--target", "nothing"]
    source = {"PYTHONPATH": str(Path(bp.__file__).parents[1])}
    ended = subprocess.run(
        command, capture_output=True, text=True, check=False, env={**os.environ, **source}
    )
    assert ended.returncode == 2
    assert ended.stdout == ""
    assert ended.stderr.startswith("bpgpu train: --target: there is no column 'nothing'")


def test_nothing_is_written_over_that_is_read(folder: Path, capsys: Any) -> None:
    name = flowers(folder)
    common = ["train", name, "--target", "kind", "--epochs", "1"]
    error = failing([*common, "--save", f"../{folder.name}/{name}"], capsys)
    assert "is the table too, and would be written over" in error
    assert "--plot: 'm.png' is --save too" in failing(
        [*common, "--save", "m.png", "--plot", "m.png"], capsys
    )
    assert sorted(p.name for p in folder.iterdir()) == [name]
    assert main(common) == 0
    capsys.readouterr()
    model = (folder / "flowers.safetensors").read_bytes()
    use = ["predict", "flowers.safetensors", name, "--out"]
    assert "is the model too" in failing([*use, "flowers.safetensors"], capsys)
    assert "is the table too" in failing([*use, name], capsys)
    assert (folder / "flowers.safetensors").read_bytes() == model


def test_a_plot_of_an_unknown_format_is_told_before_training(folder: Path, capsys: Any) -> None:
    name = flowers(folder)
    for plot in ("curves.foo", "curves"):
        error = failing(["train", name, "--target", "kind", "--plot", plot], capsys)
        assert f"--plot: '{plot}' should end with the name of a format, such as .png" in error
    assert sorted(p.name for p in folder.iterdir()) == [name]


def test_a_plot_without_matplotlib_is_told_before_training(
    folder: Path, capsys: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = flowers(folder)
    monkeypatch.setitem(sys.modules, "matplotlib.backend_bases", None)
    error = failing(["train", name, "--target", "kind", "--plot", "c.png"], capsys)
    assert "plot needs the package matplotlib" in error
    assert sorted(p.name for p in folder.iterdir()) == [name]


def test_other_delimiters_and_encodings(folder: Path, capsys: Any) -> None:
    rng = np.random.default_rng(0)
    rows = [f"{a:.3f};{'größer' if a > 0 else 'kleiner'}" for a in rng.normal(size=60)]
    (folder / "t.csv").write_bytes("\n".join(["höhe;klasse", *rows]).encode("latin-1"))
    common = ["train", "t.csv", "--target", "klasse"]
    error = failing([*common, "--delimiter", ";"], capsys)
    assert "is not text in utf-8" in error
    assert "perhaps 'latin-1'" in error
    how = ["--delimiter", ";", "--encoding", "latin-1"]
    assert "encoding: expected one of" in failing([*common, "--encoding", "latin-99"], capsys)
    assert main([*common, *how, "--epochs", "30"]) == 0
    assert "'klasse' is 2 classes" in capsys.readouterr().out
    assert main(["predict", "t.safetensors", "t.csv", *how]) == 0
    assert "größer" in capsys.readouterr().out


@pytest.mark.skipif(os.name == "nt", reason="Windows sends no SIGINT to one process")
def test_ctrl_c_ends_with_130_and_writes_nothing(folder: Path) -> None:
    name = flowers(folder)
    options = ["train", name, "--target", "kind", "--epochs", "1000000", "--lr", "1e-9"]
    code = (
        "import signal, sys; signal.signal(signal.SIGINT, signal.default_int_handler); "  # as on a terminal
        f"from bpgpu.commands import main; sys.exit(main({options}))"
    )
    command = [sys.executable, "-u", "-c", code]
    source = {"PYTHONPATH": str(Path(bp.__file__).parents[1])}
    process = subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, **source},
    )
    assert process.stdout is not None
    while "epoch" not in process.stdout.readline():
        assert process.poll() is None
    process.send_signal(signal.SIGINT)
    _, error = process.communicate(timeout=60)
    assert process.returncode == 130
    assert error.splitlines()[-1] == "interrupted"
    assert "Traceback" not in error
    assert sorted(p.name for p in folder.iterdir()) == [name]


def test_what_a_stranger_brings_is_told(folder: Path, capsys: Any) -> None:
    rows = [[i, i % 2] for i in range(40)]

    def error(name: str, head: list[str], rows: list[list[Any]]) -> str:
        return failing(["train", write(folder / name, head, rows), "--target", "y"], capsys)

    infinite = [*rows[:3], ["inf", 1], *rows[3:]]
    assert "line 5, column 'a': 'inf' is infinite" in error("inf.csv", ["a", "y"], infinite)
    infinite = [[a, y] for y, a in infinite]
    assert "line 5, column 'y': 'inf' is infinite" in error("infinite.csv", ["a", "y"], infinite)
    lonely = [[i, f"class {i}"] for i in range(40)]
    assert "has 40 classes in 40 rows" in error("lonely.csv", ["a", "y"], lonely)
    assert "no column left to predict 'y' from" in error(
        "one.csv", ["y"], [[i % 2] for i in range(40)]
    )
    assert "--delimiter ';'" in error("semicolons.csv", ["a;y"], [[f"{i};1"] for i in range(40)])
    assert "scale the column" in error(
        "huge.csv", ["a", "y"], [[f"1e{300 + i % 5}", i % 2] for i in range(40)]
    )
    (folder / "wide.csv").write_text("a,y\n1,2\n", encoding="utf-16")
    assert "perhaps 'utf-16'" in failing(["train", "wide.csv", "--target", "y"], capsys)
    assert {p.suffix for p in folder.iterdir()} == {".csv"}


def test_few_rows_of_different_whole_numbers_are_regressed(folder: Path, capsys: Any) -> None:
    name = write(folder / "t.csv", ["a", "y"], [[i, i] for i in range(15)])
    assert main(["train", name, "--target", "y", "--epochs", "1"]) == 0
    out = capsys.readouterr().out
    assert "1 column, 'y' is a number" in out


def test_the_version_is_told(capsys: Any) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["--version"])
    assert ended.value.code == 0
    assert capsys.readouterr().out == f"bpgpu {bp.__version__}\n"


def test_a_column_that_never_changes_counts_for_nothing(folder: Path, capsys: Any) -> None:
    """The mean of 0.1 is rounded: its standard deviation once came out as 1e-17, and other rows as 1e16."""
    rows = [[0.1, i % 7, i % 7 * 0.1] for i in range(140)]
    name = write(folder / "t.csv", ["k", "a", "y"], rows)
    assert main(["train", name, "--target", "y", "--epochs", "30", "--lr", "0.01"]) == 0
    capsys.readouterr()
    new = write(folder / "new.csv", ["k", "a"], [[0.1, 3], [0.2, 3], [-1e9, 3]])
    assert main(["predict", "t.safetensors", new]) == 0
    _, *answers = capsys.readouterr().out.split()
    assert len(set(answers)) == 1


def test_seconds_since_1970_are_told_apart(folder: Path, capsys: Any) -> None:
    """float32 has steps of 128 there."""
    rows = [[1_700_000_000 + i, f"{i * 0.1:.2f}"] for i in range(200)]
    name = write(folder / "t.csv", ["time", "y"], rows)
    assert main(["train", name, "--target", "y", "--lr", "0.01", "--hidden", ""]) == 0
    assert float(capsys.readouterr().out.partition("R2 ")[2].split()[0]) > 0.99


def test_numbers_that_are_too_large_for_the_model_are_told(folder: Path, capsys: Any) -> None:
    name = prices(folder)
    assert main(["train", name, "--target", "price", "--epochs", "1"]) == 0
    capsys.readouterr()
    new = write(folder / "new.csv", ["size", "age"], [[1e300, 1]])
    assert "column 'size' has numbers that are too large" in failing(
        ["predict", "prices.safetensors", new], capsys
    )


def test_columns_that_are_left_out_may_hold_anything(folder: Path, capsys: Any) -> None:
    rows = [["" if i == 3 else i, "no", i, "no", i % 2] for i in range(40)]
    name = write(folder / "t.csv", ["hole", "twice", "a", "twice", "y"], rows)
    common = ["train", name, "--target", "y", "--epochs", "1"]
    assert "line 5, column 'hole': a value is missing" in failing(common, capsys)
    assert main([*common, "--drop", "hole", "twice"]) == 0
    assert "1 column, 'y' is 2 classes" in capsys.readouterr().out
    assert "no column 'hloe'" in failing([*common, "--drop", "hloe", "hole", "twice"], capsys)


def test_columns_of_one_name_are_told_by_the_option(folder: Path, capsys: Any) -> None:
    name = write(folder / "t.csv", ["a", "a", "y"], [[i, i, i % 2] for i in range(40)])
    error = failing(["train", name, "--target", "y"], capsys)
    assert "the table: several columns are named 'a'; rename them, or leave them out" in error


def test_what_words_and_names_may_have_meant_is_told(folder: Path, capsys: Any) -> None:
    def error(head: list[str], rows: list[list[Any]], target: str = "y") -> str:
        return failing(["train", write(folder / "t.csv", head, rows), "--target", target], capsys)

    numbers = [[i, i % 2] for i in range(90)]
    assert "Did you mean 'Kind'?" in error(["a", "Kind"], numbers, "kind")
    assert "first line of the file should name the columns" in error(["0", "1"], numbers)
    commas = [[f"{i},5", i % 2] for i in range(90)]
    assert "write its numbers as 1234.5 instead of '0,5'" in error(["a", "y"], commas)
    shares = [[f"{i}%", i % 2] for i in range(90)]
    assert "instead of '0%'" in error(["a", "y"], shares)
    mixed = [*numbers, ["many", 1]]
    assert "(--words)" in error(["a", "y"], mixed)
    long = [[i, 10**18 + i % 3] for i in range(90)]
    assert "more than 15 digits, such as 1000000000000000000" in error(["a", "y"], long)
    infinite = [*numbers, ["9" * 400, 1]]
    assert "9" * 41 not in error(["a", "y"], infinite)
    (folder / "t.csv").write_text('a,y\n1,"2\n3,4\n')
    assert "is a quote never closed?" in failing(["train", "t.csv", "--target", "y"], capsys)


def test_names_of_files_that_are_none(folder: Path, capsys: Any) -> None:
    name = flowers(folder)
    common = ["train", name, "--target", "kind"]
    for arguments in (
        [*common, "--save", ""],
        [*common, "--plot", ""],
        ["predict", "m", name, "--out", ""],
    ):
        with pytest.raises(SystemExit) as ended:
            main(arguments)
        assert ended.value.code == 2
        assert "expected the name of a file" in capsys.readouterr().err
    assert "--save: 'nnn" in failing([*common, "--save", "n" * 300], capsys)
    assert "'.' is a folder" in failing(["train", ".", "--target", "kind"], capsys)
    assert sorted(p.name for p in folder.iterdir()) == [name]


def test_values_of_options_that_the_table_cannot_take(folder: Path, capsys: Any) -> None:
    common = ["train", flowers(folder), "--target", "kind"]
    assert "--test 0.999: split: of 120 rows" in failing([*common, "--test", "0.999"], capsys)
    units = "100000000,100000000"
    assert "not enough memory" in failing([*common, "--hidden", units], capsys)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="the device is Linux's own")
def test_output_that_cannot_be_written_ends_with_2() -> None:
    source = {"PYTHONPATH": str(Path(bp.__file__).parents[1])}
    with Path("/dev/full").open("w") as full:
        ended = subprocess.run(
            [sys.executable, "-m", "bpgpu", "info"],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
            env={**os.environ, **source},
        )
    assert ended.returncode == 2
    assert "No space left" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_models_of_tables_with_points_in_their_names_stay_apart(folder: Path) -> None:
    for year in (2024, 2025):
        prices(folder)
        (folder / "prices.csv").rename(folder / f"prices.{year}.csv")
        name = f"prices.{year}.csv"
        assert main(["train", name, "--target", "price", "--epochs", "1"]) == 0
    models = sorted(p.name for p in folder.glob("*.safetensors"))
    assert models == ["prices.2024.safetensors", "prices.2025.safetensors"]
    assert len(list(folder.glob("*.png"))) == 2


@pytest.mark.parametrize(
    "part",
    [
        {"columns": [{"name": 1, "words": None}]},
        {"columns": [{"name": "size", "words": None, "mean": "x"}]},
        {"columns": 5},
        {"classes": 5},
        {"hidden": "x"},
        {"hidden": [-3]},
        {"scale": None},
        {"format": 9},
        {"more": 1},
    ],
    ids=str,
)
def test_models_that_others_have_written(folder: Path, capsys: Any, part: dict[str, Any]) -> None:
    name = prices(folder)
    table = {
        "format": 1,
        "target": "price",
        "classes": None,
        "columns": [{"name": "size", "words": None}],
        "hidden": [],
        **part,
    }
    bp.save(folder / "m.safetensors", model=bp.nn.Sequential(bp.nn.Linear(1, 1)), table=table)
    error = failing(["predict", "m.safetensors", name], capsys)
    assert ("another version" if "format" in part else "holds no model of a table") in error


def test_answers_in_a_file_are_utf8_whatever_the_console_shows(folder: Path) -> None:
    rows = [[i, "größer" if i > 30 else "日本"] for i in range(60)]
    name = write(folder / "t.csv", ["a", "y"], rows)
    assert main(["train", name, "--target", "y", "--epochs", "1"]) == 0
    source = {"PYTHONPATH": str(Path(bp.__file__).parents[1]), "PYTHONIOENCODING": "ascii"}
    ended = subprocess.run(
        [sys.executable, "-m", "bpgpu", "predict", "t.safetensors", name],
        capture_output=True,
        check=True,
        env={**os.environ, **source},
    )
    assert ended.stdout.decode("utf-8").splitlines()[0] == "y,P(größer),P(日本)"
