"""What other systems lack is taken away from Python, and a training runs from its first step to the saved file."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import bpgpu as bp

LACKS = {
    "file locks": "sys.modules['fcntl'] = None",
    "fork": "for name in ('fork', 'register_at_fork'): vars(os).pop(name, None)",
    "affinity": "vars(os).pop('sched_getaffinity', None)",
    "sysconf": "vars(os).pop('sysconf', None)",
    "rights of files": "vars(os).pop('fchmod', None); vars(os).pop('O_NOFOLLOW', None)",
    "glibc": """
from bpgpu.backend import malloc
malloc.ctypes = type('musl', (), {'CDLL': staticmethod(lambda name: object())})
""",
    "proc": """
from bpgpu.backend import host
def refused(path):
    raise FileNotFoundError(path)
host._told = refused
""",
}

TRAINING = """
import bpgpu as bp
x = np.random.default_rng(0).normal(size=(64, 4)).astype('float32')
y = (x[:, 0] > 0).astype('int64')
model = bp.nn.Sequential(bp.nn.Linear(4, 8), bp.nn.ReLU(), bp.nn.Linear(8, 2))
optimizer = bp.optim.Adam(model, lr=0.01)
loss = bp.functional.cross_entropy
options = dict(loss=loss, optimizer=optimizer, batch_size=16, progress=False, checkpoint='run.safetensors')
bp.fit(model, (x, y), epochs=2, **options)
bp.fit(model, (x, y), epochs=3, resume=True, **options)
bp.save('model.safetensors', model=model)
bp.load('model.safetensors', model=model)
assert bp.predict(model, x).shape == (64, 2)
bp.show_config()
from bpgpu.commands import main
assert main(['info']) == 0
print('done', sorted(os.listdir('.')))
"""


def run(code: str, folder: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    source = str(Path(bp.__file__).parents[1])
    return subprocess.run(
        [sys.executable, "-c", code],
        cwd=folder,
        capture_output=True,
        text=True,
        encoding="utf-8",
        check=False,
        env={**os.environ, "PYTHONPATH": source, **variables},
    )


@pytest.mark.parametrize("what", [*LACKS, "all of it"])
def test_a_training_runs_without(what: str, tmp_path: Path) -> None:
    lacks = "\n".join(LACKS.values()) if what == "all of it" else LACKS[what]
    ended = run(f"import os, sys\nimport numpy as np\n{lacks}\n{TRAINING}", tmp_path)
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.splitlines()[-1] == "done ['model.safetensors', 'run.safetensors']"


def test_a_console_without_the_letters_of_a_table_gets_escapes(tmp_path: Path) -> None:
    rows = "\n".join(f"{i % 7},{'日本' if i % 2 else 'größer'}" for i in range(40))
    (tmp_path / "t.csv").write_text(f"a,wort\n{rows}\n", encoding="utf-8")
    code = "import sys; from bpgpu.commands import main; sys.exit(main(sys.argv[1:]))"
    train = code.replace("sys.argv[1:]", "['train', 't.csv', '--target', 'wort', '--epochs', '1']")
    ended = run(train, tmp_path, PYTHONIOENCODING="ascii")
    assert ended.returncode == 0, ended.stderr
    assert r"(always 'gr\xf6\xdfer'" in ended.stdout or r"(always '\u65e5\u672c'" in ended.stdout
    predict = code.replace("sys.argv[1:]", "['predict', 't.safetensors', 't.csv']")
    ended = run(predict, tmp_path, PYTHONIOENCODING="ascii")
    assert ended.returncode == 0, ended.stderr
    assert "P(日本)" in ended.stdout  # a file or a pipe, and no console


def test_files_are_utf8_whatever_the_system_prefers(tmp_path: Path) -> None:
    """No file of text is opened in the encoding of the locale: Python warns where that would be."""
    strict = "import warnings; warnings.filterwarnings('error', category=EncodingWarning, module='bpgpu')"
    code = f"import os\nimport numpy as np\n{strict}\n{TRAINING}"
    ended = run(code, tmp_path, PYTHONWARNDEFAULTENCODING="1")
    assert ended.returncode == 0, ended.stderr
