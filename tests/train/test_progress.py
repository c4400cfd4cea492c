"""What a training shows: a live line on a terminal, plain lines elsewhere, nothing if asked."""

from __future__ import annotations

import io
import sys
from typing import Any

import pytest

import bpgpu as bp
from train.training import classes, fit_classes


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_nothing_is_shown_for_false(capsys: pytest.CaptureFixture[str]) -> None:
    fit_classes(progress=False)
    out, err = capsys.readouterr()
    assert out + err == ""


def test_a_line_for_each_epoch_where_there_is_no_terminal(
    capsys: pytest.CaptureFixture[str],
) -> None:
    fit_classes(progress="auto", epochs=3, metrics=["accuracy"], validation=classes(20))
    out, err = capsys.readouterr()
    lines = [line for line in (out + err).splitlines() if line.startswith("epoch")]
    assert len(lines) == 3
    assert "3" in lines[2]
    assert all("loss" in line and "accuracy" in line for line in lines)
    assert "\r" not in out + err
    assert (out + err).count(bp.device("auto").reason) == 1


def test_one_live_line_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("tqdm")
    out, err = Terminal(), Terminal()
    monkeypatch.setattr(sys, "stdout", out)
    monkeypatch.setattr(sys, "stderr", err)
    result = fit_classes(progress="auto", epochs=3)
    shown = out.getvalue() + err.getvalue()
    assert "\r" in shown
    assert "loss" in shown
    assert f"{result.history['loss'][-1]:.4g}"[:4] in shown
    assert "3/3" in shown


def test_a_line_is_not_drawn_for_each_step(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("tqdm")
    out, err = Terminal(), Terminal()
    monkeypatch.setattr(sys, "stdout", out)
    monkeypatch.setattr(sys, "stderr", err)
    result = fit_classes(progress="auto", epochs=2, batch_size=1)
    assert result.steps == 120
    assert (out.getvalue() + err.getvalue()).count("\r") < 60


def test_without_tqdm_a_terminal_gets_plain_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    out = Terminal()
    monkeypatch.setattr(sys, "stdout", out)
    for name in [name for name in sys.modules if name.partition(".")[0] == "tqdm"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "tqdm", None)
    monkeypatch.setitem(sys.modules, "tqdm.auto", None)
    fit_classes(progress="auto", epochs=2)
    assert "epoch 2" in out.getvalue()
    with pytest.raises(bp.errors.MissingPackageError, match=r"pip install .*progress"):
        fit_classes(progress="live")


def test_a_closed_output_is_no_obstacle(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdout", None)  # as in a program without a console
    fit_classes(progress="auto")


def test_an_interrupted_bar_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    out, err = Terminal(), Terminal()
    monkeypatch.setattr(sys, "stdout", out)
    monkeypatch.setattr(sys, "stderr", err)

    class Stop(bp.train.Callback):
        def on_step_end(self, run: Any) -> None:
            raise KeyboardInterrupt

    fit_classes(progress="auto", callbacks=[Stop()])
    assert "interrupted" in out.getvalue() + err.getvalue()
