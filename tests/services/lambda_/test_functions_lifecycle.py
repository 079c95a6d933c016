"""Functions from CreateFunction to DeleteFunction."""

from __future__ import annotations

import base64
import errno
import hashlib
from typing import Any

import pytest


async def test_a_created_function_becomes_active(world: Any, make_zip: Any) -> None:
    """CreateFunction answers Pending with AWS's defaults; soon afterwards the function is Active."""
    data = make_zip()
    created = await world.create(wait=False, Code={"ZipFile": data})
    assert created["State"] == "Pending" and created["StateReasonCode"] == "Creating"
    assert created["CodeSha256"] == base64.b64encode(hashlib.sha256(data).digest()).decode()
    assert created["Timeout"] == 3 and created["MemorySize"] == 128 and created["EphemeralStorage"] == {"Size": 512}
    assert "Environment" not in created and "LastUpdateStatus" not in created
    shown = await world.active()
    assert shown["State"] == "Active" and shown["LastUpdateStatus"] == "Successful"
    assert shown["RevisionId"] != created["RevisionId"]
    assert "StateReason" not in shown
    [prepared] = world.runtimes.prepared
    assert prepared.handler == "handler.handler" and prepared.log_group == "/aws/lambda/f" and prepared.internet


async def test_code_location_serves_the_archive(world: Any, make_zip: Any) -> None:
    """The end of Code.Location opens the very archive that was uploaded; a changed token opens nothing."""
    data = make_zip()
    await world.create(Code={"ZipFile": data})
    location = (await world.call("GetFunction", FunctionName="f"))["Code"]["Location"]
    prefix, token = location.split("/_alonzo/code/")
    assert prefix == world.ctx.endpoint
    body = await world.code_link(token)
    assert body.path.read_bytes()[body.offset :][: body.length] == data
    assert await world.code_link(token[:-2] + "xx") is None
    assert await world.code_link("nonsense") is None


async def test_what_a_deleted_function_had_is_gone(world: Any, make_zip: Any) -> None:
    """DeleteFunction removes rows and blobs; the same name can be created again and starts afresh."""
    await world.create(Publish=True)
    await world.call("AddPermission", FunctionName="f", StatementId="s", Action="lambda:InvokeFunction", Principal="*")
    await world.call("UpdateFunctionCode", FunctionName="f", ZipFile=make_zip("x = 1"))
    await world.active()
    assert world.blob_count() == 2
    await world.call("DeleteFunction", FunctionName="f")
    assert world.blob_count() == 0
    assert await world.service.live_blobs() == set()
    assert ("arn:aws:lambda:us-east-1:111111111111:function:f", "") in world.engine.retired
    assert (await world.fails("GetFunction", FunctionName="f")).status == 404
    await world.create()
    assert (await world.fails("GetPolicy", FunctionName="f")).status == 404
    assert (await world.call("PublishVersion", FunctionName="f"))["Version"] == "1"


async def test_equal_code_is_stored_once(world: Any) -> None:
    """Two functions and a layer with the same archive share one blob, which goes with the last of them."""
    await world.create("one")
    await world.create("two")
    assert world.blob_count() == 1
    await world.call("DeleteFunction", FunctionName="one")
    assert world.blob_count() == 1
    await world.call("DeleteFunction", FunctionName="two")
    assert world.blob_count() == 0


async def test_an_unavailable_runtime_fails_the_function(world: Any) -> None:
    """A runtime that cannot be prepared makes the function Failed with the reason; an invocation says so."""
    world.runtimes.broken["python3.12"] = "The machine is offline."
    await world.create(wait=False)
    shown = await world.active()
    assert (shown["State"], shown["StateReasonCode"]) == ("Failed", "InvalidRuntime")
    assert shown["StateReason"] == "The machine is offline."
    error = await world.fails("Invoke", FunctionName="f")
    assert error.code == "ResourceConflictException" and "offline" in error.message
    assert (await world.fails("PublishVersion", FunctionName="f")).code == "ResourceConflictException"
    await world.call("UpdateFunctionConfiguration", FunctionName="f", Description="again")
    assert (await world.active())["State"] == "Failed"
    world.runtimes.broken.clear()
    await world.fails("Invoke", FunctionName="f")  # notices that the runtime is there now
    await world.until(lambda: world.runtimes.prepared)
    assert (await world.until_active())["State"] == "Active"


