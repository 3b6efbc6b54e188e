"""The one table of messages: a command line, its exit code and code, what message and hint name.

Other tests check codes, files and numbers. Here a message must name its object, and the hint the
command or flag that helps.
"""

import json
import re
import shlex
from pathlib import Path

import pytest

from tests.architecture.cli_page import parse

FILES = {"typo.toml": "epoch = 3", "broken.toml": "epochs = ", "bounds.toml": "pad = -1"}

# command line | exit code | code | in the message | in the hint
TABLE = """
train                                       | 1 | data_missing       | cifar-10-binary  | alexnet download --data cifar10
train --epochs 0                            | 2 | usage              | --epochs 0       | alexnet train --help
train --learning-rate nan                   | 2 | usage              | --learning-rate  | alexnet train --help
train --epochs x                            | 2 | usage              | must be an integer | alexnet train --help
train --recipe fsat                         | 2 | usage              | 'fsat'           | did you mean 'fast'?
train --nonsense                            | 2 | usage              | --nonsense       | alexnet train --help
train --model vgg                           | 2 | usage              | 'vgg'            | alexnet train --help
train --data cifar10.1                      | 2 | no_training_images | cifar10.1 has test images only | alexnet evaluate --data cifar10.1
train --data nothing                        | 2 | unknown_dataset    | 'nothing'        | cifar100
train --data shaps                          | 2 | unknown_dataset    | 'shaps'          | did you mean 'shapes'?
train --data shapes --model alexnet         | 2 | usage              | 224 px           | --image-size 227
train --data shapes --model alexnet-owt --image-size 32 | 2 | usage  | at least 63 px   | alexnet-cifar
train --data shapes --model alexnet-cifar-bn --lrn | 2 | usage       | cannot be built with --lrn | leave it out
train --data shapes --model cuda-convnet-18pct --init paper | 2 | usage | --init paper | --init he
train --data shapes --model cuda-convnet-13pct --recipe fast | 2 | usage | no fast recipe | --recipe paper
train --data shapes --model cuda-convnet-80sec --image-size 12 | 2 | usage | not 12      | --image-size 32
train --data shapes --model cuda-convnet-80sec --dropout 0.5 | 2 | usage | has no dropout | leave --dropout out
train --data shapes --groups 3              | 2 | usage              | --groups         | alexnet train --help
train --drop-epochs 3                       | 2 | usage              | need each other  | --schedule stages --drop-epochs
train --schedule stages --drop-epochs 1,2,  | 2 | usage              | by commas        | --drop-epochs 120,130
train --schedule stages --drop-epochs 91    | 2 | usage              | 90 epochs        | more --epochs
train --data shapes --crop-size 40          | 2 | usage              | 40 px            | --crop-size 32
train --data shapes --val-size 1.5          | 2 | usage              | --val-size 1.5   | --val-size 0.1
train --data shapes --val-size 0            | 2 | usage              | --val-size 0     | --val-size 0.1
train --dry-run                             | 1 | data_missing       | cifar-10-binary  | alexnet download
train --resume --dry-run                    | 2 | usage              | --dry-run        | --resume
train --resume --name x                     | 2 | usage              | --name           | --resume
train --resume nowhere                      | 1 | checkpoint_missing | nowhere          | alexnet train
train --data shapes --device tpu            | 2 | usage              | 'tpu'            | --device auto
train --data shapes --device cpu --processes 9999 | 2 | usage              | --processes 9999 | --processes
train --data shapes --max-restarts 1        | 2 | usage              | --max-restarts   | --processes 2
train --config missing.toml                 | 2 | usage              | missing.toml     | --config
train --config typo.toml                    | 2 | unknown_key        | key 'epoch'      | 'epochs'
train --config broken.toml                  | 2 | usage              | valid TOML       | alexnet config --toml
train --config bounds.toml                  | 2 | usage              | bounds.toml: pad = -1 | alexnet train --help
train --schedule stages --dry-run           | 2 | usage              | schedule: --schedule | --drop-epochs 120,130
train --schedule stages --drop-epochs 5,3   | 2 | usage              | --drop-epochs 5,3 | --drop-epochs 120,130
train --freeze features --dry-run           | 2 | usage              | from_weights     | alexnet train --help
train --from nowhere                        | 2 | weights_missing    | 'nowhere'        | owt
download --offline                          | 1 | download_failed    | --offline        | alexnet download --data cifar10
download --archive missing.tar.gz           | 1 | data_missing       | missing.tar.gz   | path
download --sha256 00                        | 2 | usage              | --archive        | alexnet download --help
download --data nothing                     | 2 | unknown_dataset    | 'nothing'        | cifar100
download --weights vgg                      | 2 | usage              | 'vgg'            | --weights owt
download --weights owt --offline            | 1 | download_failed    | --offline        | alexnet download --weights owt
download --weights owt --sha256 00          | 2 | usage              | --sha256         | out
config --toml --schema                      | 2 | usage              | --schema         | choose one
data --json verify                          | 2 | usage              | --json           | alexnet data verify --json
data show --data nowhere                    | 2 | unknown_dataset    | 'nowhere'        | cifar100
data show --data shapes --split test        | 2 | usage              | alexnet evaluate | --split train
data show --data shapes --split dev         | 2 | usage              | 'dev'            | --split val
data show --data shapes --split val --augmented | 2 | usage          | not augmented    | --augmented
data show --data shapes --class lion        | 2 | usage              | 'lion'           | circle, square
data show --data shapes -o a.jpg            | 2 | usage              | a.jpg            | --output a.png
data show --data shapes --crop-size 40 --augmented | 2 | usage       | 40 px            | --crop-size 32
evaluate                                    | 1 | no_run             | runs             | alexnet train
evaluate nowhere                            | 1 | checkpoint_missing | nowhere          | run folder
evaluate nowhere.onnx                       | 1 | model_missing      | nowhere.onnx     | alexnet export
evaluate --split dev                        | 2 | usage              | 'dev'            | --split val
evaluate --split tset                       | 2 | usage              | 'tset'           | did you mean 'test'?
evaluate a b --corrupt all                  | 2 | usage              | measures one model | --corrupt jpeg:3
evaluate --corrupt all --predictions a.csv  | 2 | usage              | --predictions does not go with | --json
evaluate --predictions answers.xml          | 2 | usage              | .csv or .jsonl   | --predictions predictions.csv
evaluate --predictions .                    | 2 | usage              | is a folder      | --predictions predictions.csv
evaluate 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 22 23 24 25 26 27 | 2 | usage | 27 models | 26 at most
evaluate --csv                              | 2 | usage              | --csv            | out
evaluate --corrupt rain:3                   | 2 | unknown_corruption | 'rain:3'         | --corrupt jpeg:3
export                                      | 1 | no_run             | runs             | alexnet train
export --format tflite                      | 2 | usage              | 'tflite'         | safetensors
predict                                     | 2 | usage              | images           | alexnet predict photo.jpg
predict x.png                               | 1 | no_run             | runs             | alexnet train
predict x.png --model nowhere               | 1 | model_missing      | nowhere          | owt
predict x.png --files-from list             | 2 | usage              | --files-from     | out
predict x.png --csv                         | 2 | usage              | --csv            | out
predict - -                                 | 2 | usage              | stdin            | once
predict - --copy-to out                     | 2 | usage              | stdin            | --copy-to
explain alexnet --crop-size 1               | 2 | usage              | 36 px            | alexnet explain alexnet --crop-size 224
explain alexnet-cifar-bn --crop-size 1      | 2 | usage              | alexnet-cifar-bn takes crops | --crop-size 28
explain cuda-convnet-13pct --crop-size 1    | 2 | usage              | px               | alexnet explain cuda-convnet-13pct --crop-size 24
explain vgg                                 | 2 | usage              | alexnet-cifar    | alexnet explain --help
reproduce                                   | 2 | usage              | experiment       | alexnet reproduce --list
reproduce relu --epochs 0                   | 2 | usage              | --epochs         | alexnet reproduce --help
reproduce relu --data cifar100              | 2 | usage              | not on cifar100  | --data shapes
reproduce nothing                           | 2 | usage              | 'nothing'        | alexnet reproduce --list
report                                      | 1 | no_run             | runs             | alexnet train
report nowhere                              | 1 | checkpoint_missing | nowhere          | alexnet train
frobnicate                                  | 2 | usage              | 'frobnicate'     | alexnet --help
"""  # noqa: E501 - a table
ROWS = [[cell.strip() for cell in line.split("|")] for line in TABLE.strip().splitlines()]


