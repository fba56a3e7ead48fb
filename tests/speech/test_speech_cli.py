"""rtmobile train, eval and transcribe; the compiled model says what PyTorch's does."""

import subprocess
import sys

import numpy as np
import pytest
import soundfile

import rtmobile_iree as rt
from rtmobile_iree import cli
from rtmobile_iree.errors import InputError
from rtmobile_iree.speech import read_audio
from rtmobile_iree.speech.checkpoint import save_checkpoint
from rtmobile_iree.speech.scoring import decoder_of, module_scores, program_scores, score
from rtmobile_iree.speech.transcribe import Transcriber, transcribe

DENSE = "model: {hidden: 24, delay: 2}\nepochs: 2\nbatch: 4\n"
PRUNE = """
method: {kind: magnitude}
retrain_steps: 3
row_stripes: 6
col_blocks: 4
layers: {gru: {column_rate: 2, row_rate: 2}}
"""


@pytest.fixture(scope="module")
def files(trained, tmp_path_factory):
    """A folder with model.safetensors and the model.vmfb compiled from it."""
    folder = tmp_path_factory.mktemp("files")
    save_checkpoint(folder / "model.safetensors", trained)
    rt.compile(trained.module, trained.module.example_inputs()).save(folder / "model.vmfb")
    return folder


def run(capsys, *arguments):
    """Runs the command line: its exit code, stdout and stderr."""
    with pytest.raises(SystemExit) as caught:
        cli.main([*map(str, arguments)])
    captured = capsys.readouterr()
    return caught.value.code or 0, captured.out, captured.err


def expected(trained, dataset, item):
    """Phones of PyTorch's scores of a whole recording."""
    [(_, scores)] = module_scores(trained.module, [item])
    numbers = decoder_of(trained.config, trained.decoding, "beam")(scores)
    folded = [trained.folding[trained.config.phones[n]] for n in numbers]
    return [phone for phone in folded if phone != "sil"]


@pytest.mark.parametrize("kind", ["beam", "greedy"])
def test_the_compiled_models_per_is_pytorchs(kind, trained, dataset, files):
    program, items = rt.load(files / "model.vmfb"), dataset.items
    pers = [
        score(dataset, scores, trained.config, trained.decoding, kind)
        for scores in (
            module_scores(trained.module, items),
            program_scores(program, trained.config, items),
        )
    ]
    assert pers[0] == pers[1]


def test_padding_changes_no_score(trained, dataset):
    items = dataset.split("test")
    together = {item.name: scores for item, scores in module_scores(trained.module, items)}
    for item in items:
        [(_, alone)] = module_scores(trained.module, [item])
        np.testing.assert_allclose(together[item.name], alone, atol=1e-5)
        assert len(alone) == len(item.frames) // 2


@pytest.mark.parametrize("block", [80, 799, 100_000])
def test_phones_of_a_stream_are_those_of_the_recording(block, trained, dataset, files):
    stream = rt.stream(files / "model.vmfb")
    for item in dataset.split("test"):
        samples, _ = read_audio(item.utterance.audio)
        blocks = (samples[at : at + block] for at in range(0, len(samples), block))
        found = [p for phones in transcribe(stream, trained, blocks) for p in phones]
        assert found == expected(trained, dataset, item)


def test_some_phones_come_before_the_end(trained, dataset, files):
    transcriber = Transcriber(rt.stream(files / "model.vmfb"), trained)
    item = dataset.split("test")[0]
    samples, _ = read_audio(item.utterance.audio)
    early = transcriber.accept(samples)
    assert early
    assert early + transcriber.finish() == expected(trained, dataset, item)


def test_no_sound_has_no_phones(trained, files):
    assert [*transcribe(rt.stream(files / "model.vmfb"), trained, [])] == [[]]


def test_a_program_of_another_model(files, trained):
    from rtmobile_iree.models import tiny_speech_gru

    other = tiny_speech_gru()
    stream = rt.stream(rt.compile(other, other.example_inputs()))
    with pytest.raises(InputError, match="compile it from this checkpoint"):
        Transcriber(stream, trained)


def test_transcribe(capsys, trained, dataset, files):
    item = dataset.split("test")[0]
    phones = " ".join(expected(trained, dataset, item))
    options = ("--checkpoint", files / "model.safetensors", "--program", files / "model.vmfb")
    code, out, err = run(capsys, "transcribe", item.utterance.audio, *options)
    assert (code, out.split(), err) == (0, phones.split(), "")