async def test_a_pending_function_is_busy(world: Any) -> None:
    """While a function is Pending, invoking and changing it answer ResourceConflictException."""
    world.runtimes.gate.clear()
    await world.create(wait=False)
    text = "The operation cannot be performed at this time. The function is currently in the following state: Pending"
    for operation in ("Invoke", "UpdateFunctionConfiguration", "PublishVersion"):
        error = await world.fails(operation, FunctionName="f")
        assert (error.code, error.message, error.status) == ("ResourceConflictException", text, 409)
    world.runtimes.gate.set()
    await world.active()


async def test_during_an_update_the_old_code_runs(world: Any, make_zip: Any) -> None:
    """Until an update is prepared, invocations run what was there before; another update has to wait."""
    await world.create(Environment={"Variables": {"MODE": "old"}})
    await world.call("Invoke", FunctionName="f")
    world.runtimes.gate.clear()
    updated = await world.call(
        "UpdateFunctionConfiguration", FunctionName="f", Environment={"Variables": {"MODE": "new"}}, Timeout=9
    )
    assert updated["LastUpdateStatus"] == "InProgress" and updated["Timeout"] == 9 and updated["State"] == "Active"
    error = await world.fails("UpdateFunctionCode", FunctionName="f", ZipFile=make_zip())
    assert "An update is in progress for resource: arn:aws:lambda" in error.message
    await world.call("Invoke", FunctionName="f")
    world.runtimes.gate.set()
    await world.active()
    await world.call("Invoke", FunctionName="f")
    seen = [(version.environment["MODE"], version.revision) for version, _ in world.engine.invoker.calls]
    assert [value for value, _ in seen] == ["old", "old", "new"]
    assert seen[0][1] == seen[1][1] != seen[2][1]
    await world.until(lambda: (updated["FunctionArn"], "$LATEST") in world.engine.retired)


async def test_a_failed_update_keeps_the_old_code(world: Any) -> None:
    """An update that cannot be prepared is Failed, and the function goes on with what it had."""
    await world.create()
    world.runtimes.broken["python3.13"] = "No interpreter."
    await world.call("UpdateFunctionConfiguration", FunctionName="f", Runtime="python3.13")
    shown = await world.active()
    assert (shown["State"], shown["LastUpdateStatus"]) == ("Active", "Failed")
    assert shown["LastUpdateStatusReason"] == "No interpreter."
    await world.call("Invoke", FunctionName="f")
    assert world.engine.invoker.calls[-1][0].runtime == "python3.12"


async def test_unfinished_preparations_resume_after_a_restart(tmp_path: Any, new_world: Any) -> None:
    """What a crash left Pending becomes Active at the next start."""
    first = new_world(tmp_path)
    await first.start()
    first.runtimes.gate.clear()
    await first.create(wait=False)
    await first.stop()
    second = new_world(tmp_path)
    await second.start()
    assert (await second.active())["State"] == "Active"
    await second.stop()


async def test_dry_run_changes_nothing(world: Any, make_zip: Any) -> None:
    """UpdateFunctionCode with DryRun shows the result and stores neither code nor row."""
    await world.create()
    before = await world.active()
    tried = await world.call("UpdateFunctionCode", FunctionName="f", ZipFile=make_zip("y = 2"), DryRun=True)
    assert tried["CodeSha256"] != before["CodeSha256"]
    assert await world.active() == before
    assert world.blob_count() == 1


