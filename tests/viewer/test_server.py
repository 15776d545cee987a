"""The server gives this machine's page what was listed, and nothing else to anybody."""

import http.client
import io
import json
import os
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from viewed_run import Served

from dyhead.errors import UserError
from dyhead.viewer import view
from dyhead.viewer.server import LocalServer, _hosts


def get(served: Served, address: str, **headers: str) -> tuple[int, bytes, http.client.HTTPMessage]:
    """Get an address as it stands: a browser would take dots out of it."""
    connection = http.client.HTTPConnection("127.0.0.1", served.port, timeout=20)
    connection.putrequest("GET", address, skip_host="Host" in headers)
    for name, value in headers.items():
        connection.putheader(name, value)
    connection.endheaders()
    answer = connection.getresponse()
    content = answer.read()
    connection.close()
    return answer.status, content, answer.headers


def info(served: Served) -> dict:
    return json.loads(get(served, "/sets.json")[1])


def picture(served: Served, place: int, side: int = 0) -> tuple[int, bytes]:
    token = info(served)["token"]
    return get(served, f"/picture/{token}/0/{place}/{side}")[:2]


@pytest.fixture
def serve() -> Iterator[Callable[..., Served]]:
    servers: list[Served] = []

    def start(path: Path, follow_links: bool = False) -> Served:
        servers.append(Served(path, follow_links))
        return servers[-1]

    yield start
    for server in servers:
        server.close()


def test_the_page_and_all_that_it_names_are_there(served: Served) -> None:
    with urllib.request.urlopen(served.server.url) as answer:
        text = answer.read().decode()
    named = [part.split('"')[0] for mark in ('href="', 'src="') for part in text.split(mark)[1:]]
    assert {"base.css", "view.css", "main.js", "icon.svg"} <= set(named)
    for name in named:
        status, content, headers = get(served, f"/{name}")
        assert status == 200 and content
        kinds = {"css": "text/css", "js": "text/javascript", "svg": "image/svg+xml"}
        assert headers["Content-Type"].startswith(kinds[name.rpartition(".")[2]])
        for line in content.decode().splitlines():
            if line.startswith("import "):
                module = line.split('"')[1].removeprefix("./")
                assert get(served, f"/{module}")[0] == 200


def test_sets_tell_classes_with_the_colours_of_drawings(served: Served) -> None:
    from dyhead.visualization.colors import class_colors

    (only,) = info(served)["sets"]
    assert only["results_folder"] == "inference"
    assert (only["name"], only["pictures"], only["objects"], only["predictions"]) == (
        *("insects", 4, 6),
        6,
    )
    assert [each["name"] for each in only["classes"]] == ["ant", "bee", "fly"]
    colors = [f"#{bytes(color).hex()}" for color in class_colors(3)]
    assert [each["color"] for each in only["classes"]] == colors


@pytest.mark.parametrize("place", range(4))
def test_pictures_come_small_and_are_the_right_ones(served: Served, place: int) -> None:
    status, content = picture(served, place)
    entry = served.sets[0].pictures[place]
    original = Image.open(served.sets[0].image_root / entry.name)
    copy = Image.open(io.BytesIO(content))
    assert status == 200 and copy.format == "JPEG" and copy.size == original.size
    difference = np.asarray(copy, dtype=int) - np.asarray(original, dtype=int)
    assert abs(difference.mean()) < 3


