# mypy: ignore-errors
"""Starts AWS's runtime interface client inside an execution environment: /var/runtime/bootstrap.py.

Called as `bootstrap.py [OPT [aws]]`: where the layers are (a sandbox without mounts puts the real folder in /opt's
place); and `aws` where AWS's client shall speak to the Runtime API by itself, not over `_alonzo_client`.

Runs on every supported interpreter, so it keeps to Python 3.8's syntax, and imports nothing that the client does not
import anyway: each module costs a cold start about 0.3 ms.
"""

import gc
import os
import sys

_VERSION = "python%d.%d" % sys.version_info[:2]  # noqa: UP031 - an f-string compiles slower, and this file is compiled each time


def _search_path(environ, path, opt):
    """Function, layers, SDK, standard library: the order in which modules are found on AWS.

    The SDK lies in site-packages from Python 3.11 on and in /var/runtime before; a PYTHONPATH of the function's own
    puts the layers' folders last.
    Source: https://docs.aws.amazon.com/lambda/latest/dg/python-package.html#python-package-searchpath
    """
    runtime = environ["LAMBDA_RUNTIME_DIR"]
    packages = sys.prefix + "/lib/" + _VERSION + "/site-packages"
    layers = [opt + "/python/lib/" + _VERSION + "/site-packages", opt + "/python"]
    rest = [entry for entry in path if entry not in (runtime, packages)]
    included = [packages, runtime, *rest] if sys.version_info >= (3, 11) else [runtime, *rest, packages]
    if "PYTHONPATH" in environ:
        return [environ["LAMBDA_TASK_ROOT"], *included, *filter(os.path.isdir, layers)], layers
    return [environ["LAMBDA_TASK_ROOT"], *layers, *included], layers


def _process_pth(folders):
    """`.pth` files of the function and its layers take effect, as if the folders were site-packages."""
    for folder in folders:
        try:
            names = os.listdir(folder)  # noqa: PTH208
        except OSError:
            continue
        for name in names:
            if name.endswith(".pth"):
                import site

                site.addsitedir(folder)
                break


def _complete_builtins():
    """What `import site` would have added, had the interpreter not been started with -S."""
    import _sitebuiltins
    import builtins

    builtins.quit = _sitebuiltins.Quitter("quit", "Ctrl-D (i.e. EOF)")
    builtins.exit = _sitebuiltins.Quitter("exit", "Ctrl-D (i.e. EOF)")
    builtins.help = _sitebuiltins._Helper()
    builtins.copyright = _sitebuiltins._Printer("copyright", sys.copyright)
    builtins.credits = _sitebuiltins._Printer("credits", "See www.python.org for more information.")
    builtins.license = _sitebuiltins._Printer("license", "See https://www.python.org/psf/license/")


def _recall_patterns():
    """Put the regular expressions that the client's imports compile into `re`'s cache; `patterns.py` recorded them."""
    import _sre
    import marshal
    import re

    try:
        with open(os.environ["LAMBDA_RUNTIME_DIR"] + "/patterns.bin", "rb") as file:  # noqa: PTH123
            rows = marshal.load(file)
    except OSError:
        return
    for source, flags, arguments in rows:
        re._cache[str, source, flags] = _sre.compile(*arguments)


def _client(path, lean):
    """AWS's client, imported before the function's folders are on the search path: as on AWS, a function's own module
    cannot take the place of one that the client needs."""
    packages = sys.prefix + "/lib/" + _VERSION + "/site-packages"
    sys.path[:] = [entry for entry in path if entry.startswith(sys.prefix + "/") and not entry.endswith(".zip")]
    runtime = os.environ["LAMBDA_RUNTIME_DIR"]
    sys.path += [packages, runtime] if sys.version_info >= (3, 11) else [runtime]
    _recall_patterns()
    if lean:
        try:
            import _alonzo_client
        except ImportError:
            pass  # this release of AWS's client is not one that it knows
        else:
            return _alonzo_client.main()
    from awslambdaric.__main__ import main

    return main


def _be_zygote(number, rehearse):
    """Wait to be forked; comes back in an environment's first process, whose variables have changed.

    What it takes to get into a sandbox is sent by the sandbox host: names and texts of modules (`sandbox.forking`).
    """
    for name in filter(None, os.environ.pop("_ALONZO_IMPORTS", "").split(",")):
        try:
            __import__(name)
        except Exception as error:  # it would have saved time, no more
            sys.stderr.write("alonzo: %s was not imported beforehand: %r\n" % (name, error))  # noqa: UP031
        sys.modules.pop(name, None)
    before = set(sys.modules)
    message = os.read(number, 1 << 20)
    fields = []
    while message:
        size = int.from_bytes(message[:4], "little")
        fields.append(message[4 : 4 + size])
        message = message[4 + size :]
    kind = type(sys)
    outer = sys.modules["alonzo"] = kind("alonzo")
    outer.sandbox = sys.modules["alonzo.sandbox"] = kind("alonzo.sandbox")
    for name, text in zip(fields[::2], fields[1::2]):  # noqa: B905 - not before Python 3.10
        module = kind("alonzo.sandbox." + name.decode())
        sys.modules[module.__name__] = module
        setattr(outer.sandbox, name.decode(), module)
        exec(compile(text, module.__name__, "exec"), module.__dict__)
    return module.serve(number, before, rehearse)


def _begin(main, path, opt):
    """Run the function that the variables name."""
    environ = os.environ
    sys.path[:], layers = _search_path(environ, path, opt)
    environ.setdefault("PYTHONPATH", environ["LAMBDA_RUNTIME_DIR"])
    _process_pth([environ["LAMBDA_TASK_ROOT"], *layers])
    main([environ["LAMBDA_TASK_ROOT"], environ["_HANDLER"]])


def _rehearsal(main, path, opt):
    """What a forked process does before it knows its function, see `_alonzo_opening`."""
    try:
        from _alonzo_opening import rehearse
    except ImportError:  # AWS's client speaks for itself
        return lambda: None
    del sys.modules["_alonzo_opening"]
    folder = os.environ["LAMBDA_RUNTIME_DIR"]
    return lambda: rehearse(lambda: _begin(main, path, opt), folder)


def _forget_coercion(environ):
    """Take out LC_CTYPE where nobody gave it: where the system does not have the locale that LANG names, Python chooses
    another one and says so in this variable. The choice stays in force. (Amazon Linux 2 has the locale.)"""
    try:
        with open("/proc/self/environ", "rb") as file:  # noqa: PTH123
            given = b"\0" + file.read()
    except OSError:
        return
    if b"\0LC_CTYPE=" not in given:
        del environ["LC_CTYPE"]


def _start():
    environ = os.environ
    if "LC_CTYPE" in environ and environ.get("LANG") == "en_US.UTF-8":
        _forget_coercion(environ)
    if sys.flags.no_site:
        _complete_builtins()
    arguments = sys.argv[1:]
    del sys.argv[1:]
    opt = arguments[0] if arguments else "/opt"
    path = sys.path[:]
    gc.disable()  # nothing that is imported here becomes garbage
    main = _client(path, lean="aws" not in arguments[1:])
    if "_ALONZO_ZYGOTE" in environ:  # a function's own variables never begin with an underscore
        _be_zygote(int(environ["_ALONZO_ZYGOTE"]), _rehearsal(main, path, opt))
    gc.enable()
    _begin(main, path, opt)


if __name__ == "__main__":
    _start()