async def test_lists_go_page_by_page(world: Any) -> None:
    """ListFunctions gives every function once, over pages; with ALL every version."""
    for name in ("a", "b", "c"):
        await world.create(name, Publish=True)
    names: list[str] = []
    marker: dict[str, str] = {}
    while True:
        answer = await world.call("ListFunctions", MaxItems=2, **marker)
        names += [one["FunctionName"] for one in answer["Functions"]]
        if "NextMarker" not in answer:
            break
        marker = {"Marker": answer["NextMarker"]}
    assert names == ["a", "b", "c"]
    everything = (await world.call("ListFunctions", FunctionVersion="ALL"))["Functions"]
    assert [(one["FunctionName"], one["Version"]) for one in everything][:3] == [
        ("a", "$LATEST"),
        ("a", "1"),
        ("b", "$LATEST"),
    ]
    assert (await world.fails("ListFunctions", Marker="nonsense")).code == "InvalidParameterValueException"


async def test_the_internet_tag_reaches_the_engine(world: Any) -> None:
    """alonzo:internet=off takes the internet away and changes the revision, so no environment is reused over it."""
    await world.create(Tags={"alonzo:internet": "off"})
    await world.call("Invoke", FunctionName="f")
    resource = "arn:aws:lambda:us-east-1:111111111111:function:f"
    await world.call("UntagResource", Resource=resource, TagKeys=["alonzo:internet"])
    await world.call("Invoke", FunctionName="f")
    (off, _), (on, _) = world.engine.invoker.calls
    assert not off.internet and on.internet and off.revision != on.revision
    error = await world.fails("TagResource", Resource=resource, Tags={"alonzo:internet": "maybe"})
    assert error.code == "InvalidParameterValueException"


@pytest.mark.parametrize(
    ("params", "code", "text"),
    [
        ({"Code": {"ZipFile": b"no zip"}}, "InvalidParameterValueException", "Could not unzip uploaded file"),
        ({"Handler": None}, "InvalidParameterValueException", "Runtime and Handler are mandatory"),
        ({"Runtime": "python3.7"}, "InvalidParameterValueException", "The runtime parameter of python3.7 is no longer"),
        ({"Runtime": "cobol"}, "InvalidParameterValueException", "Value cobol at 'runtime' failed to satisfy"),
        ({"Timeout": 901}, "InvalidParameterValueException", "less than or equal to 900"),
        ({"MemorySize": 10241}, "InvalidParameterValueException", "less than or equal to 10240"),
        ({"EphemeralStorage": {"Size": 10241}}, "InvalidParameterValueException", "less than or equal to 10240"),
        ({"Timeout": 0}, "ValidationException", "at 'timeout' failed to satisfy constraint"),
        ({"MemorySize": 127}, "ValidationException", "at 'memorySize' failed to satisfy constraint"),
        ({"Code": {}}, "InvalidParameterValueException", "Please provide a source for function code."),
        ({"Environment": {"Variables": {"AWS_REGION": "x"}}}, "InvalidParameterValueException", "AWS_REGION"),
        (
            {"Environment": {"Variables": {"A1": "x" * 4096}}},
            "InvalidParameterValueException",
            "exceeded the 4KB limit",
        ),
        ({"PackageType": "Image"}, "InvalidParameterValueException", "container images"),
        ({"DurableConfig": {"ExecutionTimeout": 5}}, "InvalidParameterValueException", "DurableConfig"),
        (
            {"DeadLetterConfig": {"TargetArn": "arn:aws:sqs:us-east-1:111111111111:q"}},
            "InvalidParameterValueException",
            "cannot deliver to sqs yet",
        ),
        (
            {"Role": "arn:aws:iam::222222222222:role/other"},
            "AccessDeniedException",
            "Cross-account pass role is not allowed.",
        ),
    ],
)
async def test_bad_parameters_are_refused(
    world: Any, make_zip: Any, params: dict[str, Any], code: str, text: str
) -> None:
    """Each bad parameter has its error, and nothing of the function stays behind."""
    good = {
        "FunctionName": "f",
        "Runtime": "python3.12",
        "Role": "arn:aws:iam::111111111111:role/worker",
        "Handler": "handler.handler",
        "Code": {"ZipFile": make_zip()},
    }
    merged = {name: value for name, value in {**good, **params}.items() if value is not None}
    error = await world.fails("CreateFunction", **merged)
    assert error.code == code
    assert text in error.message
    assert world.blob_count() == 0
    assert (await world.call("ListFunctions"))["Functions"] == []