def test_copies_have_the_side_that_was_asked_for(
    source: Path, serve: Callable[..., Served]
) -> None:
    large = Image.new("RGB", (1600, 1200), (200, 30, 30))
    content = json.loads(source.read_text())
    content["images"][0] |= {"width": 1600, "height": 1200}
    source.write_text(json.dumps(content))
    large.save(source.parent / "images" / "a.png")
    served = serve(source)
    sides = info(served)["sides"]
    for number, side in enumerate(sides):
        size = Image.open(io.BytesIO(picture(served, 0, number)[1])).size
        assert size == (min(side, 1600), min(side, 1600) * 3 // 4)


@pytest.mark.parametrize(
    "address",
    [
        "/../instances.json",
        "/..%2f..%2fetc%2fpasswd",
        "/%2e%2e/%2e%2e/etc/passwd",
        "//etc/passwd",
        "/etc/passwd",
        "/main.js/../answers.py",
        "/answers.py",
        "/picture/TOKEN/0/../../../../etc/passwd",
        "/picture/TOKEN/0/%2e%2e%2f%2e%2e%2finstances.json/0",
        "/picture/TOKEN/0/a.png/0",
        "/picture/TOKEN/0/-1/0",
        "/picture/TOKEN/0/4/0",
        "/picture/TOKEN/1/0/0",
        "/picture/TOKEN/0/0/9",
        "/picture/TOKEN/0/%C2%B2/0",
        "/picture/other/0/0/0",
        "/picture/TOKEN/0/99999999999999999999999/0",
        "/nothing",
    ],
)
def test_an_address_that_tries_to_leave_names_nothing(served: Served, address: str) -> None:
    status, content, _ = get(served, address.replace("TOKEN", info(served)["token"]))
    assert (status, content) == (404, b"There is nothing at this address.")


@pytest.mark.parametrize(
    "query",
    ["low=2", "low=x", "low=nan", "limit=0", "limit=9999", "start=-1", "order=no", "kinds=a"],
)
def test_malformed_filters_are_refused(served: Served, query: str) -> None:
    status, content, _ = get(served, f"/pictures.json?{query}")
    assert status == 400 and content.startswith(b"This address is malformed")


@pytest.mark.parametrize("host", ["evil.example", "evil.example:PORT", "127.0.0.1", "", "[::1]:1"])
def test_another_host_is_refused(served: Served, host: str) -> None:
    host = host.replace("PORT", str(served.port))
    for address in ("/", "/sets.json"):
        status, content, _ = get(served, address, Host=host)
        assert status == 421 and b"token" not in content


@pytest.mark.parametrize("name", ["localhost", "127.0.0.1", "LOCALHOST"])
def test_this_machine_is_served_by_either_name(served: Served, name: str) -> None:
    assert get(served, "/sets.json", Host=f"{name}:{served.port}")[0] == 200


def test_browsers_leave_out_the_usual_port() -> None:
    assert {"localhost", "127.0.0.1", "localhost:80"} <= _hosts(80)
    assert "localhost" not in _hosts(8765)


def test_only_this_machine_can_connect(served: Served) -> None:
    assert served.server.server_address[0] == "127.0.0.1"


@pytest.mark.parametrize("address", ["/", "/sets.json", "/nothing", "/pictures.json?low=5"])
def test_every_answer_forbids_foreign_sources(served: Served, address: str) -> None:
    headers = get(served, address)[2]
    policy = headers["Content-Security-Policy"]
    assert policy.startswith("default-src 'none'") and "unsafe" not in policy
    assert "http" not in policy and "*" not in policy
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Cross-Origin-Resource-Policy"] == "same-origin"
    assert "Access-Control-Allow-Origin" not in headers


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "PATCH"])
def test_methods_that_could_change_something_are_refused(served: Served, method: str) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", served.port, timeout=20)
    connection.request(method, "/sets.json", body=b"x")
    answer = connection.getresponse()
    assert answer.status == 501
    assert answer.headers["Content-Security-Policy"]
    connection.close()


def test_a_head_has_no_content(served: Served) -> None:
    request = urllib.request.Request(served.server.url, method="HEAD")
    with urllib.request.urlopen(request) as answer:
        assert int(answer.headers["Content-Length"]) > 500 and answer.read() == b""


def test_a_file_that_is_gone_or_damaged_is_told(served: Served) -> None:
    folder = served.sets[0].image_root
    (folder / "a.png").unlink()
    (folder / "b.png").write_bytes(b"no picture")
    for place in (0, 1):
        status, content = picture(served, place)
        assert status == 404 and content.startswith(b"The picture cannot be shown: ")
        assert str(folder).encode() not in content
    assert picture(served, 2)[0] == 200
    with pytest.raises(urllib.error.HTTPError, match="404"):
        urllib.request.urlopen(f"{served.server.url}gone")


def test_a_link_out_of_the_folder_is_shown_on_request_alone(
    source: Path, serve: Callable[..., Served], tmp_path: Path
) -> None:
    secret = tmp_path / "secret.png"
    os.replace(source.parent / "images" / "a.png", secret)
    try:
        (source.parent / "images" / "a.png").symlink_to(secret)
    except OSError:
        pytest.skip("this system lets us make no links")
    status, content = picture(serve(source), 0)
    assert status == 404 and b"--follow-links" in content
    assert picture(serve(source, follow_links=True), 0)[0] == 200