def test_transcribe_a_pipe(dataset, trained, files):
    item = dataset.split("test")[1]
    pcm, _ = soundfile.read(item.utterance.audio, dtype="int16")
    command = [sys.executable, "-m", "rtmobile_iree.cli", "transcribe", "-"]
    command += ["--checkpoint", files / "model.safetensors", "--program", files / "model.vmfb"]
    done = subprocess.run(command, input=pcm.astype("<i2").tobytes(), capture_output=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.decode().split() == expected(trained, dataset, item)


def test_eval_of_a_checkpoint_and_of_a_module(capsys, tones, files):
    code, out, err = run(capsys, "eval", files / "model.vmfb", "--corpus", tones)
    assert (code, err) == (0, "")
    first, pytorch, compiled = out.splitlines()
    assert first == "tones, test, 4 utterances"
    assert pytorch.split(":")[1].strip() == compiled.split(":")[1].strip()
    again = run(capsys, "eval", files / "model.safetensors", "--corpus", tones)
    assert again[:2] == (0, out)


def test_a_checkpoint_is_a_model_to_compile(capsys, files, tmp_path):
    made = tmp_path / "made.vmfb"
    code, _, err = run(capsys, "compile", files / "model.safetensors", "--output", made)
    assert code == 0, err
    assert made.read_bytes() == (files / "model.vmfb").read_bytes()


def test_train_and_prune(capsys, tones, tmp_path):
    (tmp_path / "dense.yaml").write_text(DENSE)
    (tmp_path / "prune.yaml").write_text(PRUNE)
    command = ("train", "--corpus", tones, "--recipe", tmp_path / "dense.yaml")
    code, out, err = run(capsys, *command, "-o", tmp_path / "dense")
    assert code == 0, err
    assert "10,944 of 10,944 recurrent weights" in out
    assert "valid_per" in err
    start = ("--prune", tmp_path / "prune.yaml", "--start", tmp_path / "dense/model.safetensors")
    code, out, err = run(capsys, *command, "-o", tmp_path / "pruned", *start, "--half")
    assert code == 0, err
    assert "PER valid" in out
    assert "2,736 of 10,944 recurrent weights" in out


def test_bad_files_stop_training_or_are_left_out(capsys, make_tones, tmp_path):
    folder = make_tones(tmp_path)
    (folder / "u3.wav").write_bytes((folder / "u3.wav").read_bytes()[:500])
    (tmp_path / "dense.yaml").write_text(DENSE)
    command = ("train", "--corpus", folder, "--recipe", tmp_path / "dense.yaml", "-o")
    code, _, err = run(capsys, *command, tmp_path / "run", "--on-bad", "stop")
    assert code == 1
    assert "u3.wav" in err
    code, _, err = run(capsys, *command, tmp_path / "run")
    assert code == 0
    assert f"left out: {folder / 'u3.wav'}" in err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("train", "--corpus", "none", "-o", "x"), "none/corpus.json: no such file"),
        (("train", "--corpus", "x", "-o", "x", "--prune", "y"), "--prune and --start go together"),
        (("train", "--corpus", "x", "-o", "x", "--seed", "-1"), "--seed -1"),
        (("train", "--corpus", "x", "-o", "x", "--on-bad", "cry"), "use stop or skip"),
        (("eval", "none.safetensors", "--corpus", "x"), "no such checkpoint"),
        (("eval", "none.vmfb", "--corpus", "x"), "none.safetensors: no such checkpoint"),
        (("eval", "x", "--corpus", "x", "--split", "all"), "use one of train, valid, test"),
        (("eval", "x", "--corpus", "x", "--decoder", "best"), "use beam or greedy"),
        (("eval", "x", "--corpus", "x", "--checkpoint", "y"), "x is a checkpoint itself"),
        (("transcribe", "a.wav", "--checkpoint", "none"), "none: no such checkpoint"),
    ],
)
def test_mistakes_in_a_line(capsys, arguments, message):
    code, out, err = run(capsys, *arguments)
    assert (code, out) == (1, "")
    assert err.startswith("rtmobile: ")
    assert message in err
    assert len(err.splitlines()) == 1


def test_a_corpus_with_other_phones(capsys, tones, files, tmp_path):
    text = (tones / "corpus.json").read_text().replace('"ux"', '"uw"')
    for file in tones.glob("*.wav"):
        (tmp_path / file.name).write_bytes(file.read_bytes())
    (tmp_path / "corpus.json").write_text(text)
    code, _, err = run(capsys, "eval", files / "model.vmfb", "--corpus", tmp_path)
    assert code == 1
    assert "not the model's 5 (sil aa iy ow ux)" in err