async def test_a_role_lambda_cannot_assume_is_refused(world: Any, make_zip: Any) -> None:
    """AWS's text for a role that does not exist or does not trust Lambda; nothing is stored."""
    role = "arn:aws:iam::111111111111:role/worker"
    world.bad_roles.add(role)
    error = await world.fails(
        "CreateFunction", FunctionName="f", Runtime="python3.12", Role=role, Handler="h.h", Code={"ZipFile": make_zip()}
    )
    assert error.message == "The role defined for the function cannot be assumed by Lambda."
    assert world.blob_count() == 0


async def test_passing_the_role_needs_permission(world: Any, make_zip: Any) -> None:
    """CreateFunction asks for iam:PassRole on the role, passed to Lambda."""
    world.judge.denied.add("iam:PassRole")
    role = "arn:aws:iam::111111111111:role/worker"
    error = await world.fails(
        "CreateFunction", FunctionName="f", Runtime="python3.12", Role=role, Handler="h.h", Code={"ZipFile": make_zip()}
    )
    assert (error.code, error.status) == ("AccessDeniedException", 403)
    asked = world.judge.asked[-1]
    assert asked.resource == role and asked.conditions["iam:PassedToService"] == "lambda.amazonaws.com"


async def test_code_from_s3(world: Any, make_zip: Any) -> None:
    """The archive is copied from S3; S3's errors come back in AWS's words."""
    world.objects["bucket", "key.zip"] = make_zip()
    await world.create(Code={"S3Bucket": "bucket", "S3Key": "key.zip"})
    error = await world.fails("UpdateFunctionCode", FunctionName="f", S3Bucket="none", S3Key="key.zip")
    assert error.message == (
        "Error occurred while GetObject. S3 Error Code: NoSuchBucket. S3 Error Message: The specified bucket does not"
        " exist"
    )
    error = await world.fails("UpdateFunctionCode", FunctionName="f", S3Bucket="bucket", S3Key="none")
    assert error.message.endswith("S3 Error Code: NoSuchKey. S3 Error Message: The specified key does not exist.")


async def test_unpacked_code_is_swept_after_the_last_use(world: Any, monkeypatch: Any) -> None:
    """When code is no longer needed the runtimes are told what is still live: rows' code and environments' code."""
    monkeypatch.setattr("alonzo.services.lambda_.preparation._SWEEP_DELAY_S", 0.0)
    world.engine.in_use = {"busy"}
    await world.create("one")
    await world.call("DeleteFunction", FunctionName="one")
    await world.until(lambda: world.runtimes.live)
    assert world.runtimes.live == [{"busy"}]


async def test_a_lacking_runtime_is_tried_again_at_the_next_start(tmp_path: Any, new_world: Any) -> None:
    """A function that failed for want of a runtime comes right when the server is started with one."""
    first = new_world(tmp_path)
    await first.start()
    first.runtimes.broken["python3.12"] = "Not there."
    await first.create()
    await first.stop()
    second = new_world(tmp_path)
    await second.start()
    assert (await second.until_active())["State"] == "Active"
    await second.stop()


async def test_publishing_after_a_failed_update(world: Any) -> None:
    """The version published is what $LATEST was set to, and shows for itself whether it can run."""
    await world.create()
    world.runtimes.broken["python3.13"] = "No interpreter."
    await world.call("UpdateFunctionConfiguration", FunctionName="f", Runtime="python3.13")
    await world.active()
    published = await world.call("PublishVersion", FunctionName="f")
    assert (published["Runtime"], published["State"]) == ("python3.13", "Pending")
    assert (await world.active("f", "1"))["State"] == "Failed"