def test_a_name_that_leads_out_of_the_folder_is_no_picture(
    source: Path, serve: Callable[..., Served]
) -> None:
    content = json.loads(source.read_text())
    os.replace(source.parent / "images" / "b.png", source.parent / "b.png")
    content["images"][1]["file_name"] = "../b.png"
    source.write_text(json.dumps(content))
    served = serve(source)
    assert [entry.name for entry in served.sets[0].pictures] == ["a.png", "c.png", "d.png"]
    assert info(served)["sets"][0]["left_out"] == 1


@pytest.mark.parametrize("name", ["a b.png", "ä#?&%41.png", "<img src=x onerror=alert(1)>.png"])
def test_odd_names_are_shown_as_they_are(
    source: Path, serve: Callable[..., Served], name: str
) -> None:
    content = json.loads(source.read_text())
    try:
        os.replace(source.parent / "images" / "a.png", source.parent / "images" / name)
    except OSError:
        pytest.skip("this system has no such names")
    content["images"][0]["file_name"] = name
    source.write_text(json.dumps(content), encoding="utf-8")
    served = serve(source)
    listed = json.loads(get(served, "/pictures.json")[1])["pictures"]
    assert listed[0]["name"] == name
    assert picture(served, 0)[0] == 200


def test_deep_pictures_are_shown_with_their_levels(
    source: Path, serve: Callable[..., Served]
) -> None:
    levels = np.linspace(0, 65535, 48 * 64).astype(np.uint16).reshape(48, 64)
    Image.fromarray(levels).save(source.parent / "images" / "a.tif")
    content = json.loads(source.read_text())
    content["images"][0]["file_name"] = "a.tif"
    source.write_text(json.dumps(content))
    status, data = picture(serve(source), 0)
    shown = np.asarray(Image.open(io.BytesIO(data)))[..., 0]
    assert status == 200 and np.abs(shown.astype(int) - (levels >> 8)).max() < 12


def test_without_predictions_there_is_the_ground_truth(
    run_folder: Path, serve: Callable[..., Served]
) -> None:
    (run_folder / "inference" / "coco_instances_results.json").unlink()
    served = serve(run_folder)
    assert info(served)["sets"][0]["predictions"] is None
    first = json.loads(get(served, "/pictures.json")[1])["pictures"][0]
    assert first["found"] == [] and {row[5] for row in first["truth"]} == {4}


def test_a_port_that_is_taken_is_told_before_anything_is_read(served: Served) -> None:
    with pytest.raises(UserError, match=f"Port {served.port} cannot be used .* --port"):
        view(Path("nothing is there"), served.port)


@pytest.mark.parametrize("port", [-1, 65536])
def test_a_number_that_is_no_port_is_refused(port: int) -> None:
    with pytest.raises(UserError, match="cannot be used"):
        LocalServer(port)


def test_nothing_is_written(served: Served, run_folder: Path, source: Path) -> None:
    def files() -> list[tuple[str, float]]:
        found = (path for folder in (run_folder, source.parent) for path in folder.rglob("*"))
        return sorted((str(path), path.stat().st_mtime) for path in found)

    before = files()
    for address in ("/", "/sets.json", "/pictures.json", "/picture.json?picture=1&width=300"):
        assert get(served, address)[0] == 200
    assert picture(served, 0)[0] == 200
    assert files() == before


# As `python -m dyhead`, but that idle connections are never closed, and that SIGINT is not ignored
# as in a shell's background job, which may run the tests.
VIEW = """
import signal, sys
from dyhead.cli.main import main
from dyhead.viewer import server
server._Handler.timeout = None
signal.signal(signal.SIGINT, signal.default_int_handler)
main(["view", *sys.argv[1:]])
"""


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="Windows has no SIGINT for one process")
def test_an_interruption_ends_it_cleanly(source: Path) -> None:
    command = [sys.executable, "-c", VIEW, str(source), "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as it:
        try:
            assert it.stdout is not None
            lines = [it.stdout.readline(), it.stdout.readline()]
            assert lines[0] == "instances.json: 4 pictures, 6 objects, no predictions\n"
            port = int(lines[1].split(":")[2].split("/")[0])
            connection = http.client.HTTPConnection("127.0.0.1", port)
            connection.request("GET", "/")  # its connection stays open
            assert connection.getresponse().status == 200
            it.send_signal(signal.SIGINT)
            out, err = it.communicate(timeout=600)  # it would wait for the connection for ever
            assert (it.returncode, out, err) == (0, "Stopped.\n", "")
        finally:
            it.kill()
