"""Functions reach the internet, and nothing else: tried in a world of network namespaces (`world.py`)."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytestmark = [pytest.mark.slow, pytest.mark.sandbox]

DENIED = {"ConnectionRefusedError", "EHOSTUNREACH", "timeout"}
#: How the internet sees functions: by this machine's own address.
MACHINE = "192.0.2.1"


def play(scene: str) -> Any:
    """A scene in network namespaces of its own; as an ordinary user in a user namespace of its own too."""
    user = [] if os.geteuid() == 0 else ["--user", "--map-root-user"]
    argv = ["unshare", *user, "--net", sys.executable, str(Path(__file__).with_name("world.py")), scene]
    done = subprocess.run(argv, capture_output=True, timeout=60, text=True)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.fixture(scope="module")
def reached() -> Any:
    return play("reaching")


@pytest.mark.parametrize("what", ["site", "site udp", "site from the second"])
def test_the_internet_is_reached(reached, what):
    """A function reaches the internet over TCP and UDP, where it appears under this machine's address."""
    assert reached[what] == MACHINE


def test_without_a_link_nothing_is_reached(reached):
    """Before `attach` the same address cannot be reached."""
    assert reached["before"] == "OSError"


@pytest.mark.parametrize("transport", ["", " udp"])
@pytest.mark.parametrize("what", ["gateway", "uplink", "metadata", "other"])
def test_everything_near_is_denied(reached, what, transport):
    """This machine, the cloud's metadata and other functions are out of reach, and TCP says so at once."""
    assert reached["machine's metadata"] == MACHINE
    assert reached[what + transport] in (DENIED if transport else {"ConnectionRefusedError"})


def test_gateways_of_other_functions_and_loopback_are_denied(reached):
    """Neither this machine's end of another function's link nor its loopback can be reached, though both are served."""
    assert reached["machine's loopback"] == "127.0.0.1"
    assert reached["gateway of the other"] == "ConnectionRefusedError"
    assert reached["loopback"] == "ConnectionRefusedError"


def test_nobody_connects_to_a_function(reached):
    """Neither this machine nor the internet, were it to know the route, opens a connection to a function."""
    assert reached["from the machine"] == "timeout"
    assert play("inbound") == {"inward": "timeout", "outward": MACHINE}


@pytest.mark.parametrize("what", ["nobody's", "nobody's udp", "nobody's from the machine"])
def test_nothing_leaves_for_an_address_that_no_function_has(reached, what):
    """An address of the functions' block is refused, though the default route would lead to somebody who answers."""
    assert reached["nobody's before"] == MACHINE
    assert reached[what] in ({"ConnectionRefusedError"} if what != "nobody's udp" else DENIED)
    assert reached["own gateway from the machine"] == MACHINE


def test_what_comes_for_a_function_that_has_ended_is_not_sent_back():
    """Without the filter this machine sends it back to its router, which would send it again."""
    assert play("ended") == [1, 0]


def test_links_have_no_ipv6(reached):
    """No end of a link has an IPv6 address, so the machine cannot be reached by one either."""
    assert reached["sixes"] == []


def test_the_machine_becomes_nobodys_router():
    """Forwarding is turned on for the uplink alone, serves nobody but functions, and is turned off again."""
    answer = play("router")
    before, during, function, settings, changed, after = answer["False"]
    assert (before, during, function) == ("timeout", "timeout", MACHINE)
    assert (settings, changed, after) == (["0", "0", "0"], ["0", "1", "0"], ["0", "0", "0"])
    before, during, function, settings, changed, after = answer["True"]
    assert before == during != "timeout"
    assert function == MACHINE
    assert settings == changed == after == ["1", "1", "1"]


def test_nothing_is_left_behind():
    """After close, and after kill -9, no link and no table of ours is left, and other tables are as they were."""
    answer = play("leftovers")
    assert answer["before"] == [[], ["others"]]
    assert answer["with"] == [["alz00-0", "alz00-1", "alz00-2"], ["alonzo-00", "others"]]
    assert answer["running"] == [["alz00-0"], ["alonzo-00", "others"]]
    assert answer["after"] == answer["killed"] == answer["before"]


def test_instances_share_a_machine():
    """Two instances take different addresses, none that the machine routes, deny each other and end independently."""
    answer = play("instances")
    assert [detail.split(" behind")[0] for detail in answer["details"]] == [
        "addresses 198.18.64.0/18",
        "addresses 198.18.128.0/18",
    ]
    assert answer["sites"] == [MACHINE, MACHINE]
    assert answer["across"] in DENIED
    assert answer["left"] == MACHINE


def test_a_firewall_in_the_way_is_named():
    """Another table that drops forwarded packets is named, with what it must accept."""
    assert "table strict) drops what it does not know: let it accept" in play("dropping")


def test_links_are_made_quickly_and_their_addresses_reused():
    """A link takes a few milliseconds at most, also after many others have come and gone."""
    answer = play("reuse")
    assert answer["reached"] == MACHINE
    assert answer["median_ms"] < 15


def test_doctor_changes_nothing():
    """Asking whether it works tries it and leaves no trace."""
    answer = play("doctor")
    if os.geteuid() == 0:
        assert answer["said"] == [True, "addresses 198.18.0.0/18 behind up0, forwarding turned on for it", ""]
    assert answer["left"] == [[], []]


@pytest.mark.skipif(os.geteuid() != 0, reason="without root functions have no outbound internet, as `doctor` says")
def test_a_real_function_reaches_the_internet_only():
    """In a real sandbox a function with internet reaches just that; one without has only its loopback."""
    answer = play("sandboxed")
    assert [line[:2] for line in answer["enforced"] if line[0] == "internet"] == [["internet", True]]
    refused = "ConnectionRefusedError"
    reached = {"203.0.113.7": MACHINE, "169.254.169.254": refused, "192.0.2.1": refused, "127.0.0.1": refused}
    assert reached.items() <= answer["True"].items()
    assert answer["True"]["interfaces"] == ["lo", "eth0"]
    nothing = {"203.0.113.7": "OSError", "169.254.169.254": "OSError", "192.0.2.1": "OSError", "127.0.0.1": refused}
    assert answer["False"] == nothing | {"resolver": "", "interfaces": ["lo"]}
    assert answer["left"] == [[], []]