async def test_tools_learn_that_there_is_no_code_signing(world: Any) -> None:
    """GetFunctionCodeSigningConfig is empty for a function, and not found without one."""
    await world.create()
    assert await world.call("GetFunctionCodeSigningConfig", FunctionName="f") == {}
    assert (await world.fails("GetFunctionCodeSigningConfig", FunctionName="g")).code == "ResourceNotFoundException"


async def test_code_storage_is_limited(world: Any, make_zip: Any, monkeypatch: Any) -> None:
    """Beyond the account's code storage nothing more is taken, and what was refused leaves no blob behind."""
    await world.create()
    size = (await world.active())["CodeSize"]
    monkeypatch.setattr("alonzo.services.lambda_.models.MAX_TOTAL_CODE", 2 * size)
    await world.call("PublishVersion", FunctionName="f")
    other, role = {"ZipFile": make_zip("x = 1")}, "arn:aws:iam::111111111111:role/worker"
    for operation, params in (
        (
            "CreateFunction",
            {"FunctionName": "g", "Runtime": "python3.12", "Role": role, "Handler": "h.h", "Code": other},
        ),
        ("PublishLayerVersion", {"LayerName": "l", "Content": other}),
    ):
        assert (await world.fails(operation, **params)).code == "CodeStorageExceededException"
    assert world.blob_count() == 1


async def test_what_the_system_refuses_is_a_sentence_with_the_mend(world: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder that cannot be written names itself and what to do, not an errno."""

    async def root(version: Any) -> Any:
        raise PermissionError(errno.EACCES, "Permission denied", "/srv/runtimes")

    monkeypatch.setattr(type(world.runtimes), "root", lambda self, version: root(version))
    await world.create(wait=False)
    shown = await world.active()
    assert shown["State"] == "Failed" and "Errno" not in shown["StateReason"]
    assert "'/srv/runtimes' (Permission denied): let the user who runs Alonzo" in shown["StateReason"]


async def test_the_key_of_an_archive_is_shown_with_the_code(world: Any, make_zip: Any) -> None:
    """SourceKMSKeyArn belongs to the archive: GetFunction shows it, other code comes without it."""
    key = "arn:aws:kms:us-east-1:111111111111:key/one"
    await world.create(Code={"ZipFile": make_zip(), "SourceKMSKeyArn": key})
    assert (await world.call("GetFunction", FunctionName="f"))["Code"]["SourceKMSKeyArn"] == key
    assert "SourceKMSKeyArn" not in await world.call("GetFunctionConfiguration", FunctionName="f")
    await world.call("UpdateFunctionConfiguration", FunctionName="f", Timeout=5)
    await world.active()
    assert (await world.call("GetFunction", FunctionName="f"))["Code"]["SourceKMSKeyArn"] == key
    await world.call("UpdateFunctionCode", FunctionName="f", ZipFile=make_zip("other = 1"))
    assert "SourceKMSKeyArn" not in (await world.call("GetFunction", FunctionName="f"))["Code"]


async def test_code_is_copied_not_referred_to(world: Any, make_zip: Any) -> None:
    """The storage mode COPY is what happens; REFERENCE is refused."""
    world.objects["code", "f.zip"] = make_zip()
    source = {"S3Bucket": "code", "S3Key": "f.zip"}
    error = await world.fails(
        "CreateFunction",
        FunctionName="f",
        Runtime="python3.12",
        Role="arn:aws:iam::111111111111:role/worker",
        Handler="handler.handler",
        Code={**source, "S3ObjectStorageMode": "REFERENCE"},
    )
    assert (error.code, "copies" in error.message) == ("InvalidParameterValueException", True)
    await world.create(Code={**source, "S3ObjectStorageMode": "COPY"})
