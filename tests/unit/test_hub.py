"""Weights from a server that answers as the Hub does, in a process with the user's settings."""

import hashlib
import json
import multiprocessing
import os
import subprocess
import sys
import time

import numpy as np
import pytest
from safetensors.numpy import save

from deadpixel.data import hub
from deadpixel.errors import InputError
from hubserver import COMMIT, OLDER, TOKEN, Hub

WEIGHTS = save({"weight": np.random.default_rng(0).normal(size=(1000, 300))})
SHA256 = hashlib.sha256(WEIGHTS).hexdigest()


@pytest.fixture
def server():
    names = ("model.safetensors", "sub/model.safetensors")
    files = {**dict.fromkeys(names, WEIGHTS), "a.safetensors": b"pickle"}
    server = Hub({"someone/net": files})
    yield server
    server.stop()


def _retrieve(address, folder, environment, sender):
    """In a process of its own: the client reads its settings when it is imported."""
    for name in [name for name in sys.modules if name.startswith("huggingface_hub")]:
        del sys.modules[name]
    for name in [name for name in os.environ if name.startswith("HF_")]:
        del os.environ[name]
    os.environ.update(environment)
    link, facts = folder / "retrieved/weights", folder / "retrieved/facts.json"
    try:
        hub.retrieve(address, folder / "cache", link, facts)
        sender.send(json.loads(facts.read_text()))
    except InputError as error:
        assert not link.exists()
        sender.send(str(error))


@pytest.fixture
def retrieve(tmp_path, server):
    """Retrieve a file in `tmp_path`; returns what is known of it, or the message."""

    def call(repository="someone/net", revision="main", file="model.safetensors", **settings):
        address = hub.Address(repository, revision, file)
        (tmp_path / "retrieved/weights").unlink(missing_ok=True)
        hub_settings = {"HF_ENDPOINT": server.url, "HF_HUB_DISABLE_TELEMETRY": "1"}
        home = {"HOME": str(tmp_path / "home"), "NO_PROXY": "127.0.0.1"}
        receiver, sender = multiprocessing.Pipe(duplex=False)
        environment = {**home, **hub_settings, **settings}
        arguments = (address, tmp_path, environment, sender)
        process = multiprocessing.get_context("fork").Process(target=_retrieve, args=arguments)
        process.start()
        sender.close()
        answer = receiver.recv()
        process.join()
        return answer

    return call


def test_the_file_and_what_is_known_of_it(tmp_path, server, retrieve):
    assert retrieve() == {
        "address": "hf://someone/net@main/model.safetensors",
        "revision": COMMIT,
        "etag": SHA256,
        "sha256": SHA256,
        "endpoint": server.url,
    }
    link = tmp_path / "retrieved/weights"
    assert link.read_bytes() == WEIGHTS
    assert link.resolve().is_relative_to(tmp_path / "cache")
    assert not (tmp_path / "home").exists()
    assert {method for method, _, _ in server.seen} == {"HEAD", "GET"}
    assert server.cdn.sent == len(WEIGHTS)


def test_a_tag_of_a_file_in_a_folder(retrieve):
    facts = retrieve(revision="v1", file="sub/model.safetensors")
    assert (facts["revision"], facts["sha256"]) == (OLDER, SHA256)


@pytest.mark.slow
def test_a_cut_connection_goes_on_where_it_was(server, retrieve):
    """From the last of the client's chunks of 10 MiB."""
    large = save({"weight": np.random.default_rng(1).normal(size=(1000, 3000))})
    server.files["someone/net"]["model.safetensors"] = large
    server.fault = "cut"
    assert retrieve()["sha256"] == hashlib.sha256(large).hexdigest()
    assert [asked for asked, _ in server.cdn.seen] == [None, f"bytes={10 << 20}-"]
    assert server.cdn.sent == len(large) // 2 + len(large) - (10 << 20)


