"""What a server does first, while most of it has not even been imported.

The sandbox host sets up the machine on another processor meanwhile. So this module imports little: neither the database
nor any service.
"""

from __future__ import annotations

import os
import socket
from dataclasses import replace

from alonzo.config import Settings, SettingsError
from alonzo.core.dataclasses import dataclass
from alonzo.sandbox.base import Sandbox
from alonzo.sandbox.choose import make_sandbox
from alonzo.storage.folder import DataFolder, open_data_folder


@dataclass(frozen=True, slots=True)
class Begun:
    """What is there before the rest: the locked folder, the bound socket, the sandbox that is starting.

    `settings` name the folder and the port that were taken. Whoever has it closes all three.
    """

    settings: Settings
    folder: DataFolder
    listener: socket.socket
    sandbox: Sandbox


def begin(settings: Settings) -> Begun:
    """Take the folder and the port, and launch the sandbox. Raises SettingsError, StorageError or SandboxError."""
    os.umask(0o022)  # functions, as users of their own, read unpacked code; the data folder itself is closed to others
    folder = open_data_folder(settings)
    try:
        listener = _listen(settings)
        try:
            settings = replace(settings, data_dir=folder.path, port=listener.getsockname()[1])
            sandbox = make_sandbox(settings)
            sandbox.launch()
        except BaseException:
            listener.close()
            raise
    except BaseException:
        folder.close()
        raise
    return Begun(settings, folder, listener, sandbox)


def _listen(settings: Settings) -> socket.socket:
    """A bound socket. Raises SettingsError with the mend."""
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    host = "127.0.0.1" if settings.host == "localhost" else settings.host
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, settings.port))
    except OSError as error:
        listener.close()
        raise SettingsError(
            f"Cannot listen on {settings.host} port {settings.port}: {error.strerror}. Choose another with --port."
        ) from None
    return listener
