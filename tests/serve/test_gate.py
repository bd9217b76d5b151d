"""Who may ask a server, and what it says of itself."""

import json
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("fastapi", reason="the extra `serve` is not installed")
from served import client_of, sample

import emotiwave as ew
from emotiwave_core.errors import SettingsError
from emotiwave_core.serve.gate import Guests

TOKEN = "0123456789abcdef-TOKEN"


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1.evil.example", "", "[::2]", "localhost@evil.example"])
def test_another_name_of_the_host_is_refused(client: Any, host: str) -> None:
    """A page whose name was bound anew to this machine's address reaches nothing."""
    answer = client.get("/model", headers={"host": host})
    assert answer.status_code == 421
    assert "--allow-host" in answer.json()["error"]


@pytest.mark.parametrize("host", ["localhost:8000", "127.0.0.1", "[::1]:8000"])
def test_its_own_names_are_taken(client: Any, host: str) -> None:
    """This machine's names are those of a server on it."""
    assert client.get("/health", headers={"host": host}).status_code == 200


@pytest.mark.parametrize("origin", ["http://evil.example", "null", "http://127.0.0.1:9999", "http://localhost:8000"])
def test_a_page_of_another_site_cannot_ask(client: Any, origin: str) -> None:
    """What changes or costs something is refused to a page of another origin; a program has none."""
    assert client.post("/predict", json=sample(), headers={"origin": origin}).status_code == 403
    own = {"origin": "http://127.0.0.1:8000", "host": "127.0.0.1:8000"}
    assert client.post("/predict", json=sample(), headers=own).status_code == 200


def test_a_token_opens_what_answers(run: ew.Run) -> None:
    """With a token everything but pages and /health asks for it, and only the right one is taken."""
    with client_of(run, TOKEN) as client:
        for path in ("/model", "/metrics"):
            refused = client.get(path)
            assert (refused.status_code, refused.headers["www-authenticate"]) == (401, "Bearer")
        for wrong in ("Bearer x", f"Basic {TOKEN}", "Bearer", f"Bearer {TOKEN}x", "Bearer \xff"):
            assert client.get("/model", headers={"authorization": wrong.encode("latin-1")}).status_code == 401
        assert client.post("/predict", json=sample()).status_code == 401
        right = {"authorization": f"Bearer {TOKEN}"}
        assert client.post("/predict", json=sample(), headers=right).status_code == 200
        assert client.get("/health").status_code == 200
        assert client.get("/docs").status_code == 200


def test_others_need_a_token() -> None:
    """A server that others can reach is not started without a token, nor with one that no header can carry."""
    for host in ("0.0.0.0", "::", "192.0.2.1", "example.org"):
        with pytest.raises(SettingsError, match="so they need a token"):
            Guests.of(host, None)
        assert Guests.of(host, TOKEN).hosts == ()
    for host in ("127.0.0.1", "127.1.2.3", "::1", "localhost"):
        assert Guests.of(host, None).hosts
    for token in ("short", "with a space in it", "ümläut-ümläut-ümläut"):
        with pytest.raises(SettingsError, match="A token has 16 to 256"):
            Guests.of("127.0.0.1", token)


def test_what_is_not_there_is_said_as_everything(client: Any) -> None:
    """An address or a method that is not there has the form of every refusal."""
    assert client.get("/nothing").json() == {"error": "There is nothing at this address."}
    other = client.get("/predict")
    assert (other.status_code, other.headers["allow"]) == (405, "POST")
    assert client.post("/predict", content=b"{}", headers={"content-type": "text/plain"}).status_code == 415
    assert client.post("/predict", files={"file": b"x"}).status_code == 415  # this run knows no extractor


def test_every_answer_is_kept_from_other_pages_and_caches(client: Any) -> None:
    """No answer is stored, framed, sniffed or read by another site, and a page runs no script but its own."""
    for answer in (
        client.get("/docs"),
        client.get("/health"),
        client.get("/nothing"),
        client.post("/predict", json={}),
    ):
        assert answer.headers["cache-control"] == "no-store"
        assert answer.headers["x-content-type-options"] == "nosniff"
        policy = answer.headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        assert "access-control-allow-origin" not in answer.headers


def test_a_server_that_is_stopped_takes_nothing_new(run: ew.Run) -> None:
    """While it drains, new requests are told so, and /health says it to whoever balances the load."""
    with client_of(run) as client:
        client.traffic.is_draining = True  # type: ignore[attr-defined]
        refused = client.post("/predict", json=sample())
        assert (refused.status_code, refused.headers["retry-after"]) == (503, "1")
        health = client.get("/health")
        assert (health.status_code, health.json()["status"]) == (503, "draining")
        assert client.get("/metrics").status_code == 200


def test_the_model_tells_what_it_is(run: ew.Run) -> None:
    """/model has modalities, widths, classes, and scores with what they were measured on; no path of the server."""
    with client_of(run) as client:
        about = client.get("/model").json()
        assert {name: table["width"] for name, table in about["features"].items()} == {
            "text": 5,
            "audio": 4,
            "visual": 3,
        }
        scores = run.scores()
        assert about["scores"]["configurations"]["text+audio"]["score"] == scores["text+audio"].macro_f1
        assert about["scores"]["measured_on"] == {
            "dataset": "Tiny",
            "synthetic": False,
            "fold": "test",
            "samples": scores.samples,
        }
        assert (about["kind"], about["recordings"]) == ("single", False)
        assert str(run.folder.parent) not in json.dumps(about)
        accept = {"accept": "text/markdown"}
        card = run.folder / "model-card.md"
        text = card.read_text() if card.exists() else None
        card.write_text("# A card\n")
        assert client.get("/model", headers=accept).text == "# A card\n"
        card.unlink()
        assert client.get("/model", headers=accept).status_code == 404
        if text is not None:
            card.write_text(text)


def test_the_figures_count(run: ew.Run) -> None:
    """/metrics has requests by status, seconds, refusals by reason, and sizes of batches."""
    with client_of(run) as client:
        client.post("/predict", json=sample())
        client.post("/predict", json={})
        text = client.get("/metrics").text
    for line in (
        'emotiwave_requests_total{path="/predict",status="200"} 1.0',
        'emotiwave_requests_total{path="/predict",status="422"} 1.0',
        'emotiwave_refusals_total{reason="invalid"} 1.0',
        'emotiwave_request_seconds_count{path="/predict"} 2.0',
        "emotiwave_batch_samples_count 1.0",
        "emotiwave_waiting_samples 0.0",
    ):
        assert f"{line}\n" in text


def test_the_description_has_examples_that_work(client: Any) -> None:
    """The example of every JSON route is answered as it stands, and /docs shows it and loads nothing from elsewhere."""
    described = client.get("/openapi.json").json()
    page = client.get("/docs").text
    assert "http://" not in page.replace("http://HOST:PORT", "")
    assert "https://" not in page
    assert "<script" not in page
    for path in ("/predict", "/predict/batch"):
        example = described["paths"][path]["post"]["requestBody"]["content"]["application/json"]["example"]
        assert client.post(path, json=example).status_code == 200
        assert f"POST {path}" in page


def test_a_run_that_is_none_is_told(tmp_path: Path) -> None:
    """A folder without a model is an error before any port is taken."""
    with pytest.raises(ew.DataError, match="holds no trained model"):
        ew.serve(tmp_path)