@pytest.mark.parametrize(("line", "status", "code", "message", "hint"), ROWS)
def test_message(line, status, code, message, hint, alexnet, isolated):
    for name, text in FILES.items():
        Path(name).write_text(text)
    result = alexnet(*line.split(), "--json")
    assert result.returncode == int(status), result.stderr
    assert result.stdout == ""
    error = json.loads(result.stderr)["error"]
    assert error["code"] == code
    assert message in error["message"]
    assert hint in error["hint"]
    assert {path.name for path in isolated.iterdir()} == set(FILES), "a refused command left files"


_COMMAND = re.compile(r"\balexnet (?:(?! in the )[^;(,])+")


def commands_in(hint):
    """Return the command lines that a hint names."""
    return [shlex.split(command.rstrip(". "))[1:] for command in _COMMAND.findall(hint)]


@pytest.mark.parametrize("line", [row[0] for row in ROWS])
def test_a_hint_leads_on(line, alexnet):
    """What a hint names is a command, and ends in no error whose hint leads back."""
    for name, text in FILES.items():
        Path(name).write_text(text)
    error = json.loads(alexnet(*line.split(), "--json").stderr)["error"]
    for command in commands_in(error["hint"]):
        assert command != line.split()
        if command[-1] == "--help":
            assert alexnet(*command).returncode == 0
            continue
        parse(command)
        if command[0] == "download":  # needs a network
            continue
        quick = ["--dry-run"] if command[0] == "train" else []
        result = alexnet(*command, *quick, "--json")
        if result.returncode:
            following = json.loads(result.stderr)["error"]
            assert following["message"] != error["message"]
            assert line.split() not in commands_in(following["hint"])


def test_a_message_for_people(alexnet):
    error, hint = alexnet("evaluate").stderr.splitlines()
    assert error.startswith("error: ")
    assert hint.startswith("hint: ")
