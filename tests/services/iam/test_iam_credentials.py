"""Access keys: long-term, customary, the administrator's."""

import os
import stat
from dataclasses import replace

import pytest

from alonzo.config import Settings
from alonzo.core.identity import account_in_key, make_access_key_id
from alonzo.core.ids import Ids
from alonzo.services.iam import ensure_admin_key, read_admin_key
from alonzo.services.iam.credentials import IamCredentials
from alonzo.storage.private import read_or_create


@pytest.mark.parametrize("account", ["000000000000", "123456789012", "999999999999"])
def test_keys_carry_their_account(account) -> None:
    """An access key id has AWS's form and gives its account back."""
    key = make_access_key_id(Ids(), "AKIA", account)
    assert len(key) == 20 and key.startswith("AKIA") and key.isalnum() and key.isupper()
    assert account_in_key(key) == account


@pytest.mark.parametrize("key", ["", "AKIA", "test", "AKIA" + "1" * 16, "AKIAIOSFODNN7EXAMPLE", "AKIA" + "A" * 16])
def test_other_strings_carry_no_account_or_a_harmless_one(key) -> None:
    """Whatever is sent as a key id gives an account number or none, never an error."""
    found = account_in_key(key)
    assert found is None or (len(found) == 12 and found.isdigit())


async def test_disabled_and_deleted_keys_are_unknown(world) -> None:
    """A key stops working when it is made inactive, works again, and is gone when deleted."""
    await world.user("ann")
    key = (await world.call("ListAccessKeys", UserName="ann"))["AccessKeyMetadata"][0]["AccessKeyId"]
    find = world.iam.credentials.find
    assert (await find(key)).principal.arn == "arn:aws:iam::000000000000:user/ann"
    await world.call("UpdateAccessKey", UserName="ann", AccessKeyId=key, Status="Inactive")
    assert await find(key) is None
    await world.call("UpdateAccessKey", UserName="ann", AccessKeyId=key, Status="Active")
    assert await find(key) is not None
    await world.call("DeleteAccessKey", UserName="ann", AccessKeyId=key)
    assert await find(key) is None


async def test_the_customary_keys_are_for_loopback_only(world) -> None:
    """test/test and account numbers stand for administrators on loopback, and for nobody elsewhere."""
    test = await world.iam.credentials.find("test", "any")
    assert (test.secret, test.principal.kind, test.principal.account_id) == ("test", "root", "000000000000")
    assert test.check_signature and not test.strict_token
    number = await world.iam.credentials.find("123456789012")
    assert not number.check_signature and number.principal.account_id == "123456789012"
    settings = replace(world.parts.settings, host="0.0.0.0")
    elsewhere = IamCredentials(world.parts.db, world.iam.identities, settings)
    for key in ("test", "123456789012"):
        assert await elsewhere.find(key) is None


async def test_the_administrators_key_is_kept_in_a_private_file(world, tmp_path) -> None:
    """The first start makes a key with mode 0600 that the next start and `alonzo env` read."""
    made = read_admin_key(tmp_path)
    assert made is not None and ensure_admin_key(world.parts.settings, Ids()) == made
    assert stat.S_IMODE(os.stat(tmp_path / "credentials").st_mode) == 0o600
    assert stat.S_IMODE(os.stat(tmp_path / "sessions.key").st_mode) == 0o600
    found = await world.iam.credentials.find(made.access_key_id)
    assert found.secret == made.secret and found.principal.kind == "root"


def test_ephemeral_servers_leave_no_key_behind(tmp_path) -> None:
    """An ephemeral server's administrator key is written nowhere."""
    assert ensure_admin_key(Settings(data_dir=tmp_path, ephemeral=True), Ids()).secret
    assert list(tmp_path.iterdir()) == [] and read_admin_key(tmp_path) is None


def test_a_broken_credentials_file_says_what_to_do(tmp_path) -> None:
    """A file that holds no key is an error that names it and the mend."""
    (tmp_path / "credentials").write_text("nonsense")
    with pytest.raises(ValueError, match="Delete it"):
        ensure_admin_key(Settings(data_dir=tmp_path), Ids())


def test_of_two_that_create_a_private_file_the_first_wins(tmp_path) -> None:
    """What exists already is returned, and no draft is left."""
    path = tmp_path / "k"

    def late() -> bytes:
        path.write_bytes(b"first")
        return b"second"

    assert read_or_create(path, late) == b"first"
    assert [entry.name for entry in tmp_path.iterdir()] == ["k"]