@pytest.mark.slow
def test_wrong_bytes_are_refused_and_do_not_stay(tmp_path, server, retrieve):
    server.fault = "wrong"
    message = retrieve()
    assert f"not {SHA256} as the Hub says; it is removed: run again" in message
    server.fault = ""
    assert retrieve()["sha256"] == SHA256


@pytest.mark.slow
def test_a_cached_file_that_changed_is_refused(tmp_path, retrieve):
    retrieve()
    (tmp_path / "retrieved/weights").resolve().write_bytes(WEIGHTS[:-1])
    assert "it is removed" in retrieve()
    assert retrieve()["sha256"] == SHA256


def test_a_small_file_is_held_to_gits_checksum(server, retrieve):
    server.fault = "small"
    facts = retrieve()
    assert facts["sha256"] == SHA256
    git = subprocess.run(
        ["git", "hash-object", "--stdin"], input=WEIGHTS, capture_output=True, check=True
    )
    assert facts["etag"] == git.stdout.decode().strip()


@pytest.mark.slow
def test_offline_what_is_there_is_used_and_what_is_not_is_named(server, retrieve):
    online = retrieve()
    before = len(server.seen)
    assert retrieve(HF_HUB_OFFLINE="1") == online
    message = retrieve(revision="v1", HF_HUB_OFFLINE="1")
    assert message.startswith("hf://someone/net@v1/model.safetensors: HF_HUB_OFFLINE is set")
    assert len(server.seen) == before


@pytest.mark.slow
def test_the_token_opens_a_gated_repository_and_stays_with_the_hub(server, retrieve):
    server.fault = "gated"
    message = retrieve()
    assert "is gated: accept its terms" in message and "set HF_TOKEN" in message
    assert "refuses the token" in retrieve(HF_TOKEN="hf_another")
    assert retrieve(HF_TOKEN=TOKEN)["sha256"] == SHA256
    assert server.seen[-1][2] == f"Bearer {TOKEN}"
    assert {token for _, token in server.cdn.seen} == {None}


@pytest.mark.parametrize("revision", ["main", COMMIT])
def test_the_users_own_cache_is_used(tmp_path, retrieve, revision):
    retrieve(HF_HOME=str(tmp_path / "mine"), revision=revision)
    link = tmp_path / "retrieved/weights"
    assert link.resolve().is_relative_to(tmp_path / "mine/hub")
    assert not (tmp_path / "cache").exists()


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"repository": "someone/else"}, "shows no repository someone/else: correct the name"),
        ({"revision": "v2"}, "someone/net has no revision v2: name a branch"),
        ({"file": "b.safetensors"}, "someone/net has no file b.safetensors there"),
        ({"file": "a.safetensors"}, "is no safetensors file"),
    ],
)
def test_what_is_not_there_is_named(retrieve, asked, message):
    assert message in retrieve(**asked)


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ("private", "or, if it is private, set HF_TOKEN"),
        ("careless", "the server's etag '5f-1' is no checksum"),
    ],
)
def test_what_a_server_refuses_or_lacks_is_named(server, retrieve, fault, message):
    server.fault = fault
    assert message in retrieve()


def test_without_the_client_it_says_how_to_install_it(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_DISABLE_XET", "1")
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    address = hub.Address("someone/net", "main", "model.safetensors")
    with pytest.raises(
        InputError, match=r"needs huggingface_hub: .*pip install 'deadpixel\[timm\]'"
    ):
        hub.retrieve(address, tmp_path, tmp_path / "weights", tmp_path / "facts.json")


def test_a_server_that_cannot_be_reached_or_fails(server, retrieve, monkeypatch):
    """The client tries again after pauses, which are cut short here."""
    sleep = time.sleep
    monkeypatch.setattr(time, "sleep", lambda seconds: sleep(seconds / 100))
    server.fault = "broken"
    assert f"could not be retrieved from {server.url}" in retrieve()
    server.stop()
    message = retrieve()
    assert f"could not be retrieved from {server.url} (ConnectError" in message
    assert "check the connection and HF_ENDPOINT" in message
