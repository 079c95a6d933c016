"""Layers that functions go on using."""

from __future__ import annotations

from typing import Any

LAYER = "arn:aws:lambda:us-east-1:111111111111:layer:"


async def test_a_deleted_layer_lives_on_in_its_functions(world: Any, make_zip: Any) -> None:
    """A function keeps the code of a layer version that was deleted; with the last user the blob goes."""
    content = make_zip("layer = 1")
    await world.call("PublishLayerVersion", LayerName="one", Content={"ZipFile": content})
    await world.call("PublishLayerVersion", LayerName="two", Content={"ZipFile": make_zip("layer = 2")})
    await world.create("f", Layers=[f"{LAYER}two:1", f"{LAYER}one:1"])
    await world.call("DeleteLayerVersion", LayerName="one", VersionNumber=1)
    await world.call("Invoke", FunctionName="f")
    version = world.engine.invoker.calls[0][0]
    assert [layer.label for layer in version.layers] == [f"{LAYER}two:1", f"{LAYER}one:1"]
    assert world.blobs.path(version.layers[1].blob_id).read_bytes() == content
    await world.call("UpdateFunctionConfiguration", FunctionName="f", Layers=[])
    await world.active("f")
    await world.until(lambda: world.blob_count() == 2)
    assert "Layers" not in await world.active("f")
